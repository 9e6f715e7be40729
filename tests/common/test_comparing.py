"""Predictions made comparable: masks and weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.comparing import compare
from tensorflow_model_remediation_ext.common.masks import mask_of

RNG = np.random.default_rng(0)
A, B = RNG.uniform(size=(2, 2, 3, 4)).astype("float32")
WEIGHT = np.array([2.0, 0.5], "float32")
IDS = np.array([[1, 2, 0], [3, 0, 0]])


def masked(values):
    """The values, with the mask `IDS != 0`."""
    return keras.layers.Masking()(np.where(IDS[..., None] != 0, values, 0))


def test_without_masks_nothing_is_copied():
    a = tf.constant(A)
    pair = compare(a, B, None, "owner")
    assert pair.original is a
    assert pair.weight is None and pair.weight_for("sum") is None


def test_masks_are_folded_into_weights_once():
    one = masked(A)
    for original, counterfactual in ((one, B), (B, one)):
        pair = compare(original, counterfactual, WEIGHT, "owner")
        expected = WEIGHT[:, None] * (IDS != 0)
        np.testing.assert_allclose(pair.weight, expected)
        # What comes out has no mask, so nobody can count it again.
        assert mask_of(pair.original) is mask_of(pair.counterfactual) is None
        again = compare(
            pair.original, pair.counterfactual, pair.weight, "owner"
        )
        np.testing.assert_allclose(again.weight, expected)
        np.testing.assert_allclose(
            pair.weight_for("sum_over_batch_size"), expected * 2
        )
        np.testing.assert_allclose(pair.weight_for("sum"), expected)


@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"]
)
def test_losses_are_those_that_keras_computes_with_its_mask(reduction):
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    pair = compare(B, masked(A), WEIGHT[:, None], "owner")
    found = loss(pair.original, pair.counterfactual, pair.weight_for(reduction))
    weight = WEIGHT[:, None] * np.ones((1, 3), "float32")
    np.testing.assert_allclose(found, loss(B, masked(A), weight), rtol=1e-6)


def test_a_mask_that_hides_everything_gives_zero():
    pair = compare(A, B, None, "owner")._replace(
        weight=np.zeros((2, 3), "float32"), unmasked=np.float32(0)
    )
    assert not np.any(pair.weight_for("mean"))


def test_integers_become_floats():
    pair = compare(np.eye(2, dtype="int32"), np.eye(2) > 0, [1, 2], "owner")
    for tensor in pair[:3]:
        assert keras.backend.standardize_dtype(tensor.dtype) == "float32"


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_dtypes_may_differ(dtype):
    pair = compare(A.astype("float16"), masked(B), WEIGHT.astype(dtype), "o")
    np.testing.assert_allclose(pair.weight, WEIGHT[:, None] * (IDS != 0))


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"owner.*\(2, 3, 4\).*\(2, 3, 1\)"):
        compare(A, B[..., :1], None, "owner")
    with pytest.raises(ValueError, match=r"owner: `sample_weight` must be of"):
        compare(A, B, np.ones((2, 2)), "owner")
