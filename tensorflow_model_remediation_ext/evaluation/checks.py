"""What the functions of `evaluation` ask of their arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from tensorflow_model_remediation_ext.evaluation.frames import to_array


def require_model(model: Any) -> None:
    """Raises unless `model` is a Keras model.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`model` must be a keras.Model. Received: {type(model).__name__}"
        )


def require_order(values: Any, name: str) -> None:
    """Raises unless values are `None` or come in an order of their own.

    Raises:
        TypeError: If they are a set, whose order is no one's choice, or no
            collection.
    """
    if values is None:
        return
    if isinstance(values, set | frozenset) or not isinstance(values, Iterable):
        raise TypeError(
            f"`{name}` must be a list, in the order of what they name. "
            f"Received: {name}={values!r}"
        )


def finite_numbers(values: Any, name: str) -> np.ndarray:
    """Returns an array as float64.

    Args:
        values: Anything that `numpy.asarray` takes, or a data frame of
            numbers.
        name: What to call it in an error.

    Raises:
        TypeError: If it is a dict or a LazyFrame.
        ValueError: If a value is not a number, or not finite.
    """
    array = to_array(values, name)
    try:
        if array.dtype.kind in "cmM":
            raise ValueError(f"dtype={array.dtype}")
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be an array of numbers. Received: {values!r:.80}"
        ) from error
    rows = np.atleast_1d(array)
    wrong = np.argwhere(~np.isfinite(rows))
    if len(wrong):
        raise ValueError(
            f"`{name}` must be finite. "
            f"Received: {rows[tuple(wrong[0])]} in row {wrong[0][0]}"
        )
    return array


def relative_weights(sample_weight: Any, n: int) -> np.ndarray:
    """Returns weights of at most 1; only their ratios matter.

    Args:
        sample_weight: Non-negative weights, `[n]`.
        n: Number of rows.

    Raises:
        ValueError: If there are not `n` of them, or one is negative or not
            finite.
    """
    weights = finite_numbers(sample_weight, "sample_weight")
    if weights.shape != (n,):
        raise ValueError(
            f"`sample_weight` must have shape ({n},). "
            f"Received: shape={weights.shape}"
        )
    if (weights < 0).any():
        raise ValueError(
            f"`sample_weight` must not be negative. Received: {weights.min()}"
        )
    return weights / weights.max() if weights.any() else weights


def require_probabilities(
    values: np.ndarray, name: str, threshold: float
) -> None:
    """Raises unless values fit a threshold that only probabilities have.

    Raises:
        ValueError: If `threshold` is strictly between 0 and 1, and a value
            is outside [0, 1].
    """
    if (
        0 < threshold < 1
        and values.size
        and not 0 <= values.min() <= values.max() <= 1
    ):
        raise ValueError(
            f"`{name}` must be probabilities at `threshold={threshold}`; give "
            "`threshold=0.0` for logits. "
            f"Received: values from {values.min():g} to {values.max():g}"
        )
