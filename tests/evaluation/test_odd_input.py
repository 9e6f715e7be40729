"""Input that NumPy would read as something else."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext import evaluation

SCORES = np.array([0.1, 0.9, 0.4, 0.7, 0.2, 0.8] * 5)
LABELS = np.array([0, 1, 0, 1, 1, 0] * 5)
GROUPS = np.array(["a", "b", "a"] * 10)
FAST = {"n_boot": 10, "n_permutations": 10}


def _hidden(values):
    mask = np.zeros(len(values), bool)
    mask[1] = True
    return np.ma.array(values, mask=mask)


@pytest.mark.parametrize(
    "name", ["y_true", "y_pred", "sensitive_features", "sample_weight"]
)
def test_what_a_mask_hides_is_missing(name):
    arguments = {
        "y_true": LABELS,
        "y_pred": SCORES,
        "sensitive_features": GROUPS,
        "sample_weight": np.ones(30),
    }
    arguments[name] = _hidden(arguments[name])
    with pytest.raises(ValueError, match=f"`{name}`"):
        evaluation.group_metrics(**arguments, **FAST)


def test_what_a_mask_hides_is_missing_to_a_probe():
    x = np.stack([SCORES, LABELS + SCORES], axis=1)
    mask = np.zeros(x.shape, bool)
    mask[2, 1] = True
    with pytest.raises(ValueError, match="`x`"):
        evaluation.linear_probe(np.ma.array(x, mask=mask), LABELS)
    with pytest.raises(ValueError, match="`z` must not hold missing"):
        evaluation.linear_probe(x, _hidden(LABELS))
    with pytest.raises(ValueError, match="`labels`"):
        evaluation.auc(_hidden(LABELS), SCORES)


def test_a_mask_that_hides_nothing_is_fine():
    masked = np.ma.array(SCORES, mask=np.zeros(30, bool))
    assert evaluation.auc(LABELS, masked) == evaluation.auc(LABELS, SCORES)


def test_ragged_rows_are_named():
    ragged = [[0.1, 0.2]] + [[0.3]] * 29
    with pytest.raises(ValueError, match="`y_pred` must be an array"):
        evaluation.group_metrics(LABELS, ragged, GROUPS)
    with pytest.raises(ValueError, match="`sensitive_features` must hold one"):
        evaluation.group_metrics(LABELS, SCORES, ragged)


@pytest.mark.parametrize("classes", [{"no", "yes"}, 2])
def test_classes_come_in_an_order(classes):
    labels = np.where(LABELS == 1, "y", "n")
    with pytest.raises(TypeError, match="`classes` must be a list"):
        evaluation.group_metrics(labels, SCORES, GROUPS, classes=classes)
    with pytest.raises(TypeError, match="`classes` must be a list"):
        evaluation.flips(SCORES, SCORES[::-1], classes=classes)


def test_classes_may_be_read_once():
    one, two = (
        evaluation.group_metrics(LABELS, SCORES, GROUPS, classes=c, **FAST)
        for c in ([0, 1], iter([0, 1]))
    )
    assert one["overall"].accuracy == two["overall"].accuracy


@pytest.mark.parametrize("seed", ["2", 2.0, -1, True, 2**32, float("nan")])
def test_seeds_are_checked(seed):
    x = np.stack([SCORES, LABELS], axis=1)
    for measure in (
        lambda: evaluation.group_metrics(LABELS, SCORES, GROUPS, seed=seed),
        lambda: evaluation.flips(SCORES, SCORES, seed=seed),
        lambda: evaluation.linear_probe(x, LABELS, seed=seed),
        lambda: evaluation.leakage({}, x, LABELS, seed=seed, verbose=0),
    ):
        with pytest.raises(ValueError, match="`seed` must be an integer"):
            measure()
