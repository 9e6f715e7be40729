"""Quadratic concept erasure by the class predicted from `x`."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import (
    share,
    whole,
)
from tensorflow_model_remediation_ext.leace import (
    arrays,
    labels,
    mixtures,
    optimal_transport,
)
from tensorflow_model_remediation_ext.leace.leftovers import Leftover
from tensorflow_model_remediation_ext.leace.options import tolerance
from tensorflow_model_remediation_ext.leace.soft_quadratic_editor import (
    SoftQuadraticEditor,
)
from tensorflow_model_remediation_ext.leace.soft_quadratic_passes import (
    Transport,
    fit_transport,
)
from tensorflow_model_remediation_ext.leace.soft_quadratic_rows import (
    PASSES,
    Passes,
    Sizes,
    require_rereadable,
)
from tensorflow_model_remediation_ext.leace.variation import inverted

# Rows of an array that are worked on at once.
_ROWS = 4096


class SoftQuadraticEraser(tf.Module):
    """Adds to each row its classes' affine maps, by their probabilities.

    With `p = softmax((x - mean_x) kernel + bias)` a row becomes
    `x + sum_c p_c ((x - mean_x) maps[c] + offsets[c])`. No label is needed.

    What is guaranteed is linear and in sample: on the rows that it was fitted
    to, class means are equal, so that no linear reader does better than one
    that ignores them. What it leaves to nonlinear readers was measured, and is
    far less than what LEACE leaves, but never nothing: see the guide "Beyond
    linear readers", and measure yours with `evaluation.leakage`.

    Args:
        mean_x: `[x_dim]`.
        kernel: `[x_dim, num_classes]` of the regression that predicts classes.
        bias: `[num_classes]` of it.
        maps: `[num_classes, x_dim, x_dim]`.
        offsets: `[num_classes, x_dim]`.
        name: Name of the module.

    Raises:
        ValueError: If the shapes do not match.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> z = np.arange(300) % 2
        >>> x = rng.normal(size=(300, 4)) * (1 + z[:, None]) + z[:, None]
        >>> eraser = SoftQuadraticEraser.fit(x, z)
        >>> erased = eraser(x).numpy()
        >>> bool(np.allclose(erased[z == 0].mean(0), erased[z == 1].mean(0)))
        True

    References:
        - [Belrose et al., LEACE: Perfect linear concept erasure in closed
          form, 2023](https://arxiv.org/abs/2306.03819).
        - [Álvarez-Esteban et al., A fixed-point approach to barycenters in
          Wasserstein space, 2016](https://arxiv.org/abs/1511.05355).
    """

    def __init__(
        self,
        mean_x: Any,
        kernel: Any,
        bias: Any,
        maps: Any,
        offsets: Any,
        name: str | None = None,
    ):
        super().__init__(name=name)
        values = {
            "mean_x": mean_x,
            "kernel": kernel,
            "bias": bias,
            "maps": maps,
            "offsets": offsets,
        }
        for key, value in values.items():
            setattr(self, key, arrays.constant(key, value))
        received = [tuple(getattr(self, key).shape) for key in values]
        d, k = self.kernel.shape if self.kernel.shape.rank == 2 else (0, 0)
        if received != [(d,), (d, k), (k,), (k, d, d), (k, d)]:
            raise ValueError(
                "`mean_x`, `kernel`, `bias`, `maps` and `offsets` must be of "
                "shapes [x_dim], [x_dim, num_classes], [num_classes], "
                "[num_classes, x_dim, x_dim] and [num_classes, x_dim]. "
                f"Received: {received}"
            )

    @classmethod
    def fit(cls, x: Any, z: Any, **options: Any) -> "SoftQuadraticEraser":
        """The eraser of `SoftQuadraticFitter.fit(x, z, **options)`."""
        return SoftQuadraticFitter.fit(x, z, **options).eraser

    def __call__(self, x: Any) -> tf.Tensor:
        """Erases the concept.

        Args:
            x: `[..., x_dim]` of any floating dtype.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On a wrong shape or dtype.
        """
        x, rows = mixtures.rows_of(x, self.kernel.shape[0])
        p, delta = self._predict(rows)
        moved = mixtures.mix(p, delta, self.maps, self.offsets)
        return mixtures.like(rows + moved, x)

    def probabilities(self, x: Any) -> tf.Tensor:
        """The probabilities of classes by which rows are erased.

        Args:
            x: `[..., x_dim]` of any floating dtype.

        Returns:
            `[..., num_classes]` of the dtype of `x`.

        Raises:
            ValueError: On a wrong shape or dtype.
        """
        x, rows = mixtures.rows_of(x, self.kernel.shape[0])
        return mixtures.like(self._predict(rows)[0], x)

    def _predict(self, rows):
        return mixtures.predict(rows, self.mean_x, self.kernel, self.bias)


class SoftQuadraticFitter:
    """Fits quadratic erasure by predicted classes, for rows of any number.

    LEACE comes first; then each class, weighted by its probability given `x`,
    is carried to the barycenter of all by the optimal transport of Gaussians;
    then LEACE again, fitted to what the eraser itself returns for the rows, so
    that on these the linear guarantee holds for `eraser(x)`. Each time LEACE
    takes out up to `num_classes - 1` dimensions, which is much where there are
    few: more than half of all give a warning. Probabilities are those of a
    logistic regression of standardized features; those from which the classes'
    statistics come are of regressions that have not seen the row.

    The data are read a fixed number of times, `SoftQuadraticFitter.PASSES`,
    and `O(num_classes * x_dim**2)` numbers are kept. Rows may come in another
    order each time, but must be the same rows.

    Sample weights count rows: weight two is the row twice, weight zero the row
    left out.

    Args:
        x_dim: Size of the last axis of `x`.
        num_classes: Number of classes, at least two.
        shrinkage: Share by which the covariance of each class is moved to the
            mean of all. By default `0.4 / num_classes`: many classes differ
            more from their mean than two do.
        regularization: Of the regression, in rows: the factor of half the
            squared coefficients of standardized features. By default
            `x_dim / (2 * num_classes)`: the more features, the more a
            regression takes chance for signal; the more classes, the fewer
            rows are of each.
        max_rank: Most directions in which classes are transported, those in
            which their covariances differ most; `None` for all. LEACE is not
            limited by it.
        preserve_dim: If positive, the number of columns or classes of
            `preserve`, task labels whose covariance with `x` erasure keeps as
            it is. Where erasure leaves so little of the task, as the concept is
            most of it, that this would add more variance than all features
            have, it is not kept, with a warning.

    Raises:
        ValueError: On sizes or options out of range.

    Examples:
        >>> x, z = np.random.randn(200, 4), np.arange(200) % 2
        >>> batches = tf.data.Dataset.from_tensor_slices((x, z)).batch(64)
        >>> fitter = SoftQuadraticFitter(x_dim=4, num_classes=2)
        >>> eraser = fitter.fit_dataset(batches, verbose=0).eraser
    """

    PASSES = PASSES

    def __init__(
        self,
        x_dim: int,
        num_classes: int,
        *,
        shrinkage: float | None = None,
        regularization: float | None = None,
        max_rank: int | None = None,
        preserve_dim: int = 0,
    ):
        self.x_dim = whole("x_dim", x_dim, 1)
        self.num_classes = whole("num_classes", num_classes, 2)
        self.preserve_dim = whole("preserve_dim", preserve_dim, 0)
        if max_rank is not None:
            whole("max_rank", max_rank, 0)
        if shrinkage is None:
            shrinkage = 0.4 / num_classes
        if regularization is None:
            regularization = x_dim / (2 * num_classes)
        self.shrinkage = share("shrinkage", shrinkage)
        self.regularization = tolerance(
            "regularization", regularization, positive=True
        )
        self.max_rank = max_rank
        self._fitted: Transport | None = None
        self._eraser: SoftQuadraticEraser | None = None

    @classmethod
    def fit(
        cls,
        x: Any,
        z: Any,
        *,
        preserve: Any = None,
        sample_weight: Any = None,
        num_classes: int | None = None,
        **options: Any,
    ) -> "SoftQuadraticFitter":
        """A fitter that has seen these rows, its sizes inferred from them.

        Args:
            x: `[..., x_dim]` of any floating dtype, or a table.
            z: `[...]` integer class ids, or booleans.
            preserve: Task labels as in `LeaceFitter.fit`, or `None`.
            sample_weight: `[...]` or `None`.
            num_classes: Number of classes. By default ids must be 0 to k - 1,
                each of them there, or zeros and ones.
            **options: Of the constructor.

        Returns:
            The fitter.

        Raises:
            ValueError: As from `fit_dataset`.
        """
        x = arrays.rows("x", x)
        leading = x.shape[:-1]
        if preserve is not None:
            preserve = labels.labels("preserve", preserve)
            options.setdefault(
                "preserve_dim",
                labels.inferred_size("preserve", preserve, x, sample_weight),
            )
        if num_classes is None:
            num_classes = labels.inferred_classes("z", z, sample_weight)
        fitter = cls(x.shape[-1], num_classes, **options)
        # Their range is checked as batches are read, but for rows left out.
        ids, _ = labels.class_ids("z", z, leading, num_classes)
        rows = arrays.features(x, fitter.x_dim, least_rank=2)
        rows = tf.reshape(rows, [-1, fitter.x_dim])
        if preserve is not None:
            preserve = tf.reshape(
                preserve, [len(rows), *preserve.shape[leading.rank :]]
            )
        weight = None
        if sample_weight is not None:
            weight = labels.weights(sample_weight, leading, tf.float64)
        batches = _Slices(rows, ids, preserve, weight)
        return fitter.fit_dataset(batches, verbose=0)

    def fit_dataset(
        self, dataset: Iterable[Any], verbose: Any = "auto"
    ) -> "SoftQuadraticFitter":
        """Fits to all batches of a dataset, which is read `PASSES` times.

        What was fitted before is forgotten.

        Args:
            dataset: A `tf.data.Dataset` or another iterable that can be read
                again, of `(x, z)` or `(x, z, sample_weight)`; with
                `preserve_dim`, `z` is a tuple `(z, preserve)`.
            verbose: `0` for silence, otherwise as in `keras.Model.fit`; the
                bar counts passes.

        Returns:
            The fitter itself.

        Raises:
            TypeError: If `dataset` can be read only once.
            ValueError: On wrong shapes or class ids, NaN or infinity, a class
                of fewer than two rows, or if `dataset` yields other rows when
                it is read again. Nothing is fitted then.
        """
        _, found = self.eraser_and_leftovers(dataset, verbose)
        for leftover in found:
            warnings.warn(leftover.text, stacklevel=2)
        return self

    def eraser_and_leftovers(
        self, dataset: Iterable[Any], verbose: Any = 0
    ) -> tuple[SoftQuadraticEraser, list[Leftover]]:
        """Returns the eraser after `fit_dataset`, and what to know about it.

        Nothing is warned about: this is for a caller that acts on it.

        Args:
            dataset: As in `fit_dataset`.
            verbose: As in `fit_dataset`.

        Raises:
            TypeError: As from `fit_dataset`.
            ValueError: As from `fit_dataset`.
        """
        require_rereadable("dataset", dataset)
        sizes = Sizes(self.x_dim, self.num_classes, self.preserve_dim)
        self._fitted = fit_transport(
            Passes(dataset, sizes, verbose),
            sizes,
            self.shrinkage,
            self.regularization,
            self.max_rank,
        )
        self._eraser = None
        return self.eraser, self._fitted.found

    @property
    def eraser(self) -> SoftQuadraticEraser:
        """The eraser for the rows that were fitted to.

        Raises:
            ValueError: If there are none yet.
        """
        if self._eraser is None:
            self._eraser = SoftQuadraticEraser(*self._transport()[:5])
        return self._eraser

    def editor(self) -> SoftQuadraticEditor:
        """An editor to each of the classes.

        It holds `num_classes**2` maps of `[x_dim, x_dim]`.

        Raises:
            ValueError: If nothing was fitted yet.
        """
        found = self._transport()
        return SoftQuadraticEditor(
            found.mean_x,
            found.kernel,
            found.bias,
            found.class_means,
            _between(found.class_sigmas, found.scale),
        )

    def _transport(self) -> Transport:
        if self._fitted is None:
            raise ValueError(
                "Nothing was fitted yet: call `fit_dataset`, or "
                "`SoftQuadraticFitter.fit(x, z)`."
            )
        return self._fitted


class _Slices:
    """Batches of tensors of equally many rows, readable again."""

    def __init__(self, x, z, preserve, weight):
        self._parts = x, z, preserve, weight

    def __iter__(self):
        for i in range(0, len(self._parts[0]), _ROWS):
            x, z, preserve, weight = (
                None if part is None else part[i : i + _ROWS]
                for part in self._parts
            )
            if preserve is not None:
                z = z, preserve
            yield (x, z) if weight is None else (x, z, weight)


def _between(sigmas, scale):
    """`[k, k, d, d]` maps of rows from class to class, by source and target.

    Args:
        sigmas: `[k, d, d]` covariances in units of `scale`.
        scale: `[d]`; of features where it is zero the map is the identity.
    """
    maps = optimal_transport.ot_map(sigmas[:, None], sigmas)
    inverse = inverted(scale)
    maps = np.swapaxes(maps, -1, -2) * inverse[:, None] * scale
    constant = np.flatnonzero(scale == 0)
    maps[..., constant, constant] = 1.0
    return maps
