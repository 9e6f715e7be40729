"""Metrics on groups of rows: how far apart their rates are."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common import transforms
from tensorflow_model_remediation_ext.common.checks import number, whole
from tensorflow_model_remediation_ext.common.configs import PACKAGE
from tensorflow_model_remediation_ext.common.penalty_metric import (
    PenaltyMetric,
)
from tensorflow_model_remediation_ext.min_diff.members import (
    grouped_rows,
    require_one_column,
)


@keras.saving.register_keras_serializable(package=PACKAGE)
class RateGap(PenaltyMetric):
    """Rate of positive decisions of the sensitive group minus the other's.

    A decision is `prediction > threshold`. With more than two groups it is
    the difference, with its sign, that is largest in size of those between
    each group and the rest. Over rows with label 0 the rates are false
    positive rates, over rows with label 1 true positive rates: see
    `condition` in `build_min_diff_dataset`. A group without rows has no rate:
    the gap is 0 until both sides have been seen.

    Args:
        threshold: Decision threshold, in the unit of the predictions
            (probability or logit).
        name: Name of the metric.
        dtype: Dtype of the result.
        groups: Number of groups; ids outside raise `ValueError`.
        predictions_transform: Applied to the predictions first, as in
            `min_diff.losses.MinDiffLoss`; it must leave one column.

    Raises:
        ValueError: If `threshold` is not a finite number, or `groups` not a
            whole one of 2 or more.

    Examples:
        >>> metric = RateGap()
        >>> metric.update_state([1, 1, 0, 0], [0.9, 0.1, 0.9, 0.8])
        >>> float(metric.result())
        -0.5
    """

    penalty_name = "min_diff"

    def __init__(
        self,
        threshold: float = 0.5,
        name: str = "rate_gap",
        dtype: Any = None,
        *,
        groups: int = 2,
        predictions_transform: str | Callable | None = None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.threshold = number("threshold", threshold)
        self.groups = whole("groups", groups, least=2)
        self.predictions_transform = transforms.restored(predictions_transform)
        self._transform = transforms.get(
            predictions_transform, "predictions_transform"
        )
        self.sums = self.add_weight(
            shape=self.counts_shape, initializer="zeros", name="counts"
        )

    def update_state(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> None:
        """Adds a batch of rows.

        Args:
            membership: Group of each row, `[batch]` or `[batch, 1]`.
            predictions: One column: `[batch]` or `[batch, ..., 1]`.
            sample_weight: `[batch]`, `[batch, 1]`, or the shape of the
                predictions without the last axis; default 1.

        Raises:
            ValueError: If shapes do not fit, an id is not one of `groups`, or
                a weight is negative or not finite.
        """
        counts = self.counts(membership, predictions, sample_weight)
        self.sums.assign_add(ops.cast(counts, self.dtype))

    def result(self) -> Any:
        """Returns the gap, 0 where there were no two groups."""
        figures = self.figures(ops.convert_to_tensor(self.sums))
        if self.groups == 2:
            return figures[0]
        return ops.take(figures, ops.argmax(ops.abs(figures)))

    # What a target needs (`common/target.py`).

    #: Smallest unit that differences from a target are measured in: gaps of a
    #: few batches are noisy.
    least_unit = 0.07
    #: How many standard errors below a target to steer for.
    margin = 0.0
    #: Share of the steps so far that running counts reach back. Every row of a
    #: batch counts, so that few batches tell the gap.
    reach = 0.05

    @property
    def counts_shape(self) -> tuple[int, ...]:
        """Shape of the counts: comparisons, two sides, three sums.

        They are those of the weights of hits, of weights, and of squares of
        weights.
        """
        return (1 if self.groups == 2 else self.groups, 2, 3)

    def counts(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns what a batch adds to the counts."""
        rows = grouped_rows(
            membership,
            predictions,
            sample_weight,
            self.groups,
            self.name,
            self._transform,
        )
        require_one_column(rows.predictions, self.name)
        hits = ops.cast(rows.predictions > self.threshold, "float32")
        # NaN is no decision, and must not pass for a negative one. A logit
        # may be infinite.
        hits = ops.where(ops.isnan(rows.predictions), float("nan"), hits)
        sides = []
        for side in (rows.membership, 1.0 - rows.membership):
            weight = ops.cast(side * rows.weight, "float32")
            sums = [
                ops.sum(each, axis=0)
                for each in (weight * hits, weight, weight * weight)
            ]
            sides.append(ops.stack(sums, axis=-1))
        return ops.stack(sides, axis=1)

    def figures(self, counts: Any) -> Any:
        """Returns the gap of each comparison, 0 where a side is empty."""
        hits, weights, _ = ops.unstack(counts, axis=-1)
        one, other = ops.unstack(ops.divide_no_nan(hits, weights), axis=-1)
        return ops.where(ops.all(weights != 0, axis=-1), one - other, 0.0)

    def standard_errors(self, counts: Any) -> Any:
        """Returns the standard error of each gap."""
        hits, weights, squares = ops.unstack(counts, axis=-1)
        rates = ops.divide_no_nan(hits, weights)
        # Kish's effective number, the same on any scale of weights.
        rows = ops.divide_no_nan(weights * weights, squares)
        variances = ops.divide_no_nan(rates * (1.0 - rates), rows)
        return ops.sqrt(ops.sum(ops.maximum(variances, 0.0), axis=-1))

    def _arguments_by_name(self) -> dict:
        return {
            "threshold": self.threshold,
            "groups": self.groups,
            "predictions_transform": transforms.serialize(
                self.predictions_transform
            ),
        }
