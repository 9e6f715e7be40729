"""Applying an eraser's matrices to rows."""

import functools
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.leace.arrays import working_dtype


def erased(
    x: tf.Tensor, proj_left: Any, proj_right: Any, bias: Any = None
) -> tf.Tensor:
    """Returns `x - (x - bias) proj_right^T proj_left^T`, in the dtype of `x`.

    Args:
        x: `[..., x_dim]` of a floating dtype.
        proj_left: `[x_dim, r]` tensor or variable.
        proj_right: `[r, x_dim]` of the same dtype.
        bias: `[x_dim]` of the same dtype, or `None`.
    """
    fitted = [proj_left, proj_right]
    if bias is not None:
        fitted.append(bias)
    erase = _erasing(x.dtype, proj_left.dtype, len(fitted))
    rows = tf.reshape(x, [-1, x.shape[-1]])
    result = erase(rows, *map(tf.convert_to_tensor, fitted))
    return tf.ensure_shape(tf.reshape(result, tf.shape(x)), x.shape)


@functools.cache
def _erasing(dtype, fitted_dtype, count):
    """Returns `_erase`, traced once for erasers of every size."""
    specs = [tf.TensorSpec([None, None], dtype)]
    for shape in ([None, None], [None, None], [None])[:count]:
        specs.append(tf.TensorSpec(shape, fitted_dtype))
    with tf.init_scope():
        return tf.function(_erase, autograph=False).get_concrete_function(
            *specs
        )


def _erase(rows, proj_left, proj_right, bias=None):
    dtype = working_dtype(rows)
    wide = tf.cast(rows, dtype)
    inner = tf.matmul(wide, tf.cast(proj_right, dtype), transpose_b=True)
    if bias is not None:
        # Subtracted where it is small: after the projection.
        inner -= tf.cast(tf.linalg.matvec(proj_right, bias), dtype)
    change = tf.matmul(inner, tf.cast(proj_left, dtype), transpose_b=True)
    return tf.cast(wide - change, rows.dtype)
