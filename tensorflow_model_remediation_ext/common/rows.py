"""Rows of batched `tf.data` elements: dense, ragged or sparse."""

import tensorflow as tf

from tensorflow_model_remediation_ext.common import indices


@tf.autograph.experimental.do_not_convert
def row_count(structure):
    """Returns the number of rows of a structure of batched tensors."""
    first = next(t for t in tf.nest.flatten(structure) if t is not None)
    if isinstance(first, tf.RaggedTensor):
        return first.nrows(out_type=tf.int64)
    if isinstance(first, tf.SparseTensor):
        return first.dense_shape[0]
    if first.shape.rank == 1:
        return tf.size(first, tf.int64)  # The least operations.
    return tf.shape(first, out_type=tf.int64)[0]


@tf.autograph.experimental.do_not_convert
def keep_rows(structure, mask):
    """Returns the rows of a structure of batched tensors where `mask` is set.

    Args:
        structure: Tensors with one common leading axis, or `None`s.
        mask: A boolean tensor `[rows]`.

    Returns:
        The same structure with fewer rows.
    """
    rows = indices.where(mask)
    targets = tf.cumsum(tf.cast(mask, tf.int64), exclusive=True)

    def keep(tensor):
        if tensor is None:
            return None
        if not isinstance(tensor, tf.SparseTensor):
            return tf.gather(tensor, rows)
        kept = tf.sparse.retain(tensor, tf.gather(mask, tensor.indices[:, 0]))
        index = tf.gather(targets, kept.indices[:, :1])
        count = tf.size(rows, out_type=tf.int64)
        return tf.SparseTensor(
            tf.concat([index, kept.indices[:, 1:]], 1),
            kept.values,
            tf.concat([[count], kept.dense_shape[1:]], 0),
        )

    return tf.nest.map_structure(keep, structure)


@tf.autograph.experimental.do_not_convert
def take_rows(structure, count):
    """Returns the first `count` rows of a structure of batched tensors."""
    count, total = tf.cast(count, tf.int64), row_count(structure)
    with tf.control_dependencies(
        [tf.debugging.assert_less_equal(count, total, "Rows are missing.")]
    ):
        count = tf.identity(count)
    return tf.cond(
        count == total,
        lambda: structure,
        lambda: keep_rows(structure, tf.range(total) < count),
    )


@tf.autograph.experimental.do_not_convert
def changed_rows(before, after):
    """Returns the mask `[rows]` of the rows that differ in any tensor.

    NaNs equal one another. Rows of ragged tensors that differ in length and
    of sparse tensors that differ in their indices differ.

    Args:
        before: A structure of batched tensors.
        after: The same structure with as many rows.

    Returns:
        A boolean tensor `[rows]`.

    Raises:
        ValueError: The two are not of the same structure or dtypes.
    """
    assert_same_types(before, after)
    changed = tf.zeros([row_count(before)], tf.bool)
    for a, b in zip(
        tf.nest.flatten(before), tf.nest.flatten(after), strict=True
    ):
        if a is not None:
            changed |= _changed(a, b)
    return changed


@tf.autograph.experimental.do_not_convert
def changed_pairs(original, counterfactual, *weight):
    """Returns the rows of batched pairs whose halves differ."""
    return keep_rows(
        (original, counterfactual, *weight),
        changed_rows(original, counterfactual),
    )


@tf.autograph.experimental.do_not_convert
def differs(original, counterfactual, *_):
    """Returns whether the halves of a single pair differ."""

    def batch_of_one(tensor):
        if isinstance(tensor, tf.SparseTensor):
            return tf.sparse.expand_dims(tensor, 0)
        return tensor if tensor is None else tf.expand_dims(tensor, 0)

    original, counterfactual = tf.nest.map_structure(
        batch_of_one, (original, counterfactual)
    )
    return changed_rows(original, counterfactual)[0]


def assert_same_types(before, after):
    """Raises `ValueError` unless structures, dtypes and kinds are the same."""
    tf.nest.assert_same_structure(before, after, check_types=False)
    for a, b in zip(
        tf.nest.flatten(before), tf.nest.flatten(after), strict=True
    ):
        dtypes = getattr(a, "dtype", None), getattr(b, "dtype", None)
        if dtypes[0] != dtypes[1] or type(a) is not type(b):
            raise ValueError(
                "What is compared must have the same types. "
                f"Received: {a} and {b}"
            )


def _changed(a, b):
    if isinstance(a, tf.SparseTensor):
        a, b = tf.sparse.reorder(a), tf.sparse.reorder(b)
        rows = row_count(a)
        places = zip(_cells(a, rows), _cells(b, rows), strict=True)
        return tf.reduce_any([_changed(p, q) for p, q in places], axis=0)
    if isinstance(a, tf.RaggedTensor):
        return _changed_ragged(a, b)
    if a.shape.rank == 1 and b.shape.rank == 1:
        return _unequal(a, b)
    if a.shape.is_fully_defined() and a.shape == b.shape:
        return _any_by_row(_unequal(a, b))
    if not a.shape[1:].is_compatible_with(b.shape[1:]):
        return tf.ones([row_count(a)], tf.bool)
    # Inner sizes that differ, such as those of paddings, are a change.
    return tf.cond(
        tf.reduce_all(tf.shape(a) == tf.shape(b)),
        lambda: _any_by_row(_unequal(a, tf.ensure_shape(b, a.shape))),
        lambda: tf.ones([row_count(a)], tf.bool),
    )


def _any_by_row(mask):
    return tf.reduce_any(mask, axis=range(1, mask.shape.rank))


def _unequal(a, b):
    unequal = a != b
    if a.dtype.is_floating or a.dtype.is_complex:
        unequal &= (a == a) | (b == b)
    return unequal


def _changed_ragged(a, b):
    changed = tf.zeros([row_count(a)], tf.bool)
    for axis in range(1, a.ragged_rank + 1):
        lengths = a.row_lengths(axis), b.row_lengths(axis)
        changed |= _changed(*lengths)
    shape = tf.maximum(
        a.bounding_shape(out_type=tf.int64), b.bounding_shape(out_type=tf.int64)
    )
    return changed | _changed(
        a.to_tensor(shape=shape), b.to_tensor(shape=shape)
    )


def _cells(sparse, rows):
    """Returns the places and the values in each row, as ragged tensors."""
    row = sparse.indices[:, 0]
    return tuple(
        tf.RaggedTensor.from_value_rowids(values, row, rows)
        for values in (sparse.indices[:, 1:], sparse.values)
    )
