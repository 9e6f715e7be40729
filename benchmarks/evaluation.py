"""Flip rates: how fast, next to TensorFlow Model Analysis, and how sure.

Run as `python -m benchmarks.evaluation` or `python benchmarks/evaluation.py`,
with the package installed. TensorFlow Model Analysis (TFMA) and `flips` are
compared in the environment of the former, one after the other, on the same
pairs and groups, in processor time; figures that differ end the run. TFMA gives
no intervals there, `flips` gives all of its own.
"""

import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf

from benchmarks import common
from tensorflow_model_remediation_ext import evaluation

REQUIREMENTS = (f"{common.REPOSITORY}[tfma,evaluation]",)

BESIDE_TFMA = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
arguments = json.load(sys.stdin)
sys.path.insert(0, arguments["repository"])
import numpy as np
import pandas as pd
import tensorflow_model_analysis
from tensorflow_model_remediation_ext.evaluation import flips, tfma

n = arguments["pairs"]
rng = np.random.default_rng(0)
original = rng.random(n)
frame = pd.DataFrame({
    "original": original,
    "counterfactual": np.clip(original + rng.normal(0, 0.1, n), 0, 1),
    "faith": rng.choice(["a", "b", "c"], n),
    "old": rng.random(n) < 0.2,
})
slices = ["faith", "old"]

def ours():
    return flips(
        frame["original"], frame["counterfactual"], groups=frame[slices]
    )

def theirs():
    return tfma.analyze_flips(frame, slices).report

def seconds(function, repeats):
    times = []
    for _ in range(repeats):
        start = time.process_time()
        report = function()
        times.append(time.process_time() - start)
    return min(times), report

theirs_seconds, theirs_report = seconds(theirs, 2)
ours_seconds, ours_report = seconds(ours, 20)
for row in ours_report.rows:
    other = theirs_report[row.group]
    assert (row.n, row.flip_count) == (other.n, other.flip_count), row
    assert row.flip_rate == other.flip_rate, (row, other)
    assert row.positive_to_negative == other.positive_to_negative
    np.testing.assert_allclose(
        row.counterfactual_gap, other.counterfactual_gap, rtol=1e-9
    )
print(json.dumps({
    "ours": ours_seconds,
    "theirs": theirs_seconds,
    "version": tensorflow_model_analysis.version.VERSION,
}))
"""


def many_pairs(n=1_000_000):
    """Returns the seconds of `flips` on overlapping groups."""
    rng = np.random.default_rng(0)
    before = rng.random(n)
    after = np.clip(before + rng.normal(0, 0.1, n), 0, 1)
    groups = {f"group {k}": rng.random(n) < 0.1 * (k + 1) for k in range(10)}
    weights = rng.random(n)
    figures = {}
    for name, weight in (("plain", None), ("weighted", weights)):

        def run(weight=weight):
            evaluation.flips(before, after, groups=groups, sample_weight=weight)

        figures[name] = common.seconds(run, 3)
    return figures


def streaming(batches=40, rounds=9):
    """Returns `flips_of_model` divided by `model.predict` on the same pairs.

    Both read the same batches: a half of pairs stands over the other half.
    """
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,), dtype="int32"),
            keras.layers.Embedding(1_000, 64),
            keras.layers.Conv1D(64, 5, activation="relu"),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    x = np.random.default_rng(0).integers(1_000, size=(batches, 2, 256, 64))
    x = x.astype("int32")
    pairs = tf.data.Dataset.from_tensor_slices((x[:, 0], x[:, 1]))
    alone = pairs.map(lambda a, b: tf.concat([a, b], axis=0))

    def ours():
        return evaluation.flips_of_model(model, pairs, verbose=0)

    def predict():
        return model.predict(alone, verbose=0)

    times = {ours: [], predict: []}
    for k in range(rounds + 1):
        for function, taken in times.items():
            start = time.perf_counter()
            function()
            if k:  # The first round traces.
                taken.append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    return {
        "flips_of_model": statistics.median(times[ours]),
        "predict": statistics.median(times[predict]),
        "ratio": statistics.median(ratios),
    }


def coverage(rate, n, repeats):
    """Returns how often the intervals of rate and gap hold the truth."""
    rng = np.random.default_rng([n, int(1_000 * rate)])
    # A flip moves a prediction by 0.5, all else by up to 0.1.
    gap = 0.5 * rate + 0.05 * (1 - rate)
    held = np.zeros(2)
    for _ in range(repeats):
        flipped = rng.random(n) < rate
        moved = np.where(flipped, 0.5, 0.1 * rng.random(n))
        row = evaluation.flips(np.full(n, 0.3), 0.3 + moved, seed=rng).rows[0]
        for k, (estimate, truth) in enumerate(
            ((row.flip_rate, rate), (row.counterfactual_gap, gap))
        ):
            held[k] += estimate.low <= truth <= estimate.high
    return (held / repeats).tolist()


def main():
    parser = common.parser(__doc__)
    parser.add_argument(
        "--peer-python", metavar="PYTHON", help="of an environment with TFMA"
    )
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=2_000)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.repeats = 10
        many, stream = many_pairs(10_000), streaming(2, 1)
    else:
        many, stream = many_pairs(), streaming()
    rows = [
        (
            "`flips`, 10^6 pairs, 10 overlapping groups",
            f"{many['plain']:.2f} s",
        ),
        ("the same with weights", f"{many['weighted']:.2f} s"),
        (
            "`flips_of_model` against `model.predict`, 20,480 inputs",
            f"{stream['ratio']:.2f} (median, interleaved; "
            f"{stream['flips_of_model']:.2f} s and {stream['predict']:.2f} s)",
        ),
    ]
    figures = {"many_pairs": many, "streaming": stream}
    if not arguments.quick:
        python = common.peer_python("tfma", REQUIREMENTS, arguments.peer_python)
        beside = common.run_peer(
            python,
            BESIDE_TFMA,
            repository=str(common.REPOSITORY),
            pairs=arguments.pairs,
        )
        beside["ratio"] = beside["theirs"] / beside["ours"]
        figures["tfma"] = beside
        rows.append(
            (
                f"`flips` against TFMA {beside['version']}, "
                f"{arguments.pairs:,} pairs, 4 groups",
                f"{beside['ratio']:,.0f} times ({beside['ours']:.4f} s and "
                f"{beside['theirs']:.1f} s)",
            )
        )
    table = common.markdown(("what", "measured"), rows)
    common.report("Flips with intervals", table, figures, None)

    covered = {
        (rate, n): coverage(rate, n, arguments.repeats)
        for n in (50, 1_000)
        for rate in (0.01, 0.1, 0.5)
    }
    rows = [
        (name, f"{n:,}", *(f"{covered[r, n][k]:.3f}" for r in (0.01, 0.1, 0.5)))
        for k, name in enumerate(
            ("Wilson, of the rate", "bootstrap, of the gap")
        )
        for n in (50, 1_000)
    ]
    header = ("interval", "n", "rate 0.01", "0.1", "0.5")
    sys.stdout.write("\n")
    figures["coverage"] = {f"{r}, {n}": c for (r, n), c in covered.items()}
    common.report(
        f"Coverage of 95 % intervals, {arguments.repeats:,} simulations",
        common.markdown(header, rows),
        figures,
        arguments.json,
    )


if __name__ == "__main__":
    main()
