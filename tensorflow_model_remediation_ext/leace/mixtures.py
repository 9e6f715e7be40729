"""Mixtures of affine maps, weighted by predicted probabilities of classes."""

from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.leace import arrays


def rows_of(x: Any, x_dim: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `x`, checked, and its `[n, x_dim]` rows in at least float32."""
    x = arrays.features(x, x_dim)
    rows = tf.cast(x, arrays.working_dtype(x))
    return x, tf.reshape(rows, [-1, x_dim])


def like(rows: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Returns `[n, e]` rows in the leading shape and dtype of `x`."""
    shape = x.shape[:-1].concatenate(rows.shape[-1])
    leading = tf.shape(x)[:-1]
    result = tf.reshape(rows, tf.concat([leading, [rows.shape[-1]]], 0))
    return tf.ensure_shape(tf.cast(result, x.dtype), shape)


def predict(
    rows: tf.Tensor, mean_x: Any, kernel: Any, bias: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `[n, classes]` probabilities, and the centered rows."""
    mean_x, kernel, bias = (
        tf.cast(value, rows.dtype) for value in (mean_x, kernel, bias)
    )
    delta = rows - mean_x
    return tf.nn.softmax(delta @ kernel + bias), delta


def mix(p: tf.Tensor, delta: tf.Tensor, maps: Any, offsets: Any) -> tf.Tensor:
    """Returns `sum_c p_c (delta maps[c] + offsets[c])`, class by class.

    Args:
        p: `[n, classes]`.
        delta: `[n, x_dim]`.
        maps: `[classes, x_dim, x_dim]` of any floating dtype.
        offsets: `[classes, x_dim]` of any floating dtype.

    Returns:
        `[n, x_dim]` of the dtype of `delta`.
    """
    # Of a variable, a traced function would remember the number of classes.
    return _mixed(p, delta, *map(tf.convert_to_tensor, (maps, offsets)))


@tf.function(autograph=False, reduce_retracing=True)
def _mixed(p, delta, maps, offsets):
    def add(c, total):
        moved = delta @ tf.cast(maps[c], delta.dtype)
        return c + 1, total + tf.gather(p, c, axis=1)[:, None] * moved

    total = p @ tf.cast(offsets, p.dtype)
    return tf.while_loop(
        lambda c, _: c < tf.shape(maps)[0],
        add,
        (0, total),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None])),
    )[1]
