import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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


def test_auc_variance_is_delongs():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3 == 0
    scores = rng.integers(0, 20, 60) + 4 * labels
    wins = np.sign(scores[labels][:, None] - scores[~labels]) / 2 + 0.5
    area = wins.mean()
    variance = (
        wins.mean(1).var(ddof=1) / labels.sum()
        + wins.mean(0).var(ddof=1) / (~labels).sum()
    )
    estimate = auc(labels, scores)
    logits = [np.log(p / (1 - p)) for p in estimate]
    assert logits[0] == pytest.approx(np.log(area / (1 - area)))
    half = 1.959964 * np.sqrt(variance) / (area * (1 - area))
    assert logits[2] - logits[0] == pytest.approx(half)
    assert logits[0] - logits[1] == pytest.approx(half)


def test_auc_interval_covers():
    rng = np.random.default_rng(0)
    labels = np.arange(100) < 40
    # Normal scores 1.812 apart have an area of 0.9.
    estimates = [
        auc(labels, rng.normal(size=100) + 1.8124 * labels, confidence=0.9)
        for _ in range(500)
    ]
    coverage = np.mean([e.low <= 0.9 <= e.high for e in estimates])
    assert 0.86 < coverage < 0.94


def test_perfect_separation_has_no_width():
    assert auc([0, 0, 1, 1], [1, 2, 3, 4]) == (1, 1, 1)
    assert auc([0, 0, 1, 1], [4, 3, 2, 1]) == (0, 0, 0)


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


def test_accuracy_refuses_logits_at_half():
    with pytest.raises(ValueError, match="`predictions` must be probabilities"):
        accuracy([0, 1], [-2.0, 3.0])
