"""Cost of a CLP training step, of fewer pairs a step, and of the import.

Run as `python -m benchmarks.training_step` or
`python benchmarks/training_step.py`, with the package installed. The peer is
the wrapped model itself: three of its forward and backward passes, one for
each of the three batches that a step sees. With fewer pairs the peer is a
plain step of the wrapped model, and what fewer pairs do to flips and AUC is
measured on the tweets.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf

from benchmarks import clp, common
from tensorflow_model_remediation_ext import datasets
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    CounterfactualPackedInputs,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.losses import (
    PairwiseMSELoss,
)

BATCH = 256
STEPS = 20
# Pairs for each task example.
SHARES = (1.0, "auto")

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


def plain_epoch(model, split):
    """Returns a function: an epoch of the model alone."""
    model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy")
    data = split.dataset().cache().batch(clp.BATCH).prefetch(2)
    return lambda: model.fit(data, verbose=0, shuffle=False)


def clp_epoch(model, split, share):
    """Returns a function: an epoch of the wrapped model, on the same rows."""
    data = split.dataset()
    pairs = build_counterfactual_data(data, split.terms).cache()
    packed = pack_counterfactual_data(
        data.cache().batch(clp.BATCH),
        pairs.batch(clp.BATCH),
        pairs_per_example=share,
    )
    wrapper = CounterfactualModel(model, PairwiseMSELoss("logit"))
    wrapper.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy")
    return lambda: wrapper.fit(packed, verbose=0, shuffle=False)


def epoch_seconds(functions, repeats):
    """Returns the shortest wall and processor times, taking turns."""
    times = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            wall, processor = time.perf_counter(), time.process_time()
            function()
            if turn:
                times[name].append(
                    (
                        time.perf_counter() - wall,
                        time.process_time() - processor,
                    )
                )
    return {
        name: [min(column) for column in zip(*each, strict=True)]
        for name, each in times.items()
    }


def fewer_pairs(options):
    """Returns figures of training with all pairs and with fewer, by seed."""
    if options.quick:
        options.seeds = 1
        data, terms = common.embedded()
    else:
        data = datasets.load_csv(options.csv, "text", "offensive")
        terms = datasets.load_terms(options.csv.with_name("identity_terms.txt"))
    found, times = {}, None
    for seed in range(options.seeds):
        split = clp.Split(data, terms, seed)
        if times is None:
            epochs = {"plain": plain_epoch(clp.network(split), split)}
            for share in SHARES:
                epochs[share] = clp_epoch(clp.network(split), split, share)
            times = epoch_seconds(epochs, options.repeats)
        model = clp.train_plain(split)
        trained = model.get_weights()
        found.setdefault("plain", []).append(clp.judge(model, split))
        for share in SHARES:
            model.set_weights(trained)
            clp.train_on(model, split, 1.0, "logit", pairs_per_example=share)
            found.setdefault(share, []).append(clp.judge(model, split))
        sys.stderr.write(f"{seed} {[(k, v[-1]) for k, v in found.items()]}\n")
    return found, times


def fewer_pairs_table(found, times):
    """Returns a table, and its figures."""
    figures, rows = {}, []
    full = clp.mean(found[1.0])
    for share, results in found.items():
        mean = clp.mean(results)
        wall, processor = times[share]
        figures[str(share)] = {
            **mean,
            "flip_rate_added": mean["flip_rate"] - full["flip_rate"],
            "auc_lost": full["auc"] - mean["auc"],
            "epoch_seconds": wall,
            "ratio_to_plain": wall / times["plain"][0],
            "processor_ratio_to_plain": processor / times["plain"][1],
        }
        rows.append(
            [
                share,
                f"{mean['flip_rate']:.4f}",
                f"{mean['gap']:.4f}",
                f"{mean['auc']:.4f}",
                f"{wall:.2f} s",
                f"{wall / times['plain'][0]:.2f}",
                f"{processor / times['plain'][1]:.2f}",
            ]
        )
    header = [
        "pairs per example",
        "flip rate",
        "gap",
        "AUC",
        "an epoch",
        "times plain",
        "times plain, processor time",
    ]
    return common.markdown(header, rows), figures


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
    parser.add_argument("csv", type=Path, nargs="?", default=common.TWEETS)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=5)
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
    fewer, figures["pairs_per_example"] = fewer_pairs_table(
        *fewer_pairs(options)
    )
    table = f"{table}\n\n{fewer}"
    common.report("Training step", table, figures, options.json)
    return figures


if __name__ == "__main__":
    main()
