"""Concept and task labels: columns of numbers, or integer class ids."""

from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.arrays import numbers

# More are taken for classes only where the caller says so: a cross-covariance
# of that many columns is seldom meant, and seldom fits into memory.
MOST_CLASSES = 4096


def labels(name: str, value: Any) -> tf.Tensor:
    """Returns a tensor of real numbers; booleans are the classes 0 and 1.

    Raises:
        ValueError: If it does not hold numbers, or is two labels for one.
    """
    pair = isinstance(value, tuple) and len(value) == 2
    if pair and all(len(getattr(each, "shape", ())) for each in value):
        raise ValueError(
            f"`{name}` must be one array. A tuple (z, preserve) is for a "
            "LeaceFitter with preserve_dim, whose `eraser` a LeaceLayer takes. "
            f"Received: {name} as a tuple of two arrays"
        )
    hint = f". np.unique({name}, return_inverse=True)[1] gives class ids"
    value = numbers(name, value, hint)
    return tf.cast(value, tf.int64) if value.dtype.is_bool else value


def blanked(value: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
    """Returns labels, zero for rows of weight zero.

    Such a row is left out, whatever it holds: an id to ignore, or NaN.

    Args:
        value: `[n]` or `[n, columns]` labels.
        weight: `[n]` sample weights, or `None` for ones.
    """
    if weight is None:
        return value
    out = tf.reshape(weight == 0, [-1] + [1] * (value.shape.rank - 1))
    return tf.where(out, tf.zeros([], value.dtype), value)


def _counted(value, sample_weight):
    """The labels of rows that count; all of them if weights do not fit."""
    if sample_weight is None:
        return value
    weight = numbers("sample_weight", sample_weight)
    if weight.shape.rank == 0 or weight.shape != value.shape:
        return value
    return tf.boolean_mask(value, tf.cast(weight, tf.float64) != 0)


def inferred_size(
    name: str, value: tf.Tensor, x: tf.Tensor, sample_weight: Any = None
) -> int:
    """Returns the number of columns or classes of labels, from their values.

    Floats are one column, and so are zeros and ones. Other integers are class
    ids if they are 0 to k - 1 and each of them is there.

    Args:
        name: What to call the argument in an error.
        value: Labels, as `labels` returns them.
        x: The features; labels of the same rank are columns.
        sample_weight: Of the labels; those of weight zero say nothing.

    Raises:
        ValueError: If integers are neither; the message says what to do.
    """
    if value.shape.rank == x.shape.rank:
        return int(value.shape[-1])
    value = _counted(value, sample_weight)
    if not value.dtype.is_integer:
        return 1
    count = class_count(value)
    if count is not None:
        return count if count > 2 else 1
    size = "preserve_dim" if name == "preserve" else "z_dim"
    raise ValueError(
        f"`{name}` holds integers that may be numbers or class ids: give "
        f"{size}=1 for one column of numbers (or floats), or class ids from 0 "
        f"to k - 1 with {size}=k, as from np.unique({name}, return_inverse="
        f"True)[1]. Received: {name} with {_described(value)}"
    )


def inferred_classes(name: str, value: Any, sample_weight: Any = None) -> int:
    """Returns the number of classes, at least two, from their ids.

    Args:
        name: What to call the argument in an error.
        value: Labels.
        sample_weight: Of the labels; those of weight zero say nothing.

    Raises:
        ValueError: If they are not integers from 0 to k - 1, each of them
            there.
    """
    value = _counted(labels(name, value), sample_weight)
    if value.dtype.is_integer:
        count = class_count(value)
        if count is not None:
            return max(count, 2)
        received = _described(value)
    else:
        received = f"dtype {value.dtype.name}"
    raise ValueError(
        f"`{name}` must be integer class ids from 0 to num_classes - 1, each "
        f"of them there: np.unique({name}, return_inverse=True)[1] gives such "
        f"ids. Received: {name} with {received}"
    )


def class_count(ids: tf.Tensor) -> int | None:
    """Returns `k` if integers are 0 to `k - 1`, each there, else `None`.

    Zeros and ones count as two classes, even if all are the same.
    """
    values = np.unique(ids)
    if np.isin(values, (0, 1)).all():
        return 2
    count = len(values)
    if count > MOST_CLASSES or values[0] != 0 or values[-1] != count - 1:
        return None
    return count


def _described(ids):
    values = np.unique(ids)
    return f"{len(values)} values from {values[0]} to {values[-1]}"


def weights(value: Any, leading: tf.TensorShape, dtype: tf.DType) -> tf.Tensor:
    """Returns flat sample weights, one for each row.

    Raises:
        ValueError: If they are not of shape `leading`, or not numbers.
    """
    value = numbers("sample_weight", value)
    if not value.shape.is_compatible_with(leading):
        raise ValueError(
            f"`sample_weight` must be of shape {leading}, that of x without "
            "its last axis. Received: sample_weight of shape "
            f"{value.shape}"
        )
    return tf.reshape(tf.cast(value, dtype), [-1])


def weights_fault(weight: tf.Tensor | None) -> str:
    """Returns what to say of weights that are no weights."""
    message = "`sample_weight` must be finite and not negative."
    if tf.executing_eagerly() and weight is not None:
        fine = (weight >= 0) & tf.math.is_finite(weight)
        if not tf.reduce_all(fine):
            value = tf.boolean_mask(weight, ~fine)[0].numpy()
            message += f" Received: a weight of {value:g}"
    return message


def columns_or_ids(
    name: str,
    value: Any,
    size: int,
    leading: tf.TensorShape,
    dtype: tf.DType,
) -> tf.Tensor:
    """Returns a concept or label as rows, checked as far as its shape is known.

    Args:
        name: What to call the argument in an error.
        value: `[..., size]`; `[...]` where `size == 1`; integer class ids
            `[...]` where `size > 1`.
        size: Number of columns or classes.
        leading: The shape `[...]`, that of `x` without its last axis.
        dtype: To cast columns to.

    Returns:
        `[n, size]` of dtype `dtype`, or `[n]` int64 class ids, which may be
        out of range.

    Raises:
        ValueError: If the dtype or the shape is wrong.
    """
    value = labels(name, value)
    shape, columns = value.shape, leading.concatenate(size)
    if shape.rank == columns.rank and shape.is_compatible_with(columns):
        return tf.reshape(tf.cast(value, dtype), [-1, size])
    if shape.rank == leading.rank and shape.is_compatible_with(leading):
        if size == 1:
            return tf.reshape(tf.cast(value, dtype), [-1, 1])
        if value.dtype.is_integer:
            return tf.reshape(tf.cast(value, tf.int64), [-1])
    or_else = "" if size == 1 else " of integer class ids"
    raise ValueError(
        f"`{name}` must be of shape {columns}, or {leading}{or_else}, as x and "
        f"{name}_dim={size} say. Received: {name} of shape {shape} and dtype "
        f"{value.dtype.name}"
    )


def in_range(
    name: str, ids: tf.Tensor, num_classes: int
) -> tuple[tf.Tensor, str]:
    """Returns the check for `require` that class ids are of existing classes.

    Args:
        name: What to call the argument in an error.
        ids: Integers.
        num_classes: Ids are below this.
    """
    fine = tf.reduce_all((ids >= 0) & (ids < num_classes))
    message = f"`{name}` holds class ids outside of [0, {num_classes})."
    if tf.executing_eagerly() and not fine:
        low, high = int(tf.reduce_min(ids)), int(tf.reduce_max(ids))
        message += f" Received: {name} from {low} to {high}"
    return fine, message


def class_ids(
    name: str, ids: Any, leading: tf.TensorShape, num_classes: int
) -> tuple[tf.Tensor, tuple[tf.Tensor, str]]:
    """Returns flat int64 class ids, and the check for `require` of their range.

    Args:
        name: What to call the argument in an error.
        ids: Integer array or tensor.
        leading: The shape wanted.
        num_classes: Ids are below this.

    Raises:
        ValueError: If the dtype or the shape is wrong.
    """
    ids = labels(name, ids)
    if not ids.dtype.is_integer or not ids.shape.is_compatible_with(leading):
        raise ValueError(
            f"`{name}` must be integer class ids of shape {leading}, that of x "
            f"without its last axis. Received: {name} of shape {ids.shape} and "
            f"dtype {ids.dtype.name}"
        )
    ids = tf.reshape(tf.cast(ids, tf.int64), [-1])
    return ids, in_range(name, ids, num_classes)
