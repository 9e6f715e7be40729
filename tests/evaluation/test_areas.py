"""Areas by group against their definition, pair by pair."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext.evaluation.areas import (
    RankedRows,
    area_figure,
)

N = 300
RNG = np.random.default_rng(0)
POSITIVE = RNG.random(N) < 0.4
SCORES = RNG.integers(40, size=N) / 40  # With ties.
WEIGHTS = RNG.random(N) + 0.1
# From two rows, one of each class, to all of them.
MEMBERS = np.stack(
    [RNG.permutation(N) < size for size in (10, 40, 150, 290)]
    + [np.ones(N, bool), np.zeros(N, bool)]
    + [np.isin(np.arange(N), [POSITIVE.argmax(), POSITIVE.argmin()])],
    axis=1,
)


def by_definition(positives, negatives):
    """Returns the area, and the influence of each row, `[n]`."""
    up, down = POSITIVE & positives, ~POSITIVE & negatives
    influence = np.zeros(N)
    if not (up.any() and down.any()):
        return np.nan, influence
    apart = SCORES[up][:, None] - SCORES[down]
    right = (apart > 0) + 0.5 * (apart == 0)
    u, v = (WEIGHTS[rows] / WEIGHTS[rows].sum() for rows in (up, down))
    area = u @ right @ v
    for rows, w, mean in ((up, u, right @ v), (down, v, u @ right)):
        size = 1 / (w @ w)
        if np.count_nonzero(rows) > 1:
            influence[rows] = w * (mean - area) * np.sqrt(size / (size - 1))
    return area, influence


@pytest.mark.parametrize("which", ["within", "bpsn", "bnsp"])
def test_areas_of_small_and_large_groups_are_those_of_all_pairs(which):
    positives, negatives = {
        "within": (MEMBERS, MEMBERS),
        "bpsn": (~MEMBERS, MEMBERS),
        "bnsp": (MEMBERS, ~MEMBERS),
    }[which]
    order = np.argsort(SCORES)
    ranked = RankedRows(POSITIVE, SCORES, WEIGHTS, order)
    found = ranked.areas(positives, negatives)
    expected, influences = zip(
        *map(by_definition, positives.T, negatives.T), strict=True
    )
    np.testing.assert_allclose(found.values, expected, rtol=1e-12)
    covariance = np.array(influences) @ np.transpose(influences)
    np.testing.assert_allclose(
        area_figure([found]).covariance, covariance, rtol=1e-4, atol=1e-9
    )


@pytest.mark.parametrize("area", [0.0, 1.0])
def test_without_an_error_the_interval_is_no_matter_of_rounding(area):
    scores = np.where((area == 1) == POSITIVE, 0.9, 0.1)
    everybody = np.ones((N, 1), bool)
    ends = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(N)
        ranked = RankedRows(
            POSITIVE[order],
            scores[order],
            WEIGHTS[order],
            np.argsort(scores[order]),
        )
        figure = area_figure([ranked.areas(everybody, everybody)])
        assert figure.values[0] == area
        ends.append(np.ravel(figure.limits(0.95)))
    np.testing.assert_allclose(ends, ends[:1] * 20, rtol=1e-6)
    # As wide as where weights are left out, but for their number.
    plain = RankedRows(POSITIVE, scores, np.ones(N), np.argsort(scores))
    limits = area_figure([plain.areas(everybody, everybody)]).limits(0.95)
    width, without = np.ptp(ends[0]), np.ptp(np.ravel(limits))
    assert without < width < 2 * without
