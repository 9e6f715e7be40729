"""Cost of a CLP training step, and of importing the package.

Run as `python -m benchmarks.training_step` or
`python benchmarks/training_step.py`, with the package installed. The peer is
the wrapped model itself: three of its forward and backward passes, one for
each of the three batches that a step sees.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf

from benchmarks import common
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    CounterfactualPackedInputs,
)

BATCH = 256
STEPS = 20

IMPORTS = """
import json, time
import tensorflow, keras
start = time.perf_counter()
import tensorflow_model_remediation_ext
print(json.dumps(time.perf_counter() - start))
"""


def text_model():
    return keras.Sequential(
        [
            keras.Input((50,), dtype="int32"),
            keras.layers.Embedding(10_000, 64),
            keras.layers.Conv1D(128, 5, activation="relu"),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )


def dense_model():
    return keras.Sequential(
        [
            keras.Input((512,)),
            keras.layers.Dense(1024, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1024, "relu"),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )


def batch_for(name):
    rng = np.random.default_rng(0)
    if name == "text":
        x, other = rng.integers(10_000, size=(2, BATCH, 50)).astype("int32")
    else:
        x, other = rng.normal(size=(2, BATCH, 512)).astype("float32")
    y = rng.integers(2, size=(BATCH, 1)).astype("float32")
    return x, other, y


def three_passes(model, x, y):
    """Returns a function: STEPS times three gradients, as one call."""
    loss = keras.losses.BinaryCrossentropy()
    x, y = tf.constant(x), tf.constant(y)

    @tf.function
    def one():
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        return [tf.convert_to_tensor(gradient)[0] for gradient in gradients]

    def run():
        for _ in range(3 * STEPS):
            one()

    return run


def clp_steps(model, x, other, y):
    """Returns a function: STEPS training steps of the wrapper."""
    wrapper = CounterfactualModel(model, loss_weight=3.0)
    # No momentum: the peer has no optimizer, so little of ours may count.
    wrapper.compile(keras.optimizers.SGD(1e-3), "binary_crossentropy")
    packed = CounterfactualPackedInputs(
        (x, y), (x, other, np.ones(BATCH, "float32"))
    )
    data = tf.data.Dataset.from_tensors(packed).cache().repeat(STEPS)
    data = data.prefetch(2)

    def run():
        wrapper.fit(data, verbose=0, shuffle=False)

    return run


def import_seconds(repeats):
    times = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", IMPORTS],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        times.append(json.loads(done.stdout))
    return min(times)


def main():
    parser = common.parser(__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    if options.quick:
        options.repeats = 1
    figures, rows = {}, []
    for name, build in (("text", text_model), ("dense", dense_model)):
        x, other, y = batch_for(name)
        plain = common.seconds(three_passes(build(), x, y), options.repeats)
        clp = common.seconds(clp_steps(build(), x, other, y), options.repeats)
        figures[name] = {
            "clp_ms": 1e3 * clp / STEPS,
            "three_passes_ms": 1e3 * plain / STEPS,
            "ratio": clp / plain,
        }
        rows.append(
            [
                f"CLP step, {name} network, batch {BATCH}",
                f"{1e3 * clp / STEPS:.1f} ms",
                f"{1e3 * plain / STEPS:.1f} ms",
                f"{clp / plain:.2f}",
            ]
        )
    figures["import_seconds"] = import_seconds(options.repeats)
    rows.append(
        [
            "import, after TensorFlow and Keras",
            f"{figures['import_seconds']:.3f} s",
            "-",
            "-",
        ]
    )
    table = common.markdown(
        ["what", "ours", "three plain passes", "ratio"], rows
    )
    common.report("Training step", table, figures, options.json)
    return figures


if __name__ == "__main__":
    main()
