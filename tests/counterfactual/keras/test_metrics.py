"""Metrics on pairs of predictions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.keras.metrics import (
    CounterfactualGap,
    FlipCount,
    FlipRate,
)

RNG = np.random.default_rng(0)
METRICS = [FlipRate, FlipCount, CounterfactualGap]


def binary(shape):
    a, b = RNG.uniform(size=(2, *shape)).astype("float32")
    flips = ((a > 0.5) != (b > 0.5)).reshape(-1)
    return a, b, flips, np.abs(a - b).reshape(-1)


def multiclass():
    a, b = RNG.uniform(size=(2, 40, 3)).astype("float32")
    return a, b, a.argmax(-1) != b.argmax(-1), np.abs(a - b).mean(-1)


@pytest.mark.parametrize(
    "pairs", [binary((40,)), binary((40, 1)), multiclass()], ids=len
)
def test_values_over_batches(pairs):
    a, b, flips, gaps = pairs
    weight = RNG.uniform(0, 2, 40).astype("float32")
    for w in (None, weight, weight[:, None]):
        found = []
        for metric in (FlipRate(), FlipCount(), CounterfactualGap()):
            for rows in (slice(0, 7), slice(7, 30), slice(30, 40)):
                metric.update_state(
                    a[rows], b[rows], w if w is None else w[rows]
                )
            found.append(float(metric.result()))
        total = np.ones(40) if w is None else weight
        expected = [
            np.average(flips, weights=total),
            np.sum(flips * total),
            np.average(gaps, weights=total),
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_empty_reset_and_config(metric):
    instance = metric(name="mine")
    assert float(instance.result()) == 0.0
    instance.update_state([[0.9]], [[0.1]])
    assert float(instance.result()) > 0
    instance.reset_state()
    assert float(instance.result()) == 0.0
    restored = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(instance)
    )
    assert type(restored) is metric and restored.name == "mine"


def test_threshold():
    a, b = [[0.6], [0.2]], [[0.8], [0.1]]
    assert float(FlipRate()(a, b)) == 0.0
    metric = FlipRate.from_config(FlipRate(threshold=0.7).get_config())
    assert float(metric(a, b)) == 0.5
    # A decision is "greater than": equal is negative.
    assert float(FlipRate()([[0.5]], [[0.4]])) == 0.0
    for threshold in (np.nan, "flips", None):
        with pytest.raises(ValueError, match=r"`threshold`.*finite"):
            FlipRate(threshold)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("columns", [1, 3])
def test_nan_is_no_decision(metric, columns):
    a, b = RNG.uniform(size=(2, 4, columns)).astype("float32")
    a[1, 0] = np.nan
    assert np.isnan(float(metric()(a, b)))
    assert np.isnan(float(metric()(b, a)))
    # A pair without weight is not heard.
    weight = np.array([1.0, 0.0, 2.0, 1.0], "float32")
    kept = weight > 0
    found, expected = (
        metric()(a, b, weight),
        metric()(a[kept], b[kept], weight[kept]),
    )
    assert float(found) == pytest.approx(float(expected))


def test_infinite_logits_are_decisions():
    a, b = [[np.inf], [-np.inf], [np.inf]], [[-np.inf], [-np.inf], [2.0]]
    assert float(FlipRate(0.0)(a, b)) == pytest.approx(1 / 3)


def test_sequences_of_decisions():
    a = np.zeros((2, 3, 2), "float32")
    b = a.copy()
    b[0, 1, 1] = 1.0
    assert float(FlipRate()(a, b)) == pytest.approx(1 / 6)
    assert float(FlipCount()(a, b, [2.0, 1.0])) == pytest.approx(2.0)


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
    a = np.array([[[0.9], [0.9], [0.9]]], "float32")
    b = np.array([[[0.1], [0.8], [0.1]]], "float32")
    some, every = Masked([True, True, False]), Masked([True, True, True])
    for pair in ((some(a), every(b)), (every(b), some(a))):
        assert float(FlipRate()(*pair)) == pytest.approx(1 / 2)
        assert float(FlipCount()(*pair, [3.0])) == pytest.approx(3)
        assert float(CounterfactualGap()(*pair)) == pytest.approx(0.45)


def test_sparse_and_shapes():
    a = tf.sparse.from_dense([[0.0, 0.9], [0.8, 0.0]])
    assert float(FlipRate()(a, a)) == 0.0
    for metric in METRICS:
        with pytest.raises(ValueError, match=r"\(2, 1\).*\(3, 1\)"):
            metric()(np.zeros((2, 1)), np.zeros((3, 1)))
