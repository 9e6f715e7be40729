"""The figures that `tradeoff` returns."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.tables import (
    COLORS,
    Row,
    Table,
    new_axes,
    tidy,
)


@dataclasses.dataclass(frozen=True)
class TradeoffRow(Row):
    """The figures of one weight, over all seeds.

    Args:
        loss_weight: The weight; 0 is the plain model.
        seeds: Number of models trained.
        quality: Mean quality.
        flip_rate: Mean flip rate.
        quality_loss: Mean of what each seed's model loses in quality against
            the plain model of that seed. Its interval is about seeds alone,
            and NaN with one seed.
        pareto: Whether no other weight is as good in both means and better in
            one.
        chosen: Whether this weight has the lowest mean flip rate of those
            whose mean quality loss is within the limit.
    """

    loss_weight: float
    seeds: int
    quality: Estimate
    flip_rate: Estimate
    quality_loss: Estimate
    pareto: bool
    chosen: bool


@dataclasses.dataclass(frozen=True, repr=False)
class Tradeoff(Table[TradeoffRow]):
    """Quality against flip rate, a row for each weight; `repr` is a table.

    Args:
        rows: One `TradeoffRow` for each weight, in ascending order, the first
            for 0.
        confidence: Level of the intervals.
        max_quality_loss: The limit that decided which weight was chosen.
    """

    max_quality_loss: float = 0.0

    measures: ClassVar[str] = (
        "Quality and flip rate of models trained with several weights of the "
        "penalty; 0 is the plain model. The chosen weight flips least of those "
        "that lose no more quality than the limit allows."
    )
    caveat: ClassVar[str] = (
        "The front and the chosen weight are those of the means, which vary "
        "with seeds and data: read the intervals. Figures of a weight that "
        "was chosen on these data flatter it; report it on data that chose "
        "nothing. A flip rate of zero is not equal treatment."
    )
    _columns: ClassVar[tuple[str, ...]] = (
        "loss_weight",
        "seeds",
        "quality",
        "flip_rate",
        "quality_loss",
        "pareto",
        "chosen",
    )
    _plotted: ClassVar[dict[str, str]] = {
        "quality": "quality",
        "flip_rate": "flip rate",
    }

    @property
    def chosen(self) -> TradeoffRow:
        """The row of the chosen weight."""
        return next(row for row in self.rows if row.chosen)

    def plot(self, axes: Any = None) -> Any:
        """Draws quality against flip rate, with intervals and the front.

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
            (row.flip_rate.value, row.quality.value)
            for row in self.rows
            if row.pareto
        )
        axes.plot(
            *zip(*front, strict=True), "--", color="0.5", label="Pareto front"
        )
        for k, row in enumerate(self.rows):
            x, y = row.flip_rate, row.quality
            axes.errorbar(
                [x.value],
                [y.value],
                xerr=[[x.value - x.low], [x.high - x.value]],
                yerr=[[y.value - y.low], [y.high - y.value]],
                fmt="D" if row.chosen else "o",
                markersize=8 if row.chosen else 5,
                capsize=3,
                color=COLORS[1] if row.chosen else COLORS[0],
                label="chosen" if row.chosen else None,
            )
            axes.annotate(
                f"{row.loss_weight:g}",
                (x.value, y.value),
                xytext=(6, -12 if k % 2 else 6),
                textcoords="offset points",
            )
        axes.axhline(
            self.rows[0].quality.value - self.max_quality_loss,
            color="0.4",
            linestyle=":",
            label="limit",
        )
        axes.set_xlabel(f"flip rate ({100 * self.confidence:g} % intervals)")
        axes.set_ylabel("quality")
        tidy(axes, grid="both")
        axes.legend(frameon=False)
        return axes
