"""MinDiffModel and targets where they need a process of their own.

Keras' other backends need `KERAS_BACKEND` before Keras is imported; and
TensorFlow 2.16 mixes up what replicas send one another in training with what
those of another strategy of the process have sent.
"""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

COMMON = """
import json, sys
import keras, numpy as np, tensorflow as tf
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel, CounterfactualPackedInputs)
from tensorflow_model_remediation_ext.min_diff.keras import (
    AtMost, MinDiffModel, build_min_diff_dataset, pack_min_diff_data)
from tensorflow_model_remediation_ext.min_diff.keras.metrics import RateGap
from tensorflow_model_remediation_ext.min_diff.losses import (
    AbsoluteCorrelationLoss, AdjustedMMDLoss, MMDLoss, RateGapLoss)

rows = 48
rng = np.random.default_rng(0)
x = rng.normal(size=(rows, 4)).astype("float32")
y = (x[:, :1] + x[:, 1:2] > 0).astype("float32")
group = (np.arange(rows) % 2).astype("int64")
x[:, 1] += group
weight = rng.uniform(0.5, 2, rows).astype("float32")

def make_wrapped():
    return keras.Sequential([
        keras.Input((4,)),
        keras.layers.Dense(3, "tanh",
                           kernel_initializer=keras.initializers.Constant(0.3)),
        keras.layers.Dense(1, "sigmoid", kernel_initializer="ones")])

def pack(size):
    # The sensitive group first, as in the predecessor.
    task = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    halves = [
        tf.data.Dataset.from_tensor_slices((x[m], y[m], weight[m])).batch(size)
        for m in (group == 1, group == 0)]
    return pack_min_diff_data(task, *halves)

def train(loss, weight, epochs=3, rate=0.5):
    model = MinDiffModel(make_wrapped(), loss, weight)
    model.compile(keras.optimizers.SGD(rate), "binary_crossentropy",
                  min_diff_metrics=[RateGap()])
    logs = model.fit(pack(8), epochs=epochs, verbose=0, shuffle=False).history
    return model, logs
"""

TWO_REPLICAS = (
    """
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
"""
    + COMMON
    + """
import warnings
warnings.simplefilter("ignore")
weight = np.ones(rows, "float32")
one, one_logs = train(RateGapLoss(), AtMost(0.05))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    two, two_logs = train(RateGapLoss(), AtMost(0.05))
assert one_logs["min_diff_multiplier"][-1] != 0
for name in ("loss", "rate_gap", "min_diff_multiplier", "min_diff_running"):
    np.testing.assert_allclose(
        two_logs[name], one_logs[name], rtol=1e-3, atol=1e-4, err_msg=name)
for a, b in zip(one.get_weights(), two.get_weights()):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
with strategy.scope():
    _, logs = train(MMDLoss(), 1.0)
# A batch that is cut in two has both groups in either half.
assert all(value != 0 for value in logs["min_diff_loss"])

# Each replica compares the groups in its half, and the penalty is the mean.
with strategy.scope():
    _, logs = train(MMDLoss(), 1.0, epochs=1, rate=0.0)
wrapped, halves = make_wrapped(), []
for inputs, *_ in pack(8):
    rows, membership, row_weight = inputs.min_diff_data
    predictions = wrapped(rows)
    parts = [
        tf.reshape(each, [2, 2, 4, -1])  # Group, replica, rows.
        for each in (membership, predictions, row_weight)]
    halves += [
        float(MMDLoss()(*(tf.reshape(p[:, r], [8, 1]) for p in parts)))
        for r in range(2)]
np.testing.assert_allclose(logs["min_diff_loss"], np.mean(halves), rtol=1e-4)
"""
)

BACKEND = (
    COMMON
    + """
import warnings
warnings.simplefilter("ignore")
assert keras.backend.backend() == sys.argv[1]
out = {}
for loss in (MMDLoss(), MMDLoss("laplacian", unbiased=False),
             AdjustedMMDLoss(), AbsoluteCorrelationLoss(), RateGapLoss()):
    # Faster training amplifies rounding: 1e-7 in a weight becomes 2e-3.
    model, logs = train(loss, 1.0, rate=0.1)
    key = f"{loss.name} {getattr(loss, 'unbiased', '')}"
    out[key] = [logs, [w.tolist() for w in model.get_weights()]]
for target in (0.05, 0.3):
    model, logs = train(RateGapLoss(), AtMost(target), rate=0.1)
    out[f"target {target}"] = [logs, [w.tolist() for w in model.get_weights()]]
    before = [w.copy() for w in model.get_weights()]
    model.evaluate(pack(8), verbose=0)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
model.save(sys.argv[2] + "/m.keras")
loaded = keras.models.load_model(sys.argv[2] + "/m.keras")
for a, b in zip(loaded.get_weights(), model.get_weights()):
    np.testing.assert_array_equal(a, b)

pairs = tf.data.Dataset.from_tensor_slices(CounterfactualPackedInputs(
    (x, y), (x, x * np.array([1, -1, 1, 1], "float32"), weight))).batch(8)
model = CounterfactualModel(make_wrapped(), loss_weight=AtMost(0.01))
model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
logs = model.fit(pairs, epochs=3, verbose=0, shuffle=False).history
assert logs["counterfactual_multiplier"][-1] > 0
out["pairs"] = [logs, [w.tolist() for w in model.get_weights()]]

# What cannot be compared: nothing, and no gradient.
for loss in (MMDLoss(), RateGapLoss(), AbsoluteCorrelationLoss()):
    assert float(loss(np.ones(4), np.linspace(0.1, 0.9, 4))) == 0
for bad in ((group + 1)[:4], np.array([0, 1, 0.5, 1])):
    try:
        MMDLoss()(bad, np.linspace(0.1, 0.9, 4))
    except ValueError as error:
        assert "membership" in str(error)
    else:
        raise AssertionError("ids of no group pass")
print(json.dumps(out, default=float))
"""
)


def run(script, *arguments, **environment):
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


@pytest.mark.slow
def test_two_replicas_equal_one():
    run(TWO_REPLICAS)


@pytest.mark.slow
def test_backends_agree(tmp_path):
    found = {}
    for backend in ("tensorflow", "jax", "torch"):
        if importlib.util.find_spec(backend) is None:
            # CI installs both and sets this, so that a skip cannot hide there.
            assert not os.environ.get("REQUIRE_BACKENDS")
            pytest.skip(f"{backend} is not installed (extra [backends])")
        printed = run(BACKEND, backend, tmp_path, KERAS_BACKEND=backend)
        found[backend] = json.loads(printed.splitlines()[-1])
    for backend in ("jax", "torch"):
        for key, (logs, weights) in found["tensorflow"].items():
            others, other_weights = found[backend][key]
            assert others.keys() == logs.keys(), (backend, key)
            for name, values in logs.items():
                np.testing.assert_allclose(
                    others[name],
                    values,
                    rtol=1e-3,
                    atol=1e-4,
                    err_msg=f"{backend} {key} {name}",
                )
            for a, b in zip(weights, other_weights, strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)
