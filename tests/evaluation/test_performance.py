import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from tensorflow_model_remediation_ext.evaluation import (
    accuracy,
    auc,
    wilson_interval,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 10**6))
def test_auc_counts_pairs(m, n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [m, n]))
    scores = rng.integers(0, 8, m + n)  # Many ties.
    estimate = auc(labels, scores)
    assert estimate.value == pytest.approx(roc_auc_score(labels, scores))
    assert 0 <= estimate.low <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.high <= 1
    # The other class is the mirror image.
    mirrored = auc(1 - labels, scores)
    assert mirrored.low == pytest.approx(1 - estimate.high)


def delong(labels, scores):
    wins = np.sign(scores[labels][:, None] - scores[~labels]) / 2 + 0.5
    return (
        wins.mean(1).var(ddof=1) / labels.sum()
        + wins.mean(0).var(ddof=1) / (~labels).sum()
    )


@pytest.mark.parametrize("n", [60, 6_000])
def test_auc_interval_holds_what_is_compatible(n):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3 == 0
    scores = rng.integers(0, 20, n) + 4 * labels
    area, *ends = auc(labels, scores)
    positives, negatives = labels.sum(), (~labels).sum()

    def supposed(t):
        more = n / 2 - 1
        spread = 1 + more * ((1 - t) / (2 - t) + t / (1 + t))
        return t * (1 - t) * spread / positives / negatives

    size = 2 * positives * negatives / n
    ratio = delong(labels, scores) / supposed(area)
    ratio = (10 + size * ratio) / (10 + size)
    for end in ends:
        error = 1.959964 * np.sqrt(ratio * supposed(end))
        assert abs(area - end) == pytest.approx(error, rel=1e-6)
    if n > 1_000:  # Where there are many examples, it is DeLong's.
        width = 2 * 1.959964 * np.sqrt(delong(labels, scores))
        assert ends[1] - ends[0] == pytest.approx(width, rel=0.01)


@pytest.mark.parametrize(
    ("positives", "negatives", "area"),
    [(2, 2, 0.76), (2, 2, 0.6), (5, 45, 0.9), (40, 60, 0.9)],
)
def test_auc_interval_covers(positives, negatives, area):
    rng = np.random.default_rng(0)
    labels = np.arange(positives + negatives) < positives
    apart = np.sqrt(2) * stats.norm.ppf(area)
    estimates = [
        auc(labels, rng.normal(size=len(labels)) + apart * labels)
        for _ in range(500)
    ]
    coverage = np.mean([e.low <= area <= e.high for e in estimates])
    assert coverage > 0.92
    assert coverage < 0.98 or positives == 2


def test_perfect_separation_is_not_certain():
    low = [0.0]
    for m in (2, 5, 50, 5_000):
        estimate = auc(np.arange(2 * m) >= m, np.arange(2 * m))
        assert estimate.value == estimate.high == 1
        low.append(estimate.low)
    assert low == sorted(low) and low[1] < 0.6 and 0.99 < low[-1] < 1
    mirrored = auc([0, 0, 1, 1], [4, 3, 2, 1])
    assert mirrored[:2] == (0, 0)
    assert mirrored.high == pytest.approx(1 - low[1])


def test_accuracy_takes_columns_and_logits():
    estimate = accuracy([[0], [1], [1]], [[-2.0], [0.1], [-1.0]], threshold=0.0)
    assert estimate.value == pytest.approx(2 / 3)
    assert estimate[1:] == pytest.approx(wilson_interval(2, 3))


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [0.1], "equally long"),
        ([0, 2], [0.1, 0.2], "`labels` must be zeros and ones.*: 2"),
        (["no", "yes"], [0.1, 0.2], "`labels` must be an array of numbers.*no"),
        ([0, 1], ["a", "b"], "`predictions` must be an array of numbers"),
        ([0, 1], [0.1, np.nan], "`predictions` must be finite.*nan in row 1"),
        ([0, 1], [[np.inf], [0.1]], "`predictions` must be finite.*inf in"),
        ([0, 1], [[0.1, 0.2], [0.3, 0.4]], "`predictions`.*shape"),
        ([], [], "at least one row"),
        ([0, 0, 1], [0.1, 0.2, 0.3], "two examples of each class"),
    ],
)
def test_errors(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        auc(labels, predictions)


@pytest.mark.parametrize("threshold", [float("nan"), None, "0.5"])
def test_accuracy_refuses_thresholds_that_are_no_number(threshold):
    with pytest.raises(ValueError, match="`threshold` must be a finite"):
        accuracy([0, 1], [0.2, 0.3], threshold=threshold)


def test_accuracy_refuses_logits_at_half():
    with pytest.raises(ValueError, match="`predictions` must be probabilities"):
        accuracy([0, 1], [-2.0, 3.0])
