"""Applying to each row the affine map of its class."""

from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.leace.arrays import working_dtype


def transported(
    x: tf.Tensor, groups: tf.Tensor, maps: Any, sources: Any, targets: Any
) -> tf.Tensor:
    """Returns each row moved by the affine map of its group.

    Args:
        x: `[..., x_dim]` of a floating dtype.
        groups: `[n]` int64, the group of each row.
        maps: `[groups, x_dim, x_dim]` matrices of rows.
        sources: `[groups, x_dim]`, the points that are moved to `targets`.
        targets: `[groups, x_dim]`.
    """
    dtype = working_dtype(x)
    rows = tf.reshape(tf.cast(x, dtype), [-1, x.shape[-1]])
    statistics = (tf.convert_to_tensor(v) for v in (maps, sources, targets))
    moved = _transported_rows(rows, groups, *statistics)
    return tf.cast(tf.reshape(moved, tf.shape(x)), x.dtype)


@tf.function(autograph=False, reduce_retracing=True)
def _transported_rows(rows, groups, maps, sources, targets):
    """Sorts rows by group, so that each group is one matrix product.

    No `[n, d, d]` tensor is ever made, and statistics are cast to the rows'
    dtype for the groups that are present only.
    """
    order = tf.argsort(groups, stable=True)
    rows = tf.gather(rows, order)
    present, _, counts = tf.unique_with_counts(tf.gather(groups, order))
    ends = tf.cumsum(counts)
    results = tf.TensorArray(
        rows.dtype,
        size=tf.size(present) + 1,
        infer_shape=False,
        element_shape=[None, rows.shape[-1]],
    )
    # Nothing cannot be concatenated: the last piece is empty.
    results = results.write(tf.size(present), rows[:0])

    def move(i, results):
        mapping, source, target = (
            tf.cast(tf.gather(statistic, present[i]), rows.dtype)
            for statistic in (maps, sources, targets)
        )
        centered = rows[ends[i] - counts[i] : ends[i]] - source
        return i + 1, results.write(i, centered @ mapping + target)

    _, results = tf.while_loop(
        lambda i, _: i < tf.size(present), move, (0, results)
    )
    return tf.gather(results.concat(), tf.math.invert_permutation(order))
