"""Sums over bins of probabilities, and the calibration error made of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tensorflow_model_remediation_ext.evaluation.figures import (
    chunks,
    sorted_places,
)
from tensorflow_model_remediation_ext.evaluation.intervals import Estimate

# So many rows' own spread counts as much as that of calibrated probabilities.
_PRIOR_ROWS = 3
# Hits, and as many misses, that keep a rate of 0 or 1 from being certain, as
# Agresti and Coull's two of each do.
_PRIOR_HITS = 2
_STEPS = 20
_ROUNDING = 1e-12


class BinnedGaps:
    """How far labels and probabilities of one group are apart, bin by bin.

    Args:
        sums: Of rows, weights, their squares, hits, predictions, squared
            residuals, the squared residuals that calibrated probabilities
            would have, and squared weights of hits, `[8, bins]`.
    """

    def __init__(self, sums: np.ndarray):
        self.counts, self.weights, self.squares = sums[:3]
        self.hits, self.predicted = sums[3:5]
        self.hit_squares = sums[7]
        self._sums = sums[:7]

    def error(self, confidence: float, draws: np.ndarray) -> Estimate:
        """Returns the calibration error with its interval.

        Many different gaps have the same error. Of these only some are looked
        at: the gaps that were found, all shrunk toward 0, or grown, by the same
        number of standard deviations.

        Args:
            confidence: Level of the interval.
            draws: From a normal distribution, `[n_boot, bins]`.
        """
        filled = self.counts > 0
        gaps = _Gaps(self._sums[:, filled])
        draws = draws[:, filled]
        tail = int((1 - confidence) / 2 * len(draws))
        value = float(np.abs(gaps.found).sum())

        def fits_below(shift):
            errors = gaps.errors(-shift, draws)
            place = len(draws) - 1 - tail
            return np.partition(errors, place)[place] > value

        def fits_above(shift):
            errors = gaps.errors(shift, draws)
            return np.partition(errors, tail)[tail] <= value + _ROUNDING

        low = gaps.error(-_last(fits_below, gaps.widest))
        high = gaps.error(_last(fits_above, gaps.widest))
        # Sums in other orders differ by a rounding.
        return Estimate(value, min(low, value), max(min(high, 1.0), value))


class _Gaps:
    """The gaps that were found, and others that may have led to them.

    All are parts of the error: gaps of rates times the share of a bin.
    """

    def __init__(self, sums: np.ndarray):
        counts, weights, squares, hits, predicted, spread, supposed = sums
        total = weights.sum()
        self._shares, self._means = weights / total, predicted / total
        self.found = (hits - predicted) / total
        own = spread - (hits - predicted) ** 2 / counts
        own *= counts / np.maximum(counts - 1, 1)
        own = np.where(counts > 1, own, supposed)
        mixed = (_PRIOR_ROWS * supposed + counts * own) / (_PRIOR_ROWS + counts)
        self._variance = np.maximum(mixed, 0) / total**2
        # How many rows fall into a bin is chance, too.
        self._drawn = 1 / counts - 1 / counts.sum()
        self._squares = squares / total**2
        # Labels of rows whose probabilities differ have less spread than if
        # all rows had the mean probability: by this much.
        rate = predicted / weights
        unlike = self._squares * rate * (1 - rate) - supposed / total**2
        self._unlike = np.maximum(unlike, 0)
        size = weights**2 / squares
        rate = hits / weights * size + _PRIOR_HITS
        rate /= size + 2 * _PRIOR_HITS
        least = self._squares * rate * (1 - rate)
        self._step = np.sqrt(
            np.maximum(self._variance, least) + self.found**2 * self._drawn
        )
        roomier = np.where(2 * self._means < self._shares, 1, -1)
        self._signs = np.where(self.found, np.sign(self.found), roomier)

    @property
    def widest(self) -> float:
        """Shift from which on there is no gap left."""
        return float((np.abs(self.found) / self._step).max(initial=10.0))

    def error(self, shift: float) -> float:
        """Returns the error of gaps so many deviations larger, or smaller."""
        return float(np.abs(self._hits(shift) - self._means).sum())

    def errors(self, shift: float, draws: np.ndarray) -> np.ndarray:
        """Returns the errors that may be found where these are the gaps.

        As in Wilson's interval the spread is that of the rates supposed.

        Args:
            shift: How many deviations these are larger.
            draws: From a normal distribution, `[n_boot, bins]`.
        """
        hits = self._hits(shift)
        rates = hits / self._shares
        variance = self._squares * rates * (1 - rates) - self._unlike
        variance = np.maximum(variance, self._variance)
        variance += (hits - self._means) ** 2 * self._drawn
        found = hits + np.sqrt(variance) * draws
        if shift > 0:
            # No rate is below 0 or above 1. Toward smaller gaps that is left
            # out, which errs to the wide side: of few rows, rates are 0 or 1.
            found = np.clip(found, 0, self._shares)
        return np.abs(found - self._means).sum(axis=1)

    def _hits(self, shift: float) -> np.ndarray:
        """Returns supposed shares of hits in each bin."""
        most = np.maximum(self._means, self._shares - self._means)
        sizes = np.abs(self.found) + shift * self._step
        sizes = np.clip(sizes, 0, most)
        hits = self._means + self._signs * sizes
        # Where a rate cannot go further one way, it may go the other.
        outside = (hits < -_ROUNDING) | (hits > self._shares + _ROUNDING)
        hits = np.where(outside, self._means - self._signs * sizes, hits)
        return np.clip(hits, 0, self._shares)


def _last(fits: Callable[[float], bool], most: float) -> float:
    """Returns the largest number up to `most` that fits; 0 always does."""
    low, high = 0.0, most
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


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
            squares * positive,
        ]
    )
    result = np.zeros((members.shape[1], len(summed), bins))
    names, order, starts = sorted_places(places, bins)
    for k, rows in zip(names, np.split(order, starts[1:]), strict=True):
        for some, inside in chunks(rows, members):
            result[:, :, k] += (summed[:, some] @ inside).T
    return [*map(BinnedGaps, result)]
