"""Packed data shared among devices and processes: real ones, on one machine.

Keras trains on several machines with its JAX backend, by `keras.distribution`.
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.remediation_inputs import (
    RemediationInputs,
)
from tensorflow_model_remediation_ext.common.sharing import own_rows

# One script for a process alone, on its two devices too, and for each of two
# processes. Prints figures as JSON.
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
from tensorflow_model_remediation_ext.min_diff.keras import (
    MinDiffModel, build_min_diff_dataset, pack_min_diff_data)

rng = np.random.default_rng(0)
tokens = [list(rng.integers(1, 9, size=n)) for n in rng.integers(2, 9, 20)]
labels = rng.integers(0, 2, (20, 1)).astype("float32")

def rows():
    for row, label in zip(tokens, labels):
        yield np.array(row, "int32"), label

# The last of three batches has half of the rows.
padded = tf.data.Dataset.from_generator(rows, output_signature=(
    tf.TensorSpec([None], tf.int32), tf.TensorSpec([1], tf.float32)))
padded = padded.padded_batch(8, padded_shapes=([10], [1]))
x = np.zeros((20, 10), "int32")
for i, row in enumerate(tokens):
    x[i, :len(row)] = row
batched = tf.data.Dataset.from_tensor_slices((x, labels)).batch(8).take(2)

def swap(element):
    x = element[0]
    return x, tf.where(x == 3, 4, x)

def pack(data, **options):
    return pack_counterfactual_data(data, build_counterfactual_data(
        data, custom_counterfactual_function=swap), **options)

def pack_groups(data):
    groups = [tf.data.Dataset.from_tensor_slices(
        (x[i::2], labels[i::2])).batch(2) for i in range(2)]
    return pack_min_diff_data(data, *groups)

def make(kind, *arguments, **compiling):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input((10,), dtype="int32"),
        keras.layers.Embedding(9, 4, mask_zero=True),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(1, "sigmoid")])
    wrapped = kind(model, *arguments, loss_weight=2.0)
    wrapped.compile(
        keras.optimizers.Adam(0.1), "binary_crossentropy", **compiling)
    return wrapped

def plain(value):
    return {name: [float(v) for v in np.ravel(each)]
            for name, each in value.items()}

def fit(model, data, **options):
    return plain(model.fit(data, verbose=0, shuffle=False, **options).history)

def save(model, path):
    if process == "0":
        # Keras makes variables while it saves, which a distribution would
        # have all processes do together.
        distribution = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        model.save(path)
        keras.distribution.set_distribution(distribution)
    if processes == "2":
        # Nobody reads before process 0 has written.
        from jax.experimental import multihost_utils
        multihost_utils.sync_global_devices(path)
    return keras.models.load_model(path)

class Batches(keras.utils.PyDataset):
    # Of arrays, as a process has them that brings its own.
    def __init__(self, data):
        super().__init__(workers=2)
        self.batches = [tf.nest.map_structure(
            lambda part: None if part is None else part.numpy(), each)
            for each in data]

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]

def pairs_figures(share, kind=lambda data: data):
    model = make(CounterfactualModel,
                 counterfactual_metrics=[
                     metrics.CounterfactualGap(), metrics.FlipCount()])
    found = {"fit": fit(model, kind(pack(batched, pairs_per_example=share)),
                        class_weight={0: 1.0, 1: 2.0}, epochs=2)}
    found["weights"] = plain(dict(enumerate(map(
        np.asarray, model.get_weights()))))
    return model, found

def by_batch():
    found = pairs_figures(0.125, Batches)[1]["fit"]
    batch = Batches(pack(batched, pairs_per_example=0.125))[0]
    model = make(CounterfactualModel)
    return found | {"train_on_batch": model.train_on_batch(batch),
                    "test_on_batch": model.test_on_batch(batch)}

def figures():
    model, found = pairs_figures(0.5)
    resumed = save(model, os.path.join(directory, "model.keras"))
    found["resumed"] = fit(resumed, pack(batched, pairs_per_example=0.5),
                           validation_data=pack(batched))
    found["plain"] = plain(
        resumed.evaluate(batched, verbose=0, return_dict=True))
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    found["predict"] = plain({"": model.predict(batched, verbose=0)})
    keras.distribution.set_distribution(distribution)
    groups = make(MinDiffModel, "mmd_loss")
    found["groups"] = fit(groups, pack_groups(padded),
                          validation_data=pack_groups(padded), epochs=2)
    return found

def lone_row():
    # Five rows of groups: the one of the second group comes last.
    groups = [tf.data.Dataset.from_tensor_slices((x, labels)).batch(size)
              for size in (4, 1)]
    return fit(make(MinDiffModel, "absolute_correlation_loss"),
               pack_min_diff_data(batched, *groups))

def complaint(data):
    try:
        make(CounterfactualModel).fit(data, verbose=0)
    except tf.errors.InvalidArgumentError as error:
        return error.message

found = {"figures": figures()}
# A pair for each batch, fewer than there are devices.
found["figures"]["a pair"] = pairs_figures(0.125)[1]["fit"]
if processes == "1":
    found["figures"]["by batch"] = by_batch()
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    found["on two devices"] = pairs_figures(0.5)[1]
    found["on two devices"]["by batch"] = by_batch()
    found["odd by batch"] = complaint(
        Batches(pack(batched.unbatch().batch(7))))
found["lone row"] = lone_row()
found["odd"] = complaint(pack(batched.unbatch().batch(7)))
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
    if processes == 1:
        two_devices = "--xla_force_host_platform_device_count=2"
        environment["XLA_FLAGS"] = two_devices
    arguments = directory, processes, process, address
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def printed_by(process):
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-4000:]
    return json.loads(out.splitlines()[-1])


def free_address():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.mark.slow
def test_two_processes_or_devices_have_the_figures_of_one(tmp_path):
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
        printed = [printed_by(process) for process in running]
        two = printed[1:]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    complaints = [found["odd"] for found in printed]
    for complaint in (*complaints, printed[0]["odd by batch"]):
        assert complaint.endswith(
            "the number of devices, 2. Received: a batch of the task with "
            "rows: 7"
        )
    # One of the five rows has to be left out, but not the whole group.
    for found in printed:
        assert found["lone row"]["min_diff_loss"] != [0.0]
    one = printed[0]["figures"]
    for found in (printed[0]["on two devices"], *(p["figures"] for p in two)):
        assert found.keys() <= one.keys()
        for what, figures in found.items():
            assert figures.keys() == one[what].keys()
            for name, values in figures.items():
                assert values == pytest.approx(
                    one[what][name], rel=1e-5, abs=1e-6
                ), (what, name)


@pytest.mark.parametrize(
    ("rows", "kept"),
    [(1, [0, 0, 0]), (2, [0, 1] * 3), (3, [0, 1, 2]), (5, [0, 1, 2])],
)
def test_rows_of_penalties_share_evenly(rows, kept):
    number = tf.range(rows)
    inputs = {
        "dense": number,
        "ragged": tf.RaggedTensor.from_row_lengths(number, [1] * rows),
        "sparse": tf.sparse.from_dense(number[:, None] + 1),
    }
    batch = (
        RemediationInputs(tf.zeros([4, 2]), {"": (inputs, None)}, {}),
        [0] * 4,
    )
    data = own_rows(tf.data.Dataset.from_tensors(batch), replicas=3)
    (x, penalty_inputs, shares), y = next(iter(data))
    assert x.shape == (4, 2) and y.shape == (4,)
    # Copies count as one row; rows that are not copied count as they are.
    counts = shares[""].numpy()
    assert counts.tolist() == pytest.approx(
        [1 / 3 if rows < 3 else 1] * len(kept)
    )
    found, nothing = penalty_inputs[""]
    assert nothing is None
    assert found["dense"].numpy().tolist() == kept
    assert found["ragged"].to_list() == [[each] for each in kept]
    sparse = tf.sparse.to_dense(found["sparse"]).numpy()
    assert sparse.ravel().tolist() == [each + 1 for each in kept]
