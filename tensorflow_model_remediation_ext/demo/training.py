"""The model of the demo, and how it is trained and remediated."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.keras import (
    AtMost,
    CounterfactualModel,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.losses import (
    PairwiseMSELoss,
)
from tensorflow_model_remediation_ext.demo.task import Task, mentions

LEARNING_RATE = 3e-3


def build_model(texts: np.ndarray) -> keras.Model:
    """Makes a small text classifier that takes strings."""
    vectorize = keras.layers.TextVectorization(
        max_tokens=10_000, output_sequence_length=50
    )
    vectorize.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(1024))
    inputs = keras.Input((), dtype="string", name="text")
    x = vectorize(inputs)
    x = keras.layers.Embedding(vectorize.vocabulary_size(), 32)(x)
    x = keras.layers.GlobalAveragePooling1D(name="representation")(x)
    x = keras.layers.Dense(32, "relu")(x)
    outputs = keras.layers.Dense(1, "sigmoid", name="rude")(x)
    return keras.Model(inputs, outputs, name="text_classifier")


def train(model: keras.Model, batches: tf.data.Dataset, epochs: int) -> None:
    """Compiles and trains a model as it is."""
    compiled(model).fit(batches, epochs=epochs, shuffle=False)


def training_pairs(task: Task) -> dict[str, tf.data.Dataset]:
    """Returns pairs of the training texts, by how they were made.

    Texts with a term that is not to be paired make no pairs.
    """
    texts = task.train.texts
    if task.unpaired_terms:
        texts = texts[~mentions(task.unpaired_terms, texts)]
    data = tf.data.Dataset.from_tensor_slices(texts).batch(1024)
    pairs = {"removal": build_counterfactual_data(data, task.paired_terms)}
    swaps = task.swaps()
    if swaps is not None:
        pairs["swaps"] = build_counterfactual_data(data, terms_to_replace=swaps)
    # Edited once, and shuffled anew in each epoch.
    return {
        name: each.unbatch().cache().shuffle(10_000, seed=0)
        for name, each in pairs.items()
    }


def objectives(
    pairs: dict[str, tf.data.Dataset],
) -> dict[str, dict[str, tf.data.Dataset]]:
    """Returns what to train on by the name of the model: each, and all."""
    one_by_one = {name: {name: each} for name, each in pairs.items()}
    return {**one_by_one, " and ".join(pairs): pairs}


def pack(
    batches: tf.data.Dataset, pairs: dict[str, tf.data.Dataset]
) -> tf.data.Dataset:
    """Returns batches with as many pairs as their examples have on average."""
    return pack_counterfactual_data(batches, pairs, pairs_per_example="auto")


def with_pairing(
    model: keras.Model,
    loss_weight: float | AtMost,
    names: Iterable[str],
    steps: int,
) -> CounterfactualModel:
    """Returns a compiled model that trains `model` on, in place.

    Args:
        model: The model.
        loss_weight: The weight of each objective, or a target.
        names: Names of the objectives.
        steps: For how many steps it will be trained.
    """
    losses = {name: PairwiseMSELoss(transform="logit") for name in names}
    weights = dict.fromkeys(losses, loss_weight)
    rate: Any = LEARNING_RATE
    if isinstance(loss_weight, AtMost):
        # The last steps settle on the target.
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    return compiled(CounterfactualModel(model, losses, weights), rate)


def compiled(model: keras.Model, rate: Any = LEARNING_RATE) -> keras.Model:
    """Compiles a model with a learning rate or schedule, and returns it."""
    optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model
