"""The data of the demo, and what it measures on them."""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext import datasets, evaluation
from tensorflow_model_remediation_ext.counterfactual import swaps
from tensorflow_model_remediation_ext.counterfactual.keras import (
    build_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor

FLIPS = "Flips"
UNPAIRED_FLIPS = "Flips, unpaired terms"
ABOUT = {
    FLIPS: "Here the input is a held-out comment with an identity term that "
    "was paired in training, and its counterfactual the same without the term. "
    "A group is the pairs with one of its terms.",
    UNPAIRED_FLIPS: "The same for the third of the terms that no pair of the "
    "training data held: what pairing does for a term that nobody listed.",
}
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
        return list(dict.fromkeys(t for g in self.terms.values() for t in g))

    @property
    def unpaired_terms(self) -> list[str]:
        """A third of the terms, which pairs of training leave out."""
        return self.all_terms[1::3] if len(self.all_terms) > 2 else []

    @property
    def paired_terms(self) -> list[str]:
        """The other terms."""
        left_out = set(self.unpaired_terms)
        return [term for term in self.all_terms if term not in left_out]

    def swaps(self) -> swaps.Swaps | None:
        """Returns swaps of each paired term for the next one of its group.

        `None` if no group has two.
        """
        paired = set(self.paired_terms)
        cycles: dict[str, str] = {}
        for group in self.terms.values():
            terms = [term for term in group if term in paired]
            if len(terms) > 1:
                cycles |= zip(terms, terms[1:] + terms[:1], strict=True)
        return swaps.Swaps(cycles) if cycles else None


class Pairs(NamedTuple):
    """Texts with a term, and the same without it."""

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
    require_both_labels(name, "comments", train, validation, test)
    assert terms is not None  # The command line asks for them.
    return Task(name, train, validation, test, terms)


def require_both_labels(
    name: str, rows: str, train: Any, validation: Any, test: Any
) -> None:
    """Raises where there are too few rows of a label to measure an AUC.

    Args:
        name: Name of the data, for errors.
        rows: What to call their rows.
        train: A part of the data, whose `labels` are zeros and ones, `[n]`.
        validation: Another part, or `None`.
        test: Another part.

    Raises:
        ValueError: If there are fewer than two of either label in a part.
    """
    parts = {"training": train, "validation": validation, "held-out": test}
    for which, part in parts.items():
        if part is None:
            continue
        ones = int(np.count_nonzero(part.labels))
        if min(ones, len(part.labels) - ones) < 2:
            raise ValueError(
                f"{name}: the {which} {rows} must hold two or more of each "
                f"label. Of {len(part.labels)} {ones} are positive"
            )


def summary(task: Task, pairs: dict[str, Pairs]) -> str:
    """Says what the data are."""
    positive = np.concatenate([task.train.labels, task.test.labels]).mean()
    said = (
        f"{task.name}: {len(task.train)} comments to train on, "
        f"{positive:.1%} positive; "
        f"{len(task.test)} held out, {len(pairs[FLIPS].original)} of these "
        f"with one of {len(task.paired_terms)} paired terms"
    )
    if UNPAIRED_FLIPS not in pairs:
        return said
    return (
        f"{said}, {len(pairs[UNPAIRED_FLIPS].original)} with one of "
        f"{len(task.unpaired_terms)} terms that training does not pair"
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


def make_pairs(
    task: Task, data: datasets.LabeledText, terms: Sequence[str]
) -> Pairs | None:
    """Pairs every text that holds a term with itself without it.

    Returns:
        The pairs; `None` if no text holds a term.
    """
    texts = tf.data.Dataset.from_tensor_slices(data.texts).batch(1024)
    pairs = list(build_counterfactual_data(texts, terms)) if terms else []
    if not pairs:
        return None
    original = tf.concat([batch[0] for batch in pairs], axis=0)
    counterfactual = tf.concat([batch[1] for batch in pairs], axis=0)
    groups = {}
    if len(task.terms) > 1:
        for group, of_group in task.terms.items():
            some = [term for term in of_group if term in terms]
            if some:
                groups[group] = mentions(some, original)
    return Pairs(original, counterfactual, groups)


def held_out_pairs(task: Task) -> dict[str, Pairs]:
    """Returns the held-out pairs of both kinds of terms that there are.

    Raises:
        ValueError: If no held-out text holds a term that training pairs.
    """
    found = {
        FLIPS: make_pairs(task, task.test, task.paired_terms),
        UNPAIRED_FLIPS: make_pairs(task, task.test, task.unpaired_terms),
    }
    if found[FLIPS] is None:
        raise ValueError(
            f"{task.name}: no held-out comment holds any of the "
            f"{len(task.paired_terms)} terms that are paired"
        )
    return {name: pairs for name, pairs in found.items() if pairs is not None}


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


def measure(
    model: keras.Model, data: datasets.LabeledText, pairs: dict[str, Pairs]
) -> dict[str, Any]:
    """Measures quality on all texts, and flips on those with a term."""
    return {
        **measure_quality(model, data),
        **{
            name: evaluation.flips(
                predict(model, some.original),
                predict(model, some.counterfactual),
                groups=some.groups or None,
                seed=0,
            )
            for name, some in pairs.items()
        },
    }
