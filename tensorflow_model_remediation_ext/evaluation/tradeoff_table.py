"""Quality against unfairness: the table and its chart."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, ClassVar

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.tables import (
    COLORS,
    Row,
    Table,
    keep_within_shares,
    new_axes,
    plain_text,
    tidy,
)
from tensorflow_model_remediation_ext.evaluation.tradeoff_method import as_text


@dataclasses.dataclass(frozen=True)
class TradeoffRow(Row):
    """The figures of one method at one setting, over all seeds.

    Args:
        name: The method and its setting; the weight alone where weights of one
            penalty are compared.
        method: The method.
        setting: Its setting, or `None`.
        seeds: Number of models.
        quality: Mean quality.
        unfairness: Mean unfairness.
        quality_loss: Mean of what each seed's model loses in quality against
            the first row's of that seed. Its interval is about seeds alone,
            and NaN with one seed.
        pareto: Whether no other row is as good in both means and better in
            one.
        chosen: Whether this row has the lowest mean unfairness of those whose
            mean quality loss is within the limit.
    """

    name: Any
    method: str
    setting: Any
    seeds: int
    quality: Estimate
    unfairness: Estimate
    quality_loss: Estimate
    pareto: bool
    chosen: bool

    @property
    def loss_weight(self) -> Any:
        """The setting, where it is the weight of a penalty."""
        return self.setting

    @property
    def flip_rate(self) -> Estimate:
        """The unfairness, where it is a flip rate."""
        return self.unfairness


@dataclasses.dataclass(frozen=True, repr=False)
class Tradeoff(Table[TradeoffRow]):
    """Quality against unfairness, a row for each model; `repr` is a table.

    Args:
        rows: One `TradeoffRow` for each method and setting; quality is lost
            against the first.
        confidence: Level of the intervals.
        max_quality_loss: The limit that decided which row was chosen.
        measure_of_unfairness: What unfairness is, for the chart.
    """

    max_quality_loss: float = 0.0
    measure_of_unfairness: str = "flip rate"

    measures: ClassVar[str] = (
        "Quality and unfairness of models by method and setting, such as the "
        "weight of a penalty (0 is the plain model). The chosen one is the "
        "least unfair of those that lose no more quality than the limit "
        "allows."
    )
    caveat: ClassVar[str] = (
        "The front and the choice are those of the means, which vary with "
        "seeds and data: read the intervals. Figures of a setting that was "
        "chosen on these data flatter it; report it on data that chose "
        "nothing. A small figure of one kind of unfairness says nothing of "
        "the others, and a flip rate of zero is not equal treatment."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "name",
        "seeds",
        "quality",
        "unfairness",
        "quality_loss",
        "pareto",
        "chosen",
    )
    plotted: ClassVar[dict[str, str]] = {
        "quality": "quality",
        "unfairness": "unfairness",
    }

    @property
    def chosen(self) -> TradeoffRow:
        """The row that was chosen."""
        return next(row for row in self.rows if row.chosen)

    def plot(self, axes: Any = None) -> Any:
        """Draws quality against unfairness, with intervals and the front.

        Each method has its color, and a line through its settings.

        Args:
            axes: matplotlib `Axes` to draw on; a new figure's by default.

        Returns:
            The `Axes`; its figure is `axes.figure`.

        Raises:
            ImportError: If matplotlib is missing.
        """
        if axes is None:
            axes = new_axes(height=4)
        front = sorted(
            (row.unfairness.value, row.quality.value)
            for row in self.rows
            if row.pareto
        )
        axes.plot(
            *zip(*front, strict=True), "--", color="0.5", label="Pareto front"
        )
        by_method: dict[str, list[TradeoffRow]] = {}
        for row in self.rows:
            by_method.setdefault(row.method, []).append(row)
        colors = itertools.cycle(COLORS)
        for method, rows in by_method.items():
            _draw_method(axes, method, rows, next(colors))
        chosen = self.chosen
        axes.plot(
            [chosen.unfairness.value],
            [chosen.quality.value],
            "D",
            markersize=11,
            markerfacecolor="none",
            color="0.2",
            label="chosen",
        )
        limit = self.rows[0].quality.value - self.max_quality_loss
        axes.axhline(limit, color="0.4", linestyle=":", label="limit")
        unfairness, qualities = (
            [end for row in self.rows for end in getattr(row, name)]
            for name in ("unfairness", "quality")
        )
        keep_within_shares(axes, "x", unfairness)
        keep_within_shares(axes, "y", [*qualities, limit])
        axes.set_xlabel(
            f"{plain_text(self.measure_of_unfairness)} "
            f"({100 * self.confidence:g} % intervals)"
        )
        axes.set_ylabel("quality")
        tidy(axes, grid="both")
        axes.legend(frameon=False)
        return axes


def _draw_method(axes, method, rows, color):
    values = [(row.unfairness.value, row.quality.value) for row in rows]
    if len(rows) > 1:
        axes.plot(*zip(*values, strict=True), "-", color=color, linewidth=1)
    for k, row in enumerate(rows):
        x, y = row.unfairness, row.quality
        axes.errorbar(
            [x.value],
            [y.value],
            xerr=[[x.value - x.low], [x.high - x.value]],
            yerr=[[y.value - y.low], [y.high - y.value]],
            fmt="o",
            markersize=5,
            capsize=3,
            color=color,
            clip_on=False,
            label=None if k or not method else plain_text(method),
        )
        if row.setting is not None:
            axes.annotate(
                plain_text(as_text(row.setting)),
                (x.value, y.value),
                xytext=(6, -12 if k % 2 else 6),
                textcoords="offset points",
            )
