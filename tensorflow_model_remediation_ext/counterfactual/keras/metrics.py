"""Metrics on pairs of predictions: how often and how far they move."""

from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common.checks import number
from tensorflow_model_remediation_ext.common.comparing import compare
from tensorflow_model_remediation_ext.common.configs import PACKAGE
from tensorflow_model_remediation_ext.common.penalty_metric import (
    PenaltyMetric,
)


class _PairMetric(PenaltyMetric):
    """A weighted sum over pairs and, for means, the total weight."""

    penalty_name = "counterfactual"

    def __init__(self, name: str, dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_weight(
            shape=(), initializer="zeros", name="total"
        )
        self.count = self.add_weight(
            shape=(), initializer="zeros", name="count"
        )

    def update_state(
        self, original: Any, counterfactual: Any, sample_weight: Any = None
    ) -> None:
        """Adds a batch of pairs.

        Args:
            original: Predictions on the original inputs, `[batch]`,
                `[batch, 1]` or `[batch, ..., classes]`.
            counterfactual: Predictions on their counterfactuals, same shape.
                Positions that Keras masks in one of the two do not count.
            sample_weight: `[batch]`, or the shape of the predictions without
                the last axis; default 1.

        Raises:
            ValueError: If the shapes do not fit.
        """
        counts = self.counts(original, counterfactual, sample_weight)
        self.total.assign_add(counts[0, 0])
        self.count.assign_add(counts[0, 1])

    # What a target needs (`common/target.py`).

    #: Differences from a target are measured in the target.
    least_unit = 0.0
    #: How many standard errors below a target to steer for. Flips are so rare
    #: that the running counts hold a handful of them.
    margin = 1.5
    #: Share of the steps so far that running counts reach back.
    reach = 0.1
    #: Shape of the counts: one figure, its sum, weights and their squares.
    counts_shape = (1, 3)

    def counts(
        self, original: Any, counterfactual: Any, sample_weight: Any = None
    ) -> Any:
        """Returns what a batch adds to the sums, `[1, 3]`."""
        pair = compare(original, counterfactual, sample_weight, self.name)
        values = ops.cast(
            self._values(pair.original, pair.counterfactual), self.dtype
        )
        weights = ops.ones_like(values)
        if pair.weight is not None:
            weights = weights * ops.cast(pair.weight, self.dtype)
            # A pair of weight 0 does not count, even if it is NaN.
            values = ops.where(weights > 0, values, 0.0)
        parts = values * weights, weights, weights * weights
        return ops.stack([[ops.sum(part) for part in parts]])

    def figures(self, counts: Any) -> Any:
        """Returns the weighted mean, `[1]`, 0 without weight."""
        return ops.divide_no_nan(counts[:, 0], counts[:, 1])

    def standard_errors(self, counts: Any) -> Any:
        """Returns the standard error of the mean, `[1]`, as if of flips."""
        mean = self.figures(counts)
        # Kish's effective number, the same on any scale of weights.
        pairs = ops.divide_no_nan(counts[:, 1] ** 2, counts[:, 2])
        variance = ops.divide_no_nan(mean * (1.0 - mean), pairs)
        return ops.sqrt(ops.maximum(variance, 0.0))

    def _values(self, original: Any, counterfactual: Any) -> Any:
        """Returns one value a decision: the last axis reduced."""
        raise NotImplementedError

    def result(self) -> Any:
        """Returns the weighted mean over all pairs, 0 if there were none."""
        return ops.divide_no_nan(self.total, self.count)


class _FlipMetric(_PairMetric):
    """Pairs whose decisions differ."""

    def __init__(
        self, threshold: float = 0.5, name: str = "flip", dtype: Any = None
    ):
        super().__init__(name=name, dtype=dtype)
        self.threshold = number("threshold", threshold)

    def _values(self, original: Any, counterfactual: Any) -> Any:
        if original.shape[-1] == 1:
            flips = (original > self.threshold)[..., 0] != (
                counterfactual > self.threshold
            )[..., 0]
        else:
            flips = ops.argmax(original, axis=-1) != ops.argmax(
                counterfactual, axis=-1
            )
        # NaN is no decision, and must not pass for one that stays.
        missing = ops.isnan(original) | ops.isnan(counterfactual)
        return ops.where(
            ops.any(missing, axis=-1),
            float("nan"),
            ops.cast(flips, self.dtype),
        )

    def _arguments_by_name(self) -> dict:
        return {"threshold": self.threshold}


@keras.saving.register_keras_serializable(package=PACKAGE)
class FlipRate(_FlipMetric):
    """Weighted share of pairs whose decision changes.

    A decision is `prediction > threshold` where there is one column, and the
    argmax where there are several. A flip rate of 0 does not say that groups
    are treated equally: it only compares each example with its own
    counterfactual.

    Args:
        threshold: Decision threshold for one-column predictions, in their
            own unit (probability or logit).
        name: Name of the metric.
        dtype: Dtype of the result.

    Examples:
        >>> metric = FlipRate()
        >>> metric.update_state([[0.9], [0.2]], [[0.4], [0.1]])
        >>> float(metric.result())
        0.5

    References:
        Garg et al. 2018 (arXiv 1809.10610).
    """

    def __init__(
        self,
        threshold: float = 0.5,
        name: str = "flip_rate",
        dtype: Any = None,
    ):
        super().__init__(threshold, name, dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class FlipCount(_FlipMetric):
    """Weighted number of pairs whose decision changes.

    Args:
        threshold: Decision threshold for one-column predictions, in their
            own unit (probability or logit).
        name: Name of the metric.
        dtype: Dtype of the result.

    Examples:
        >>> metric = FlipCount()
        >>> metric.update_state([[0.9], [0.2]], [[0.4], [0.1]])
        >>> float(metric.result())
        1.0
    """

    def __init__(
        self,
        threshold: float = 0.5,
        name: str = "flip_count",
        dtype: Any = None,
    ):
        super().__init__(threshold, name, dtype)

    def result(self) -> Any:
        """Returns the sum of the weights of the flipped pairs."""
        # A copy: on PyTorch the variable would change what was logged.
        return ops.copy(self.total)


@keras.saving.register_keras_serializable(package=PACKAGE)
class CounterfactualGap(_PairMetric):
    """Weighted mean absolute difference of paired predictions.

    With several columns, the mean over the columns. Called the
    counterfactual token fairness gap in the paper.

    Args:
        name: Name of the metric.
        dtype: Dtype of the result.

    Examples:
        >>> metric = CounterfactualGap()
        >>> metric.update_state([[0.75], [0.25]], [[0.25], [0.25]])
        >>> float(metric.result())
        0.25

    References:
        Garg et al. 2018 (arXiv 1809.10610), definition 2.
    """

    def __init__(self, name: str = "counterfactual_gap", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def _values(self, original: Any, counterfactual: Any) -> Any:
        original = ops.cast(original, self.dtype)
        counterfactual = ops.cast(counterfactual, self.dtype)
        return ops.mean(ops.abs(original - counterfactual), axis=-1)
