"""Least-squares concept erasure: LEACE, its orthogonal variant, SPLINCE."""

import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace import arrays, labels, leftovers
from tensorflow_model_remediation_ext.leace.erasing import erased
from tensorflow_model_remediation_ext.leace.fitting import (
    Fitter,
    degrees_of_freedom,
)
from tensorflow_model_remediation_ext.leace.folding import folded
from tensorflow_model_remediation_ext.leace.leftovers import Leftover
from tensorflow_model_remediation_ext.leace.moments import Moments
from tensorflow_model_remediation_ext.leace.options import LeaceOptions
from tensorflow_model_remediation_ext.leace.projections import (
    projections,
    without_rounding,
)
from tensorflow_model_remediation_ext.leace.shrinkage import shrink_strips
from tensorflow_model_remediation_ext.leace.sums import assemble


class LeaceEraser(tf.Module):
    """The affine map `x - (x - bias) proj_right^T proj_left^T`.

    On the data it was fitted on, no linear reader of the result does better
    than one that ignores it, except for what `svd_tol` and `max_rank` of the
    `LeaceFitter` leave in; the fitter warns about it. That says nothing about
    nonlinear readers. On other data there is sampling error.

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
        self.proj_left = arrays.constant("proj_left", proj_left)
        dtype, shape = self.proj_left.dtype, self.proj_left.shape
        self.proj_right = arrays.constant("proj_right", proj_right, dtype)
        if shape.rank != 2 or self.proj_right.shape != shape[::-1]:
            raise ValueError(
                "`proj_left` and `proj_right` must be of shapes [x_dim, r] and "
                f"[r, x_dim]. Received: {shape}, {self.proj_right.shape}"
            )
        self.bias = None
        if bias is not None:
            self.bias = arrays.constant("bias", bias, dtype)
            if self.bias.shape != shape[:1]:
                raise ValueError(
                    f"`bias` must be of shape {shape[:1]}. Received: bias of "
                    f"shape {self.bias.shape}"
                )

    @classmethod
    def fit(cls, x: Any, z: Any, **options: Any) -> "LeaceEraser":
        """Returns the eraser of `LeaceFitter.fit(x, z, **options)`."""
        return LeaceFitter.fit(x, z, **options).eraser

    def __call__(self, x: Any) -> tf.Tensor:
        """Returns `x` without the concept.

        Args:
            x: `[..., x_dim]` of any floating dtype, one row or many.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On a wrong shape or dtype.
        """
        x = arrays.features(x, self.proj_left.shape[0])
        return erased(x, self.proj_left, self.proj_right, self.bias)

    @property
    def P(self) -> tf.Tensor:  # noqa: N802, the paper's name
        """`[x_dim, x_dim]`: the dense matrix `I - proj_left proj_right`."""
        eye = tf.eye(self.proj_left.shape[0], dtype=self.proj_left.dtype)
        return eye - self.proj_left @ self.proj_right

    def fold_into(self, dense: keras.layers.Dense) -> keras.layers.Dense:
        """Returns a Dense layer that does what erasing and then `dense` does.

        Args:
            dense: A built layer over `x_dim` inputs; it is left as it is.

        Returns:
            A new, built layer, with a bias if `dense` or the eraser has one.

        Raises:
            TypeError: If `dense` is not a plain `keras.layers.Dense`.
            ValueError: If it is not built or takes another number of inputs.
        """
        bias = None if self.bias is None else self.bias.numpy()
        return folded(
            dense, self.proj_left.numpy(), self.proj_right.numpy(), bias
        )


class LeaceFitter(Fitter):
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
        max_rank: Most directions to erase: those of the largest singular
            values of the whitened cross-covariance, in which `x` and `z`
            correlate most. Where the concept has more, as `k` classes have
            `k - 1`, the rest stays, linear readers do find it, and a warning
            says how much of it. `None` erases all of them.
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
        max_rank: int | None = None,
        name: str | None = None,
    ):
        options = LeaceOptions(
            method, affine, shrinkage, svd_tol, dtype, preserve_dim, max_rank
        )
        self.x_dim = whole("x_dim", x_dim, 1)
        self.z_dim = whole("z_dim", z_dim, 1)
        self.options, self.preserve_dim = options, options.preserve_dim
        moments = Moments(
            self.x_dim,
            self.z_dim + self.preserve_dim,
            xx=method == "leace",
            dtype=options.dtype,
            z_names=("z", "preserve") if self.preserve_dim else ("z",),
        )
        sizes = {
            "x_dim": self.x_dim,
            "z_dim": self.z_dim,
            "preserve_dim": self.preserve_dim,
            "method": method,
        }
        super().__init__(moments, sizes, name)

    @classmethod
    def fit(
        cls,
        x: Any,
        z: Any,
        *,
        z_dim: int | None = None,
        preserve: Any = None,
        sample_weight: Any = None,
        **options: Any,
    ) -> "LeaceFitter":
        """Returns a fitter that has seen these data, of inferred sizes.

        Args:
            x: `[..., x_dim]` of any floating dtype, or a table.
            z: `[..., z_dim]` columns, or `[...]`. Floats `[...]` are one
                column, and so are zeros and ones. Other integers `[...]` are
                class ids if they are 0 to k - 1, each of them there.
            z_dim: Number of columns or classes, where `z` may be read in more
                than one way: 1 for one column of integers, such as ages.
            preserve: Task labels like `z`, or `None`; the option
                `preserve_dim` says what `z_dim` says for `z`.
            sample_weight: `[...]` or `None`.
            **options: Of the constructor.

        Returns:
            The fitter.

        Raises:
            ValueError: As from `update`, and on integers that may be numbers
                or class ids.
        """
        x, z = arrays.rows("x", x), labels.labels("z", z)
        if preserve is not None:
            preserve = labels.labels("preserve", preserve)
            if "preserve_dim" not in options:
                options["preserve_dim"] = labels.inferred_size(
                    "preserve", preserve, x, sample_weight
                )
        if z_dim is None:
            z_dim = labels.inferred_size("z", z, x, sample_weight)
        fitter = cls(x.shape[-1], z_dim, **options)
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
            preserve: Task labels, in the same way with `preserve_dim`.
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
            x = arrays.features(x, self.x_dim, least_rank=2)
            weight = None
            if sample_weight is not None:
                leading = x.shape[:-1]
                weight = labels.weights(sample_weight, leading, tf.float64)
            named = (
                ("z", z, self.z_dim),
                ("preserve", preserve, self.preserve_dim),
            )
            z = tf.concat(
                [self._columns(*each, x, weight) for each in named], axis=-1
            )
            z = tf.reshape(z, tf.concat([tf.shape(x)[:-1], [-1]], 0))
            z = tf.ensure_shape(z, x.shape[:-1] + [z.shape[-1]])
        self._moments.update(x, z, sample_weight)
        return self

    def _columns(self, name, value, size, x, weight):
        dtype = self._moments.dtype
        rows = labels.columns_or_ids(name, value, size, x.shape[:-1], dtype)
        rows = labels.blanked(rows, weight)
        if rows.dtype == tf.int64:
            with arrays.require(labels.in_range(name, rows, size)):
                rows = tf.one_hot(rows, size, dtype=dtype)
        return rows

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
        return assemble(self._sigma_strips(self.options.shrinkage))

    def _sigma_strips(self, shrinkage):
        freedom = degrees_of_freedom(self.n)
        if self.options.method != "leace":
            raise ValueError(
                "`sigma_xx` is tracked only with method='leace'. Received: "
                f"method={self.options.method!r}"
            )
        strips = self._moments.scatter_strips()
        if shrinkage:
            shrink_strips(strips, self.n)
            return strips
        for strip in strips:
            strip /= freedom
        return strips

    @property
    def sigma_xz(self) -> np.ndarray:
        """`[x_dim, z_dim]` cross-covariance."""
        cross = self._moments.scatter_xz[:, : self.z_dim]
        return cross / degrees_of_freedom(self.n)

    @property
    def eraser(self) -> LeaceEraser:
        """The eraser for the statistics so far, computed when they changed.

        Warns about what `eraser_and_leftovers` says: where the concept has no
        linear trace in `x` beyond `svd_tol`, so that the eraser does nothing;
        where `svd_tol` or `max_rank` leaves a correlation so large that chance
        explains it less than once in a thousand times; where columns vary too
        little beside a large offset to be seen; where what `preserve` names
        cannot be kept; and where more than half of all dimensions are erased.

        Raises:
            ValueError: If there are fewer than two samples.
        """
        return self.cached(self._eraser_with_warnings)

    def _eraser_with_warnings(self):
        eraser, found = self.eraser_and_leftovers()
        for leftover in found:
            warnings.warn(leftover.text, stacklevel=4)
        return eraser

    def eraser_and_leftovers(self) -> tuple[LeaceEraser, list[Leftover]]:
        """Returns the eraser, computed anew, and what to know about it.

        Nothing is warned about: this is for a caller that acts on it.

        Raises:
            ValueError: If there are fewer than two samples.
        """
        moments, options = self._moments, self.options
        cross, size = moments.scatter_xz, self.z_dim
        squares_x, squares_z = moments.squares_x, moments.squares_z
        concept, task = (
            without_rounding(cross[:, part], squares_x, squares_z[part])
            / degrees_of_freedom(self.n)
            for part in (slice(size), slice(size, None))
        )
        proj_left, proj_right, shared = projections(
            self._sigma_strips(options.shrinkage)
            if options.method == "leace"
            else None,
            concept,
            task if self.preserve_dim else None,
            options.svd_tol,
            options.max_rank,
        )
        cross = cross[:, :size]
        rank = proj_left.shape[1]
        found = [
            *leftovers.concept_left(
                cross - proj_left @ (proj_right @ cross),
                np.sqrt(squares_x),
                np.sqrt(squares_z[:size]),
                self.n,
                rank,
                options.svd_tol,
                options.max_rank,
            ),
            *leftovers.taken_for_constant("x", moments.lost_x),
            *leftovers.taken_for_constant("z", moments.lost_z[: self.z_dim]),
            *leftovers.task_lost(shared),
            *leftovers.most_erased(rank, self.x_dim),
        ]
        bias = self.mean_x if options.affine else None
        return LeaceEraser(proj_left, proj_right, bias), found

    @property
    def trace_ratio(self) -> float:
        """Total variance of `x` after erasure, as a share of that before.

        Of the rows so far, without shrinkage. At most one for LEACE, unless
        `shrinkage` takes the eraser far from the least movement; with
        `preserve_dim` it can be larger. One where `x` never varies.

        Raises:
            ValueError: As from `sigma_xx`.
        """
        sigma, eraser = assemble(self._sigma_strips(False)), self.eraser
        left, right = eraser.proj_left.numpy(), eraser.proj_right.numpy()
        right_sigma = right @ sigma
        lost = 2 * np.trace(right_sigma @ left)
        lost -= np.trace(right_sigma @ right.T @ (left.T @ left))
        total = np.trace(sigma)
        return float(1 - lost / total) if total > 0 else 1.0
