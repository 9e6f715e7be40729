"""The bootstrap of disparities between groups of people."""

from __future__ import annotations

import numpy as np


def has_both_labels(positive: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Returns, for each group, whether it has positive and negative labels.

    Args:
        positive: Boolean labels, `[n]`.
        codes: Group of each example, `[n]`, from 0.
    """
    size = codes.max() + 1
    return (np.bincount(codes[positive], minlength=size) > 0) & (
        np.bincount(codes[~positive], minlength=size) > 0
    )


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
    both = np.flatnonzero(has_both_labels(positive, codes))
    odds = [
        _apart(rate[:, both])
        for rate in (true_positive_rate, false_positive_rate)
    ]
    return {
        "accuracy": _apart(_ratio(true_positive + true_negative, total)),
        "auc": _apart(
            _resampled_areas(positive, scores, codes, n_groups, n_boot, rng)
        ),
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
    n = len(codes)
    order = np.lexsort((scores, codes))
    positive, scores, codes = positive[order], scores[order], codes[order]
    new_group = np.diff(codes, prepend=-1) > 0
    # Examples of one group with one score count as tied.
    starts = np.flatnonzero(new_group | (np.diff(scores, prepend=np.nan) != 0))
    groups = codes[starts]
    areas = np.full((n_boot, n_groups), np.nan)
    for resample in areas:
        drawn = np.bincount(rng.integers(n, size=n), minlength=n)
        hits = np.add.reduceat(np.where(positive, drawn, 0), starts)
        misses = np.add.reduceat(np.where(positive, 0, drawn), starts)
        before = np.cumsum(misses) - misses
        positives = np.bincount(groups, hits, n_groups)
        negatives = np.bincount(groups, misses, n_groups)
        # Of the group's own misses, so without those of earlier groups.
        before = before - (np.cumsum(negatives) - negatives)[groups]
        ordered = np.bincount(groups, hits * (before + misses / 2), n_groups)
        resample[:] = _ratio(ordered, positives * negatives)
    return areas


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _apart(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the differences and ratios of extreme groups, `[n_boot]`."""
    if not values.shape[1]:
        nothing = np.full(len(values), np.nan)
        return nothing, nothing
    missing = np.isnan(values)
    low = np.where(missing, np.inf, values).min(axis=1)
    high = np.where(missing, -np.inf, values).max(axis=1)
    low[missing.all(axis=1)] = np.nan
    high[missing.all(axis=1)] = np.nan
    return high - low, _ratio(low, high)
