"""Decisions for each of several classes, by group."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.tables import Row, Table


@dataclasses.dataclass(frozen=True)
class ClassRow(Row):
    """The figures of one class against the rest, in one group.

    Args:
        name: The class and the group.
        class_name: Name of the class.
        group: Name of the group.
        n: Number of rows of the group.
        positives: Number of those that are of the class.
        auc: Area under the ROC curve of the class's column.
        selection_rate: Share of decisions for the class.
        true_positive_rate: Share of such decisions among rows of the class.
        false_positive_rate: Share of such decisions among all others.
        p_value: Of the test that the class's scores are distributed in the
            group as in all others; NaN for `"overall"`.
    """

    name: str
    class_name: str
    group: str
    n: int
    positives: int
    auc: Estimate
    selection_rate: Estimate
    true_positive_rate: Estimate
    false_positive_rate: Estimate
    p_value: float


@dataclasses.dataclass(frozen=True, repr=False)
class ClassReport(Table[ClassRow]):
    """Each class against the rest, for all groups; the `repr` is a table.

    Args:
        rows: A `ClassRow` for each class, for all rows and for each group.
        confidence: Level of the intervals.
    """

    measures: ClassVar[str] = (
        "Decisions for each class against all others, for each group of people."
    )
    caveat: ClassVar[str] = (
        "Equal figures are not equal treatment. Of many classes and groups "
        "some interval will miss, and some will differ by chance."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "name",
        "n",
        "positives",
        "auc",
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "p_value",
    )
    plotted: ClassVar[dict[str, str]] = {
        "true_positive_rate": "true positive rate",
        "false_positive_rate": "false positive rate",
    }
    axis_label: ClassVar[str] = "by class and group"
