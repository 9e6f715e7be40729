"""The figures that `group_metrics` returns."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.tables import (
    Row,
    Table,
    frame,
    text_table,
)


@dataclasses.dataclass(frozen=True)
class GroupRow(Row):
    """The figures of one group of people; NaN where it has no such example.

    Args:
        group: Name of the group.
        n: Number of examples.
        positives: Number of those whose label is positive.
        accuracy: Share of right decisions.
        auc: Area under the ROC curve.
        selection_rate: Share of positive decisions.
        true_positive_rate: Share of positive decisions among the positives.
        false_positive_rate: Share of positive decisions among the negatives.
        p_value: Of the permutation test that scores of the group are
            distributed as those of all others; NaN for `"overall"`.
    """

    group: str
    n: int
    positives: int
    accuracy: Estimate
    auc: Estimate
    selection_rate: Estimate
    true_positive_rate: Estimate
    false_positive_rate: Estimate
    p_value: float


@dataclasses.dataclass(frozen=True)
class DisparityRow(Row):
    """How far groups are apart in one figure.

    Args:
        metric: A figure of `GroupRow`, `"demographic_parity"` or
            `"equalized_odds"`.
        difference: Largest minus smallest value of a group.
        ratio: Smallest divided by largest value of a group.
    """

    metric: str
    difference: Estimate
    ratio: Estimate


@dataclasses.dataclass(frozen=True, repr=False)
class GroupReport(Table[GroupRow]):
    """The figures of all groups, and how far they are apart.

    `report["group"]` is the row of a group, `report.disparity("metric")` that
    of a metric.

    Args:
        rows: One `GroupRow` for all examples, `"overall"`, then one for each
            group.
        confidence: Level of the intervals.
        disparities: A `DisparityRow` for each metric.
    """

    disparities: tuple[DisparityRow, ...]

    measures: ClassVar[str] = (
        "Quality and decisions for each group of people, and how far the "
        "extreme groups are apart. The p-value is of a permutation test that "
        "a group's scores are distributed as all others'."
    )
    caveat: ClassVar[str] = (
        "Equal figures are not equal treatment, and these criteria exclude "
        "one another where base rates differ. The difference of the extreme "
        "groups is never negative: with small groups it is large by chance."
    )
    _columns: ClassVar[tuple[str, ...]] = (
        "group",
        "n",
        "positives",
        "accuracy",
        "auc",
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "p_value",
    )
    _plotted: ClassVar[dict[str, str]] = {
        "auc": "AUC",
        "selection_rate": "selection rate",
        "true_positive_rate": "true positive rate",
        "false_positive_rate": "false positive rate",
    }
    _axis_label: ClassVar[str] = "by group"

    def disparity(self, metric: str) -> DisparityRow:
        """Returns the difference and ratio of one metric.

        Raises:
            KeyError: If there is none of that name.
        """
        for row in self.disparities:
            if row.metric == metric:
                return row
        raise KeyError(metric)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers: `{"groups": ..., "disparities": ...}`."""
        return {
            "groups": super().to_dict(),
            "disparities": {r.metric: r.to_dict() for r in self.disparities},
        }

    def disparities_to_frame(self) -> Any:
        """Returns a pandas DataFrame of the disparities, by metric.

        Raises:
            ImportError: If pandas is missing.
        """
        return frame(self.disparities)

    def __repr__(self) -> str:
        disparities = text_table(
            self.disparities, ("metric", "difference", "ratio")
        )
        return f"{disparities}\n\n{super().__repr__()}"
