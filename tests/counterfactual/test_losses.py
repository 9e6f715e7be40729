"""Losses on pairs of predictions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext import counterfactual
from tensorflow_model_remediation_ext.counterfactual.losses import (
    CounterfactualLoss,
    PairwiseAbsoluteDifferenceLoss,
    PairwiseCosineLoss,
    PairwiseMSELoss,
)

LOSSES = [PairwiseMSELoss, PairwiseAbsoluteDifferenceLoss, PairwiseCosineLoss]
RNG = np.random.default_rng(0)
A = RNG.uniform(size=(6, 3)).astype("float32")
B = RNG.uniform(size=(6, 3)).astype("float32")


def logit(p):
    return np.log(p) - np.log1p(-p)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cosine_distance(a, b):
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return 1 - (a * b).sum(-1) / norms


EXPECTED = {
    PairwiseMSELoss: lambda a, b: np.mean((a - b) ** 2, axis=-1),
    PairwiseAbsoluteDifferenceLoss: lambda a, b: np.mean(np.abs(a - b), -1),
    PairwiseCosineLoss: cosine_distance,
}
TRANSFORMS = {
    None: lambda x: x,
    "logit": logit,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": softmax,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_values(loss, transform):
    change = TRANSFORMS[transform]
    expected = EXPECTED[loss](change(A), change(B))
    instance = loss(transform=transform)
    np.testing.assert_allclose(instance(A, B), expected.mean(), rtol=1e-4)
    # Sum over pairs, weighted, divided by the number of pairs.
    weight = np.arange(6, dtype="float32")
    np.testing.assert_allclose(
        instance(A, B, weight), np.mean(weight * expected), rtol=1e-4
    )
    np.testing.assert_allclose(
        instance(original=A, counterfactual=B, sample_weight=weight[:, None]),
        np.mean(weight * expected),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        loss(transform=transform, reduction=None)(A, B), expected, rtol=1e-4
    )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_zero_for_identical_predictions(loss, transform):
    extremes = np.array([[0.0, 1.0], [0.0, 0.0], [1.0, 1e-9]], "float32")
    assert float(loss(transform=transform)(extremes, extremes)) == 0.0
    assert float(loss(transform=transform)(A, A)) == 0.0


def test_logit_is_finite_and_has_a_gradient_inside():
    loss = PairwiseMSELoss(transform="logit")
    assert np.isfinite(float(loss([[0.0], [1.0]], [[1.0], [0.0]])))
    p = tf.Variable([[0.999], [0.5]])
    with tf.GradientTape() as tape:
        value = loss(p, tf.constant([[0.5], [0.4]]))
    assert np.all(tape.gradient(value, p).numpy() > 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_logit_is_finite_in_every_precision(dtype):
    loss = PairwiseMSELoss(transform="logit", dtype=dtype)
    value = float(loss([[0.0], [1.0]], [[1.0], [0.0]]))
    assert np.isfinite(value) and value > 50


def test_gradients_of_cosine_at_zero_vectors_are_small():
    v = tf.Variable([[0.0, 0.0], [1.0, 0.0]])
    with tf.GradientTape() as tape:
        value = PairwiseCosineLoss()(v, tf.constant([[1.0, 0.0], [0.0, 1.0]]))
    assert np.abs(tape.gradient(value, v).numpy()).max() <= 1


@pytest.mark.parametrize("loss", LOSSES[:2])
def test_rank_one_predictions_are_one_column(loss):
    weight = [1.0, 2.0]
    np.testing.assert_allclose(
        loss()([0.1, 0.5], [0.2, 0.9], weight),
        loss()([[0.1], [0.5]], [[0.2], [0.9]], weight),
    )


def test_sparse_predictions_are_densified():
    np.testing.assert_allclose(
        PairwiseMSELoss()(tf.sparse.from_dense(A), tf.sparse.from_dense(B)),
        PairwiseMSELoss()(A, B),
    )


class Masked(keras.layers.Layer):
    """Gives its input a mask, by the way that Keras has for it."""

    def __init__(self, *mask):
        super().__init__()
        self.rows = mask

    def call(self, inputs):
        return keras.ops.copy(inputs)

    def compute_mask(self, inputs, previous_mask):
        return keras.ops.convert_to_tensor(self.rows, dtype="bool")


def test_masked_positions_do_not_count():
    masked = Masked([True, True, False], [True, False, False])
    a, b = RNG.uniform(size=(2, 2, 3, 2)).astype("float32")
    loss = PairwiseMSELoss("sigmoid")
    first = float(loss(masked(a), masked(b)))
    rows = np.array([0, 0, 1]), np.array([0, 1, 0])
    assert first == pytest.approx(float(loss(a[rows], b[rows])), rel=1e-5)
    a[0, 2], a[1, 1:] = 9.0, -9.0
    assert float(loss(masked(a), masked(b))) == pytest.approx(first)


def test_a_position_masked_in_either_half_does_not_count():
    a, b = RNG.uniform(size=(2, 1, 3, 2)).astype("float32")
    both = PairwiseMSELoss()(a[:, 1:2], b[:, 1:2])
    first, last = Masked([False, True, True]), Masked([True, True, False])
    for one, other in ((first, last), (last, first)):
        loss = PairwiseMSELoss()(one(a), other(b))
        np.testing.assert_allclose(loss, both, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_those_of_pairs_in_predictions_of_any_rank(loss):
    a, b = RNG.uniform(size=(2, 4, 4, 2)).astype("float32")
    weight = np.array([1, 0, 3, 0.5], "float32")
    expected = np.mean(
        [w * float(loss()(a[[i]], b[[i]])) for i, w in enumerate(weight)]
    )
    for w in (weight, weight[:, None], np.tile(weight[:, None], 4)):
        np.testing.assert_allclose(loss()(a, b, w), expected, rtol=1e-5)
    for wrong in (weight[:3], np.ones((4, 4, 2))):
        with pytest.raises(ValueError, match="`sample_weight` must be of sh"):
            loss()(a, b, wrong)


def test_bad_predictions():
    with pytest.raises(ValueError, match=r"\(6, 3\).*\(6, 2\)"):
        PairwiseMSELoss()(A, B[:, :2])
    with pytest.raises(ValueError, match=r"\(6, 3\).*\(5, 3\)"):
        PairwiseMSELoss()(A, B[:5])
    for one_column in (A[:, :1], A[:, 0]):
        with pytest.raises(ValueError, match="cosine of two numbers"):
            PairwiseCosineLoss()(one_column, one_column)
    with pytest.raises(ValueError, match="transform='nonsense'"):
        PairwiseMSELoss(transform="nonsense")
    with pytest.raises(NotImplementedError, match="call"):
        CounterfactualLoss()(A, B)


@keras.saving.register_keras_serializable("test_losses")
def double(x):
    return 2.0 * x


@keras.saving.register_keras_serializable("test_losses")
class PairwiseMaxLoss(CounterfactualLoss):
    def call(self, original, counterfactual):
        return keras.ops.max(keras.ops.abs(original - counterfactual), axis=-1)


@pytest.mark.parametrize("loss", [*LOSSES, PairwiseMaxLoss])
@pytest.mark.parametrize("transform", [None, "logit", double])
def test_serialization(loss, transform):
    instance = loss(transform=transform, name="mine", reduction="sum")
    config = keras.saving.serialize_keras_object(instance)
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is loss
    assert (restored.name, restored.reduction) == ("mine", "sum")
    np.testing.assert_allclose(restored(A, B), instance(A, B))
    # And once more from what was restored.
    again = keras.saving.serialize_keras_object(restored)
    assert again == config


def test_public_paths():
    assert counterfactual.keras.PairwiseMSELoss is PairwiseMSELoss
    assert PairwiseMSELoss().name == "pairwise_mse_loss"
    assert (
        counterfactual.keras.CounterfactualModel
        is counterfactual.keras.models.CounterfactualModel
    )


@keras.saving.register_keras_serializable("test_losses")
class _Named(CounterfactualLoss):
    def __init__(self, name=None):
        super().__init__(transform="sigmoid", name=name, reduction="sum")

    def call(self, original, counterfactual):
        return keras.ops.sum(keras.ops.abs(original - counterfactual), axis=-1)


def test_a_loss_that_takes_a_name_only():
    """It saves and loads; its class's name is no scope of TensorFlow."""
    loss = _Named()
    assert loss.name == "named"
    graph = tf.function(lambda a, b: loss(a, b))
    np.testing.assert_allclose(graph(A, B), loss(A, B), rtol=1e-6)
    config = keras.saving.serialize_keras_object(loss)
    restored = keras.saving.deserialize_keras_object(config)
    np.testing.assert_allclose(restored(A, B), loss(A, B))
    assert type("Größe", (PairwiseMSELoss,), {})().name == "gre"


@keras.saving.register_keras_serializable("test_losses")
class Margin(PairwiseMSELoss):
    def __init__(self, margin=0.1, **kwargs):
        super().__init__(**kwargs)
        self.margin = margin


def test_arguments_that_would_be_lost_are_told():
    with pytest.raises(ValueError, match=r"override `get_config`.*'margin'"):
        keras.saving.serialize_keras_object(Margin(0.5))


def test_a_call_with_weights_of_its_own_is_refused():
    """As in the predecessor, where it weighed and reduced."""

    class Weighing(CounterfactualLoss):
        def call(self, original, counterfactual, sample_weight=None):
            return keras.losses.MeanSquaredError()(
                original, counterfactual, sample_weight
            )

    with pytest.raises(TypeError, match=r"Weighing.call.*value for each pair"):
        Weighing()


def test_names_ignore_case():
    for name in ("pairwise_mse_loss", "Pairwise_MSE_Loss"):
        assert type(counterfactual.losses.get(name)) is PairwiseMSELoss
    with pytest.raises(ValueError, match=r"given as `name=...`.*'x'"):
        PairwiseMSELoss("x")


def test_dtypes_are_saved():
    loss = PairwiseMSELoss(dtype="float16")
    restored = PairwiseMSELoss.from_config(loss.get_config())
    assert keras.backend.standardize_dtype(restored(A, B).dtype) == "float16"


def test_predictions_that_are_missing_are_named():
    with pytest.raises(ValueError, match=r"`original`.*Received: None"):
        PairwiseMSELoss()(None, B)
    with pytest.raises(ValueError, match=r"`counterfactual`.*Received: None"):
        PairwiseMSELoss()(A, None)
    loss = PairwiseMSELoss(lambda predictions: None)
    with pytest.raises(ValueError, match=r"`transform`.*Received: None"):
        loss(A, B)
