import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tensorflow_model_remediation_ext.evaluation import (
    flips,
    group_metrics,
    wilson_interval,
)
from tensorflow_model_remediation_ext.evaluation.intervals import (
    effective_size,
    mean_estimate,
    rate_estimate,
)


def gaps(rng, rate, shape):
    """Mostly small gaps, and a share of large ones: skewed, mean known."""
    large = rng.random(shape) < rate
    mean = rate * 0.5 + (1 - rate) / 31
    return np.where(large, rng.beta(4, 4, shape), rng.beta(1, 30, shape)), mean


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0.5, 0.999))
def test_wilson_is_the_score_test_inverted(n, share, confidence):
    successes = round(share * n)
    low, high = wilson_interval(successes, n, confidence)
    rate = successes / n
    assert 0 <= low <= rate <= high <= 1
    z = stats.norm.ppf((1 + confidence) / 2)
    for end in (low, high):
        if 0 < end < 1:
            distance = abs(rate - end)
            # 1e-9: an end near the rate is a difference of near numbers.
            np.testing.assert_allclose(
                distance, z * np.sqrt(end * (1 - end) / n), atol=1e-9
            )


def test_wilson_agrees_with_scipy_at_the_ends():
    for successes, n in [(0, 10), (10, 10), (1, 3)]:
        ours = wilson_interval(successes, n, 0.9)
        theirs = stats.binomtest(successes, n).proportion_ci(0.9, "wilson")
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_wilson_broadcasts_and_knows_no_trials():
    low, high = wilson_interval([[0.0], [2.0]], [2, 4, 8])
    assert low.shape == high.shape == (2, 3)
    assert np.isnan(wilson_interval(0, 0)).all()
    for n in (np.inf, np.nan, [2, np.inf]):
        with pytest.raises(ValueError, match="`n`, which must be finite"):
            wilson_interval(1, n)


@pytest.mark.parametrize("n", [50, 1_000])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_wilson_covers(n, rate):
    # Exactly, by summing over all outcomes; 0.91 at (50, 0.01) is the score
    # interval's known dip for rare events.
    successes = np.arange(n + 1)
    low, high = wilson_interval(successes, n)
    covers = (low <= rate) & (rate <= high)
    coverage = stats.binom.pmf(successes, n, rate)[covers].sum()
    assert (0.91 if (n, rate) == (50, 0.01) else 0.93) < coverage < 0.975


@pytest.mark.parametrize("n", [60, 2_000])
def test_mean_covers(n):
    rng = np.random.default_rng(0)
    values, mean = gaps(rng, 0.1, (300, n))
    weights = rng.gamma(2, size=n)
    for w in (None, weights):
        estimates = [mean_estimate(row, w, 0.9, rng) for row in values]
        coverage = np.mean([e.low <= mean <= e.high for e in estimates])
        # Three standard errors of 300 runs; small groups fall a little short.
        assert 0.83 < coverage < 0.955


def test_weighted_rate_covers():
    rng = np.random.default_rng(0)
    hits = rng.random((500, 300)) < 0.2
    weights = rng.gamma(2, size=(500, 300))
    estimates = [
        rate_estimate(h, w, 0.9) for h, w in zip(hits, weights, strict=True)
    ]
    coverage = np.mean([e.low <= 0.2 <= e.high for e in estimates])
    assert 0.86 < coverage < 0.94


@pytest.mark.parametrize("weighted", [False, True])
def test_expansion_is_the_bootstrap(weighted):
    rng = np.random.default_rng(0)
    values, _ = gaps(rng, 0.01, 1_500)
    weights = rng.gamma(2, size=1_500) if weighted else np.ones(1_500)
    estimate = mean_estimate(values, weights, 0.95, rng)
    low, high = stats.bootstrap(
        (values * weights, weights),
        lambda a, b, axis=-1: a.sum(axis) / b.sum(axis),
        paired=True,
        n_resamples=10_000,
        batch=500,
        method="BCa",
        rng=rng,
    ).confidence_interval
    # Of the width: percentiles alone would be off by 0.03 and more.
    assert abs(estimate.low - low) < 0.02 * (high - low)
    assert abs(estimate.high - high) < 0.02 * (high - low)


@pytest.mark.parametrize(("n", "least"), [(12, 0.9), (100, 0.92)])
@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_means_of_skewed_values_are_covered(n, least, rate):
    # Percentiles of the bootstrap, uncorrected, hold 0.85 of 12 means.
    rng = np.random.default_rng(0)
    large = rng.random((200, n)) < rate
    values = np.where(large, 0.5, rng.beta(2, 20, (200, n)))
    truth = rate * 0.5 + (1 - rate) / 11
    found = [mean_estimate(row, None, 0.95, rng) for row in values]
    covered = np.mean([e.low <= truth <= e.high for e in found])
    assert covered > (least if not rate else least - 0.1)


def test_a_mean_that_one_weight_decides_is_not_sure():
    values = np.linspace(0.0, 1.0, 20)
    weights = np.where(np.arange(20) == 5, 1.0, 1e-12)
    rng = np.random.default_rng(0)
    assert np.isnan(mean_estimate(values, weights, 0.95, rng)[1:]).all()


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("weight_of_hits", [0.2, 5.0])
def test_rates_are_covered_whose_weights_and_hits_go_together(
    rate, weight_of_hits
):
    # With Kish's number of rows alone, 0.72 to 1.
    rng = np.random.default_rng(0)
    hits = rng.random((500, 1_000)) < rate
    weights = np.where(hits, weight_of_hits, 1.0) * rng.gamma(
        4, size=hits.shape
    )
    truth = rate * weight_of_hits / (1 - rate + rate * weight_of_hits)
    found = [
        rate_estimate(h, w, 0.95) for h, w in zip(hits, weights, strict=True)
    ]
    covered = np.mean([e.low <= truth <= e.high for e in found])
    assert 0.92 < covered < 0.98


def test_a_weighted_rate_is_that_of_group_metrics():
    rng = np.random.default_rng(0)
    scores, weights = rng.random(80), rng.gamma(2, size=80)
    weights[scores > 0.6] *= 4
    row = group_metrics(
        rng.integers(2, size=80),
        scores,
        ["a"] * 80,
        sample_weight=weights,
        n_permutations=1,
    )["a"]
    (flipped,) = flips(scores, np.zeros(80), sample_weight=weights).rows
    assert flipped.flip_rate == pytest.approx(row.selection_rate)


def test_shares_of_calibration_are_spread_as_selection_rates():
    rng = np.random.default_rng(0)
    y, weights = rng.random(90) < 0.4, rng.gamma(2, size=90)
    weights[y] *= 5
    report = group_metrics(
        y,
        y.astype(float),
        ["a"] * 90,
        sample_weight=weights,
        n_permutations=1,
    )
    found = report.calibration["a"].positive_rate
    assert found == pytest.approx(report["a"].selection_rate)


def test_mean_interval_stays_among_the_values():
    values = np.zeros(5_000)
    values[0] = 1.0
    estimate = mean_estimate(values, None, 0.95, np.random.default_rng(0))
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    same = mean_estimate(values[1:], None, 0.95, np.random.default_rng(0))
    assert same.value == 0 and np.isnan(same[1:]).all()


@pytest.mark.parametrize("n", [1, 2, 9, 10])
def test_few_values_have_no_interval(n):
    rng = np.random.default_rng(0)
    values, weights = rng.random(12), np.arange(12) < n
    for estimate in (
        mean_estimate(values[:n], None, 0.95, rng),
        mean_estimate(values, weights.astype(float), 0.95, rng),
    ):
        assert estimate.value == pytest.approx(values[:n].mean())
        assert np.isnan(estimate.low) == np.isnan(estimate.high) == (n < 10)


def test_equal_weights_are_no_weights():
    rng = np.random.default_rng(0)
    hits, weights = rng.random(100) < 0.3, np.full(100, 0.7)
    assert effective_size(weights) == pytest.approx(100)
    assert rate_estimate(hits, weights, 0.95) == pytest.approx(
        rate_estimate(hits, None, 0.95)
    )


def test_unequal_weights_widen():
    hits = np.arange(100) % 2 == 0
    weights = np.where(np.arange(100) < 4, 1.0, 0.01)
    even = rate_estimate(hits, None, 0.95)
    uneven = rate_estimate(hits, weights, 0.95)
    assert uneven.high - uneven.low > 3 * (even.high - even.low)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((3, 2), "successes"),
        ((-1, 2), "successes"),
        ((1, 2, 1.0), "confidence"),
        ((1, 2, float("nan")), "confidence"),
    ],
)
def test_wilson_errors(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        wilson_interval(*arguments)
