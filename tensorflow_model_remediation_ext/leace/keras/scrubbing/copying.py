"""A copy of a model with erasers behind some of its layers, step by step."""

import os
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common import layers as model_layers
from tensorflow_model_remediation_ext.leace.keras.layer import LeaceLayer
from tensorflow_model_remediation_ext.leace.keras.scrubbing.model import (
    ScrubbedModel,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.stages import Graph
from tensorflow_model_remediation_ext.leace.leace import LeaceEraser


def copy_of(model: keras.Model) -> keras.Model:
    """The model as Keras saves and loads it, not compiled.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it is not built, or Keras cannot save and load it.
        RuntimeError: On another backend of Keras than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "Scrubbing needs the TensorFlow backend of Keras, on which the "
            "result can be saved to run on any. Received: the backend "
            f"{keras.backend.backend()!r}"
        )
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`model` must be a keras.Model. Received: {type(model).__name__}"
        )
    if not model.built:
        raise ValueError("`model` must be built: call it on a batch first.")
    # Also classes that nobody registered, as long as they can be rebuilt.
    classes = {
        type(v).__name__: type(v)
        for v in (model, *model_layers.sublayers(model).values())
        if not type(v).__module__.startswith("keras.")
    }
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "model.keras")
        try:
            keras.saving.save_model(model, path)
            return keras.saving.load_model(
                path, custom_objects=classes, compile=False
            )
        except Exception as error:
            raise ValueError(
                "`model` must be one that Keras can save and load, as its "
                f"copy is made and the result is saved. It fails with: {error}"
            ) from error


def trace(
    model: keras.Model,
    copy: keras.Model,
    layers: Any,
    specs: Any,
    make_eraser: Callable[[str, tf.Tensor], LeaceLayer],
) -> Graph:
    """Runs the copy once, symbolically, with erasers behind chosen layers.

    Args:
        model: The original.
        copy: Its copy.
        layers: The choice, see `scrub`.
        specs: See `Graph`.
        make_eraser: See `Graph`.

    Raises:
        ValueError: If the choice means no layer, or one that does not run or
            cannot be scrubbed.
    """
    # The copy has the paths of the model, but not its generated names.
    chosen, but_last = model_layers.select(model, layers)
    found = model_layers.sublayers(copy)
    chosen = {path: found[path] for path in chosen}
    graph = Graph(copy, chosen, specs, make_eraser)
    if but_last and graph.runs:
        path = list(graph.runs)[-1]
        del graph.runs[path], graph.erasers[path]
    unused = [path for path in chosen if path not in graph.runs]
    if not graph.runs or (layers is not None and unused):
        raise ValueError(
            "`layers` must choose layers that run in a forward pass. "
            f"Received: {unused}"
        )
    often = [path for path, runs in graph.runs.items() if len(runs) > 1]
    if often:
        warnings.warn(
            "These layers run several times in a forward pass. Each has one "
            "eraser, fitted on all of its runs together, which guards none of "
            f"them exactly: {often}",
            stacklevel=3,
        )
    return graph


def eraser_layer(
    path: str, hidden: tf.Tensor, z_dim: int, eraser: LeaceEraser, **options
) -> LeaceLayer:
    """A built layer that erases behind the layer at a path.

    Args:
        path: Where it will sit.
        hidden: What comes out there.
        z_dim: Highest rank of the eraser.
        eraser: What it erases.
        **options: Of `LeaceLayer`.
    """
    dtype = hidden.dtype.name
    layer = LeaceLayer(
        z_dim,
        eraser=eraser,
        **options,
        # Half precision would leave traces in the weights.
        dtype=f"mixed_{dtype}" if hidden.dtype.size < 4 else dtype,
        name=f"eraser_{path.replace('/', '_')}",
    )
    layer.build(tuple(hidden.shape))
    return layer


def with_erasers(
    copy: keras.Model, erasers: dict[str, LeaceLayer], specs: Any
) -> ScrubbedModel:
    """The result: the copy, with its erasers in place for good."""
    scrubbed = ScrubbedModel(copy, erasers, name=f"scrubbed_{copy.name}")
    scrubbed.build(keras.tree.map_structure(lambda s: tuple(s.shape), specs))
    return scrubbed
