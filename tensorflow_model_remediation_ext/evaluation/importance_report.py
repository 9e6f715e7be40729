"""What `permutation_importance` returns."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.tables import (
    Row,
    Table,
    plot_estimates,
)


@dataclasses.dataclass(frozen=True)
class ImportanceRow(Row):
    """What it costs to take a feature away.

    Args:
        feature: Name of the feature or edit.
        changed: Number of rows that differ from the original ones; the mean
            over the repeats.
        importance: Mean drop of the metric. The interval is that of the mean
            over all shuffles; an edit has none, and neither have shuffles that
            all cost the same.
        spread: Standard deviation of the drop between repeats; NaN for a
            single one.
        repeats: Number of shuffles, or 1 for an edit.
    """

    feature: str
    changed: float
    importance: Estimate
    spread: float
    repeats: int


@dataclasses.dataclass(frozen=True, repr=False)
class ImportanceReport(Table[ImportanceRow]):
    """The importance of all features, in order; its `repr` is a table.

    Args:
        rows: An `ImportanceRow` for each feature and edit.
        confidence: Level of the intervals.
        metric: Name of the metric.
        baseline: Its value on the original inputs.
    """

    metric: str
    baseline: float

    measures: ClassVar[str] = (
        "How far the quality of the model's predictions drops when a feature "
        "is shuffled among examples, or a term removed from all texts."
    )
    caveat: ClassVar[str] = (
        "A feature without importance may still be used together with others, "
        "or be replaced by those that correlate with it. Intervals tell "
        "what other shuffles of these data would give, not other data."
    )
    plotted: ClassVar[dict[str, str]] = {"importance": "importance"}
    columns: ClassVar[tuple[str, ...]] = (
        "feature",
        "changed",
        "importance",
        "spread",
        "repeats",
    )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers: the metric, its baseline and the features."""
        return {
            "metric": self.metric,
            "baseline": self.baseline,
            "features": super().to_dict(),
        }

    def plot(self, axes: Any = None) -> Any:
        """Draws the drops with their intervals, the largest on top.

        Args:
            axes: matplotlib `Axes` to draw on; a new figure's by default.

        Returns:
            The `Axes`; its figure is `axes.figure`.

        Raises:
            ImportError: If matplotlib is missing.
        """
        rows = sorted(self.rows, key=lambda row: -row.importance.value)
        return plot_estimates(
            axes,
            [row.feature for row in rows],
            {"importance": [row.importance for row in rows]},
            f"drop of {self.metric} from {self.baseline:.4f} "
            f"({100 * self.confidence:g} % intervals over shuffles)",
            {"no drop": [0]},
        )

    def __repr__(self) -> str:
        return f"{self.metric} {self.baseline:.4f}\n{super().__repr__()}"
