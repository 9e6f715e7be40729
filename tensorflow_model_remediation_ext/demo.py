"""The main job, end to end: train, measure, remediate, measure again.

Run it with `python -m tensorflow_model_remediation_ext.demo`.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext import datasets, demo_report, evaluation
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.losses import (
    PairwiseMSELoss,
)
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor

EXIT_BAD_INPUT = 2
LEARNING_RATE = 3e-3


class Task(NamedTuple):
    """Labeled texts and the identity terms to look for in them."""

    name: str
    train: datasets.LabeledText
    test: datasets.LabeledText
    terms: dict[str, tuple[str, ...]]

    @property
    def all_terms(self) -> list[str]:
        """Every term of every group."""
        return sorted({t for group in self.terms.values() for t in group})


class Pairs(NamedTuple):
    """Held-out pairs, and which of them mention a term of which group."""

    original: tf.Tensor
    counterfactual: tf.Tensor
    groups: dict[str, np.ndarray]


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tensorflow_model_remediation_ext.demo",
        description=(
            "Trains a small text classifier, measures how often its decision "
            "flips when identity terms are removed, trains it on with "
            "counterfactual logit pairing, and measures again on held-out "
            "data. Writes a table, a picture, the remediated model and all "
            "figures."
        ),
        epilog=(
            "Without a data option the demo uses embedded comments, in which "
            "identity terms go with the rude label more often than not."
        ),
    )
    data = parser.add_argument_group("data")
    source = data.add_mutually_exclusive_group()
    source.add_argument(
        "--csv", metavar="FILE", help="comments from a CSV file with a header"
    )
    source.add_argument(
        "--civil-comments",
        action="store_true",
        help="Civil Comments through tensorflow-datasets (downloads it)",
    )
    data.add_argument(
        "--text-column", metavar="T", help="column of --csv with the text"
    )
    data.add_argument(
        "--label-column",
        metavar="L",
        help="column of --csv with the label: 0 or 1, or a score in [0, 1]",
    )
    data.add_argument(
        "--terms-file",
        metavar="F",
        help="identity terms, one a line; needed with --csv",
    )
    data.add_argument(
        "--data-dir", metavar="DIR", help="where tensorflow-datasets keeps data"
    )
    data.add_argument(
        "--limit",
        type=positive(int),
        metavar="N",
        help="use at most N comments (default: 10000 embedded comments, "
        "100000 of Civil Comments, all of a CSV file)",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--epochs",
        type=positive(int),
        default=6,
        metavar="N",
        help="epochs before remediation (default: %(default)s)",
    )
    training.add_argument(
        "--clp-epochs",
        type=positive(int),
        default=6,
        metavar="N",
        help="epochs of counterfactual logit pairing (default: %(default)s)",
    )
    training.add_argument(
        "--loss-weight",
        type=positive(float),
        default=3.0,
        metavar="W",
        help="weight of the pairing penalty (default: %(default)s)",
    )
    training.add_argument(
        "--batch-size",
        type=positive(int),
        default=64,
        metavar="N",
        help="examples a training step (default: %(default)s)",
    )
    training.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the data, the split and the model (default: 0)",
    )
    parser.add_argument(
        "--output-dir",
        default="demo_output",
        metavar="DIR",
        help="where results go (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    if arguments.csv and not (
        arguments.text_column
        and arguments.label_column
        and arguments.terms_file
    ):
        parser.error(
            "--csv needs --text-column, --label-column and --terms-file"
        )
    return arguments


def positive(kind: type):
    """Returns an argparse type: a finite number greater than zero."""

    def parse(text):
        number = kind(text)
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(
                f"must be greater than zero. Received: {text}"
            )
        return number

    parse.__name__ = kind.__name__
    return parse


def load_task(arguments: argparse.Namespace) -> Task:
    """Loads the data that the command line names."""
    terms = None
    if arguments.terms_file:
        terms = {"listed terms": datasets.load_terms(arguments.terms_file)}
    if arguments.csv:
        name = pathlib.Path(arguments.csv).name
        data = datasets.load_csv(
            arguments.csv, arguments.text_column, arguments.label_column
        )
    elif arguments.civil_comments:
        name = "Civil Comments"
        data = datasets.load_civil_comments(
            limit=arguments.limit or 100_000, data_dir=arguments.data_dir
        )
        terms = terms or datasets.CIVIL_COMMENTS_TERMS
    else:
        name = "embedded comments"
        data = datasets.load_embedded_comments(
            arguments.limit or 10_000, seed=arguments.seed
        )
        terms = terms or datasets.EMBEDDED_TERMS
    if arguments.limit:
        data = datasets.LabeledText(
            data.texts[: arguments.limit], data.labels[: arguments.limit]
        )
    train, test = data.split(0.2, seed=arguments.seed)
    for part, which in ((train, "training"), (test, "held-out")):
        if len(set(part.labels)) < 2:
            raise ValueError(
                f"{name}: the {len(part)} {which} comments have one label "
                "only; both are needed"
            )
    return Task(name, train, test, terms)


def build_model(texts: np.ndarray) -> keras.Model:
    """Makes a small text classifier that takes strings."""
    vectorize = keras.layers.TextVectorization(
        max_tokens=10_000, output_sequence_length=50
    )
    vectorize.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(1024))
    inputs = keras.Input((), dtype="string", name="text")
    x = vectorize(inputs)
    x = keras.layers.Embedding(vectorize.vocabulary_size(), 32)(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(32, "relu", name="representation")(x)
    outputs = keras.layers.Dense(1, "sigmoid", name="rude")(x)
    return keras.Model(inputs, outputs, name="text_classifier")


def held_out_pairs(task: Task) -> Pairs:
    """Pairs every held-out text that holds a term with itself without it."""
    texts = tf.data.Dataset.from_tensor_slices(task.test.texts).batch(1024)
    pairs = list(build_counterfactual_data(texts, task.all_terms))
    if not pairs:
        raise ValueError(
            f"{task.name}: no held-out comment holds any of the "
            f"{len(task.all_terms)} terms"
        )
    original = tf.concat([batch[0] for batch in pairs], axis=0)
    counterfactual = tf.concat([batch[1] for batch in pairs], axis=0)
    groups = {}
    if len(task.terms) > 1:
        for group, terms in task.terms.items():
            mentions = TermEditor(terms)(original) != original
            groups[group] = mentions.numpy()
    return Pairs(original, counterfactual, groups)


def measure(model: keras.Model, task: Task, pairs: Pairs) -> dict:
    """Measures quality on the held-out texts and flips on their pairs."""

    def predict(texts):
        texts = tf.convert_to_tensor(texts)
        return model.predict(texts, batch_size=1024, verbose=0)[:, 0]

    predictions = predict(task.test.texts)
    return {
        "accuracy": evaluation.accuracy(task.test.labels, predictions),
        "auc": evaluation.auc(task.test.labels, predictions),
        "flips": evaluation.flips(
            predict(pairs.original),
            predict(pairs.counterfactual),
            groups=pairs.groups or None,
            seed=0,
        ),
    }


def remediate(
    model: keras.Model,
    data: tf.data.Dataset,
    terms: list[str],
    loss_weight: float,
    epochs: int,
) -> None:
    """Trains `model` on with counterfactual logit pairing, in place."""
    packed = pack_counterfactual_data(
        data, build_counterfactual_data(data, terms)
    )
    clp = CounterfactualModel(
        model, PairwiseMSELoss(transform="logit"), loss_weight
    )
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    clp.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    clp.fit(packed, epochs=epochs, shuffle=False)


def run(arguments: argparse.Namespace) -> dict[str, dict]:
    """Runs the demo and returns all figures by the name of the model."""
    demo_report.figure_class()  # Better to fail now than after training.
    output = pathlib.Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(arguments.seed)
    task = load_task(arguments)
    pairs = held_out_pairs(task)
    print(
        f"{task.name}: {len(task.train)} comments to train on, "
        f"{len(task.test)} held out, {len(pairs.original)} of these with one "
        f"of {len(task.all_terms)} terms"
    )
    data = tf.data.Dataset.from_tensor_slices(
        (task.train.texts, task.train.labels.astype("float32")[:, None])
    )
    data = data.shuffle(10_000, seed=arguments.seed)
    data = data.batch(arguments.batch_size).prefetch(tf.data.AUTOTUNE)

    print("\nTraining the baseline")
    model = build_model(task.train.texts)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    model.fit(data, epochs=arguments.epochs, shuffle=False)
    results = {"baseline": measure(model, task, pairs)}

    print("\nRemediating with counterfactual logit pairing")
    remediate(
        model,
        data,
        task.all_terms,
        arguments.loss_weight,
        arguments.clp_epochs,
    )
    results["remediated"] = measure(model, task, pairs)

    print("\n" + demo_report.table(results))
    model.save(output / "remediated.keras")
    demo_report.draw(results, task.name, output / "flips.png")
    figures = {
        "data": {
            "name": task.name,
            "train": len(task.train),
            "test": len(task.test),
            "pairs": len(pairs.original),
            "terms": task.terms,
        },
        "arguments": vars(arguments),
        "models": demo_report.plain(results),
    }
    (output / "figures.json").write_text(json.dumps(figures, indent=2))
    print(f"\nWritten to {output}: flips.png, remediated.keras, figures.json")
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo from the command line and returns the exit status."""
    arguments = parse_arguments(argv)
    try:
        run(arguments)
    except (OSError, ValueError, ImportError) as error:
        # What the user gave could not be used: one line, no traceback.
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
