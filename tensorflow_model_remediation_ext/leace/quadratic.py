"""Quadratic concept erasure and editing with class labels at hand."""

from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace import (
    fitting,
    optimal_transport,
)
from tensorflow_model_remediation_ext.leace.moments import Moments
from tensorflow_model_remediation_ext.leace.shrinkage import (
    optimal_linear_shrinkage,
)

# Far enough from the end of float64 for any weighted sum of squares.
LARGEST = 1e100


class QuadraticEraser(tf.Module):
    """Moves the Gaussian of every class onto their common barycenter.

    On the data it was fitted on, all classes have the same mean and the same
    covariance afterwards, so that no linear or quadratic reader (quadratic
    discriminant analysis, say) tells them apart. That is all: on other data
    the sampling error of means and covariances remains, which for few samples
    per feature is large; classes that are not Gaussian still differ in higher
    moments, which other nonlinear readers find; and the true class of each row
    that is erased must be known. Used with labels at prediction time it can
    *write* the label into higher moments that did not hold it: each class goes
    through a map of its own, and a nonlinear reader may tell the maps apart
    (arXiv 2502.02820). Where labels are not at hand, or readers are nonlinear,
    take `SoftQuadraticEraser`, and measure with `evaluation.leakage`.

    Args:
        class_means: `[num_classes, x_dim]`.
        global_mean: `[x_dim]`, where all classes are moved to.
        ot_maps: `[num_classes, x_dim, x_dim]` symmetric transport maps.
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
        self.class_means = _constant(class_means, "class_means")
        self.global_mean = _constant(global_mean, "global_mean")
        self.ot_maps = _constant(ot_maps, "ot_maps")
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
        """The eraser of `QuadraticFitter.fit(x, z, **options)`."""
        return QuadraticFitter.fit(x, z, **options).eraser

    def __call__(self, x: Any, z: Any) -> tf.Tensor:
        """Erases the concept.

        Args:
            x: `[..., x_dim]`, any floating dtype.
            z: `[...]` integer class ids.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On wrong shapes, dtypes or class ids.
            tf.errors.InvalidArgumentError: On such class ids in graph mode.
        """
        num_classes, x_dim = self.class_means.shape
        x = fitting.features(x, x_dim)
        ids, check = fitting.class_ids("z", z, x.shape[:-1], num_classes)
        with fitting.require(check):
            return _transport(
                x,
                ids,
                self.class_means,
                self.ot_maps,
                self.global_mean[None],
            )


class QuadraticEditor(tf.Module):
    """Moves rows from the Gaussian of their class to that of another.

    The edited rows have the target class' mean and covariance, as far as a
    linear map can reach it: a source class that is flat in some direction
    stays flat there. They are not samples of the target class in any other
    respect.

    Args:
        class_means: `[num_classes, x_dim]`.
        ot_maps: `[num_classes, num_classes, x_dim, x_dim]` symmetric transport
            maps, by source and target.
        name: Name of the module.

    Raises:
        ValueError: If the shapes do not match.

    Examples:
        >>> x, z = np.random.randn(100, 3), np.arange(100) % 4
        >>> editor = QuadraticFitter.fit(x, z).editor()
        >>> edited = editor(x, z, 2)
    """

    def __init__(self, class_means: Any, ot_maps: Any, name: str | None = None):
        super().__init__(name=name)
        self.class_means = _constant(class_means, "class_means")
        self.ot_maps = _constant(ot_maps, "ot_maps")
        means, maps = self.class_means.shape, self.ot_maps.shape
        if means.rank != 2 or maps != means[:1] + means + means[1:]:
            raise ValueError(
                "`class_means` and `ot_maps` must be of shapes [num_classes, "
                "x_dim] and [num_classes, num_classes, x_dim, x_dim]. "
                f"Received: {means} and {maps}"
            )

    def __call__(self, x: Any, source_z: Any, target_z: Any) -> tf.Tensor:
        """Moves every row from its source to its target class.

        Args:
            x: `[..., x_dim]`, any floating dtype.
            source_z: `[...]` integer class ids.
            target_z: `[...]` integer class ids, or one for all rows.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On wrong shapes, dtypes or class ids.
            tf.errors.InvalidArgumentError: On such class ids in graph mode.
        """
        num_classes, x_dim = self.class_means.shape
        x = fitting.features(x, x_dim)
        leading = x.shape[:-1]
        source, source_check = fitting.class_ids(
            "source_z", source_z, leading, num_classes
        )
        target_z = tf.convert_to_tensor(target_z)
        target, target_check = fitting.class_ids(
            "target_z",
            target_z,
            leading if target_z.shape.rank else tf.TensorShape([]),
            num_classes,
        )
        with fitting.require(source_check, target_check):
            return _transport(
                x,
                source * num_classes + target,
                self.class_means,
                tf.reshape(self.ot_maps, [-1, x_dim, x_dim]),
                self.class_means,
            )


class QuadraticFitter(tf.Module):
    """Streams the mean and covariance of every class.

    Sample weights count rows: weight two is the row twice, weight zero the row
    left out. Covariances are divided by the class' weight total less one.

    Rows are multiplied in float64 whatever their dtype: transport maps divide
    by the smallest variances, where float32 products are all rounding error.
    Directions with less than 1e-12 of the largest variance count as constant.

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
        super().__init__(name=name)
        self.num_classes = whole("num_classes", num_classes, 2)
        self.shrinkage = shrinkage
        self._moments = [
            Moments(x_dim, dtype=dtype, name=f"class_{i}")
            for i in range(num_classes)
        ]
        self.x_dim = self._moments[0].x_dim
        self._cache = fitting.Cache()

    @classmethod
    def fit(
        cls, x: Any, z: Any, sample_weight: Any = None, **options: Any
    ) -> "QuadraticFitter":
        """A fitter that has seen `x` and `z`, its sizes inferred from them.

        Args:
            x: `[..., x_dim]`, any floating dtype.
            z: `[...]` integer class ids.
            sample_weight: `[...]` or `None`.
            **options: Of the constructor.
        """
        x, z = fitting.numbers("x", x), fitting.labels("z", z)
        num_classes = max(int(tf.reduce_max(z)) + 1, 2)
        return cls(x.shape[-1], num_classes, **options).update(
            x, z, sample_weight
        )

    def update(
        self, x: Any, z: Any, sample_weight: Any = None
    ) -> "QuadraticFitter":
        """Adds a batch; either all of it or, on an error, nothing.

        Args:
            x: `[..., x_dim]`, any floating dtype.
            z: `[...]` integer class ids.
            sample_weight: `[...]`, not negative, or `None` for ones.

        Returns:
            The fitter itself.

        Raises:
            ValueError: On wrong shapes or class ids, NaN or infinity.
            tf.errors.InvalidArgumentError: On such values in graph mode.
        """
        x = fitting.features(x, self.x_dim)
        leading = x.shape[:-1]
        ids, check = fitting.class_ids("z", z, leading, self.num_classes)
        x = tf.reshape(tf.cast(x, tf.float64), [-1, self.x_dim])
        if sample_weight is None:
            weight = tf.ones_like(x[:, 0])
        else:
            weight = fitting.weights(sample_weight, leading, tf.float64)
        # Checked ahead of the first class, not by each class' moments.
        checks = (
            check,
            (
                tf.reduce_all(tf.abs(x) < LARGEST),
                f"`x` holds NaN, infinity or values beyond {LARGEST:g}.",
            ),
            (
                tf.reduce_all((weight >= 0) & (weight < LARGEST)),
                "`sample_weight` must be finite and not negative.",
            ),
        )
        with fitting.require(*checks):
            for i in self._present(ids):
                mine = ids == i
                self._moments[i].update(
                    tf.boolean_mask(x, mine),
                    sample_weight=tf.boolean_mask(weight, mine),
                )
        return self

    def _present(self, ids):
        """Classes to visit: in a graph, or on several replicas, all of them."""
        replica = tf.distribute.get_replica_context()
        alone = replica is not None and replica.num_replicas_in_sync == 1
        if tf.executing_eagerly() and alone:
            return np.unique(ids)
        return range(self.num_classes)

    def fit_dataset(
        self, dataset: Any, verbose: Any = "auto"
    ) -> "QuadraticFitter":
        """Updates with every `(x, z)` or `(x, z, sample_weight)` batch.

        Args:
            dataset: A `tf.data.Dataset` or another iterable.
            verbose: `0` for silence, otherwise as in `keras.Model.fit`.

        Returns:
            The fitter itself.
        """
        return fitting.fit_dataset(self, dataset, verbose)

    def merge(self, other: "QuadraticFitter") -> "QuadraticFitter":
        """Adds what `other`, of the same sizes, has seen.

        Returns:
            The fitter itself.

        Raises:
            TypeError: If `other` is no `QuadraticFitter`.
            ValueError: If its sizes differ.
        """
        if not isinstance(other, QuadraticFitter):
            raise TypeError(
                f"`other` must be a QuadraticFitter. Received: {other!r}"
            )
        mine, theirs = ((f.x_dim, f.num_classes) for f in (self, other))
        if mine != theirs:
            raise ValueError(
                "`other` must have the same x_dim and num_classes, "
                f"{mine}. Received: {theirs}"
            )
        for moments, more in zip(self._moments, other._moments, strict=True):
            moments.merge(more)
        return self

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
        missing = np.flatnonzero(~(n > 1))
        if missing.size:
            weights = ", ".join(f"{i} ({n[i]:g})" for i in missing)
            raise ValueError(
                "Every class needs at least two samples. Received: classes "
                f"(total weights) {weights}"
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
        return self._cache.get(self._moments, self._fit_eraser)

    def _fit_eraser(self):
        sigma, n, means = self.sigma_xx, self.n, self.mean_x
        maps = optimal_transport.barycenter_maps(sigma, n)[1]
        return QuadraticEraser(means, n @ means / n.sum(), maps)

    def editor(self) -> QuadraticEditor:
        """An editor between all pairs of classes.

        It holds `num_classes**2` maps of `[x_dim, x_dim]`.

        Raises:
            ValueError: If a class has fewer than two samples.
        """
        sigma = self.sigma_xx
        maps = optimal_transport.ot_map(sigma[:, None], sigma)
        return QuadraticEditor(self.mean_x, maps)


def _constant(value, name):
    return tf.Variable(value, trainable=False, name=name)


def _transport(x, groups, sources, maps, targets):
    """Applies to each row of `x` the affine map of its group.

    Group `g` is a pair of a source and a target mean, `divmod(g, n_targets)`.
    """
    dtype = fitting.working_dtype(x)
    rows = tf.reshape(tf.cast(x, dtype), [-1, x.shape[-1]])
    statistics = (tf.convert_to_tensor(v) for v in (sources, maps, targets))
    moved = _transport_rows(rows, groups, *statistics)
    return tf.cast(tf.reshape(moved, tf.shape(x)), x.dtype)


@tf.function(autograph=False, reduce_retracing=True)
def _transport_rows(rows, groups, sources, maps, targets):
    """Sorts rows by group, so that each group is one matrix product.

    No `[n, d, d]` tensor is ever made, and statistics are cast to the rows'
    dtype for the groups that are present only.
    """
    order = tf.argsort(groups, stable=True)
    rows = tf.gather(rows, order)
    present, _, counts = tf.unique_with_counts(tf.gather(groups, order))
    ends = tf.cumsum(counts)
    num_targets = tf.shape(targets, tf.int64)[0]
    results = tf.TensorArray(
        rows.dtype,
        size=tf.size(present) + 1,
        infer_shape=False,
        element_shape=[None, rows.shape[-1]],
    )
    # Pieces that are none cannot be concatenated: the last one is empty.
    results = results.write(tf.size(present), rows[:0])

    def move(i, results):
        source, mapping, target = (
            tf.cast(tf.gather(statistic, index), rows.dtype)
            for statistic, index in (
                (sources, present[i] // num_targets),
                (maps, present[i]),
                (targets, present[i] % num_targets),
            )
        )
        delta = rows[ends[i] - counts[i] : ends[i]] - source
        return i + 1, results.write(i, delta @ mapping + target)

    _, results = tf.while_loop(
        lambda i, _: i < tf.size(present), move, (0, results)
    )
    return tf.gather(results.concat(), tf.math.invert_permutation(order))
