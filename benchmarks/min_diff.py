"""MinDiff with a target or a weight, beside the peer's and Fairlearn's.

Run as `python -m benchmarks.min_diff` or `python benchmarks/min_diff.py`, with
the package installed. On UCI Adult every method trains the same network, which
does not see `sex`, on the same rows: ours here, the peer,
`tensorflow_model_remediation`, with its own helpers, in its own environment.
On texts, counterfactual logit pairing trains a plain model on with a target for
the flip rate. With `--cache DIR` an interrupted run is taken up again.
"""

import contextlib
import csv
import functools
import json
import os
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf

from benchmarks import clp, common
from tensorflow_model_remediation_ext import datasets, evaluation
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.losses import (
    PairwiseMSELoss,
)
from tensorflow_model_remediation_ext.min_diff.keras import (
    AtMost,
    MinDiffModel,
    build_min_diff_dataset,
    pack_min_diff_data,
)
from tensorflow_model_remediation_ext.min_diff.losses import (
    MMDLoss,
    RateGapLoss,
)

ADULT = common.TWEETS.with_name("adult.csv")
BATCH, EPOCHS, RATE = 128, 15, 1e-3
STEPS_AT_ONCE = 16
HIDDEN = (32, 16)
# What a step is timed of: of so many at once that the start of `fit` hardly
# counts. `plain` is the network alone, without MinDiff.
TIMED = {
    "": {"steps": 8192},
    ", `plain`": {"steps": 8192, "plain": True},
    ", `jit_compile=True`": {"steps": 8192, "compiled": True},
    ", two layers of 1,024": {"steps": 512, "hidden": (1024, 1024)},
}
CONDITIONS = {"selection": None, "FPR": "negatives", "TPR": "positives"}
# Rates, and what each method is run with.
OURS = [
    ("target", "selection", 0.015),
    ("target", "selection", 0.02),
    ("target", "selection", 0.05),
    ("target", "selection", 0.1),
    ("target", "FPR", 0.02),
    ("target", "TPR", 0.02),
    ("MMD", "selection", 1.0),
    ("MMD", "selection", 3.0),
    ("MMD", "selection", 10.0),
]
PEERS = [
    ("peer's MMD", "selection", 1.0),
    ("peer's MMD", "selection", 1.5),
    ("peer's MMD", "selection", 3.0),
    ("peer's MMD", "TPR", 0.5),
    ("peer's MMD", "TPR", 1.5),
]

PEER = """
import json, sys, time
import numpy as np
import tensorflow as tf
from tensorflow_model_remediation import min_diff

job = json.load(sys.stdin)
data = np.load(job["rows"])
x, y, group = data["x"], data["y"], data["group"]
batch = job["batch"]
tf.keras.utils.set_random_seed(job["seed"])

def network():
    return tf.keras.Sequential([
        tf.keras.Input(x.shape[1:]),
        *[tf.keras.layers.Dense(n, "relu") for n in job["hidden"]],
        tf.keras.layers.Dense(1, "sigmoid")])

def rows(mask, size):
    part = tf.data.Dataset.from_tensor_slices((x[mask], y[mask, None]))
    return part.cache().shuffle(int(mask.sum())).batch(
        size, drop_remainder=True)

kept = np.ones(len(y), bool) if job["label"] is None else y == job["label"]
task = rows(np.ones(len(y), bool), batch)
packed = min_diff.keras.utils.pack_min_diff_data(
    task,
    rows(kept & (group == 1), batch // 2).repeat(),
    rows(kept & (group == 0), batch // 2).repeat())
model = network()
wrapped = min_diff.keras.MinDiffModel(
    model, min_diff.losses.MMDLoss(), job["weight"])
if job["plain"]:
    wrapped, packed = model, task
steps = job["epochs"] * (len(y) // batch)
rate = tf.keras.optimizers.schedules.CosineDecay(job["rate"], steps)
wrapped.compile(tf.keras.optimizers.Adam(rate), "binary_crossentropy",
                steps_per_execution=job["steps_at_once"],
                jit_compile=job["compiled"])
if job["time_steps"]:
    fixed = packed.take(64).cache().repeat()
    times = []
    for _ in range(4):
        start = time.perf_counter()
        wrapped.fit(
            fixed, steps_per_epoch=job["time_steps"], epochs=1, verbose=0)
        times.append((time.perf_counter() - start) / job["time_steps"])
    print(json.dumps({"seconds": min(times[1:])}))
else:
    wrapped.fit(packed, epochs=job["epochs"], verbose=0)
    print(json.dumps({
        "train": model.predict(x, batch_size=4096, verbose=0)[:, 0].tolist(),
        "test": model.predict(
            data["test_x"], batch_size=4096, verbose=0)[:, 0].tolist()}))
"""


class People:
    """One split of a table with two groups."""

    def __init__(self, columns, seed):
        label = np.array(columns.pop("income-per-year"))
        y = np.array([">50K" in value for value in label], "float32")
        group = np.array(columns.pop("sex")) == "Female"
        x = np.stack([_numbers(values) for values in columns.values()], axis=1)
        order = np.random.default_rng(seed).permutation(len(y))
        test, train = np.split(order, [int(0.3 * len(order))])
        x = (x - x[train].mean(0)) / x[train].std(0)
        self.seed, self.train, self.test = seed, {}, {}
        for rows, part in ((train, self.train), (test, self.test)):
            part["x"] = x[rows].astype("float32")
            part["y"], part["group"] = y[rows], group[rows].astype("int64")


def _numbers(values):
    try:
        return np.array(values, "float64")
    except ValueError:
        return np.unique(values, return_inverse=True)[1].astype("float64")


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    return {name: [row[name].strip() for row in rows] for name in rows[0]}


def made_up():
    """A little table for `--quick`."""
    rng = np.random.default_rng(0)
    female = rng.random(1_500) < 0.4
    hours = rng.normal(np.where(female, 36, 41), 5)
    rich = hours + rng.normal(0, 4, 1_500) > 42
    return {
        "hours": hours.tolist(),
        "sex": np.where(female, "Female", "Male").tolist(),
        "income-per-year": np.where(rich, ">50K", "<=50K").tolist(),
    }


def network(columns, hidden=HIDDEN):
    return keras.Sequential(
        [
            keras.Input((columns,)),
            *[keras.layers.Dense(units, "relu") for units in hidden],
            keras.layers.Dense(1, "sigmoid"),
        ]
    )


def packed_rows(people, condition):
    part = people.train
    data = tf.data.Dataset.from_tensor_slices((part["x"], part["y"][:, None]))
    task = data.cache().shuffle(len(part["y"]), seed=people.seed)
    # The group is no feature: it goes along only to draw its rows.
    tagged = tf.data.Dataset.from_tensor_slices(
        ({"x": part["x"], "group": part["group"]}, part["y"])
    )
    rows = build_min_diff_dataset(
        tagged.batch(1024).cache(),
        group="group",
        condition=condition,
        batch_size=BATCH,
        seed=people.seed,
    ).map(lambda x, membership, weight: (x["x"], membership, weight))
    task = task.batch(BATCH, drop_remainder=True)
    return pack_min_diff_data(task, min_diff_dataset=rows)


def train(people, method, rate, setting, epochs):
    """Returns scores for the rows to train on and those held out."""
    keras.utils.set_random_seed(people.seed)
    model = network(people.train["x"].shape[1])
    if method == "target":
        wrapped = MinDiffModel(model, RateGapLoss(), AtMost(setting))
    else:
        wrapped = MinDiffModel(model, MMDLoss(), setting)
    data = packed_rows(people, CONDITIONS[rate])
    steps = epochs * int(data.cardinality())
    schedule = keras.optimizers.schedules.CosineDecay(RATE, steps)
    wrapped.compile(
        keras.optimizers.Adam(schedule),
        "binary_crossentropy",
        steps_per_execution=STEPS_AT_ONCE,
    )
    wrapped.fit(data, epochs=epochs, verbose=0, shuffle=False)
    return [
        model.predict(part["x"], batch_size=4096, verbose=0)[:, 0]
        for part in (people.train, people.test)
    ]


def gap(part, decided, rate):
    """Sensitive minus other, over the rows that the rate is about."""
    label = {"selection": None, "FPR": 0, "TPR": 1}[rate]
    kept = np.ones(len(decided), bool) if label is None else part["y"] == label
    one, other = (decided[kept & (part["group"] == k)].mean() for k in (1, 0))
    return float(one - other)


def judge(people, scores):
    """Returns the gaps, accuracy and AUC of scores for all rows."""
    figures = {}
    for name, part, each in zip(
        ("train", "test"), (people.train, people.test), scores, strict=True
    ):
        each = np.asarray(each)
        decided = each > 0.5
        for rate in CONDITIONS:
            figures[f"{name} {rate}"] = gap(part, decided, rate)
        if name == "test":
            figures["accuracy"] = float(np.mean(decided == (part["y"] > 0.5)))
            figures["auc"] = evaluation.auc(part["y"], each).value
    return figures


def post_process(people, scores):
    """Fairlearn's thresholds by group, on the plain model's scores."""
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.base import BaseEstimator

    class Scores(BaseEstimator):
        def fit(self, rows, labels):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict(self, rows):
            return rows[:, 0]

    optimizer = ThresholdOptimizer(
        estimator=Scores(), prefit=True, predict_method="predict"
    )
    parts = [people.train, people.test]
    optimizer.fit(
        np.asarray(scores[0])[:, None],
        parts[0]["y"],
        sensitive_features=parts[0]["group"],
    )
    decided = [
        optimizer.predict(
            np.asarray(each)[:, None],
            sensitive_features=part["group"],
            random_state=people.seed,
        )
        for each, part in zip(scores, parts, strict=True)
    ]
    return {**judge(people, decided), "auc": float("nan")}


def train_peer(
    people,
    rate,
    weight,
    epochs,
    python,
    folder,
    steps=0,
    compiled=False,
    hidden=HIDDEN,
    plain=False,
):
    rows = folder / f"rows-{people.seed}.npz"
    if not rows.exists():
        np.savez(rows, **people.train, test_x=people.test["x"])
    return common.run_peer(
        python,
        PEER,
        rows=str(rows),
        label={"selection": None, "FPR": 0, "TPR": 1}[rate],
        weight=weight,
        seed=people.seed,
        batch=BATCH,
        epochs=epochs,
        rate=RATE,
        steps_at_once=STEPS_AT_ONCE,
        time_steps=steps,
        compiled=compiled,
        hidden=hidden,
        plain=plain,
    )


def seconds_a_step(people, steps, compiled=False, hidden=HIDDEN, plain=False):
    """Our step on the very rows and sizes of the peer's."""
    keras.utils.set_random_seed(0)
    model = network(people.train["x"].shape[1], hidden)
    packed = packed_rows(people, None)
    if plain:
        packed = packed.map(lambda inputs, y: (inputs.original_inputs, y))
    else:
        model = MinDiffModel(model, MMDLoss(), 1.5)
    model.compile(
        keras.optimizers.Adam(RATE),
        "binary_crossentropy",
        steps_per_execution=STEPS_AT_ONCE,
        jit_compile=compiled,
    )
    fixed = packed.take(64).cache().repeat()
    times = []
    for _ in range(4):
        start = time.perf_counter()
        model.fit(fixed, steps_per_epoch=steps, verbose=0, shuffle=False)
        times.append((time.perf_counter() - start) / steps)
    return min(times[1:])


def peer_seconds(people, options, folder, **timed):
    """A step of the peer's."""
    python = options.peer_python
    return train_peer(people, "selection", 1.5, 1, python, folder, **timed)[
        "seconds"
    ]


def flips(model, original, counterfactual):
    decided = [
        model.predict(tf.convert_to_tensor(t), batch_size=1024, verbose=0) > 0.5
        for t in (original, counterfactual)
    ]
    return float(np.mean(decided[0] != decided[1]))


def pair(data, terms, target, seed, epochs):
    """Trains a plain model on with a target; returns its figures."""
    split = clp.Split(data, terms, seed)
    model = clp.train_plain(split)
    plain = clp.judge(model, split)
    rows = split.dataset()
    pairs = build_counterfactual_data(rows, split.terms).cache()
    packed = pack_counterfactual_data(
        rows.shuffle(20_000, seed=seed).batch(clp.BATCH),
        pairs.shuffle(20_000, seed=seed).batch(clp.BATCH),
    )
    steps = epochs * int(packed.cardinality())
    schedule = keras.optimizers.schedules.CosineDecay(clp.LEARNING_RATE, steps)
    wrapped = CounterfactualModel(
        model, PairwiseMSELoss("logit"), AtMost(target)
    )
    wrapped.compile(keras.optimizers.Adam(schedule), "binary_crossentropy")
    history = wrapped.fit(packed, epochs=epochs, verbose=0, shuffle=False)
    found = clp.judge(model, split)
    every = list(pairs.batch(1024))
    return {
        "plain flips": plain["flip_rate"],
        "train flips": flips(
            model, *(tf.concat([p[k] for p in every], 0) for k in (0, 1))
        ),
        "test flips": found["flip_rate"],
        "auc lost": plain["auc"] - found["auc"],
        "multiplier": history.history["counterfactual_multiplier"][-1],
    }


class Kept:
    """Figures of parts that are done, one JSON file each."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name, function):
        """Returns the figures of a part, from its file if there is one."""
        file = self.folder / (re.sub(r"[^\w.]+", "_", name) + ".json")
        if not file.exists():
            figures = function()
            file.write_text(json.dumps(figures))
            shown = figures
            if isinstance(shown, dict) and "scores" in shown:
                shown = shown["figures"]
            sys.stderr.write(f"{name} {shown}\n")
            sys.stderr.flush()
        return json.loads(file.read_text())


def on_adult(options, kept):
    """Returns figures by method, rate and setting, a list over seeds."""
    columns = made_up() if options.quick else read(options.csv)
    found = {}
    for seed in range(options.seeds):
        people = People(dict(columns), seed)

        def run(method, rate, setting, people=people):
            scores = train(people, method, rate, setting, options.epochs)
            return {
                "figures": judge(people, scores),
                "scores": [each.tolist() for each in scores],
            }

        plain = kept(
            f"{seed} plain", lambda run=run: run("MMD", "selection", 0.0)
        )
        found.setdefault(("plain", "", ""), []).append(plain["figures"])
        for key in OURS[:1] if options.quick else OURS:
            done = kept(
                f"{seed} {' '.join(map(str, key))}",
                lambda run=run, key=key: run(*key),
            )
            found.setdefault(key, []).append(done["figures"])
        done = kept(
            f"{seed} ThresholdOptimizer",
            lambda people=people, plain=plain: post_process(
                people, plain["scores"]
            ),
        )
        found.setdefault(("ThresholdOptimizer", "selection", ""), []).append(
            done
        )
        for key in [] if options.quick else PEERS:
            done = kept(
                f"{seed} {' '.join(map(str, key))}",
                lambda people=people, key=key: _peer(
                    people, key, options, kept.folder
                ),
            )
            found.setdefault(key, []).append(done)
    return found


def _peer(people, key, options, folder):
    scores = train_peer(
        people, key[1], key[2], options.epochs, options.peer_python, folder
    )
    return judge(people, [scores["train"], scores["test"]])


def on_texts(options, kept):
    """Returns figures of pairing with a target, a list over seeds."""
    if options.quick:
        data, terms = common.embedded()
        return {"embedded": [pair(data, terms, 0.05, 0, 1)]}
    terms = [t for group in datasets.EMBEDDED_TERMS.values() for t in group]
    jobs = {
        "embedded": (
            datasets.load_embedded_comments(10_000),
            terms,
            0.005,
            6,
        ),
        "tweets": (
            datasets.load_csv(common.TWEETS, "text", "offensive"),
            datasets.load_terms(common.TWEETS.with_name("identity_terms.txt")),
            0.002,
            3,
        ),
    }
    return {
        name: [
            kept(
                f"{name} {seed}",
                lambda job=job, seed=seed: pair(*job[:3], seed, job[3]),
            )
            for seed in range(options.seeds)
        ]
        for name, job in jobs.items()
    }


def table_of(found):
    rows, plain = [], found["plain", "", ""]
    for (method, rate, setting), each in found.items():
        shown = [rate] if rate else list(CONDITIONS)

        def gaps(part, each=each, shown=shown):
            return " / ".join(
                f"{np.mean([f[f'{part} {r}'] for f in each]):+.4f}"
                for r in shown
            )

        worst = max((f[f"test {shown[0]}"] for f in each), key=abs)
        lost = [
            p["accuracy"] - f["accuracy"]
            for p, f in zip(plain, each, strict=True)
        ]
        auc = [p["auc"] - f["auc"] for p, f in zip(plain, each, strict=True)]
        rows.append(
            [
                method,
                rate or "/".join(CONDITIONS),
                setting,
                gaps("train"),
                f"{gaps('test')} ({worst:+.4f})",
                f"{np.mean([f['accuracy'] for f in each]):.4f}",
                f"{np.mean(lost):+.4f}",
                "-" if np.isnan(auc).any() else f"{np.mean(auc):+.4f}",
            ]
        )
    return common.markdown(
        [
            "method",
            "rate",
            "weight or target",
            "train gap",
            "test gap (worst seed)",
            "accuracy",
            "lost",
            "AUC lost",
        ],
        rows,
    )


def at_gap(found, method, rate, wanted):
    """Returns the accuracy at a test gap, interpolated over settings."""
    points = sorted(
        (
            np.mean([abs(f[f"test {rate}"]) for f in each]),
            np.mean([f["accuracy"] for f in each]),
        )
        for (name, about, _), each in found.items()
        if name == "plain" or (name == method and about == rate)
    )
    sizes, accuracies = zip(*points, strict=True)
    if not sizes[0] <= wanted <= sizes[-1]:
        return float("nan")
    return float(np.interp(wanted, sizes, accuracies))


def main():
    parser = common.parser(__doc__.partition("\n")[0])
    parser.add_argument("csv", type=Path, nargs="?", default=ADULT)
    parser.add_argument(
        "--peer-python",
        help="Python of an environment with tensorflow_model_remediation; "
        "by default one is made under .benchmarks/",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, metavar="DIR")
    options = parser.parse_args()
    options.epochs = 1 if options.quick else EPOCHS
    if options.quick:
        options.seeds = 1
    else:
        options.peer_python = common.peer_python(
            "tfmr", common.TFMR, options.peer_python
        )
    with contextlib.ExitStack() as stack:
        folder = options.cache
        if folder is None:
            import tempfile

            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept = Kept(folder)
        found = on_adult(options, kept)
        texts = on_texts(options, kept)
        times = {}
        if not options.quick:
            people = People(read(options.csv), 0)
            for how, timed in TIMED.items():
                times[f"ours{how}"] = kept(
                    f"time ours{how}",
                    functools.partial(seconds_a_step, people, **timed),
                )
                times[f"the peer's{how}"] = kept(
                    f"time peer{how}",
                    functools.partial(
                        peer_seconds, people, options, folder, **timed
                    ),
                )
    figures = {" ".join(map(str, k)): v for k, v in found.items()}
    figures |= {"texts": texts, "seconds a step": times}
    lines = [table_of(found), ""]
    for method in ("target", "MMD", "peer's MMD"):
        accuracy = at_gap(found, method, "selection", 0.025)
        figures[f"accuracy at .025, {method}"] = accuracy
        shown = "not reached" if np.isnan(accuracy) else f"{accuracy:.4f}"
        lines.append(
            f"Accuracy at a test gap of selection of .025, {method}: {shown}."
        )
    rows = [
        [
            name,
            *(
                " / ".join(f"{f[key]:.4f}" for f in each)
                for key in ("plain flips", "train flips", "test flips")
            ),
            " / ".join(f"{f['auc lost']:+.4f}" for f in each),
            " / ".join(f"{f['multiplier']:.2f}" for f in each),
        ]
        for name, each in texts.items()
    ]
    header = ["texts", "plain", "train flips", "test flips", "AUC lost"]
    lines += ["", common.markdown([*header, "multiplier"], rows)]
    for name, seconds in times.items():
        lines.append(f"\nA step, {name}: {1e3 * seconds:.2f} ms")
    common.report(
        f"MinDiff and targets, {options.seeds} seeds",
        "\n".join(lines),
        figures,
        options.json,
    )


if __name__ == "__main__":
    main()
