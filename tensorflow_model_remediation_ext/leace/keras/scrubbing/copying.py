"""A copy of a model with erasers after some of its layers, step by step."""

import contextlib
import os
import tempfile
import types
import warnings
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.layers import (
    Layers,
    select,
    sublayers,
    twins,
)
from tensorflow_model_remediation_ext.leace.keras.erasing_layer import (
    ErasingLayer,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.model import (
    ScrubbedModel,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.stages import (
    CONSTANT,
    Forward,
    trace,
)


def copy_of(model: keras.Model) -> keras.Model:
    """Returns the model as Keras saves and loads it, not compiled.

    Raises:
        TypeError: If it is not a Keras model.
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
    layers = (model, *sublayers(model).values())
    # Also classes that nobody registered, as long as they can be rebuilt.
    own = {
        type(v).__name__: type(v)
        for v in layers
        if not type(v).__module__.startswith("keras.")
    }
    with (
        _named_functions(layers) as functions,
        tempfile.TemporaryDirectory() as directory,
    ):
        path = os.path.join(directory, "model.keras")
        try:
            keras.saving.save_model(model, path)
            with warnings.catch_warnings():
                # Tasks of KerasHub compile themselves, with an optimizer that
                # the copy has no use for.
                warnings.filterwarnings("ignore", ".*loading for optimizer")
                copy = keras.saving.load_model(
                    path, custom_objects={**functions, **own}, compile=False
                )
        except Exception as error:
            raise ValueError(
                "`model` must be one that Keras can save and load, as its "
                f"copy is made and the result is saved. It fails with: {error}"
            ) from error
    for layer, twin in zip(layers[1:], twins(model, copy), strict=True):
        if twin.name != layer.name:  # One that forgets its name.
            twin.name = layer.name
    return copy


@contextlib.contextmanager
def _named_functions(layers):
    """Yields the functions that layers hold by names that tell them apart.

    Keras writes a function with a name as that name, and looks it up when it
    loads. So the copy of a `Lambda` runs the very function of the model, with
    all that it refers to, instead of code out of a file, which would be unsafe.
    """
    functions = {}
    for layer in layers:
        for function in _functions_in(vars(layer)):
            functions[id(function)] = function
    names = {key: f.__name__ for key, f in functions.items()}
    found: dict[str, Any] = {}
    try:
        for i, function in enumerate(functions.values()):
            if function.__name__ == "<lambda>" or function.__name__ in found:
                function.__name__ = f"function_{i}"
            found[function.__name__] = function
        yield found
    finally:
        for key, function in functions.items():
            function.__name__ = names[key]


def _functions_in(attributes):
    """Yields functions among attributes, that are not Keras' own."""
    for name, value in attributes.items():
        if (
            isinstance(value, types.FunctionType)
            and name != "call"
            and not (value.__module__ or "").startswith("keras.")
        ):
            yield value


def forward_pass(
    model: keras.Model,
    copy: keras.Model,
    layers: Layers,
    specs: Any,
    make_eraser: Callable[[str, tf.Tensor], ErasingLayer],
) -> Forward:
    """Traces the copy with erasers after the layers that a choice means.

    What the default means and cannot be scrubbed is left out: silently where it
    knows nothing of the inputs, otherwise with a warning.

    Args:
        model: The original.
        copy: Its copy.
        layers: The choice, see `scrub`.
        specs: See `stages.trace`.
        make_eraser: See `stages.trace`.

    Raises:
        ValueError: If no layer can be scrubbed, or one that was chosen cannot.
    """
    chosen, but_last = select(model, layers)
    found = sublayers(copy)
    forward = trace(copy, {p: found[p] for p in chosen}, specs, make_eraser)
    runs, refused = forward.runs, dict(forward.refused)
    if but_last and forward.last in runs:
        del runs[forward.last], forward.erasers[forward.last]
    refused |= {
        path: "it does not run in a forward pass"
        for path in chosen
        if layers is not None and path not in runs and path not in refused
    }
    if layers is None and runs:
        refused = {p: why for p, why in refused.items() if why != CONSTANT}
    reasons = "".join(f"\n{path!r}: {why}" for path, why in refused.items())
    if not runs or (layers is not None and refused):
        raise ValueError(
            "`layers` must choose layers that can be scrubbed. Received: "
            f"layers={layers!r}, of which cannot:{reasons or ' all'}"
        )
    if refused:
        warnings.warn(f"These layers are not scrubbed:{reasons}", stacklevel=3)
    often = [path for path, each in runs.items() if len(each) > 1]
    if often:
        warnings.warn(
            "These layers run several times in a forward pass. Each has one "
            "eraser, fitted on all of its runs together, which guards none of "
            f"them exactly: {often}",
            stacklevel=3,
        )
    return forward


def eraser_layer(
    path: str, hidden: tf.Tensor, kind: type[ErasingLayer], **options: Any
) -> ErasingLayer:
    """Returns a built layer that erases after the layer at a path.

    Args:
        path: Where it will sit.
        hidden: What comes out there.
        kind: Its class.
        **options: Of the class.
    """
    dtype = hidden.dtype.name
    layer = kind(
        **options,
        # Half precision would leave traces in the weights.
        dtype=f"mixed_{dtype}" if hidden.dtype.size < 4 else dtype,
        name=f"eraser_{path.replace('/', '_')}",
    )
    layer.build(tuple(hidden.shape))
    return layer


def with_erasers(
    copy: keras.Model, erasers: dict[str, ErasingLayer], specs: Any
) -> ScrubbedModel:
    """Returns the copy with its erasers in place for good."""
    scrubbed = ScrubbedModel(copy, erasers, name=f"scrubbed_{copy.name}")
    scrubbed.build(keras.tree.map_structure(lambda s: tuple(s.shape), specs))
    return scrubbed
