"""Predictions of a model, batch by batch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tensorflow_model_remediation_ext.common.layers import by_name
from tensorflow_model_remediation_ext.common.preprocessing import (
    predict_preprocessed,
    preprocessed_x,
)


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
    x = preprocessed_x(model, x)
    predictions = predict_preprocessed(model, by_name(model, x))
    if keras.tree.is_nested(predictions):
        raise ValueError(
            "`model` must have one output: make a keras.Model of the one that "
            f"decides. Received: {len(keras.tree.flatten(predictions))} outputs"
        )
    strategy = getattr(model, "distribute_strategy", None)
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    if len(predictions) == rows * replicas:
        # Each of several replicas has predicted all of the batch.
        return predictions[:rows]
    raise ValueError(
        "`model` must predict a row for each row of its input. "
        f"Received: {len(predictions)} predictions of {rows} rows"
    )
