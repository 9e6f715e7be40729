"""A SavedModel of a KerasHub task that takes raw strings or images."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.layers import inputs_of
from tensorflow_model_remediation_ext.common.preprocessing import (
    innermost,
    preprocessor_of,
)


def export(
    model: keras.Model, filepath: str, own: Callable, *args: Any, **kwargs: Any
) -> Any:
    """Exports a model, with its preprocessor where it has one.

    Args:
        model: A built model.
        filepath: Where to write it.
        own: The model's own `export`, for a model without a preprocessor,
            another format than a SavedModel, a signature that was given, or
            another backend of Keras than TensorFlow.
        *args: As in `keras.Model.export`.
        **kwargs: As in `keras.Model.export`.

    Returns:
        What `own` returns.
    """
    options = dict(zip(("format", "verbose"), args, strict=False)) | kwargs
    raw = _raw_spec(model)
    if (
        raw is None
        or options.get("format", "tf_saved_model") != "tf_saved_model"
        or set(options) - {"format", "verbose"}
        or keras.backend.backend() != "tensorflow"
    ):
        return own(filepath, *args, **kwargs)
    preprocess = preprocessor_of(model)

    def run(x):
        # An exported function gets dicts of a class of Keras' own.
        x = dict(x) if isinstance(x, dict) else x
        return model(preprocess(x)[0], training=False)

    archive = keras.export.ExportArchive()
    archive.track(model)
    default = tf.function(run, input_signature=[raw])
    default.get_concrete_function()
    archive.add_endpoint("serving_default", default)
    # What is called as `loaded.serve` takes either.
    serve = tf.function(run)
    serve.get_concrete_function(raw)
    inputs = inputs_of(innermost(model))
    if isinstance(inputs, dict):
        serve.get_concrete_function(
            {
                name: tf.TensorSpec(part.shape, part.dtype, name=name)
                for name, part in inputs.items()
            }
        )
    archive.add_endpoint("serve", serve)
    return archive.write_out(filepath, verbose=options.get("verbose", True))


def _raw_spec(model):
    """Returns what a task takes before its preprocessor, where that is known.

    That is a text, or an image of any size.
    """
    if preprocessor_of(model) is None:
        return None
    task = innermost(model)
    if getattr(task.preprocessor, "tokenizer", None) is not None:
        return tf.TensorSpec([None], tf.string, name="x")
    if getattr(task.preprocessor, "image_converter", None) is not None:
        axis = 1 if keras.config.image_data_format() == "channels_first" else 3
        shape: list[int | None] = [None] * 4
        shape[axis] = task.input.shape[axis]
        return tf.TensorSpec(shape, tf.float32, name="x")
    return None
