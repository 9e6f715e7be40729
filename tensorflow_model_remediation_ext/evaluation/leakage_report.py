"""What readers found of a concept: the rows, the table and the chart."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.tables import (
    COLORS,
    Row,
    Table,
    in_lines,
    new_axes,
    plain_text,
    tidy,
)

NOTHING = "nothing"
# One for each row: all controls are gray, and told apart by it.
_MARKERS = "osD^v<>Ph"


@dataclasses.dataclass(frozen=True)
class Reading(Row):
    """What one reader found of the concept in what one method returned.

    Args:
        method: Name of the method.
        reader: Name of the reader.
        accuracy: Share of the judged rows that it read rightly.
        auc: Area under the ROC curve; with more than two classes, the mean of
            one class against the rest.
    """

    method: str
    reader: str
    accuracy: Estimate
    auc: Estimate


@dataclasses.dataclass(frozen=True)
class LeakageRow(Row):
    """What readers find after one method, and what the method cost.

    Args:
        method: Its name; `"nothing"` for the features as they are.
        n: Number of rows that judged, over all splits.
        classes: Number of classes of the concept.
        majority_rate: Share of the largest class: the accuracy of a reader
            that sees nothing.
        linear: Accuracy of the reader `"linear"`.
        linear_auc: Its AUC.
        accuracy: Accuracy of the reader with the highest one.
        accuracy_reader: Its name.
        auc: AUC of the reader with the highest one.
        auc_reader: Its name.
        task_accuracy: Accuracy of a linear head trained for the task.
        task_auc: Its AUC.
        task_nonlinear_accuracy: Accuracy of a network trained for the task.
        task_nonlinear_auc: Its AUC.
        similarity: Spearman's correlation of the rows' cosine similarities,
            before and after; NaN where these are all alike.
        variance_kept: Total variance after the method, as a share of that
            before.
        rank: Number of directions in which rows moved, of all splits the
            largest; 0 where the number of features changed.
        control: Whether it is a random removal, and no method.
    """

    method: str
    n: int
    classes: int
    majority_rate: float
    linear: Estimate
    linear_auc: Estimate
    accuracy: Estimate
    accuracy_reader: str
    auc: Estimate
    auc_reader: str
    task_accuracy: Estimate
    task_auc: Estimate
    task_nonlinear_accuracy: Estimate
    task_nonlinear_auc: Estimate
    similarity: Estimate
    variance_kept: float
    rank: int
    control: bool


@dataclasses.dataclass(frozen=True, repr=False)
class LeakageReport(Table[LeakageRow]):
    """What the strongest readers find, a row for each method.

    Args:
        rows: One `LeakageRow` for `"nothing"`, each method and each control.
        confidence: Level of the intervals.
        readings: What every single reader found.
    """

    readings: tuple[Reading, ...] = ()

    measures: ClassVar[str] = (
        "What the strongest of several readers finds of a concept after "
        "erasure, and what erasure cost. Eraser, readers and judge each had "
        "rows of their own. A reader that sees nothing has the accuracy of the "
        "majority rate and an AUC of 0.5."
    )
    caveat: ClassVar[str] = (
        "A stronger reader, or one with more rows to learn from, may find "
        "more: the figures are a lower bound of what is left. The strongest "
        "reader was chosen on the rows that judge it, so that with nothing to "
        "find its figures lie a little above chance."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "method",
        "majority_rate",
        "linear",
        "accuracy",
        "auc",
        "auc_reader",
        "task_accuracy",
        "task_nonlinear_accuracy",
        "similarity",
    )
    plotted: ClassVar[dict[str, str]] = {
        "auc": "AUC of the strongest reader",
        "task_accuracy": "task accuracy",
        "similarity": "similarity kept",
    }

    def within(self, points: float) -> LeakageRow:
        """The row that leaks least for a price of at most some points.

        Args:
            points: Hundredths of the linear head's accuracy for the task that
                may be lost against `"nothing"`.

        Returns:
            The row with the lowest AUC; controls do not count.

        Raises:
            ValueError: If no `task` was given, or `points` is negative.
        """
        before = self[NOTHING].task_accuracy.value
        if np.isnan(before) or not points >= 0:
            raise ValueError(
                "`points` must not be negative, and `leakage` have had a "
                f"`task`. Received: points={points}, task accuracy {before}"
            )
        affordable = [
            row
            for row in self.rows
            if not row.control
            and before - row.task_accuracy.value <= points / 100 + 1e-12
        ]
        return min(affordable, key=lambda row: row.auc.value)

    def plot(self, axes: Any = None) -> Any:
        """Draws leakage against utility, with intervals.

        Utility is the linear head's accuracy for the task, or without a task
        the similarity kept. Controls are hollow and gray.

        Args:
            axes: matplotlib `Axes` to draw on; a new figure's by default.

        Returns:
            The `Axes`; its figure is `axes.figure`.

        Raises:
            ImportError: If matplotlib is missing.
        """
        # In the legend: beside the points they would hide one another.
        names = [plain_text(in_lines(row.method, 30)) for row in self.rows]
        if axes is None:
            lines = sum(name.count("\n") + 1 for name in names)
            axes = new_axes(height=4 + 0.12 * lines)
        with_task = not np.isnan(self.rows[0].task_accuracy.value)
        utility = "task_accuracy" if with_task else "similarity"
        for k, row in enumerate(self.rows):
            x, y = getattr(row, utility), row.auc
            if np.isnan(x.value):
                continue
            color = "0.5" if row.control else COLORS[k % len(COLORS)]
            axes.errorbar(
                [x.value],
                [y.value],
                xerr=np.nan_to_num([[x.value - x.low], [x.high - x.value]]),
                yerr=[[y.value - y.low], [y.high - y.value]],
                fmt=_MARKERS[k % len(_MARKERS)],
                markerfacecolor="none" if row.control else color,
                capsize=3,
                color=color,
                label=names[k],
            )
        axes.axhline(0.5, color="0.4", linestyle=":", label="chance")
        level = f"({100 * self.confidence:g} % intervals)"
        axes.set_xlabel(f"{self.plotted[utility]} {level}")
        axes.set_ylabel(self.plotted["auc"])
        tidy(axes, grid="both")
        axes.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2
        )
        return axes
