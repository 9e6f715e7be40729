"""Do predicted probabilities mean what they say, in every group?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
    effective_size,
    wilson_interval,
)
from tensorflow_model_remediation_ext.evaluation.tables import (
    COLORS,
    Row,
    Table,
    new_axes,
    tidy,
)

# How much the spread that calibrated probabilities have counts, in rows.
_PRIOR_ROWS = 3
_STEPS = 20


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
                label=row.group,
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
        weights: Non-negative weights, `[n]`.
        names: Names of the groups.
        members: Boolean memberships, `[n, groups]`.
        bins: Number of bins of equal width between 0 and 1.
        confidence: Level of the intervals.
        n_boot: Number of draws for them.
        rng: Source of the draws.
    """
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    draws = rng.standard_normal((n_boot, bins))
    rows, found = [], []
    for k, name in enumerate(names):
        some = np.flatnonzero(members[:, k] & (weights > 0))
        if not len(some):
            rows.append(CalibrationRow(name, 0, 0.0, np.nan, UNKNOWN, UNKNOWN))
            continue
        binned = _Binned(
            places[some], bins, positive[some], probabilities[some],
            weights[some],
        )  # fmt: skip
        size = effective_size(weights[some])
        rate = float(binned.hits.sum() / binned.weights.sum())
        rows.append(
            CalibrationRow(
                group=name,
                n=len(some),
                effective_n=size,
                mean_prediction=float(
                    binned.predicted.sum() / binned.weights.sum()
                ),
                positive_rate=_share(rate, size, confidence),
                calibration_error=binned.error(confidence, draws),
            )
        )
        found += binned.rows(name, confidence)
    return CalibrationReport(tuple(rows), confidence, tuple(found))


def _share(rate: float, size: float, confidence: float) -> Estimate:
    rate = min(rate, 1.0)
    low, high = wilson_interval(rate * size, size, confidence)
    return Estimate(rate, float(low), float(high))


class _Binned:
    """Sums over the bins of one group."""

    def __init__(self, places, bins, positive, probabilities, weights):
        def total(values):
            return np.bincount(places, values, bins)

        self.counts = np.bincount(places, minlength=bins)
        self.weights, self.squares = total(weights), total(weights**2)
        self.hits = total(weights * positive)
        self.predicted = total(weights * probabilities)
        residual = weights * (positive - probabilities)
        spread = total(residual**2)
        # What calibrated probabilities would have.
        supposed = total(weights**2 * probabilities * (1 - probabilities))
        self.gaps = (self.hits - self.predicted) / self.weights.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            own = spread - (self.hits - self.predicted) ** 2 / self.counts
            own *= self.counts / (self.counts - 1)
        own = np.where(self.counts > 1, own, supposed)
        mixed = (_PRIOR_ROWS * supposed + self.counts * own) / (
            _PRIOR_ROWS + self.counts
        )
        # How many rows fall into a bin is chance, too.
        counts = np.maximum(self.counts, 1)
        within = self.gaps**2 * (1 / counts - 1 / self.counts.sum())
        self.deviations = np.sqrt(
            np.maximum(mixed, 0) / self.weights.sum() ** 2 + within
        )

    def error(self, confidence: float, draws: np.ndarray) -> Estimate:
        """Returns the calibration error with its interval."""
        value = float(np.abs(self.gaps).sum())
        low = self._end(value, 1 - (1 - confidence) / 2, draws)
        high = self._end(value, (1 - confidence) / 2, draws)
        return Estimate(value, min(low, value), max(high, value))

    def _end(self, value: float, level: float, draws: np.ndarray) -> float:
        """Returns the error of which a value is that quantile.

        Of all gaps that make an error, those are taken that resemble the ones
        found: shrunk toward 0 by so many standard deviations, or grown.
        """

        def gaps(shift):
            grown = np.abs(self.gaps) + shift * self.deviations
            return np.sign(self.gaps) * np.maximum(grown, 0.0)

        def quantile(shift):
            errors = np.abs(gaps(shift) + noise) @ ones
            return np.partition(errors, place)[place]

        noise, ones = self.deviations * draws, np.ones(draws.shape[1])
        place = min(int(level * len(draws)), len(draws) - 1)
        known = self.deviations > 0
        ratios = np.abs(self.gaps[known]) / self.deviations[known]
        widest = ratios.max(initial=10.0)
        low, high = -widest, widest
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (
                (low, middle) if quantile(middle) > value else (middle, high)
            )
        return float(min(np.abs(gaps((low + high) / 2)).sum(), 1.0))

    def rows(self, group: str, confidence: float) -> list[BinRow]:
        """Returns a row for each bin that holds rows."""
        bins = len(self.counts)
        return [
            BinRow(
                bin=f"{group}, {k / bins:.3g} to {(k + 1) / bins:.3g}",
                group=group,
                n=int(self.counts[k]),
                mean_prediction=float(self.predicted[k] / self.weights[k]),
                positive_rate=_share(
                    float(self.hits[k] / self.weights[k]),
                    float(self.weights[k] ** 2 / self.squares[k]),
                    confidence,
                ),
            )
            for k in np.flatnonzero(self.counts)
        ]
