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


def searchsorted(
    ordered: Any, values: tf.Tensor, side: str = "left"
) -> tf.Tensor:
    """Returns where values belong, as `tf.searchsorted` for one sequence.

    Args:
        ordered: Numbers in ascending order, `[size]`.
        values: Numbers of the same dtype, `[values]`.
        side: "left" to count what is smaller, "right" what is not larger.

    Returns:
        int64 `[values]`.
    """
    ops = {"left": tf.raw_ops.LowerBound, "right": tf.raw_ops.UpperBound}
    found = ops[side](
        sorted_inputs=tf.expand_dims(ordered, 0),
        values=tf.expand_dims(values, 0),
        out_type=tf.int64,
    )
    return tf.squeeze(found, 0)


def shifted(values: tf.Tensor, first: Any) -> tf.Tensor:
    """Returns `first`, then the values without the last one.

    Args:
        values: `[values]`.
        first: A number or boolean of their dtype.

    Returns:
        A tensor of the same shape and dtype.
    """
    return tf.pad(values, [[1, 0]], constant_values=first)[:-1]
