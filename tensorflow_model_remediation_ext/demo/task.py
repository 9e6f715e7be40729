"""The data of the demo, and what it measures on them."""

import argparse
import pathlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext import datasets, evaluation
from tensorflow_model_remediation_ext.counterfactual.keras import (
    build_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor


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


def load(arguments: argparse.Namespace) -> Task:
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
    predictions = predict(model, task.test.texts)
    return {
        "accuracy": evaluation.accuracy(task.test.labels, predictions),
        "auc": evaluation.auc(task.test.labels, predictions),
        "flips": evaluation.flips(
            predict(model, pairs.original),
            predict(model, pairs.counterfactual),
            groups=pairs.groups or None,
            seed=0,
        ),
    }
