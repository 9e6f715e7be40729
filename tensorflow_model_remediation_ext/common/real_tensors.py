"""What losses and metrics are given, as tensors of real numbers."""

from typing import Any

import numpy as np
from keras import ops

from tensorflow_model_remediation_ext.common.checks import hides_values

# Parts of the names of dtypes that a backend may cast to a real number, or
# whose error would not say which argument it is about.
_NO_NUMBERS = ("complex", "datetime", "timedelta", "str", "bytes")


def real_tensor(name: str, value: Any, owner: str, dtype: Any = None) -> Any:
    """Returns a dense tensor of real numbers or booleans.

    Args:
        name: What to call the argument in an error.
        value: A tensor, dense or sparse, an array or nested lists.
        owner: Who asks, for the error.
        dtype: Dtype to convert to; default: that of `value`.

    Raises:
        ValueError: If it holds anything but numbers, is ragged, or a masked
            array with values that are masked.
    """
    if hides_values(value):
        raise ValueError(
            f"{owner}: `{name}` must hold a number in each place; leave rows "
            "out by a `sample_weight` of 0, or take them away. Received: a "
            "masked array with masked values"
        )
    if type(value).__name__ == "RaggedTensor":
        # Only some operations of one backend would take it.
        raise ValueError(
            f"{owner}: `{name}` must be dense; pad it, as by `to_tensor()`, "
            "and leave the padding out by a `sample_weight` of 0. Received: a "
            f"ragged tensor of shape {tuple(value.shape)}"
        )
    _require_numbers(name, value, owner)
    try:
        tensor = ops.convert_to_tensor(value, dtype=dtype, sparse=False)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: `{name}` must be a tensor or an array of numbers. "
            f"Received: {name}={value!r:.80} of type {type(value).__name__}"
        ) from error
    _require_numbers(name, tensor, owner)
    return tensor


def _require_numbers(name, value, owner):
    dtype = getattr(value, "dtype", None)
    called = str(getattr(dtype, "name", dtype))
    if any(kind in called for kind in _NO_NUMBERS):
        raise ValueError(
            f"{owner}: `{name}` must hold real numbers. Received: {name} of "
            f"dtype {called}"
        )


def checked_weight(weight: Any, owner: str) -> Any:
    """Returns weights of rows; what is negative is NaN where none can see it.

    Args:
        weight: A tensor of floats.
        owner: Who asks, for the error.

    Raises:
        ValueError: If values can be seen, and one is negative or not finite.
    """
    seen = values_of(weight)
    if seen is not None:
        seen = seen.astype("float64")
        wrong = seen[~((seen >= 0) & (seen < np.inf))]
        if wrong.size:
            raise ValueError(
                f"{owner}: `sample_weight` must be finite, zero or greater. "
                f"Received: {wrong[:5].tolist()}"
            )
    return ops.where(weight >= 0, weight, float("nan"))


def values_of(tensor: Any) -> np.ndarray | None:
    """Returns the values of a tensor, or `None` in a graph."""
    try:
        return ops.convert_to_numpy(tensor)
    except Exception:  # Each backend has its own.
        return None
