"""Are the scores of a group distributed as those of all others?"""

from __future__ import annotations

import numpy as np

from tensorflow_model_remediation_ext.evaluation.tables import extra

# Rows times groups times permutations that take about a second.
_PERMUTED = 3 * 10**7
_AT_ONCE = 10**6
_ROUNDING = 1e-9


def p_values(
    scores: np.ndarray,
    order: np.ndarray,
    weights: np.ndarray,
    members: np.ndarray,
    others: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Tests the scores of each group against those of all others.

    The statistic is that of Kolmogorov and Smirnov. Where there are few enough
    rows its permutations make the test exact, for scores with ties and for
    weights too; all groups share them. Otherwise p-values are those of its
    limit distribution for effective numbers of rows, which errs to the large
    side where scores have ties.

    Args:
        scores: Scores, `[n]`.
        order: Their order, `[n]`.
        weights: Positive weights, `[n]`.
        members: Boolean memberships, `[n, groups]`.
        others: What each group is compared with, boolean `[n, groups]`.
        n_permutations: Number of permutations.
        rng: Their source.

    Returns:
        P-values, `[groups]`; NaN where either side has fewer than two rows.

    References:
        Phipson and Smyth 2010, "Permutation p-values should never be zero";
        Monahan 2011, "Numerical Methods of Statistics", section 12.6, for
        weights.
    """
    ranked = scores[order]
    # Only at the last of equal scores is the distribution function known.
    last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], ranked.size > 0])
    result = np.full(members.shape[1], np.nan)
    enough = np.all(
        [side.sum(axis=0) >= 2 for side in (members, others)], axis=0
    )
    if not enough.any():
        return result
    one, other = (
        np.take(side.T[enough], order, axis=1) for side in (members, others)
    )
    weights = weights[order]
    # One at a time, since for many rows all do not fit into memory.
    found = np.array(
        [
            _distances(weights, *sides, last)
            for sides in zip(one, other, strict=True)
        ]
    )
    if one.size * n_permutations > _PERMUTED:
        result[enough] = _limit_p_values(found, weights, one, other)
        return result
    exceeded = np.zeros(len(found))
    at_once = max(1, _AT_ONCE // one.size)
    for start in range(0, n_permutations, at_once):
        size = min(at_once, n_permutations - start)
        rows = np.tile(np.arange(len(weights)), (size, 1))
        rows = rng.permuted(rows, axis=1)
        drawn = _distances(weights, one[:, rows], other[:, rows], last)
        exceeded += (drawn >= found[:, None] - _ROUNDING).sum(axis=1)
    result[enough] = (1 + exceeded) / (1 + n_permutations)
    return result


def _distances(
    weights: np.ndarray, one: np.ndarray, other: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Returns largest distances of distribution functions, `[...]`.

    Args:
        weights: Weights in the order of the scores, `[n]`.
        one: Whether a row is on the one side, boolean `[..., n]`.
        other: Whether it is on the other, likewise.
        last: Places of the last of equal scores.
    """
    sums = [(side @ weights)[..., None] for side in (one, other)]
    steps = one * (weights / sums[0]) - other * (weights / sums[1])
    apart = np.cumsum(steps, axis=-1, out=steps)
    if len(last) < len(weights):
        apart = apart[..., last]
    return np.maximum(apart.max(axis=-1), -apart.min(axis=-1))


def _limit_p_values(found, weights, one, other) -> np.ndarray:
    stats = extra("scipy.stats", "A test of groups")
    squares = weights**2
    sizes = np.array(
        [
            [(row @ weights) ** 2 / (row @ squares) for row in side]
            for side in (one, other)
        ]
    )
    scale = np.sqrt(sizes.prod(axis=0) / sizes.sum(axis=0))
    return stats.kstwobign.sf(scale * found)
