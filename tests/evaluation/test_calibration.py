import numpy as np
import pytest

from tensorflow_model_remediation_ext.evaluation import (
    group_metrics,
    wilson_interval,
)
from tensorflow_model_remediation_ext.evaluation.binned_gaps import binned_gaps


def calibration_error(y, p, **options):
    report = group_metrics(y, p, ["a"] * len(y), n_permutations=1, **options)
    return report.calibration["a"].calibration_error


def missed(pairs, truth):
    """Returns how often an interval misses, and the mean width."""
    draws = np.random.default_rng(1).standard_normal((500, 10))
    found = []
    for y, p in pairs:
        every = np.ones(len(y))
        (gaps,) = binned_gaps(y, p, every, every[:, None] > 0, 10)
        found.append(gaps.error(0.95, draws))
    _, low, high = np.transpose(found)
    return np.mean((low > truth) | (high < truth)), np.mean(high - low)


@pytest.mark.parametrize("n", [1, 3, 30])
@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_no_error_among_a_few_certain_rows_is_not_certain(n, certain):
    found = calibration_error(np.full(n, certain), np.full(n, certain))
    _, high = wilson_interval(0, n)
    assert found[:2] == (0, 0)
    assert 0.6 * high < found.high < 1.2 * high


def test_of_several_classes_neither():
    found = calibration_error([0, 1, 2], np.eye(3))
    assert found[:2] == (0, 0) and found.high > 0.3


def test_a_rate_unlike_its_prediction_may_be_further_off_still():
    # Ten of ten positive where one in fifty was said: Wilson's lower end for
    # the rate is .72.
    found = calibration_error(np.ones(10), np.full(10, 0.02))
    low, _ = wilson_interval(10, 10)
    assert found.value == pytest.approx(0.98)
    assert found.low < low
    # And none of ten: the rate may be more than ten times what was said.
    found = calibration_error(np.zeros(10), np.full(10, 0.02))
    _, high = wilson_interval(0, 10)
    assert found.high > 0.6 * (high - 0.02)


@pytest.mark.parametrize("wrong", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("n", [3, 10, 30])
def test_intervals_of_hard_decisions_cover(wrong, n):
    rng = np.random.default_rng(0)

    def decided():
        y = rng.random(n) < 0.5
        return y, np.where(rng.random(n) < wrong, ~y, y).astype(float)

    share, _ = missed((decided() for _ in range(200)), wrong)
    assert share < 0.1


@pytest.mark.parametrize("off", [0.0, 0.25])
def test_intervals_of_probabilities_cover(off):
    rng = np.random.default_rng(0)

    def predicted():
        p = rng.random(50)
        return rng.random(50) < (1 - 2 * off) * p + off, p

    share, width = missed((predicted() for _ in range(200)), off / 2)
    assert share < 0.1 and width < 0.4


def test_many_bins_keep_their_rows_apart():
    rng = np.random.default_rng(0)
    y, p = rng.integers(2, size=3_000), rng.random(3_000)
    report = group_metrics(
        y, p, ["a"] * 3_000, bins=2_000, n_permutations=1, n_boot=20
    ).calibration
    assert len(report.to_dict()["bins"]) == len(report.bins)
