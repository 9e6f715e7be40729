"""Quadratic concept erasure with class labels at hand."""

from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import flag, whole
from tensorflow_model_remediation_ext.leace import (
    arrays,
    labels,
    optimal_transport,
)
from tensorflow_model_remediation_ext.leace.fitting import (
    Fitter,
    enough_samples,
)
from tensorflow_model_remediation_ext.leace.moments import Moments
from tensorflow_model_remediation_ext.leace.quadratic_editor import (
    QuadraticEditor,
)
from tensorflow_model_remediation_ext.leace.shrinkage import (
    optimal_linear_shrinkage,
)
from tensorflow_model_remediation_ext.leace.transporting import transported

# Far enough from the end of sums' dtype for any weighted sum of squares.
LARGEST = {"float32": 1e11, "float64": 1e100}


class QuadraticEraser(tf.Module):
    """Moves the Gaussian of every class onto their common barycenter.

    On the data it was fitted on, all classes have the same mean and the same
    covariance afterwards, so that no linear or quadratic reader (quadratic
    discriminant analysis, say) tells them apart. That is all. On other data
    the sampling error of means and covariances remains; it is large where
    there are few samples for each feature. Classes that are not Gaussian still
    differ in higher moments, which other nonlinear readers find. And the true
    class of each row must be known. Used with labels at prediction time it can
    *write* the label into higher moments that did not hold it: each class goes
    through a map of its own, and a nonlinear reader may tell the maps apart
    (arXiv 2502.02820). Where labels are not at hand, or readers are nonlinear,
    take `SoftQuadraticEraser`, and measure with `evaluation.leakage`.

    Args:
        class_means: `[num_classes, x_dim]`.
        global_mean: `[x_dim]`, where all classes are moved to.
        ot_maps: `[num_classes, x_dim, x_dim]` transport maps of rows, which
            are multiplied from the left. They are symmetric, nearly so for
            features in very unlike units.
        name: Name of the module.

    Raises:
        ValueError: If the shapes do not match.

    Examples:
        >>> x, z = np.random.randn(100, 3), np.arange(100) % 4
        >>> erased = QuadraticEraser.fit(x, z)(x, z)

    References:
        Álvarez-Esteban et al. 2016 (arXiv 1511.05355), for the barycenter;
        the least movement that equalizes means and covariances. arXiv
        2502.02820, on what labels at prediction time write into the result.
    """

    def __init__(
        self,
        class_means: Any,
        global_mean: Any,
        ot_maps: Any,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.class_means = arrays.constant("class_means", class_means)
        self.global_mean = arrays.constant("global_mean", global_mean)
        self.ot_maps = arrays.constant("ot_maps", ot_maps)
        means, mean = self.class_means.shape, self.global_mean.shape
        if (
            means.rank != 2
            or mean != means[1:]
            or self.ot_maps.shape != means + mean
        ):
            raise ValueError(
                "`class_means`, `global_mean` and `ot_maps` must be of shapes "
                "[num_classes, x_dim], [x_dim] and [num_classes, x_dim, x_dim]."
                f" Received: {means}, {mean} and {self.ot_maps.shape}"
            )

    @classmethod
    def fit(cls, x: Any, z: Any, **options: Any) -> "QuadraticEraser":
        """Returns the eraser of `QuadraticFitter.fit(x, z, **options)`."""
        return QuadraticFitter.fit(x, z, **options).eraser

    def __call__(self, x: Any, z: Any) -> tf.Tensor:
        """Returns `x` without the concept.

        Args:
            x: `[..., x_dim]` of any floating dtype, one row or many.
            z: `[...]` integer class ids.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On wrong shapes, dtypes or class ids.
            tf.errors.InvalidArgumentError: On such class ids in graph mode.
        """
        num_classes, x_dim = self.class_means.shape
        x = arrays.features(x, x_dim)
        ids, check = labels.class_ids("z", z, x.shape[:-1], num_classes)
        with arrays.require(check):
            return transported(
                x,
                ids,
                self.ot_maps,
                self.class_means,
                tf.broadcast_to(self.global_mean, self.class_means.shape),
            )


class QuadraticFitter(Fitter):
    """Streams the mean and covariance of every class.

    Sample weights count rows: weight two is the row twice, weight zero the row
    left out. Covariances are divided by the class' weight total less one.

    Rows of any dtype are multiplied in float64: transport maps divide by the
    smallest variances, where float32 products are all rounding error.
    Directions with less than 1e-12 of the largest variance of standardized
    features count as constant.

    Movement is counted in the units of `x`. Features in any units are made
    equal exactly; but where one varies by less than about 1e-3 of another, the
    movement is the least only to 1e-6 of the variance, which is more than the
    small one has.

    Args:
        x_dim: Size of the last axis of `x`.
        num_classes: Number of classes, at least two.
        shrinkage: Whether to shrink every class' covariance towards a multiple
            of the identity. This helps on other data than the fitted where
            classes have few samples per feature; on the fitted data the
            erasure is then not exact, which is why it is off by default.
        dtype: Of the accumulators, `"float32"` or `"float64"`.
        name: Name of the module.

    Raises:
        ValueError: On sizes that are not positive.

    Examples:
        >>> fitter = QuadraticFitter(x_dim=3, num_classes=2)
        >>> for x, z in [(np.random.randn(32, 3), np.arange(32) % 2)]:
        ...     fitter = fitter.update(x, z)
        >>> eraser, editor = fitter.eraser, fitter.editor()
    """

    def __init__(
        self,
        x_dim: int,
        num_classes: int,
        *,
        shrinkage: bool = False,
        dtype: str = "float64",
        name: str | None = None,
    ):
        self.num_classes = whole("num_classes", num_classes, 2)
        self.shrinkage = flag("shrinkage", shrinkage)
        moments = [
            Moments(x_dim, dtype=dtype, name=f"class_{i}")
            for i in range(num_classes)
        ]
        self.x_dim = moments[0].x_dim
        sizes = {"x_dim": self.x_dim, "num_classes": self.num_classes}
        super().__init__(moments, sizes, name)

    @classmethod
    def fit(
        cls,
        x: Any,
        z: Any,
        sample_weight: Any = None,
        *,
        num_classes: int | None = None,
        **options: Any,
    ) -> "QuadraticFitter":
        """Returns a fitter that has seen these data, of inferred sizes.

        Args:
            x: `[..., x_dim]` of any floating dtype, or a table.
            z: `[...]` integer class ids.
            sample_weight: `[...]` or `None`.
            num_classes: Number of classes. By default ids must be 0 to k - 1,
                each of them there, or zeros and ones.
            **options: Of the constructor.

        Returns:
            The fitter.

        Raises:
            ValueError: As from `update`, and on integers that are not such
                class ids.
        """
        x = arrays.rows("x", x)
        if num_classes is None:
            num_classes = labels.inferred_classes("z", z, sample_weight)
        fitter = cls(x.shape[-1], num_classes, **options)
        return fitter.update(x, z, sample_weight)

    def update(
        self, x: Any, z: Any, sample_weight: Any = None
    ) -> "QuadraticFitter":
        """Adds a batch; either all of it or, on an error, nothing.

        Args:
            x: `[..., x_dim]` of any floating dtype.
            z: `[...]` integer class ids.
            sample_weight: `[...]`, not negative, or `None` for ones.

        Returns:
            The fitter itself.

        Raises:
            ValueError: On wrong shapes or class ids, NaN or infinity.
            tf.errors.InvalidArgumentError: On such values in graph mode.
        """
        x = arrays.features(x, self.x_dim, least_rank=2)
        leading = x.shape[:-1]
        ids, check = labels.class_ids("z", z, leading, self.num_classes)
        x = tf.reshape(tf.cast(x, tf.float64), [-1, self.x_dim])
        weight = tf.ones([], tf.float64)
        if sample_weight is not None:
            weight = labels.weights(sample_weight, leading, tf.float64)
            # A row of weight zero is left out even if it holds NaN.
            out = weight == 0
            x = tf.where(out[:, None], tf.zeros([], x.dtype), x)
            ids = labels.blanked(ids, weight)
            check = labels.in_range("z", ids, self.num_classes)
        # Checked ahead of the first class, not by each class' moments.
        largest = LARGEST[self._moments[0].dtype.name]
        checks = (
            check,
            (
                tf.reduce_all(tf.abs(x) < largest),
                f"`x` holds NaN, infinity or values beyond {largest:g}.",
            ),
            (
                tf.reduce_all((weight >= 0) & (weight < largest)),
                labels.weights_fault(weight if weight.shape.rank else None),
            ),
        )
        if sample_weight is None:
            weight = None
        with arrays.require(*checks):
            for i, rows, weights in self._by_class(ids, x, weight):
                self._moments[i].update(rows, sample_weight=weights)
        return self

    def _by_class(self, ids, x, weight):
        """Yields classes with their rows and weights.

        In a graph, or on several replicas, every class has its turn.
        """
        replica = tf.distribute.get_replica_context()
        alone = replica is not None and replica.num_replicas_in_sync == 1
        if not (tf.executing_eagerly() and alone):
            for i in range(self.num_classes):
                mine = ids == i
                yield (
                    i,
                    tf.boolean_mask(x, mine),
                    None if weight is None else tf.boolean_mask(weight, mine),
                )
            return
        order = tf.argsort(ids, stable=True)
        x = tf.gather(x, order)
        weight = None if weight is None else tf.gather(weight, order)
        ends = np.cumsum(np.bincount(ids, minlength=self.num_classes))
        starts = np.concatenate([[0], ends[:-1]])
        for i in np.flatnonzero(starts < ends):
            rows = slice(starts[i], ends[i])
            yield i, x[rows], None if weight is None else weight[rows]

    @property
    def n(self) -> np.ndarray:
        """`[num_classes]` sums of weights."""
        return np.array([moments.n for moments in self._moments])

    @property
    def mean_x(self) -> np.ndarray:
        """`[num_classes, x_dim]` class means."""
        return np.stack([moments.mean_x for moments in self._moments])

    @property
    def sigma_xx(self) -> np.ndarray:
        """`[num_classes, x_dim, x_dim]` class covariances, shrunk if asked.

        Raises:
            ValueError: If a class has fewer than two samples.
        """
        n = self.n
        missing = np.flatnonzero(~enough_samples(n))
        if missing.size:
            weights = ", ".join(f"{i} ({n[i]:g})" for i in missing)
            raise ValueError(
                "Every class needs at least two samples, counted by their "
                "weights: multiply weights that were normalized to sum to one "
                "by the number of rows. Received: classes (total weights) "
                f"{weights}"
            )
        scatter = np.stack([moments.scatter_xx for moments in self._moments])
        if not self.shrinkage:
            return scatter / (n - 1)[:, None, None]
        return optimal_linear_shrinkage(scatter / n[:, None, None], n)

    @property
    def eraser(self) -> QuadraticEraser:
        """The eraser for all rows so far, cached until there are more.

        Every class is centered on the mean of all rows, and transported to the
        barycenter of the classes weighted by their size: among all maps that
        make means and covariances equal, these move Gaussian data the least.

        Raises:
            ValueError: If a class has fewer than two samples.
        """
        return self.cached(self._compute_eraser)

    def _compute_eraser(self):
        sigma, n, means = self.sigma_xx, self.n, self.mean_x
        # What the tolerance leaves is extra movement, of its square.
        maps = optimal_transport.barycenter_maps(sigma, n, tol=1e-7)[1]
        rows = np.swapaxes(maps, 1, 2)
        return QuadraticEraser(means, n @ means / n.sum(), rows)

    def editor(self) -> QuadraticEditor:
        """Returns an editor between all pairs of classes.

        It holds `num_classes**2` maps of `[x_dim, x_dim]`.

        Raises:
            ValueError: If a class has fewer than two samples.
        """
        sigma = self.sigma_xx
        maps = optimal_transport.ot_map(sigma[:, None], sigma)
        return QuadraticEditor(self.mean_x, np.swapaxes(maps, -1, -2))
