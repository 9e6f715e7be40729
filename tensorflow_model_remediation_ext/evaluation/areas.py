"""Areas under the ROC curve within groups, and between them and the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tensorflow_model_remediation_ext.evaluation.figures import Figure
from tensorflow_model_remediation_ext.evaluation.performance import (
    area_interval,
)


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
    """

    def __init__(
        self, positive: np.ndarray, scores: np.ndarray, weights: np.ndarray
    ):
        self._order = np.argsort(scores, kind="stable")
        ranked = scores[self._order]
        self._positive = positive[self._order]
        self._weights = weights[self._order]
        # Where rows of the same score begin and end.
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        lengths = np.diff(np.r_[starts, len(ranked)])
        self._begin = np.repeat(starts, lengths)
        self._end = np.repeat(starts + lengths, lengths)

    def areas(self, positives: np.ndarray, negatives: np.ndarray) -> Areas:
        """Computes areas between some positive and some negative rows.

        Args:
            positives: Groups whose positive rows count, boolean
                `[n, groups]`.
            negatives: Groups whose negative rows count, likewise.
        """
        n, groups = positives.shape
        values, variances = np.full((2, groups), np.nan)
        sizes, rows = np.zeros((2, groups)), np.zeros(groups, int)
        # For covariances single precision is enough.
        influences = np.zeros((groups, n), np.float32)
        sides = [
            np.ascontiguousarray(side[self._order].T)
            for side in (positives, negatives)
        ]
        for k in range(groups):
            counted = np.where(self._positive, sides[0][k], sides[1][k])
            some = np.flatnonzero(counted)
            up = self._positive[some]
            if not up.any() or up.all():
                continue
            before = np.zeros(n + 1, np.int64)
            before[some + 1] = 1
            np.cumsum(before, out=before)
            values[k], influence, sizes[:, k] = _area(
                up,
                self._weights[some],
                before[self._begin[some]],
                before[self._end[some]],
            )
            variances[k] = influence @ influence
            rows[k] = min(np.count_nonzero(up), np.count_nonzero(~up))
            influences[k, some] = influence
        return Areas(values, variances, influences, self._order, sizes, rows)


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


def _area(
    positive: np.ndarray,
    weights: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Computes one weighted area.

    Args:
        positive: Boolean labels in the order of the scores, `[n]`.
        weights: Positive weights, `[n]`.
        begin: How many rows have a lower score, `[n]`.
        end: How many rows have no higher score, `[n]`.

    Returns:
        The area; deviations `[n]` whose sum of squares is DeLong's variance;
        and effective numbers of positive and negative rows.
    """
    above, below = weights * positive, weights * ~positive
    m, n = above.sum(), below.sum()
    # For each row, the share of the other class that it is ordered rightly
    # against; ties count half.
    share = np.where(
        positive,
        _up_to(below, begin, end) / n,
        1 - _up_to(above, begin, end) / m,
    )
    area = float(np.clip(above @ share / m, 0, 1))
    sizes = np.array([m**2 / (above @ above), n**2 / (below @ below)])
    # A class of one row tells no spread.
    more = np.sqrt(
        np.divide(sizes, sizes - 1, out=np.zeros(2), where=sizes > 1 + 1e-9)
    )
    scale = np.where(positive, more[0] / m, more[1] / n)
    return area, weights * (share - area) * scale, sizes


def _up_to(
    weights: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> np.ndarray:
    sums = np.r_[0.0, np.cumsum(weights)]
    return (sums[begin] + sums[end]) / 2
