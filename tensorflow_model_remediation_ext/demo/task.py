"""The data of the demo, and what it measures on them."""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext import datasets, evaluation
from tensorflow_model_remediation_ext.counterfactual.keras import (
    build_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor

ABOUT_PAIRS = (
    "Here the input is a held-out comment with an identity term, and its "
    "counterfactual the same without the term. A group are the pairs with one "
    "of its terms."
)
ABOUT_TUNING = "Here quality is the AUC, on comments that trained no model."


class Task(NamedTuple):
    """Labeled texts and the identity terms to look for in them.

    The validation texts choose the weight of the penalty, if that is wanted.
    """

    name: str
    train: datasets.LabeledText
    validation: datasets.LabeledText | None
    test: datasets.LabeledText
    terms: dict[str, tuple[str, ...]]

    @property
    def all_terms(self) -> list[str]:
        """Every term of every group."""
        return sorted({t for group in self.terms.values() for t in group})


class Pairs(NamedTuple):
    """Labeled texts, and those with a term beside themselves without it."""

    data: datasets.LabeledText
    original: tf.Tensor
    counterfactual: tf.Tensor
    groups: dict[str, np.ndarray]


def load(arguments: argparse.Namespace) -> Task:
    """Loads the data that the command line names."""
    terms = None
    if arguments.terms_file:
        terms = {"listed terms": datasets.load_terms(arguments.terms_file)}
    if arguments.csv:
        name = pathlib.Path(arguments.csv).name
        data = datasets.load_csv(
            arguments.csv,
            arguments.text_column,
            arguments.label_column,
            encoding=arguments.encoding,
            delimiter=arguments.delimiter,
            positive_label=arguments.positive_label,
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
    validation = None
    if arguments.tune:
        train, validation = train.split(0.2, seed=arguments.seed)
    for part, which in (
        (train, "training"),
        (validation, "validation"),
        (test, "held-out"),
    ):
        if part is not None and len(set(part.labels)) < 2:
            raise ValueError(
                f"{name}: the {len(part)} {which} comments have one label "
                "only; both are needed"
            )
    assert terms is not None  # The command line asks for them.
    return Task(name, train, validation, test, terms)


def summary(task: Task, pairs: "Pairs") -> str:
    """Says what the data are."""
    return (
        f"{task.name}: {len(task.train)} comments to train on, "
        f"{len(task.test)} held out, {len(pairs.original)} of these with one "
        f"of {len(task.all_terms)} terms"
    )


def batches(task: Task, batch_size: int, seed: int) -> tf.data.Dataset:
    """Returns the shuffled batches to train on."""
    data = tf.data.Dataset.from_tensor_slices(
        (task.train.texts, task.train.labels.astype("float32")[:, None])
    )
    data = data.shuffle(10_000, seed=seed)
    return data.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def predict(model: keras.Model, texts) -> np.ndarray:
    """Returns the model's outputs, `[n, k]`."""
    texts = tf.convert_to_tensor(texts)
    return model.predict(texts, batch_size=1024, verbose=0)


def make_pairs(task: Task, data: datasets.LabeledText) -> Pairs:
    """Pairs every text that holds a term with itself without it."""
    texts = tf.data.Dataset.from_tensor_slices(data.texts).batch(1024)
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
            groups[group] = mentions(terms, original)
    return Pairs(data, original, counterfactual, groups)


def mentions(terms: Sequence[str], texts: Any) -> np.ndarray:
    """Returns which texts hold one of the terms."""
    texts = tf.convert_to_tensor(texts)
    return (TermEditor(terms)(texts) != texts).numpy()


def measure_quality(
    model: keras.Model, data: datasets.LabeledText
) -> dict[str, Any]:
    """Measures how well a model tells the labels of texts."""
    predictions = predict(model, data.texts)
    return {
        "Accuracy": evaluation.accuracy(data.labels, predictions),
        "AUC": evaluation.auc(data.labels, predictions),
    }


def measure(model: keras.Model, pairs: Pairs) -> dict[str, Any]:
    """Measures quality on all texts, and flips on those with a term."""
    return {
        **measure_quality(model, pairs.data),
        "Flips": evaluation.flips(
            predict(model, pairs.original),
            predict(model, pairs.counterfactual),
            groups=pairs.groups or None,
            seed=0,
        ),
    }
