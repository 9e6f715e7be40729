"""Arrays and columns, from the containers in which users have them."""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.common.checks import hides_values
from tensorflow_model_remediation_ext.common.torch_tensors import without_torch


def columns_of(values: Any, name: str) -> dict[Any, Any] | None:
    """Returns the columns of a table.

    Args:
        values: A dict of columns, a DataFrame of pandas or polars, or a Table
            of PyArrow; or anything else.
        name: What to call it in an error.

    Returns:
        The columns by name, or `None` if `values` is not a table.

    Raises:
        TypeError: If it is a LazyFrame, which has no values yet.
        ValueError: If two columns have one name.
    """
    if isinstance(values, Mapping):
        return dict(values)
    if hasattr(values, "collect_schema") and not hasattr(values, "to_numpy"):
        raise TypeError(
            f"`{name}` must hold values: pass `{name}.collect()`. "
            f"Received: {type(values).__name__}"
        )
    # PyArrow has columns, too, but names elsewhere.
    keys = getattr(values, "column_names", getattr(values, "columns", None))
    if keys is None:
        return None
    keys = list(keys)
    if len(set(keys)) < len(keys):
        raise ValueError(
            f"`{name}` must have columns whose names differ. Received: {keys}"
        )
    return {key: values[key] for key in keys}


def to_array(values: Any, name: str) -> np.ndarray:
    """Returns an array with the simplest dtype that holds the values.

    Columns that pandas or polars keep as objects, because a value may be
    missing or because other columns are of another type, become numbers or
    booleans if that is what they hold. A missing number is NaN, and so is one
    that a masked array hides.

    Args:
        values: Anything that `numpy.asarray` takes, a tensor of PyTorch, or a
            table of numbers.
        name: What to call it in an error.

    Raises:
        TypeError: If it is a LazyFrame, or a dict.
        ValueError: If two columns of a table have one name, or rows are not of
            one length.
    """
    if isinstance(values, Mapping):
        raise TypeError(
            f"`{name}` must be an array. Received: {type(values).__name__}"
        )
    columns = columns_of(values, name)
    if columns is None:
        return _settled(plain_array(values, name))
    arrays = [_settled(np.asarray(column)) for column in columns.values()]
    if not arrays:
        return np.empty((len(values), 0))
    kinds = {array.dtype.kind in "biuf" for array in arrays}
    return np.stack(arrays, axis=1, dtype=None if kinds == {True} else object)


def one_column(array: np.ndarray) -> np.ndarray:
    """Returns an array `[n, 1]` as `[n]`, any other as it is."""
    is_column = array.ndim == 2 and array.shape[1] == 1
    return array[:, 0] if is_column else array


def plain_array(values: Any, name: str, dtype: Any = None) -> np.ndarray:
    """Returns what `numpy.asarray` makes of values; what is masked is missing.

    Args:
        values: Anything that `numpy.asarray` takes, or a tensor of PyTorch.
        name: What to call it in an error.
        dtype: As `numpy.asarray` takes it.

    Raises:
        ValueError: If rows are not all of one length.
    """
    if hides_values(values):
        # `asarray` would show the values that the mask hides.
        mask, values = values.mask, values.data.astype(object)
        values[mask] = None
    try:
        return np.asarray(without_torch(values), dtype)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be an array, whose rows are of one length. "
            f"Received: {name} of type {type(values).__name__} ({error})"
        ) from None


def _settled(array: np.ndarray) -> np.ndarray:
    if array.dtype != object:
        return array
    flat = array.ravel().tolist()
    kinds = set(map(type, flat))
    if not kinds:
        return array
    if kinds <= {bool, np.bool_}:
        return array.astype(bool)
    if not all(map(_is_number, kinds)) or all(map(_is_missing, kinds)):
        return array
    if all(issubclass(kind, numbers.Integral) for kind in kinds):
        whole = np.array(flat)
        if whole.dtype.kind in "iu":  # Others are too large.
            return whole.reshape(array.shape)
    found = [np.nan if _is_missing(type(x)) else float(x) for x in flat]
    return np.array(found).reshape(array.shape)


def _is_number(kind: type) -> bool:
    real = (numbers.Real, np.bool_, decimal.Decimal)
    return issubclass(kind, real) or _is_missing(kind)


def _is_missing(kind: type) -> bool:
    return kind is type(None) or kind.__name__ == "NAType"
