"""Rows of predictions, and which group each belongs to."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tensorflow_model_remediation_ext.common.comparing import compare
from tensorflow_model_remediation_ext.common.real_tensors import (
    real_tensor,
    values_of,
)


class GroupedRows(NamedTuple):
    """Rows to compare, in float32 or wider.

    Attributes:
        membership: `[n, 1]` where there are two groups, 1.0 for the sensitive
            one; otherwise `[n, groups]`, one column a group.
        predictions: `[n, columns]`; 0 in rows of weight 0, so that not even
            their NaN counts.
        weight: `[n, 1]`; 0 where Keras masks a position.
    """

    membership: Any
    predictions: Any
    weight: Any


def grouped_rows(
    membership: Any,
    predictions: Any,
    sample_weight: Any,
    groups: int,
    owner: str,
    transform: Callable | None = None,
) -> GroupedRows:
    """Returns memberships, predictions and weights, row by row.

    Where values cannot be seen, as in a graph, an id or a weight that is not
    usable makes the figures NaN.

    Args:
        membership: Group of each row, `[batch]` or `[batch, 1]`: integer,
            boolean or float.
        predictions: `[batch]` or `[batch, ..., columns]`, dense, sparse or
            masked. Positions count as rows of their sequence's group.
        sample_weight: `[batch]`, `[batch, 1]`, or the shape of the
            predictions without the last axis; `None` for 1.
        groups: Number of groups.
        owner: Who asks, for error messages.
        transform: Applied to the predictions.

    Raises:
        ValueError: If shapes do not fit, an id is not one of the groups, or a
            weight is negative or not finite.
    """
    names = ("predictions", "predictions")
    seen = compare(predictions, predictions, sample_weight, owner, names=names)
    predictions = _wide(seen.original)
    if transform is not None:
        predictions = _wide(transform(predictions))
    if len(predictions.shape) < 2:
        predictions = ops.reshape(predictions, (-1, 1))
    dtype = predictions.dtype
    weight = seen.weight
    if weight is None:
        weight = ops.ones_like(predictions[..., 0])
    membership = _checked_ids(membership, predictions, groups, owner)
    weight = ops.cast(weight, dtype)
    membership = _one_against_rest(ops.cast(membership, dtype), groups)
    if len(predictions.shape) > 2:
        # Every position is a row of its sequence's group.
        like = predictions[..., :1]
        inner = (1,) * (len(predictions.shape) - 2)
        columns = membership.shape[-1]
        membership = ops.reshape(membership, (-1, *inner, columns))
        membership = membership * ops.ones_like(like)
        weight = weight * ops.ones_like(like[..., 0])
        membership = ops.reshape(membership, (-1, columns))
        predictions = ops.reshape(predictions, (-1, predictions.shape[-1]))
    weight = ops.reshape(weight, (-1, 1))
    predictions = ops.where(weight > 0, predictions, 0.0)
    return GroupedRows(membership, predictions, weight)


def both_groups(membership: Any) -> Any:
    """Returns a column for each of two groups, `[n, 2]`.

    Args:
        membership: Of the first one, `[n, 1]`.
    """
    return ops.concatenate([membership, 1.0 - membership], axis=1)


def check_ids(ids: np.ndarray, groups: int, owner: str) -> None:
    """Checks that memberships are those of groups.

    Args:
        ids: Their values.
        groups: Number of groups.
        owner: Who asks, for error messages.

    Raises:
        ValueError: If an id is not one of 0 to `groups - 1`.
    """
    wrong = ids[~np.isin(ids, np.arange(groups))]
    if wrong.size:
        raise ValueError(
            f"{owner}: `membership` must hold ids from 0 to {groups - 1}, one "
            f"for each of groups={groups}. Received: "
            f"{np.unique(wrong)[:5].tolist()}"
        )


def require_one_column(predictions: Any, owner: str) -> None:
    """Raises `ValueError` unless predictions have one column."""
    if predictions.shape[-1] != 1:
        raise ValueError(
            f"{owner} needs predictions of one column: choose one with "
            "`predictions_transform`. Received: shape "
            f"{tuple(predictions.shape)}"
        )


def _checked_ids(membership, predictions, groups, owner):
    """Returns the group of each row, `[batch, 1]`."""
    membership = real_tensor("membership", membership, owner)
    shape, rows = tuple(membership.shape), predictions.shape[0]
    if (
        not shape
        or shape[1:] not in ((), (1,))
        or not (None in (shape[0], rows) or shape[0] == rows)
    ):
        raise ValueError(
            f"{owner}: `membership` must be of shape ({rows},) or ({rows}, 1), "
            f"one id a row. Received: membership.shape={shape}"
        )
    seen = values_of(membership)
    if seen is not None:
        check_ids(seen.astype("float64"), groups, owner)
    return membership if shape[1:] else ops.expand_dims(membership, axis=1)


def _one_against_rest(membership, groups):
    """Returns a column for each comparison, NaN for ids of no group."""
    dtype = keras.backend.standardize_dtype(membership.dtype)
    if groups == 2:
        known = ops.logical_or(membership == 0.0, membership == 1.0)
        return ops.where(known, membership, float("nan"))
    belongs = ops.equal(membership, np.arange(groups, dtype=dtype))
    known = ops.any(belongs, axis=-1, keepdims=True)
    return ops.where(known, ops.cast(belongs, dtype), float("nan"))


def _wide(tensor):
    """Returns floats of 32 bits or more."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return tensor if dtype == "float64" else ops.cast(tensor, "float32")
