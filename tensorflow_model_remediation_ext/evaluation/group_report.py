"""What `group_metrics` returns for decisions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tensorflow_model_remediation_ext.evaluation.calibration import (
    CalibrationReport,
)
from tensorflow_model_remediation_ext.evaluation.class_rows import ClassReport
from tensorflow_model_remediation_ext.evaluation.group_table import GroupTable
from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.subgroups import SubgroupReport
from tensorflow_model_remediation_ext.evaluation.tables import Headline, Row


@dataclasses.dataclass(frozen=True)
class GroupRow(Row):
    """The figures of one group of people; NaN where it has no such row.

    With several classes, areas and rates are means over the classes, each
    against the rest; areas and true positive rates only where the group has
    rows of every class.

    Args:
        group: Name of the group.
        n: Number of rows with a positive weight.
        effective_n: Kish's effective number of rows, `n` without weights.
        positives: Number of rows whose label is positive; `None` with several
            classes.
        accuracy: Share of right decisions.
        auc: Area under the ROC curve.
        selection_rate: Share of positive decisions; NaN with several classes,
            see `classes`.
        true_positive_rate: Share of positive decisions among the positives.
        false_positive_rate: Share of positive decisions among the negatives.
        p_value: Of the test that scores of the group are distributed as those
            of all others; NaN for `"overall"`. With several classes, the
            smallest of all columns, times their number.
    """

    group: str
    n: int
    effective_n: float
    positives: int | None
    accuracy: Estimate
    auc: Estimate
    selection_rate: Estimate
    true_positive_rate: Estimate
    false_positive_rate: Estimate
    p_value: float


@dataclasses.dataclass(frozen=True, repr=False)
class GroupReport(GroupTable[GroupRow]):
    """The figures of all groups, and how far they are apart.

    `report["group"]` is the row of a group, `report.disparity("metric")` that
    of a metric.

    Args:
        rows: One `GroupRow` for all rows, `"overall"`, then one for each group.
        confidence: Level of the intervals.
        disparities: A `DisparityRow` for each metric.
        worst: A `WorstRow` for each figure that can be good or bad, and in
            which groups differ.
        subgroups: Areas within and between groups; `None` with several classes.
        calibration: Calibration of all groups; `None` for logits.
        classes: Figures of each class; `None` with two classes.
    """

    subgroups: SubgroupReport | None = None
    calibration: CalibrationReport | None = None
    classes: ClassReport | None = None

    measures: ClassVar[str] = (
        "Quality and decisions for each group of people, and how far the "
        "extreme groups are apart. The p-value is of a test that a group's "
        "scores are distributed as all others'."
    )
    caveat: ClassVar[str] = (
        "Equal figures are not equal treatment, and these criteria exclude "
        "one another where base rates differ. The difference of the extreme "
        "groups is never negative: with small groups it is large by chance."
    )
    columns: ClassVar[tuple[str, ...]] = (
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
    plotted: ClassVar[dict[str, str]] = {
        "auc": "AUC",
        "selection_rate": "selection rate",
        "true_positive_rate": "true positive rate",
        "false_positive_rate": "false positive rate",
    }
    axis_label: ClassVar[str] = "by group"

    def headlines(self) -> list[Headline]:
        """Returns the accuracy, and how far odds and parity are from equal."""
        return [
            Headline("accuracy", self.rows[0].accuracy, percent=True),
            *(
                Headline(
                    f"gap in {name.replace('_', ' ')}",
                    self.disparity(name).difference,
                )
                for name in ("demographic_parity", "equalized_odds")
            ),
        ]
