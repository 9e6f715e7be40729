"""Rows of batched `tf.data` elements: dense, ragged or sparse."""

import tensorflow as tf


def row_count(structure):
    """Returns the number of rows of a structure of batched tensors."""
    first = next(t for t in tf.nest.flatten(structure) if t is not None)
    if isinstance(first, tf.RaggedTensor):
        return first.nrows(out_type=tf.int64)
    if isinstance(first, tf.SparseTensor):
        return first.dense_shape[0]
    return tf.shape(first, out_type=tf.int64)[0]


def keep_rows(structure, mask):
    """Returns the rows of a structure of batched tensors where `mask` is set.

    Args:
        structure: Tensors with one common leading axis, or `None`s.
        mask: A boolean tensor `[rows]`.

    Returns:
        The same structure with fewer rows.
    """
    rows = tf.where(mask)[:, 0]
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


def batch_size(dataset: tf.data.Dataset) -> int | None:
    """Returns the number of rows of each batch but the last, if known."""
    shape = tf.nest.flatten(dataset.element_spec)[0].shape
    return (shape.rank or None) and (shape[0] or declared_batch_size(dataset))


def is_batched(dataset: tf.data.Dataset) -> bool:
    """Returns whether elements look like batches.

    They do if all their tensors have an axis, and text is among them, or the
    first axis is of unknown size, or the dataset knows of a batch size.
    """
    specs = tensor_specs(dataset.element_spec)
    return all(spec.shape.rank for spec in specs) and (
        any(spec.dtype == tf.string for spec in specs)
        or all(spec.shape[0] is None for spec in specs)
        or declared_batch_size(dataset) is not None
    )


def tensor_specs(element_spec):
    """Returns the flat list of specs, without those of `None`s."""
    kinds = tf.TensorSpec, tf.RaggedTensorSpec, tf.SparseTensorSpec
    return [s for s in tf.nest.flatten(element_spec) if isinstance(s, kinds)]


def inner_sizes_vary(element_spec, batched=True):
    """Returns whether rows of dense features may differ in shape."""
    return not all(
        spec.shape[int(batched) :].is_fully_defined()
        for spec in tensor_specs(element_spec)
        if isinstance(spec, tf.TensorSpec)
    )


def declared_batch_size(dataset: tf.data.Dataset) -> int | None:
    """Returns the size that a batching transformation gave, if known."""
    if not tf.executing_eagerly():
        return None
    # Follows the transformations; -1 wherever they leave the size open.
    variant = tf.data.experimental.to_variant(dataset)
    size = int(tf.raw_ops.ComputeBatchSize(input_dataset=variant))
    return size if size > 0 else None


def regroup(sized_rows: tf.data.Dataset, size: int | None) -> tf.data.Dataset:
    """Regroups rows into batches, the last of which may be smaller.

    Reads the dataset once and lazily, and drops nothing.

    Args:
        sized_rows: Pairs of an int64 size and a structure of any number of
            rows.
        size: The number of rows of a batch; `None` for the first of the sizes
            in the dataset.

    Returns:
        A dataset of batches of the structure. Where inner sizes may vary from
        element to element, so that rows of two of them need not fit into one
        batch, its elements are those that came, without the empty ones.
    """
    rows = sized_rows.map(_second)
    if inner_sizes_vary(rows.element_spec):
        return rows.filter(_any_rows)
    if size is not None:
        return rows.rebatch(size)
    return (
        sized_rows.scan(tf.constant(0, tf.int64), _remember_first_size)
        .unbatch()
        .group_by_window(_key, _batch_window, window_size_func=_key_itself)
    )


def _second(_, rows):
    return rows


def _any_rows(*rows):
    return row_count(rows) > 0


def _remember_first_size(first, element):
    size, rows = element
    size = tf.where(first > 0, first, size)
    return size, (tf.fill([row_count(rows)], size), rows)


def _key(size, _):
    return size


def _key_itself(size):
    return size


def _batch_window(size, window):
    # In this order: a ragged row that is not in a batch would become dense.
    return window.batch(size).map(_second)
