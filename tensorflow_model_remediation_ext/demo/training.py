"""The model of the demo, and how it is trained and remediated."""

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


def pack(batches: tf.data.Dataset, terms: list[str]) -> tf.data.Dataset:
    """Returns batches with pairs of their texts riding along."""
    return pack_counterfactual_data(
        batches, build_counterfactual_data(batches, terms)
    )


def with_pairing(
    model: keras.Model, loss_weight: float | AtMost, steps: int
) -> CounterfactualModel:
    """Returns a compiled model that trains `model` on, in place.

    Args:
        model: The model.
        loss_weight: Weight of the penalty, or a target.
        steps: For how many steps it will be trained.
    """
    loss = PairwiseMSELoss(transform="logit")
    rate = LEARNING_RATE
    if isinstance(loss_weight, AtMost):
        # The last steps settle on the target.
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    return compiled(CounterfactualModel(model, loss, loss_weight), rate)


def compiled(model: keras.Model, rate: Any = LEARNING_RATE) -> keras.Model:
    """Compiles a model with a learning rate or schedule, and returns it."""
    optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model
