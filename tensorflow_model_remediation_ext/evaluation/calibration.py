"""Do predicted probabilities mean what they say, in every group?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tensorflow_model_remediation_ext.evaluation.binned_gaps import (
    BinnedGaps,
    binned_gaps,
)
from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
    weighted_rate,
)
from tensorflow_model_remediation_ext.evaluation.tables import (
    COLORS,
    Row,
    Table,
    new_axes,
    plain_text,
    tidy,
)


@dataclasses.dataclass(frozen=True)
class CalibrationRow(Row):
    """How far probabilities of one group are off.

    Args:
        group: Name of the group.
        n: Number of rows.
        effective_n: Kish's effective number of rows, `n` without weights.
        mean_prediction: Mean probability.
        positive_rate: Share of positive labels; with several classes, of right
            decisions.
        calibration_error: Expected calibration error: how far probabilities
            and shares are apart, averaged over bins by their weights.
    """

    group: str
    n: int
    effective_n: float
    mean_prediction: float
    positive_rate: Estimate
    calibration_error: Estimate


@dataclasses.dataclass(frozen=True)
class BinRow(Row):
    """The rows of one group whose probabilities fall into one bin.

    Args:
        bin: The group and the ends of the bin.
        group: Name of the group.
        n: Number of rows.
        mean_prediction: Mean probability.
        positive_rate: Share of positive labels, with its interval.
    """

    bin: str
    group: str
    n: int
    mean_prediction: float
    positive_rate: Estimate


@dataclasses.dataclass(frozen=True, repr=False)
class CalibrationReport(Table[CalibrationRow]):
    """Calibration of all groups; its `repr` is a table.

    Args:
        rows: One `CalibrationRow` for all rows, then one for each group.
        confidence: Level of the intervals.
        bins: A `BinRow` for each group and bin with rows in it.
    """

    bins: tuple[BinRow, ...]

    measures: ClassVar[str] = (
        "Whether predicted probabilities mean what they say: of rows predicted "
        "at 0.8, eight in ten should be positive. The calibration error is how "
        "far they are off, on average over bins of equal width."
    )
    caveat: ClassVar[str] = (
        "The error is that of these bins: errors that cancel within a bin do "
        "not show. In small groups it is large by chance, as its interval "
        "says. Calibration in every group and equal error rates exclude one "
        "another where base rates differ."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "group",
        "n",
        "mean_prediction",
        "positive_rate",
        "calibration_error",
    )
    plotted: ClassVar[dict[str, str]] = {
        "calibration_error": "calibration error"
    }
    axis_label: ClassVar[str] = "calibration error"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers: `{"groups": ..., "bins": ...}`."""
        return {
            "groups": super().to_dict(),
            "bins": {row.bin: row.to_dict() for row in self.bins},
        }

    def plot(self, axes: Any = None) -> Any:
        """Draws shares of positives against probabilities, bin by bin.

        Args:
            axes: matplotlib `Axes` to draw on; a new figure's by default.

        Returns:
            The `Axes`; its figure is `axes.figure`.

        Raises:
            ImportError: If matplotlib is missing.
        """
        if axes is None:
            axes = new_axes(height=4)
        axes.plot([0, 1], [0, 1], ":", color="0.5", label="calibrated")
        # More curves than colors cannot be told apart: the worst ones then.
        rows = sorted(
            (row for row in self.rows[1:] if row.n),
            key=lambda row: -row.calibration_error.value,
        )
        shown = [self.rows[0], *rows[: len(COLORS) - 1]]
        for row, color in zip(shown, COLORS, strict=False):
            found = [each for each in self.bins if each.group == row.group]
            if not found:
                continue
            value, low, high = np.array([b.positive_rate for b in found]).T
            axes.errorbar(
                [each.mean_prediction for each in found],
                value,
                yerr=[value - low, high - value],
                fmt="o-",
                markersize=4,
                linewidth=1,
                capsize=2,
                color=color,
                label=plain_text(row.group),
                clip_on=False,
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("predicted probability")
        axes.set_ylabel(f"share ({100 * self.confidence:g} % intervals)")
        tidy(axes, grid="both")
        axes.legend(frameon=False)
        return axes


def calibration(
    positive: np.ndarray,
    probabilities: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str],
    members: np.ndarray,
    *,
    bins: int,
    confidence: float,
    n_boot: int,
    rng: np.random.Generator,
) -> CalibrationReport:
    """Measures calibration by group.

    Args:
        positive: Boolean labels, `[n]`.
        probabilities: Predicted probabilities, `[n]`.
        weights: Positive weights, `[n]`.
        names: Names of the groups.
        members: Boolean memberships, `[n, groups]`.
        bins: Number of bins of equal width between 0 and 1.
        confidence: Level of the intervals.
        n_boot: Number of draws for them.
        rng: Source of the draws.
    """
    each = binned_gaps(positive, probabilities, weights, members, bins)
    draws = rng.standard_normal((n_boot, bins))
    rows, found = [], []
    for name, binned in zip(names, each, strict=True):
        total = binned.weights.sum()
        if not total:
            rows.append(CalibrationRow(name, 0, 0.0, np.nan, UNKNOWN, UNKNOWN))
            continue
        size = float(total**2 / binned.squares.sum())
        rows.append(
            CalibrationRow(
                group=name,
                n=int(binned.counts.sum()),
                effective_n=size,
                mean_prediction=float(binned.predicted.sum() / total),
                positive_rate=weighted_rate(
                    float(binned.hits.sum() / total),
                    size,
                    float(binned.hit_squares.sum() / binned.squares.sum()),
                    confidence,
                ),
                calibration_error=binned.error(confidence, draws),
            )
        )
        found += _bin_rows(binned, name, confidence)
    return CalibrationReport(tuple(rows), confidence, tuple(found))


def _bin_rows(
    binned: BinnedGaps, group: str, confidence: float
) -> list[BinRow]:
    """Returns a row for each bin that holds rows."""
    bins = len(binned.counts)
    digits = max(3, len(str(bins)))  # As many as tell the ends apart.
    ends = [f"{k / bins:.{digits}g}" for k in range(bins + 1)]
    return [
        BinRow(
            bin=f"{group}, {ends[k]} to {ends[k + 1]}",
            group=group,
            n=int(binned.counts[k]),
            mean_prediction=float(binned.predicted[k] / binned.weights[k]),
            positive_rate=weighted_rate(
                float(binned.hits[k] / binned.weights[k]),
                float(binned.weights[k] ** 2 / binned.squares[k]),
                float(binned.hit_squares[k] / binned.squares[k]),
                confidence,
            ),
        )
        for k in np.flatnonzero(binned.counts)
    ]
