"""What is no number is refused by name, before a backend casts it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.keras import (
    metrics as pair_metrics,
)
from tensorflow_model_remediation_ext.counterfactual.losses import (
    PairwiseMSELoss,
)
from tensorflow_model_remediation_ext.min_diff.keras.metrics import RateGap
from tensorflow_model_remediation_ext.min_diff.losses import MMDLoss

SCORES = np.array([0.1, 0.9, 0.4, 0.7])
MEMBERSHIP = np.array([0, 1, 0, 1])
RAGGED = tf.ragged.constant([[0.1], [0.9, 0.4], [0.7], []])
HIDDEN = np.ma.array(SCORES, mask=[True, False, False, False])
NO_NUMBERS = [
    HIDDEN,
    RAGGED,
    SCORES * 1j,
    SCORES.astype(str),
    ["one", "two", "three", "four"],
    np.arange(4).astype("datetime64[D]"),
    np.array([0.1, None, "x", 1.0], object),
    [[0.1], [0.2, 0.3], [0.1], [0.1]],
    {"a": 1.0},
    object(),
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
@pytest.mark.parametrize(
    "measure",
    [
        PairwiseMSELoss(),
        pair_metrics.FlipRate(),
        pair_metrics.CounterfactualGap(),
    ],
    ids=lambda measure: measure.name,
)
def test_of_pairs(measure, value):
    arguments = {
        "original": SCORES,
        "counterfactual": SCORES,
        "sample_weight": np.ones(4),
    }
    for name in arguments:
        with pytest.raises(ValueError, match=f"{measure.name}: `{name}`"):
            measure(**{**arguments, name: value})


@pytest.mark.parametrize("value", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
@pytest.mark.parametrize("measure", [MMDLoss(), RateGap()], ids=["mmd", "gap"])
def test_of_groups(measure, value):
    arguments = {
        "membership": MEMBERSHIP,
        "predictions": SCORES,
        "sample_weight": np.ones(4),
    }
    for name in arguments:
        with pytest.raises(ValueError, match=f"`{name}`"):
            measure(**{**arguments, name: value})


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_weights_of_pairs_are_those_of_groups(weight):
    weights = np.array([1.0, weight, 1.0, 1.0])
    for measure in (PairwiseMSELoss(), pair_metrics.FlipRate()):
        with pytest.raises(ValueError, match="`sample_weight` must be finite"):
            measure(SCORES, SCORES[::-1].copy(), sample_weight=weights)


def test_a_mask_that_hides_nothing_is_fine():
    plain, masked = SCORES[::-1].copy(), np.ma.array(SCORES)
    loss = PairwiseMSELoss()
    assert float(loss(masked, plain)) == float(loss(SCORES, plain))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a graph")
def test_negative_weights_are_nan_in_a_graph():
    import tensorflow as tf

    loss = tf.function(PairwiseMSELoss())
    assert np.isnan(loss(SCORES, SCORES[::-1].copy(), tf.constant([-1.0] * 4)))
