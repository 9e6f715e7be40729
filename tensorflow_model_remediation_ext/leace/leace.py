"""Least-squares concept erasure: LEACE, its orthogonal variant, SPLINCE."""

import functools
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace import fitting
from tensorflow_model_remediation_ext.leace.moments import Moments
from tensorflow_model_remediation_ext.leace.projections import (
    projections,
)
from tensorflow_model_remediation_ext.leace.shrinkage import (
    shrink_strips,
)
from tensorflow_model_remediation_ext.leace.sums import assemble, outer

METHODS = ("leace", "orth")
NOTHING = "The concept does not vary with `x` by more than "


class LeaceEraser(tf.Module):
    """The affine map `x - (x - bias) proj_right^T proj_left^T`.

    On the data it was fitted on, no linear reader of the result does better
    than one that ignores it, but for what `svd_tol` of the `LeaceFitter` leaves
    in, of which that warns. That says nothing about nonlinear readers, nor,
    beyond sampling error, about other data.

    Args:
        proj_left: `[x_dim, r]`.
        proj_right: `[r, x_dim]`.
        bias: `[x_dim]`, the mean that erasure keeps, or `None`.
        name: Name of the module.

    Raises:
        ValueError: If the shapes do not match.

    Examples:
        >>> x, z = np.random.randn(100, 8), np.random.randint(0, 2, 100)
        >>> eraser = LeaceEraser.fit(x, z)
        >>> eraser(x).shape
        TensorShape([100, 8])

        To export it, name the inputs it will get:

        >>> tf.saved_model.save(
        ...     eraser,
        ...     "/tmp/eraser",
        ...     signatures=tf.function(eraser).get_concrete_function(
        ...         tf.TensorSpec([None, 8], tf.float32)
        ...     ),
        ... )

    References:
        - [Belrose et al., LEACE: Perfect linear concept erasure in closed
          form, 2023](https://arxiv.org/abs/2306.03819), theorem 4.3.
    """

    def __init__(
        self,
        proj_left: Any,
        proj_right: Any,
        bias: Any = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        proj_left = tf.convert_to_tensor(proj_left)
        proj_right = tf.convert_to_tensor(proj_right, proj_left.dtype)
        if proj_left.shape.rank != 2 or (
            proj_right.shape != proj_left.shape[::-1]
        ):
            raise ValueError(
                "`proj_left` and `proj_right` must be of shapes [x_dim, r] and "
                f"[r, x_dim]. Received: {proj_left.shape}, {proj_right.shape}"
            )
        self.proj_left = tf.Variable(
            proj_left, trainable=False, name="proj_left"
        )
        self.proj_right = tf.Variable(
            proj_right, trainable=False, name="proj_right"
        )
        self.bias = None
        if bias is not None:
            bias = tf.convert_to_tensor(bias, proj_left.dtype)
            if bias.shape != proj_left.shape[:1]:
                raise ValueError(
                    f"`bias` must be of shape {proj_left.shape[:1]}. Received: "
                    f"bias of shape {bias.shape}"
                )
            self.bias = tf.Variable(bias, trainable=False, name="bias")

    @classmethod
    def fit(cls, x: Any, z: Any, **options: Any) -> "LeaceEraser":
        """Fits to data at once, see `LeaceFitter.fit`."""
        return LeaceFitter.fit(x, z, **options).eraser

    def __call__(self, x: Any) -> tf.Tensor:
        """Erases the concept.

        Args:
            x: `[..., x_dim]` of any floating dtype.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On a wrong shape or dtype.
        """
        x_dim = self.proj_left.shape[0]
        x = fitting.features(x, x_dim)
        fitted = [self.proj_left, self.proj_right]
        if self.bias is not None:
            fitted.append(self.bias)
        erase = _erasing(x.dtype, self.proj_left.dtype, len(fitted))
        rows = tf.reshape(x, [-1, x_dim])
        erased = erase(rows, *map(tf.convert_to_tensor, fitted))
        return tf.ensure_shape(tf.reshape(erased, tf.shape(x)), x.shape)

    @property
    def P(self) -> tf.Tensor:  # noqa: N802, the paper's name
        """`[x_dim, x_dim]`: the dense matrix `I - proj_left proj_right`."""
        eye = tf.eye(self.proj_left.shape[0], dtype=self.proj_left.dtype)
        return eye - self.proj_left @ self.proj_right

    def fold_into(self, dense: keras.layers.Dense) -> keras.layers.Dense:
        """A Dense layer that does what erasing and then `dense` would do.

        Args:
            dense: A built layer over `x_dim` inputs; it is left as it is.

        Returns:
            A new, built layer, with a bias if `dense` or the eraser has one.

        Raises:
            TypeError: If `dense` is not a plain `keras.layers.Dense`.
            ValueError: If it is not built or takes another number of inputs.
        """
        if type(dense) is not keras.layers.Dense:
            raise TypeError(
                "`dense` must be a keras.layers.Dense. Received: "
                f"{type(dense).__name__}"
            )
        x_dim = self.proj_left.shape[0]
        if not dense.built or dense.kernel.shape[0] != x_dim:
            shape = dense.kernel.shape if dense.built else "not built"
            raise ValueError(
                f"`dense` must be built with {x_dim} inputs. Received: dense "
                f"with kernel: {shape}"
            )
        config = dense.get_config()
        config["use_bias"] = dense.use_bias or self.bias is not None
        folded = keras.layers.Dense.from_config(config)
        folded.build((None, x_dim))
        to_numpy = keras.ops.convert_to_numpy
        kernel = np.asarray(to_numpy(dense.kernel), np.float64)
        # K' = P^T K and b' = b + ((I - P) mean)^T K.
        left, right = self.proj_left.numpy(), self.proj_right.numpy()
        inner = left.T @ kernel
        weights = [kernel - right.T @ inner]
        if config["use_bias"]:
            bias = np.zeros(kernel.shape[1])
            if dense.use_bias:
                bias = bias + np.asarray(to_numpy(dense.bias), np.float64)
            if self.bias is not None:
                bias = bias + (right @ self.bias.numpy()) @ inner
            weights.append(bias)
        folded.set_weights(weights)
        folded.trainable = dense.trainable
        return folded


class LeaceFitter(tf.Module):
    """Streams the statistics that a `LeaceEraser` is computed from.

    Sample weights count rows: weight two is the row twice, weight zero the row
    left out. Covariances are divided by the sum of the weights less one, or
    with shrinkage by the sum itself.

    Args:
        x_dim: Size of the last axis of `x`.
        z_dim: Size of the last axis of `z`, or the number of classes.
        method: `"leace"` moves the data least, in every inner product at
            once; `"orth"` projects orthogonally and needs no covariance of
            `x`.
        affine: Whether erasure keeps the mean of `x`.
        shrinkage: Whether to shrink the covariance of `x`, see
            `optimal_linear_shrinkage`. Directions above `svd_tol` are erased
            exactly with and without it, but it adds variance to features that
            have much less than others, and so puts directions below: give
            features of like scale.
        svd_tol: Singular values of the whitened cross-covariance of `x` and
            `z` up to this are not erased, with a warning where that shows in
            a correlation beyond chance. They are in the units of `z`: for a
            class of share p at most `sqrt(p * (1 - p))`, so that by default a
            class of less than one row in 10,000 is never erased. With
            `"orth"`, which does not whiten, they are in the units of `x` times
            those of `z`.
        dtype: Of the accumulators, `"float32"` or `"float64"`.
        preserve_dim: If positive, the number of columns or classes of
            `preserve`, task labels whose covariance with `x` erasure keeps
            (SPLINCE). The variance of the data may then grow, see
            `trace_ratio`.
        name: Name of the module.

    Raises:
        ValueError: On sizes or tolerances out of range.

    Examples:
        >>> fitter = LeaceFitter(x_dim=8, z_dim=3)
        >>> for _ in range(10):
        ...     x, z = np.random.randn(32, 8), np.random.randint(0, 3, 32)
        ...     fitter = fitter.update(x, z)
        >>> erased = fitter.eraser(x)

    References:
        - [Belrose et al., LEACE: Perfect linear concept erasure in closed
          form, 2023](https://arxiv.org/abs/2306.03819), theorem 4.3.
        - [Holstege, Ravfogel and Wouters, Preserving Task-Relevant Information
          Under Linear Concept Removal,
          2025](https://arxiv.org/abs/2506.10703), for `preserve_dim`.
    """

    def __init__(
        self,
        x_dim: int,
        z_dim: int,
        method: str = "leace",
        *,
        affine: bool = True,
        shrinkage: bool = True,
        svd_tol: float = 0.01,
        dtype: str = "float64",
        preserve_dim: int = 0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        if method not in METHODS:
            raise ValueError(
                f"`method` must be one of {METHODS}. Received: "
                f"method={method!r}"
            )
        if not (isinstance(svd_tol, (int, float, np.number)) and svd_tol >= 0):
            raise ValueError(
                "`svd_tol` must be a number that is not negative. Received: "
                f"svd_tol={svd_tol!r}"
            )
        self.x_dim = whole("x_dim", x_dim, 1)
        self.z_dim = whole("z_dim", z_dim, 1)
        self.preserve_dim = whole("preserve_dim", preserve_dim, 0)
        self.method, self.affine = method, affine
        self.shrinkage, self.svd_tol = shrinkage, svd_tol
        self._moments = Moments(
            self.x_dim,
            self.z_dim + self.preserve_dim,
            xx=method == "leace",
            dtype=dtype,
        )
        if preserve_dim:
            self._moments.z_name = "z` or `preserve"
        self._cache = fitting.Cache()

    @classmethod
    def fit(
        cls,
        x: Any,
        z: Any,
        *,
        preserve: Any = None,
        sample_weight: Any = None,
        **options: Any,
    ) -> "LeaceFitter":
        """A fitter that has seen these data, its sizes inferred from them.

        Args:
            x: `[..., x_dim]`.
            z: `[..., z_dim]`, or `[...]`: integers above one are class ids,
                anything else is one column.
            preserve: Task labels like `z`, or `None`.
            sample_weight: `[...]` or `None`.
            **options: Of the constructor.

        Returns:
            The fitter.

        Raises:
            ValueError: As from `update`.
        """
        x, z = fitting.numbers("x", x), fitting.labels("z", z)
        if preserve is not None:
            preserve = fitting.labels("preserve", preserve)
            options["preserve_dim"] = width(x, preserve)
        fitter = cls(x.shape[-1], width(x, z), **options)
        return fitter.update(x, z, preserve, sample_weight)

    def update(
        self, x: Any, z: Any, preserve: Any = None, sample_weight: Any = None
    ) -> "LeaceFitter":
        """Adds a batch; either all of it or, on an error, nothing.

        Args:
            x: `[..., x_dim]` of any floating dtype; products are taken in its
                precision, but at least in float32.
            z: `[..., z_dim]`, or integer class ids `[...]` where `z_dim > 1`,
                or `[...]` where `z_dim == 1`.
            preserve: Task labels, likewise with `preserve_dim`.
            sample_weight: `[...]`, not negative, or `None` for ones.

        Returns:
            The fitter itself.

        Raises:
            ValueError: On wrong shapes, dtypes or class ids, negative weights,
                NaN or infinity.
            tf.errors.InvalidArgumentError: On such values in graph mode.
        """
        if preserve is None and self.preserve_dim and isinstance(z, tuple):
            z, preserve = z
        if (preserve is None) != (self.preserve_dim == 0):
            raise ValueError(
                "`preserve` must be given exactly if preserve_dim is positive. "
                f"Received: preserve of type {type(preserve).__name__} with "
                f"preserve_dim={self.preserve_dim}"
            )
        if preserve is not None:
            x = fitting.features(x, self.x_dim)
            z = tf.concat(
                [
                    self._columns("z", z, self.z_dim, x),
                    self._columns("preserve", preserve, self.preserve_dim, x),
                ],
                axis=-1,
            )
            z = tf.reshape(z, tf.concat([tf.shape(x)[:-1], [-1]], 0))
            z = tf.ensure_shape(z, x.shape[:-1] + [z.shape[-1]])
        self._moments.update(x, z, sample_weight)
        return self

    def _columns(self, name, value, size, x):
        dtype = self._moments.dtype
        rows = fitting.columns_or_ids(name, value, size, x.shape[:-1], dtype)
        if rows.dtype == tf.int64:
            with fitting.require(fitting.in_range(name, rows, size)):
                rows = tf.one_hot(rows, size, dtype=dtype)
        return rows

    def fit_dataset(self, dataset: Any, verbose: Any = "auto") -> "LeaceFitter":
        """Updates with every batch of a dataset.

        Args:
            dataset: A `tf.data.Dataset` or another iterable of `(x, z)` or
                `(x, z, sample_weight)`; with `preserve_dim`, `z` is a tuple
                `(z, preserve)`.
            verbose: `0` for silence, otherwise as in `keras.Model.fit`.

        Returns:
            The fitter itself.

        Raises:
            ValueError: As from `update`; the batches before have been added.
        """
        return fitting.fit_dataset(self, dataset, verbose)

    def merge(self, other: "LeaceFitter") -> "LeaceFitter":
        """Adds what `other` has seen; the options stay those of this fitter.

        Merging is associative: replicas, shards and processes may each have
        their own fitter.

        Args:
            other: A fitter of the same sizes and method.

        Returns:
            The fitter itself.

        Raises:
            TypeError: If `other` is not a `LeaceFitter`.
            ValueError: If it differs in sizes or method.
        """
        if not isinstance(other, LeaceFitter):
            raise TypeError(
                f"`other` must be a LeaceFitter. Received: other={other!r}"
            )
        mine, theirs = (
            (f.x_dim, f.z_dim, f.preserve_dim, f.method) for f in (self, other)
        )
        if mine != theirs:
            raise ValueError(
                "`other` must have the same x_dim, z_dim, preserve_dim and "
                f"method {mine}. Received: {theirs}"
            )
        self._moments.merge(other._moments)
        return self

    def get_state(self) -> list[np.ndarray]:
        """The statistics as arrays, to send to another process."""
        return self._moments.get_state()

    def set_state(self, state: list[np.ndarray]) -> None:
        """Replaces the statistics by those from a fitter of the same sizes."""
        self._moments.set_state(state)

    @property
    def n(self) -> float:
        """Sum of the weights of all rows so far."""
        return self._moments.n

    @property
    def mean_x(self) -> np.ndarray:
        """`[x_dim]` weighted mean."""
        return self._moments.mean_x

    @property
    def mean_z(self) -> np.ndarray:
        """`[z_dim]` weighted mean."""
        return self._moments.mean_z[: self.z_dim]

    @property
    def sigma_xx(self) -> np.ndarray:
        """`[x_dim, x_dim]` covariance, shrunk if `shrinkage` is set.

        Raises:
            ValueError: If it is not tracked, or there are fewer than two
                samples.
        """
        self._require_samples()
        if self.method != "leace":
            raise ValueError(
                "`sigma_xx` is tracked only with method='leace'. Received: "
                f"method={self.method!r}"
            )
        return assemble(self._sigma_strips())

    def _sigma_strips(self):
        strips, n = self._moments.scatter_strips(), self.n
        for strip in strips:
            strip /= n if self.shrinkage else n - 1
        if self.shrinkage:
            shrink_strips(strips, n)
        return strips

    @property
    def sigma_xz(self) -> np.ndarray:
        """`[x_dim, z_dim]` cross-covariance."""
        return self._sigma_x_targets()[:, : self.z_dim]

    def _sigma_x_targets(self):
        self._require_samples()
        return self._moments.scatter_xz / (self.n - 1)

    def _require_samples(self):
        if not self.n > 1:
            raise ValueError(
                "At least two samples, counted by their weights, are needed: "
                f"call update() first. Received: n={self.n}"
            )

    @property
    def eraser(self) -> LeaceEraser:
        """The eraser for the statistics so far, computed when they changed.

        A concept without linear trace in `x` beyond `svd_tol`, as one that
        never varies, gives an eraser of rank zero, and a warning. So does one
        of which `svd_tol` leaves a correlation with a feature so large that
        chance explains it less than once in a thousand times.

        Raises:
            ValueError: If there are fewer than two samples.
        """
        return self._cache.get([self._moments], self._compute_eraser)

    def _compute_eraser(self):
        eraser, notes = self._eraser_and_notes()
        for note in notes:
            warnings.warn(note, stacklevel=4)
        return eraser

    def _eraser_and_notes(self):
        """The eraser, and what is to be said of it."""
        targets = self._sigma_x_targets()
        proj_left, proj_right, shared = projections(
            self._sigma_strips() if self.method == "leace" else None,
            targets[:, : self.z_dim],
            targets[:, self.z_dim :] if self.preserve_dim else None,
            self.svd_tol,
        )
        notes = self._what_is_left(proj_left, proj_right)
        if shared:
            notes.append(
                "The concept and the task that `preserve` names share "
                f"{shared} direction(s). Erasure wins: the covariance of `x` "
                "with the task is not kept there."
            )
        bias = self.mean_x if self.affine else None
        return LeaceEraser(proj_left, proj_right, bias), notes

    def _what_is_left(self, proj_left, proj_right):
        """A note if erasure does nothing or leaves more than chance does."""
        cross = self._moments.scatter_xz[:, : self.z_dim]
        cross = cross - proj_left @ (proj_right @ cross)
        x = np.sqrt(self._moments.squares_x)
        z = np.sqrt(self._moments.squares_z[: self.z_dim])
        spread = outer(x, z)
        left = np.divide(
            np.abs(cross), spread, where=spread > 0, out=0 * spread
        )
        errors = left.max() * np.sqrt(self.n)
        # A normal variate is beyond t with less than exp(-t**2 / 2).
        if errors <= np.sqrt(2 * np.log(1000 * left.size)):
            if proj_left.shape[1]:
                return []
            why = f"svd_tol={self.svd_tol}: the eraser changes nothing."
            return [NOTHING + why]
        what = "leaves some of the concept"
        if not proj_left.shape[1]:
            what = "leaves all of the concept, the eraser changes nothing"
        return [
            f"svd_tol={self.svd_tol} {what}: column (class) "
            f"{left.max(axis=0).argmax()} of `z` and a feature keep a "
            f"correlation of {left.max():.2g}, {errors:.1f} standard errors. A "
            "lower svd_tol erases it."
        ]

    @property
    def trace_ratio(self) -> float:
        """Total variance of `x` after erasure, as a share of that before.

        At most one for LEACE; with `preserve_dim` it can be larger.
        """
        sigma, eraser = self.sigma_xx, self.eraser
        left, right = eraser.proj_left.numpy(), eraser.proj_right.numpy()
        right_sigma = right @ sigma
        lost = 2 * np.trace(right_sigma @ left)
        lost -= np.trace(right_sigma @ right.T @ (left.T @ left))
        return float(1 - lost / np.trace(sigma))


@functools.cache
def _erasing(dtype, fitted_dtype, count):
    """`_erase`, traced once for erasers of every size."""
    specs = [tf.TensorSpec([None, None], dtype)]
    for shape in ([None, None], [None, None], [None])[:count]:
        specs.append(tf.TensorSpec(shape, fitted_dtype))
    with tf.init_scope():
        return tf.function(_erase, autograph=False).get_concrete_function(
            *specs
        )


def _erase(rows, proj_left, proj_right, bias=None):
    dtype = fitting.working_dtype(rows)
    wide = tf.cast(rows, dtype)
    inner = tf.matmul(wide, tf.cast(proj_right, dtype), transpose_b=True)
    if bias is not None:
        # Subtracted where it is small: after the projection.
        inner -= tf.cast(tf.linalg.matvec(proj_right, bias), dtype)
    change = tf.matmul(inner, tf.cast(proj_left, dtype), transpose_b=True)
    return tf.cast(wide - change, rows.dtype)


def width(x: tf.Tensor, values: tf.Tensor) -> int:
    """Columns or classes of a concept or task label."""
    if values.shape.rank == x.shape.rank:
        return int(values.shape[-1])
    if not values.dtype.is_integer or tf.size(values) == 0:
        return 1
    highest = int(tf.reduce_max(values))
    return highest + 1 if highest > 1 else 1
