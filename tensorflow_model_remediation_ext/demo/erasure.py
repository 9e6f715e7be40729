"""The other way: erase from a representation what a text mentions."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext import evaluation
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor
from tensorflow_model_remediation_ext.demo.task import Task, predict
from tensorflow_model_remediation_ext.demo.training import compiled
from tensorflow_model_remediation_ext.leace.keras import LeaceLayer


class Concept(NamedTuple):
    """What is erased, and which texts show it.

    Args:
        question: What a probe asks.
        train: Texts to fit the eraser on, and their class ids.
        test: Held-out texts for the probe, and their class ids.
    """

    question: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def concept_of(task: Task) -> Concept:
    """Whether a text mentions terms that lean towards the label, or others.

    Group A are the terms whose training texts have the label more often than
    texts with a term have it on average, group B the other terms: a model that
    learned the bias tells them apart. Texts that mention both groups, or
    neither, are left out. Where all terms lean one way, the concept is whether
    a text mentions any of them.
    """
    texts, labels = task.train.texts, task.train.labels
    masks = {term: _mentions([term], texts) for term in task.all_terms}
    average = labels[np.any(list(masks.values()), axis=0)].mean()
    sides = {True: [], False: []}
    for term, mask in masks.items():
        if mask.any():
            sides[labels[mask].mean() > average].append(term)
    first, second = sides[True], sides[False]
    if first and second:
        question = (
            f"does a comment mention one of {_some(first)}, or of "
            f"{_some(second)}?"
        )

        def select(data):
            a, b = (_mentions(s, data.texts) for s in (first, second))
            return data.texts[a != b], a[a != b].astype(np.int64)
    else:
        question = f"does a comment mention one of {_some(first + second)}?"

        def select(data):
            mentions = _mentions(first + second, data.texts)
            return data.texts, mentions.astype(np.int64)

    concept = Concept(question, select(task.train), select(task.test))
    for _, ids in (concept.train, concept.test):
        if np.bincount(ids, minlength=2).min() < 5:
            raise ValueError(
                f"{task.name}: too few comments to ask: {question} Leave the "
                "erasure out with --skip-leace"
            )
    return concept


def _some(terms):
    return ", ".join(terms[:4]) + ("..." if len(terms) > 4 else "")


def _mentions(terms, texts):
    return (TermEditor(terms)(texts) != tf.convert_to_tensor(texts)).numpy()


def erase(
    model: keras.Model, task: Task, concept: Concept, epochs: int
) -> tuple[keras.Model, dict[str, evaluation.ProbeReport]]:
    """Erases a concept from a model's representation and reads it anew.

    The representation is the mean of a comment's word vectors. Terms add to it,
    so that classes with equal means, which is what LEACE makes them, look
    alike. Behind the hidden layer they would differ in shape, and a threshold
    finds that on held-out comments.

    Args:
        model: As from `build_model`, trained; it is left as it is.
        task: The data.
        concept: What to erase.
        epochs: How long new layers are trained to read what is left.

    Returns:
        A model with the eraser in it and new layers behind it, sharing those
        before it; and what a linear probe finds in the held-out representation
        without and with the eraser.
    """
    *_, representation, hidden, head = model.layers
    body = keras.Model(model.input, representation.output)
    layer = LeaceLayer(z_dim=2, name="erase")
    texts, ids = concept.train
    layer.adapt(predict(body, texts), ids)

    reader = keras.Sequential(
        [type(old).from_config(old.get_config()) for old in (hidden, head)]
    )
    compiled(reader).fit(
        layer(predict(body, task.train.texts)),
        task.train.labels,
        epochs=epochs,
        verbose=0,
    )
    erased = keras.Model(model.input, reader(layer(representation.output)))

    texts, ids = concept.test
    features = predict(body, texts)
    return erased, {
        "baseline": evaluation.linear_probe(features, ids),
        "erased": evaluation.linear_probe(layer(features), ids),
    }
