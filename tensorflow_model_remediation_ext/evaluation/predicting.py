"""Predictions of a model, batch by batch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.layers import by_name
from tensorflow_model_remediation_ext.common.preprocessing import (
    predict_preprocessed,
    preprocessed_x,
)
from tensorflow_model_remediation_ext.common.sharing import sharing_devices


def predict_batch(model: keras.Model, x: Any, rows: int) -> np.ndarray:
    """Returns the predictions for one batch.

    Far cheaper than `model.predict`, which sets up a pipeline for each call.

    Args:
        model: A model with one output.
        x: What the model takes; or raw strings or images, for a KerasHub task
            with its preprocessor.
        rows: The number of rows of `x`.

    Raises:
        ValueError: If the model has several outputs, does not predict a row
            for each row, or takes numbers and is given strings.
    """
    x, taken = _padded(by_name(model, preprocessed_x(model, x)), rows)
    predictions = predict_preprocessed(model, x)
    if keras.tree.is_nested(predictions):
        raise ValueError(
            "`model` must have one output: make a keras.Model of the one that "
            f"decides. Received: {len(keras.tree.flatten(predictions))} outputs"
        )
    strategy = getattr(model, "distribute_strategy", None)
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    if len(predictions) == taken * replicas:
        # Each of several replicas has predicted all of the batch.
        return predictions[:rows]
    raise ValueError(
        "`model` must predict a row for each row of its input. "
        f"Received: {len(predictions)} predictions of {taken} rows"
    )


def _padded(x: Any, rows: int) -> tuple[Any, int]:
    """Returns a batch with its last row repeated, and its number of rows.

    JAX compiles a model anew for each number of rows: so there are few of
    them, and those that the devices of a `keras.distribution` can share.
    """
    if keras.backend.backend() != "jax":
        return x, rows
    import jax

    dense = (np.ndarray, tf.Tensor, jax.Array)
    if not rows or any(
        not isinstance(part, dense) or part.shape[:1] != (rows,)
        for part in keras.tree.flatten(x)
    ):
        return x, rows
    devices = sharing_devices()
    # A power of two for each device.
    taken = devices << (-(-rows // devices) - 1).bit_length()
    index = np.minimum(np.arange(taken), rows - 1)
    return keras.tree.map_structure(lambda p: np.asarray(p)[index], x), taken
