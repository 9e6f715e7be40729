"""Areas under the ROC curve within groups, and between them and the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tensorflow_model_remediation_ext.evaluation.figures import Figure
from tensorflow_model_remediation_ext.evaluation.performance import (
    area_interval,
)

# Sums of weights round: areas this near to 0 or 1 are those of classes without
# an error, whose spread does not tell how sure they are.
_ROUNDING = 1e-9


class Areas(NamedTuple):
    """One area for every group.

    Attributes:
        values: The areas, `[groups]`; NaN where a class is missing.
        variances: DeLong's variances, `[groups]`.
        influences: What each row adds to the error, `[groups, n]`, in the
            order of the scores.
        order: That order, `[n]`.
        sizes: Effective numbers of positive and negative rows, `[2, groups]`.
        rows: Number of rows of the smaller class, `[groups]`.
    """

    values: np.ndarray
    variances: np.ndarray
    influences: np.ndarray
    order: np.ndarray
    sizes: np.ndarray
    rows: np.ndarray


class RankedRows:
    """Rows in the order of their scores.

    Args:
        positive: Boolean labels, `[n]`.
        scores: Scores, `[n]`.
        weights: Positive weights, `[n]`.
        order: The order of the scores, `[n]`.
    """

    def __init__(
        self,
        positive: np.ndarray,
        scores: np.ndarray,
        weights: np.ndarray,
        order: np.ndarray,
    ):
        ranked, up = scores[order], positive[order]
        # Where rows of the same score begin and end.
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        lengths = np.diff(np.r_[starts, len(ranked)])
        begin = np.repeat(starts, lengths)
        end = np.repeat(starts + lengths, lengths)
        ups = np.r_[0, np.cumsum(up)]
        downs = np.arange(len(up) + 1) - ups
        self._positives = _Side(order[up], downs[begin[up]], downs[end[up]])
        self._negatives = _Side(order[~up], ups[begin[~up]], ups[end[~up]])
        self._weights = weights

    def areas(self, positives: np.ndarray, negatives: np.ndarray) -> Areas:
        """Computes areas between some positive and some negative rows.

        Args:
            positives: Groups whose positive rows count, boolean
                `[n, groups]`.
            negatives: Groups whose negative rows count, likewise.
        """
        groups = positives.shape[1]
        values, variances = np.full((2, groups), np.nan)
        sizes, rows = np.zeros((2, groups)), np.zeros(groups, int)
        order = np.r_[self._positives.rows, self._negatives.rows]
        split = len(self._positives.rows)
        # For covariances single precision is enough.
        influences = np.zeros((groups, len(order)), np.float32)
        up_weights = self._weights[self._positives.rows]
        down_weights = self._weights[self._negatives.rows]
        for k in range(groups):
            # Most groups hold few of all rows.
            some_ups = np.flatnonzero(positives[:, k][self._positives.rows])
            some_downs = np.flatnonzero(negatives[:, k][self._negatives.rows])
            rows[k] = min(len(some_ups), len(some_downs))
            if not rows[k]:
                continue
            up, down = up_weights[some_ups], down_weights[some_downs]
            m, n = up.sum(), down.sum()
            # For each row, the share of the other class that it is ordered
            # rightly against; ties count half.
            right = self._positives.up_to(some_ups, some_downs, down) / n
            values[k] = up @ right / m
            if not _ROUNDING < values[k] < 1 - _ROUNDING:
                values[k] = np.round(values[k])
            sizes[:, k] = m**2 / (up @ up), n**2 / (down @ down)
            wrong = 1 - values[k]
            wrong = wrong - self._negatives.up_to(some_downs, some_ups, up) / m
            more = _more(sizes[:, k])
            right = up * (right - values[k]) * (more[0] / m)
            wrong *= down * (more[1] / n)
            variances[k] = right @ right + wrong @ wrong
            influences[k, some_ups] = right
            influences[k, split + some_downs] = wrong
        return Areas(values, variances, influences, order, sizes, rows)


class _Side(NamedTuple):
    """The rows of one class, in the order of their scores.

    Attributes:
        rows: Their places, `[rows]`.
        begin: How many rows of the other class have a lower score, `[rows]`.
        end: How many have no higher one, `[rows]`.
    """

    rows: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    def up_to(
        self, some: np.ndarray, others: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """Returns weights of the other class with lower scores, `[some]`.

        Args:
            some: Which rows to return them for, `[some]`.
            others: Which rows of the other class count, sorted, `[others]`.
            weights: Their weights, `[others]`.
        """
        sums = np.empty(len(weights) + 1)
        sums[0] = 0.0
        np.cumsum(weights, out=sums[1:])
        below = _up_to(sums, others, self.begin[some])
        return (below + _up_to(sums, others, self.end[some])) / 2


def _up_to(
    sums: np.ndarray, places: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Returns the sum over the places before each end, both sorted."""
    if len(ends) < len(places):
        return sums[np.searchsorted(places, ends)]
    # The same, but looks up the fewer in the many.
    starts = np.searchsorted(ends, places, side="right")
    return np.repeat(sums, np.diff(starts, prepend=0, append=len(ends)))


def _more(sizes: np.ndarray) -> np.ndarray:
    """Returns the correction of spreads; a class of one row tells none."""
    known = sizes > 1 + 1e-9
    return np.sqrt(
        np.divide(sizes, sizes - 1, out=np.zeros(sizes.shape), where=known)
    )


def area_figure(parts: Iterable[Areas]) -> Figure:
    """Returns the mean of some areas as a figure.

    Args:
        parts: The areas, one for each class against the rest, or a single
            one.
    """
    parts = iter(parts)
    first = next(parts)
    values, influences = first.values, first.influences
    inverse, rows, count = _inverse(first.sizes), first.rows, 1
    for part in parts:
        if count == 1:
            influences = np.empty_like(first.influences)
            influences[:, first.order] = first.influences
        count += 1
        values = values + part.values
        influences[:, part.order] += part.influences
        inverse = inverse + _inverse(part.sizes)
        rows = np.minimum(rows, part.rows)
    values = values / count
    covariance = (influences @ influences.T).astype(np.float64) / count**2
    if count == 1:
        np.fill_diagonal(covariance, np.nan_to_num(first.variances))
    sizes = count / inverse

    def limits(confidence):
        return area_interval(values, np.diag(covariance), *sizes, confidence)

    return Figure(values, covariance, rows, limits)


def _inverse(sizes: np.ndarray) -> np.ndarray:
    return 1 / np.maximum(sizes, 1e-9)
