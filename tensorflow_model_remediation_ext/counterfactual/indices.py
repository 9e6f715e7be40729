"""Small steps of array programs, in as few operations as can be.

TensorFlow optimizes the function of a dataset whenever an iterator starts,
which takes longer than reading some ten thousand texts does. Its time is that
of the number of operations.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def where(mask: tf.Tensor) -> tf.Tensor:
    """Returns the indices of what is true or not 0, int64 `[found]`.

    Args:
        mask: `[size]`.
    """
    return tf.squeeze(tf.where(mask), 1)


def lower_bound(ordered: Any, values: tf.Tensor) -> tf.Tensor:
    """Returns how many of `ordered` are smaller, for each value.

    Args:
        ordered: Numbers in ascending order, `[size]`.
        values: Numbers of the same dtype, `[values]`.

    Returns:
        int64 `[values]`.
    """
    return _bound(tf.raw_ops.LowerBound, ordered, values)


def upper_bound(ordered: Any, values: tf.Tensor) -> tf.Tensor:
    """Returns how many of `ordered` are not larger, for each value.

    Args:
        ordered: Numbers in ascending order, `[size]`.
        values: Numbers of the same dtype, `[values]`.

    Returns:
        int64 `[values]`.
    """
    return _bound(tf.raw_ops.UpperBound, ordered, values)


def _bound(operation, ordered, values):
    found = operation(
        sorted_inputs=tf.expand_dims(ordered, 0),
        values=tf.expand_dims(values, 0),
        out_type=tf.int64,
    )
    return tf.squeeze(found, 0)
