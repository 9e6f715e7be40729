"""The bootstrap of disparities between groups of people."""

from __future__ import annotations

import numpy as np


def resampled_disparities(
    positive: np.ndarray,
    scores: np.ndarray,
    decided: np.ndarray,
    codes: np.ndarray,
    n_groups: int,
    n_boot: int,
    rng: np.random.Generator,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Resamples all examples and computes how far groups are apart.

    Args:
        positive: Boolean labels, `[n]`.
        scores: Scores, `[n]`.
        decided: Boolean decisions, `[n]`.
        codes: Group of each example, `[n]`.
        n_groups: Number of groups.
        n_boot: Number of resamples.
        rng: Source of the resamples.

    Returns:
        By metric the differences and the ratios, `[n_boot]` each; NaN where
        no group of a resample has the metric.
    """
    n = len(codes)
    cells = np.bincount(
        4 * codes + 2 * positive + decided, minlength=4 * n_groups
    )
    counts = rng.multinomial(n, cells / n, size=n_boot)
    true_negative, false_positive, false_negative, true_positive = np.moveaxis(
        counts.reshape(n_boot, n_groups, 4).astype(np.float64), 2, 0
    )
    negatives = true_negative + false_positive
    positives = true_positive + false_negative
    total = negatives + positives
    selected = _ratio(true_positive + false_positive, total)
    true_positive_rate = _ratio(true_positive, positives)
    false_positive_rate = _ratio(false_positive, negatives)
    odds = [_apart(rate) for rate in (true_positive_rate, false_positive_rate)]
    return {
        "auc": _apart(
            _resampled_areas(positive, scores, codes, n_groups, n_boot, rng)
        ),
        "accuracy": _apart(_ratio(true_positive + true_negative, total)),
        "selection_rate": _apart(selected),
        "true_positive_rate": _apart(true_positive_rate),
        "false_positive_rate": _apart(false_positive_rate),
        "demographic_parity": _apart(selected),
        "equalized_odds": (
            np.fmax(odds[0][0], odds[1][0]),
            np.fmin(odds[0][1], odds[1][1]),
        ),
    }


def _resampled_areas(
    positive, scores, codes, n_groups, n_boot, rng
) -> np.ndarray:
    """Returns areas under the ROC curve, `[n_boot, n_groups]`."""
    n, m = len(codes), np.count_nonzero(~positive)
    ranks = np.unique(scores, return_inverse=True)[1].reshape(-1)
    keys = codes * (ranks.max() + 1) + ranks
    negatives, positives = np.sort(keys[~positive]), np.sort(keys[positive])
    # Of each positive example: the negative ones, of earlier groups or of its
    # own, that come before it, without and with those of the same score.
    below = np.searchsorted(negatives, positives, "left")
    upto = np.searchsorted(negatives, positives, "right")
    # Where groups begin and end.
    edges = np.arange(n_groups + 1) * (ranks.max() + 1)
    negative_edges = np.searchsorted(negatives, edges)
    positive_edges = np.searchsorted(positives, edges)
    areas = np.empty((n_boot, n_groups))
    for area in areas:
        drawn = np.bincount(rng.integers(n, size=n), minlength=n)
        before = _cumulated(drawn[:m])
        earlier = before[negative_edges]
        hits = drawn[m:]
        # Twice the pairs that are ordered rightly, so that ties count one.
        pairs = _cumulated(hits * (before[below] + before[upto]))
        hits = np.diff(_cumulated(hits)[positive_edges])
        own = np.diff(pairs[positive_edges]) - 2 * hits * earlier[:-1]
        area[:] = _ratio(own, 2 * hits * np.diff(earlier))
    return areas


def _cumulated(counts: np.ndarray) -> np.ndarray:
    """Returns sums of the first 0, 1, ... counts."""
    sums = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _apart(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the differences and ratios of extreme groups, one a row."""
    if not values.shape[1]:
        nothing = np.full(len(values), np.nan)
        return nothing, nothing
    missing = np.isnan(values)
    low = np.where(missing, np.inf, values).min(axis=1)
    high = np.where(missing, -np.inf, values).max(axis=1)
    # One group alone is apart from nothing.
    alone = np.count_nonzero(~missing, axis=1) < 2
    low[alone] = high[alone] = np.nan
    return high - low, _ratio(low, high)
