"""CounterfactualModel on several machines: real processes, on one machine.

Keras trains on several machines with its JAX backend, by `keras.distribution`.
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys

import pytest

# One script for a process alone and for each of two. Prints figures as JSON.
SCRIPT = """
import json, os, sys
import keras, numpy as np, tensorflow as tf

directory, processes, process, address = sys.argv[1:]
if processes == "2":
    keras.distribution.initialize(address, 2, int(process))
    import jax
    assert jax.process_count() == len(keras.distribution.list_devices()) == 2
    keras.distribution.set_distribution(keras.distribution.DataParallel())

from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel, build_counterfactual_data, metrics,
    pack_counterfactual_data)

rng = np.random.default_rng(0)
keras.utils.set_random_seed(0)
tokens = [list(rng.integers(1, 9, size=n)) for n in rng.integers(2, 9, 32)]
labels = rng.integers(0, 2, (32, 1)).astype("float32")

def rows():
    for row, label in zip(tokens, labels):
        yield np.array(row, "int32"), label

padded = tf.data.Dataset.from_generator(rows, output_signature=(
    tf.TensorSpec([None], tf.int32), tf.TensorSpec([1], tf.float32)))
padded = padded.padded_batch(8, padded_shapes=([10], [1]))
x = np.zeros((32, 10), "int32")
for i, row in enumerate(tokens):
    x[i, :len(row)] = row
batched = tf.data.Dataset.from_tensor_slices((x, labels)).batch(8)

def swap(element):
    x = element[0]
    return x, tf.where(x == 3, 4, x)

def pack(data, **options):
    return pack_counterfactual_data(data, build_counterfactual_data(
        data, custom_counterfactual_function=swap), **options)

def make():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input((10,), dtype="int32"),
        keras.layers.Embedding(9, 4, mask_zero=True),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(1, "sigmoid")])
    wrapped = CounterfactualModel(model, loss_weight=2.0)
    wrapped.compile(
        keras.optimizers.Adam(0.1), "binary_crossentropy",
        counterfactual_metrics=[metrics.CounterfactualGap()])
    return wrapped

def plain(value):
    return {name: [float(v) for v in np.ravel(each)]
            for name, each in value.items()}

found = {}
model = make()
found["padded"] = plain(model.fit(
    pack(padded), validation_data=pack(padded), epochs=2, verbose=0,
    shuffle=False).history)
found["weights"] = plain({
    str(i): weight for i, weight in enumerate(model.get_weights())})
path = os.path.join(directory, "model.keras")
if process == "0":
    # Keras makes variables while it saves, which a distribution would have
    # all processes do together.
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    model.save(path)
    keras.distribution.set_distribution(distribution)
if processes == "2":
    # Nobody reads before process 0 has written.
    from jax.experimental import multihost_utils
    multihost_utils.sync_global_devices("saved")
resumed = keras.models.load_model(path)
found["resumed, batched"] = plain(resumed.fit(
    pack(batched), verbose=0, shuffle=False).history)
if processes == "2":
    try:
        resumed.fit(pack(batched, pairs_per_example=0.5), verbose=0)
    except ValueError as error:
        found["fewer"] = str(error)
print(json.dumps(found))
"""


def start(directory, processes, process, address):
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    arguments = directory, processes, process, address
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def figures(process):
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-4000:]
    return json.loads(out.splitlines()[-1])


def free_address():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def test_two_processes_have_the_figures_of_one(tmp_path):
    if importlib.util.find_spec("jax") is None:
        # CI installs it and sets this, so that a skip cannot hide there.
        assert not os.environ.get("REQUIRE_BACKENDS")
        pytest.skip("jax is not installed (extra [backends])")
    alone, together = tmp_path / "one", tmp_path / "two"
    alone.mkdir()
    together.mkdir()
    address = free_address()
    running = [start(alone, 1, 0, address)]
    running += [start(together, 2, process, address) for process in range(2)]
    try:
        one, *two = [figures(process) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    for found in two:
        assert "`pairs_per_example=1`" in found.pop("fewer")
        assert found.keys() == one.keys()
        for what, expected in one.items():
            assert found[what].keys() == expected.keys()
            for name, values in expected.items():
                assert found[what][name] == pytest.approx(
                    values, rel=1e-5, abs=1e-6
                ), (what, name)
