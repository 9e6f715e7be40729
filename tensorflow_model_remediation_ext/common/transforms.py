"""Transforms of predictions before they are compared."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# From 1 to the number below it.
_HALF_STEPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}


def logit(probabilities: Any) -> Any:
    """Returns `log(p / (1 - p))`, with `p` kept `epsilon` away from 0 and 1.

    `epsilon` is that of Keras; in half precision, the step below 1.

    Args:
        probabilities: Float tensor with values in `[0, 1]`, any shape.

    Returns:
        Tensor of the same shape and dtype.
    """
    dtype = keras.backend.standardize_dtype(probabilities.dtype)
    epsilon = max(keras.config.epsilon(), _HALF_STEPS.get(dtype, 0.0))
    clipped = ops.clip(probabilities, epsilon, 1.0 - epsilon)
    return ops.log(clipped) - ops.log1p(-clipped)


_BY_NAME = {"logit": logit, "sigmoid": ops.sigmoid, "softmax": ops.softmax}


def get(
    transform: str | Callable | dict | None, returning: str | None = None
) -> Callable:
    """Resolves a transform of predictions.

    Args:
        transform: `None` (identity), `"logit"`, `"sigmoid"`, `"softmax"`, a
            callable, or the serialized form of a registered callable.
        returning: What errors call a callable that does not return a tensor
            of numbers; `None` takes what it returns unseen.

    Returns:
        A function from a float tensor to a tensor of the same shape. It
        raises `ValueError` for what `returning` says.

    Raises:
        ValueError: If the name is unknown, or the value is not a callable.
    """
    if transform is None:
        return lambda predictions: predictions
    if isinstance(transform, str) and transform in _BY_NAME:
        return _BY_NAME[transform]
    transform = restored(transform)
    if callable(transform):
        return _checked(transform, returning) if returning else transform
    raise ValueError(
        f"`transform` must be None, one of {sorted(_BY_NAME)} or a callable; "
        "the name of a loss is given as `name=...`. "
        f"Received: transform={transform!r}"
    )


def restored(transform: str | Callable | dict | None) -> Any:
    """Returns a transform as it was before it was serialized."""
    if isinstance(transform, dict):
        return keras.saving.deserialize_keras_object(transform)
    return transform


def _checked(transform, name):
    def checked(predictions):
        result = transform(predictions)
        dtype = getattr(result, "dtype", None)
        if dtype is None or keras.backend.standardize_dtype(dtype) == "string":
            seen = repr(result)
            if keras.tree.is_nested(result):
                seen = keras.tree.map_structure(type, result)
            raise ValueError(
                f"`{name}` must return one tensor of numbers. Received: {seen}"
            )
        return result

    return checked


def serialize(transform: str | Callable | None) -> Any:
    """Returns a JSON-able form of `transform` that `get` understands.

    Raises:
        ValueError: If a callable is not registered with Keras, so that a
            saved loss could not be loaded again.
    """
    if transform is None or isinstance(transform, str):
        return transform
    name = keras.saving.get_registered_name(transform)
    if keras.saving.get_registered_object(name) is None:
        raise ValueError(
            "A `transform` that is saved must be a name or a function "
            "registered with @keras.saving.register_keras_serializable(). "
            f"Received: transform={transform!r}"
        )
    return keras.saving.serialize_keras_object(transform)
