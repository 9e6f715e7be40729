"""Sums over bins of probabilities, and the calibration error made of them."""

from __future__ import annotations

import numpy as np

from tensorflow_model_remediation_ext.evaluation.figures import (
    chunks,
    sorted_places,
)
from tensorflow_model_remediation_ext.evaluation.intervals import Estimate

# How much the spread that calibrated probabilities have counts, in rows.
_PRIOR_ROWS = 3
_STEPS = 20


class BinnedGaps:
    """How far labels and probabilities of one group are apart, bin by bin.

    Args:
        sums: Of rows, weights, their squares, hits, predictions, squared
            residuals, and the squared residuals that calibrated probabilities
            would have, `[7, bins]`.
    """

    def __init__(self, sums: np.ndarray):
        self.counts, self.weights, self.squares = sums[:3]
        self.hits, self.predicted, spread, supposed = sums[3:]
        with np.errstate(divide="ignore", invalid="ignore"):
            self.gaps = (self.hits - self.predicted) / self.weights.sum()
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


def binned_gaps(
    positive: np.ndarray,
    probabilities: np.ndarray,
    weights: np.ndarray,
    members: np.ndarray,
    bins: int,
) -> list[BinnedGaps]:
    """Sums up rows for every group.

    Args:
        positive: Boolean labels, `[n]`.
        probabilities: Predicted probabilities, `[n]`.
        weights: Positive weights, `[n]`.
        members: Boolean memberships, `[n, groups]`.
        bins: Number of bins of equal width between 0 and 1.
    """
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    squares = weights**2
    summed = np.stack(
        [
            np.ones(len(weights)),
            weights,
            squares,
            weights * positive,
            weights * probabilities,
            squares * (positive - probabilities) ** 2,
            squares * probabilities * (1 - probabilities),
        ]
    )
    result = np.zeros((members.shape[1], len(summed), bins))
    names, order, starts = sorted_places(places, bins)
    for k, rows in zip(names, np.split(order, starts[1:]), strict=True):
        for some, inside in chunks(rows, members):
            result[:, :, k] += (summed[:, some] @ inside).T
    return [*map(BinnedGaps, result)]
