"""Flip rate and AUC after counterfactual logit pairing, beside the peer's.

Run as `python -m benchmarks.clp` or `python benchmarks/clp.py`, with the
package installed. Each side trains the same network on the same rows, plain
first; then it wraps the trained network and trains it on, for the same number
of epochs with each weight of the penalty: ours here, and
`tensorflow_model_remediation`, with its own helpers, in its own environment.
All are judged on the same held-out pairs.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf

from benchmarks import common
from tensorflow_model_remediation_ext import datasets, evaluation
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.losses import (
    PairwiseMSELoss,
)

BATCH = 64
EPOCHS = 3
LEARNING_RATE = 3e-3
WEIGHTS = (1.0, 3.0, 10.0, 30.0, 100.0)
# What may be lost of the AUC when each side takes its best weight.
ALLOWED_LOSS = 0.003

PEER = """
import json, sys
import numpy as np
import tensorflow as tf
from tensorflow_model_remediation import counterfactual

job = json.load(sys.stdin)

def words(text):
    return tf.strings.regex_replace(tf.strings.lower(text), job["breaks"], " ")

def network(seed):
    tf.keras.utils.set_random_seed(seed)
    vectorize = tf.keras.layers.TextVectorization(
        standardize=words, output_sequence_length=50,
        vocabulary=job["vocabulary"])
    inputs = tf.keras.Input((), dtype="string")
    x = tf.keras.layers.Embedding(vectorize.vocabulary_size(), 32)(
        vectorize(inputs))
    x = tf.keras.layers.GlobalAveragePooling1D()(x)
    x = tf.keras.layers.Dense(32, "relu")(x)
    return tf.keras.Model(
        inputs, tf.keras.layers.Dense(1, "sigmoid")(x))

data = tf.data.Dataset.from_tensor_slices(
    (job["texts"], np.array(job["labels"], "float32")[:, None]))
pairs = counterfactual.keras.utils.build_counterfactual_data(
    data, job["terms"]).cache()
shuffled = data.shuffle(20_000, seed=job["seed"]).batch(job["batch"])
packed = counterfactual.keras.utils.pack_counterfactual_data(
    shuffled, pairs.shuffle(20_000, seed=job["seed"]).batch(job["batch"]))
def adam():
    return tf.keras.optimizers.Adam(job["learning_rate"])

def predict(model):
    return [
        model.predict(tf.constant(job[key]), batch_size=1024, verbose=0)[
            :, 0].tolist()
        for key in ("test_texts", "original", "counterfactual")]

model = network(job["seed"])
model.compile(adam(), "binary_crossentropy")
model.fit(shuffled, epochs=job["epochs"], verbose=0)
results = {"plain": predict(model)}
trained = model.get_weights()
for weight in job["weights"]:
    model.set_weights(trained)
    wrapped = counterfactual.keras.CounterfactualModel(
        model, counterfactual.losses.PairwiseMSELoss(), weight)
    wrapped.compile(adam(), "binary_crossentropy")
    wrapped.fit(packed, epochs=job["epochs"], verbose=0)
    results[str(weight)] = predict(model)
print(json.dumps(results))
"""


# Punctuation parts words. Keras' default would glue "white-ish" into one word
# that holds no term, so that removal would change which word it is.
BREAKS = r"[^\pL\pN\pM_]+"


def words(text):
    return tf.strings.regex_replace(tf.strings.lower(text), BREAKS, " ")


class Split:
    """One split of the tweets, with its held-out pairs."""

    def __init__(self, data, terms, seed):
        self.seed = seed
        self.terms = list(terms)
        self.train, self.test = data.split(0.2, seed=seed)
        vectorize = keras.layers.TextVectorization(10_000, standardize=words)
        vectorize.adapt(tf.constant(self.train.texts))
        self.vocabulary = vectorize.get_vocabulary()[2:]
        texts = tf.data.Dataset.from_tensor_slices(self.test.texts).batch(1024)
        pairs = list(build_counterfactual_data(texts, self.terms))
        self.original = tf.concat([p[0] for p in pairs], axis=0)
        self.counterfactual = tf.concat([p[1] for p in pairs], axis=0)

    def dataset(self):
        """Returns the rows to train on, one by one."""
        return tf.data.Dataset.from_tensor_slices(
            (
                self.train.texts,
                self.train.labels.astype("float32")[:, None],
            )
        )

    def judge(self, test, original, counterfactual):
        """Returns the figures of predictions for the held-out texts."""
        flips = evaluation.flips(original, counterfactual, seed=0)
        return {
            "auc": evaluation.auc(self.test.labels, test).value,
            "flip_rate": flips["overall"].flip_rate.value,
            "gap": flips["overall"].counterfactual_gap.value,
        }


def network(split):
    keras.utils.set_random_seed(split.seed)
    vectorize = keras.layers.TextVectorization(
        standardize=words,
        output_sequence_length=50,
        vocabulary=split.vocabulary,
    )
    inputs = keras.Input((), dtype="string")
    x = keras.layers.Embedding(vectorize.vocabulary_size(), 32)(
        vectorize(inputs)
    )
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(32, "relu")(x)
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(x))


def judge(model, split):
    def predict(texts):
        texts = tf.convert_to_tensor(texts)
        return model.predict(texts, batch_size=1024, verbose=0)[:, 0]

    return split.judge(
        *map(predict, (split.test.texts, split.original, split.counterfactual))
    )


def train_plain(split):
    model = network(split)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), "binary_crossentropy")
    data = split.dataset().shuffle(20_000, seed=split.seed).batch(BATCH)
    model.fit(data, epochs=EPOCHS, verbose=0, shuffle=False)
    return model


def train_on(
    model, split, weight, transform=None, swaps=None, pairs_per_example=1.0
):
    """Trains a trained model on with our wrapper, in place."""
    data = split.dataset()
    pairs = build_counterfactual_data(data, split.terms)
    if swaps:
        pairs = pairs.concatenate(
            build_counterfactual_data(data, terms_to_replace=swaps)
        )
    pairs = pairs.cache().shuffle(20_000, seed=split.seed)
    data = data.shuffle(20_000, seed=split.seed).batch(BATCH)
    packed = pack_counterfactual_data(
        data, pairs.batch(BATCH), pairs_per_example=pairs_per_example
    )
    wrapped = CounterfactualModel(model, PairwiseMSELoss(transform), weight)
    wrapped.compile(keras.optimizers.Adam(LEARNING_RATE), "binary_crossentropy")
    wrapped.fit(packed, epochs=EPOCHS, verbose=0, shuffle=False)


def train_peer(split, weights, python):
    """Trains the same with the peer, plain and with each weight."""
    results = common.run_peer(
        python,
        PEER,
        texts=list(split.train.texts),
        labels=split.train.labels.tolist(),
        terms=split.terms,
        vocabulary=split.vocabulary,
        breaks=BREAKS,
        test_texts=list(split.test.texts),
        original=[t.decode() for t in split.original.numpy()],
        counterfactual=[t.decode() for t in split.counterfactual.numpy()],
        seed=split.seed,
        batch=BATCH,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        weights=weights,
    )
    return {name: split.judge(*p) for name, p in results.items()}


def mean(results):
    return {
        key: float(np.mean([result[key] for result in results]))
        for key in results[0]
    }


def best(found):
    """Returns each side's weight of least flips at little loss of AUC."""
    chosen = {}
    for name in dict.fromkeys(name for name, _ in found):
        plain = found["peer" if name == "peer" else "ours", "plain"]
        allowed = [
            weight
            for other, weight in found
            if other == name
            and weight != "plain"
            and plain["auc"] - found[name, weight]["auc"] <= ALLOWED_LOSS
        ]
        if allowed:
            chosen[name] = min(
                allowed, key=lambda weight: found[name, weight]["flip_rate"]
            )
    return chosen


def run(options):
    if options.quick:
        options.seeds, options.weights = 1, [1.0]
        data, terms = common.embedded()
    else:
        data = datasets.load_csv(options.csv, "text", "offensive")
        terms = datasets.load_terms(options.csv.with_name("identity_terms.txt"))
        python = common.peer_python("tfmr", common.TFMR, options.peer_python)
    pairs_of_terms = list(zip(terms[:50:2], terms[1:50:2], strict=True))
    swaps = dict([*pairs_of_terms, *((b, a) for a, b in pairs_of_terms)])
    ours = {
        "probabilities": {},
        "logits": {"transform": "logit"},
        "logits, swaps too": {"transform": "logit", "swaps": swaps},
    }
    found = {}

    def note(seed, key, figures):
        found.setdefault(key, []).append(figures)
        sys.stderr.write(f"{seed} {key} {figures}\n")

    for seed in range(options.seeds):
        split = Split(data, terms, seed)
        model = train_plain(split)
        trained = model.get_weights()
        note(seed, ("ours", "plain"), judge(model, split))
        for name, settings in ours.items():
            for weight in options.weights:
                model.set_weights(trained)
                train_on(model, split, weight, **settings)
                note(seed, (name, weight), judge(model, split))
        if options.quick:
            continue
        peers = train_peer(split, options.peer_weights, python)
        for weight, figures in peers.items():
            key = weight if weight == "plain" else float(weight)
            note(seed, ("peer", key), figures)
    return {key: mean(results) for key, results in found.items()}


def main():
    parser = common.parser(__doc__.partition("\n")[0])
    parser.add_argument("csv", type=Path, nargs="?", default=common.TWEETS)
    parser.add_argument(
        "--peer-python",
        help="Python of an environment with tensorflow_model_remediation; "
        "by default one is made under .benchmarks/",
    )
    parser.add_argument("--seeds", type=int, default=5)
    for side in ("", "peer-"):
        parser.add_argument(
            f"--{side}weights", type=float, nargs="+", default=list(WEIGHTS)
        )
    options = parser.parse_args()
    found = run(options)
    rows, figures = [], {}
    for (name, weight), result in found.items():
        plain = found["peer" if name == "peer" else "ours", "plain"]
        cut = 1 - result["flip_rate"] / plain["flip_rate"]
        lost = plain["auc"] - result["auc"]
        figures[f"{name} {weight}"] = {**result, "cut": cut, "auc_lost": lost}
        rows.append(
            [
                name,
                weight,
                f"{result['flip_rate']:.4f}",
                f"{cut:.1%}",
                f"{result['gap']:.4f}",
                f"{result['auc']:.4f}",
                f"{lost:+.4f}",
            ]
        )
    figures["best"] = best(found)
    for name, weight in figures["best"].items():
        result = f"{found[name, weight]['flip_rate']:.4f}"
        rows.append([f"best of {name}", weight, result, *[""] * 4])
    table = common.markdown(
        ["model", "weight", "flip rate", "cut", "gap", "AUC", "AUC lost"], rows
    )
    common.report(
        f"Counterfactual logit pairing, mean of {options.seeds} seeds",
        table,
        figures,
        options.json,
    )
    return figures


if __name__ == "__main__":
    main()
