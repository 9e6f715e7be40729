"""The other way: erase from a representation whether a text names a term."""

from typing import NamedTuple

import keras
import numpy as np

from tensorflow_model_remediation_ext import evaluation
from tensorflow_model_remediation_ext.demo.task import Task, mentions, predict
from tensorflow_model_remediation_ext.demo.training import compiled
from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    LeaceFitter,
    LeaceLayer,
)

QUESTION = "does a comment mention one of the terms?"
ABOUT = (
    f"Here a linear reader of the mean of a comment's word vectors is asked: "
    f"{QUESTION} 'erased' is LEACE. 'erased, label kept' also keeps how the "
    "representation varies with the label (SPLINCE)."
)
_FEWEST = 5


class Erased(NamedTuple):
    """What erasure gave.

    Attributes:
        models: Models with an eraser in them, by name.
        probes: What a linear reader finds on held-out texts, by model; the
            baseline is among them.
    """

    models: dict[str, keras.Model]
    probes: dict[str, evaluation.ProbeReport]


def check(task: Task) -> None:
    """Raises before training where there is too little to learn from.

    Raises:
        ValueError: If either answer to the question is too rare.
    """
    for name, data in (("training", task.train), ("held-out", task.test)):
        found = mentions(task.all_terms, data.texts).sum()
        if min(found, len(data) - found) < _FEWEST:
            raise ValueError(
                f"{task.name}: too few comments for the erasure: of "
                f"{len(data)} {name} comments {found} hold a term, and "
                f"{_FEWEST} with and {_FEWEST} without are needed. Leave the "
                "erasure out with --skip-leace"
            )


def erase(model: keras.Model, task: Task, epochs: int) -> Erased:
    """Erases a concept from a model's representation and reads it anew.

    The representation is the mean of a comment's word vectors. Terms add to it,
    so that classes with equal means, which is what LEACE makes them, look
    alike. After the hidden layer they would differ in shape, and a threshold
    finds that on held-out comments.

    Args:
        model: As from `build_model`, trained; it is left as it is.
        task: The data.
        epochs: How long the layers after the eraser are trained on.

    Returns:
        Models with the eraser in them and copies of the later layers, trained
        on. They share the layers before it: where these are trained on,
        what was erased comes back. And what a linear probe finds in the
        held-out representation without and with the erasers.
    """
    *_, representation, hidden, head = model.layers
    body = keras.Model(model.input, representation.output)
    x, held_out = (
        predict(body, data.texts) for data in (task.train, task.test)
    )
    z, z_held_out = (
        mentions(task.all_terms, data.texts).astype(np.int64)
        for data in (task.train, task.test)
    )
    labels = task.train.labels.astype(np.float64)
    erasers = {
        "erased": LeaceEraser.fit(x, z),
        "erased, label kept": LeaceFitter(x.shape[-1], 1, preserve_dim=1)
        .update(x, z, labels)
        .eraser,
    }
    models = {}
    probes = {"baseline": evaluation.linear_probe(held_out, z_held_out)}
    for name, eraser in erasers.items():
        layer = LeaceLayer(eraser=eraser, name="erase")
        reader = keras.Sequential(
            [type(old).from_config(old.get_config()) for old in (hidden, head)]
        )
        reader.build(x.shape)
        reader.set_weights(hidden.get_weights() + head.get_weights())
        compiled(reader).fit(
            layer(x), task.train.labels, epochs=epochs, verbose=0
        )
        models[name] = keras.Model(
            model.input, reader(layer(representation.output))
        )
        probes[name] = evaluation.linear_probe(layer(held_out), z_held_out)
    return Erased(models, probes)
