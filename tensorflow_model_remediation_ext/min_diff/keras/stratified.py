"""Rows of every group, drawn out of one dataset."""

import collections
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import (
    Layout,
    chunk_rows,
    declared_batch_size,
    holds_batches,
    inner_sizes_vary,
    layout_of,
)
from tensorflow_model_remediation_ext.common.batching import (
    batch_size as rows_of_batches,
)
from tensorflow_model_remediation_ext.common.data_errors import repeat_or_fail
from tensorflow_model_remediation_ext.common.elements import (
    PARALLEL,
    as_one_argument,
    tensor_specs,
)
from tensorflow_model_remediation_ext.common.endless import (
    each_iteration,
    known_length,
    start_at,
)
from tensorflow_model_remediation_ext.common.rows import (
    keep_rows,
    row_count,
)
from tensorflow_model_remediation_ext.min_diff.keras.found_groups import (
    groups_of,
    no_rows,
)
from tensorflow_model_remediation_ext.min_diff.keras.grouping import Grouping

_DEFAULT_ROWS = 128


def stratified_rows(
    dataset: tf.data.Dataset,
    group: Any,
    condition: Any,
    batch_size: int | None,
    groups: Any,
    keep_group: bool,
    shuffle_buffer: int,
    seed: int | None,
) -> tf.data.Dataset:
    """Draws rows of each group in turn; see `build_min_diff_dataset`."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "`sensitive_group_dataset` must end where `group` is given: rows "
            "are repeated here, so leave out `.repeat()`. Received: a "
            "dataset without end"
        )
    batched = _elements_are_batches(dataset)
    size = (rows_of_batches(dataset) or 0) if batched else 0
    ragged = any(
        isinstance(spec, tf.RaggedTensorSpec)
        for spec in tensor_specs(dataset.element_spec)
    )
    layout = Layout.BATCHES if batched else Layout.EXAMPLES
    vary = inner_sizes_vary(dataset.element_spec, layout)
    rows = None if ragged else chunk_rows(dataset.element_spec, layout)
    by_name = not (callable(group) or callable(condition))
    if rows and by_name and not batched:
        dataset, batched = dataset.batch(rows), True
    grouping = Grouping(group, condition, dataset.element_spec, batched)
    found = groups_of(as_one_argument(dataset), grouping, groups)
    shares = found.shares
    length = known_length(dataset) or found.length
    if batch_size is None:
        batch_size = size if size >= len(shares) else _DEFAULT_ROWS
    if batch_size < len(shares):
        raise ValueError(
            f"`batch_size` must be at least {len(shares)}, a row of each "
            f"group. Received: batch_size={batch_size}"
        )
    if not batched:
        # On its own a ragged row would become dense.
        dataset = dataset.batch(1)

    def parts_of(dataset):
        parts = as_one_argument(dataset).map(
            lambda element: _parts(element, grouping, batched, keep_group),
            **PARALLEL,
        )
        # Row by row, what follows would take most of the time.
        return parts.rebatch(rows) if rows else parts

    def shuffled(parts, index, seed):
        mine = _rows_of_group(index, shares[index], found.keys[index])
        drawn = parts.map(mine).filter(lambda x, *_: row_count(x) > 0)
        drawn = drawn.rebatch(1) if ragged else drawn.unbatch()
        return drawn.shuffle(shuffle_buffer, seed)

    whole = parts_of(dataset)

    def in_turn(number):
        """Draws from all groups, which begin at one place of the data."""
        turned = parts_of(start_at(dataset, number, length)) if length else None
        streams = []
        for index, value in enumerate(found.values):
            drawn = repeat_or_fail(
                shuffled(whole, index, number + 2 * index),
                no_rows(grouping, value),
            )
            # A group that is shuffled as a whole may begin at its beginning.
            if length and not 0 < found.counts[index] <= shuffle_buffer:
                first = shuffled(turned, index, number + 2 * index + 1)
                drawn = first.concatenate(drawn)
            streams.append(drawn)
        turns = tf.data.Dataset.range(len(streams)).repeat()
        return tf.data.Dataset.choose_from_datasets(streams, turns)

    mixed = each_iteration(in_turn, seed).with_options(dataset.options())
    if ragged:
        mixed = mixed.batch(batch_size, drop_remainder=True).map(_merged)
    elif vary:
        mixed = mixed.padded_batch(batch_size, drop_remainder=True)
    else:
        mixed = mixed.batch(batch_size, drop_remainder=True)
    return mixed.prefetch(tf.data.AUTOTUNE)


def _elements_are_batches(dataset):
    specs = tensor_specs(dataset.element_spec)
    columns = all(spec.shape == [1] for spec in specs)
    if columns and declared_batch_size(dataset) is None:
        # Rows of columns of one value, not batches of one.
        return False
    layout = layout_of(dataset)
    return layout is Layout.BATCHES or holds_batches(dataset.element_spec)


def _parts(element, grouping, batched, keep_group):
    """Returns `(x, weight)`, the groups of the rows, and which rows count.

    Args:
        element: A batch, which holds a single row unless `batched`.
        grouping: Takes a batch where `batched`, or else a row.
        batched: See there.
        keep_group: Whether features that tell the group stay in `x`.
    """
    seen = element if batched else tf.nest.map_structure(_only, element)
    marks = grouping.keys(grouping.values(seen)), grouping.counts(seen)
    x, _, weight = keras.utils.unpack_x_y_sample_weight(element)
    if isinstance(x, Mapping) and not keep_group:
        kept = [(k, x[k]) for k in x if k not in grouping.names]
        ordered = isinstance(x, collections.OrderedDict)
        x = collections.OrderedDict(kept) if ordered else dict(kept)
    if weight is None:
        weight = tf.ones([row_count(x)])
    if weight.shape[1:].num_elements() != 1:
        raise ValueError(
            "`sensitive_group_dataset` must hold weights of shape [batch] "
            f"or [batch, 1]. Received, for one batch: {weight}"
        )
    weight = tf.reshape(tf.cast(weight, tf.float32), [-1, 1])
    return (x, weight), *(tf.reshape(each, [-1]) for each in marks)


def _rows_of_group(membership, share, key):
    """Returns a function to batches of `(x, membership, weight)`."""

    def rows(part, keys, counts):
        x, weight = keep_rows(part, tf.logical_and(keys == key, counts))
        return x, tf.fill(tf.shape(weight), float(membership)), weight * share

    return rows


def _only(batch_of_one):
    """Returns the row in a tensor."""
    if batch_of_one is None:
        return None
    if isinstance(batch_of_one, tf.SparseTensor):
        return tf.sparse.reshape(batch_of_one, batch_of_one.dense_shape[1:])
    return batch_of_one[0]


def _merged(*batches_of_one):
    """Makes a batch of batches of one row a batch of rows."""

    def merge(tensor):
        if isinstance(tensor, tf.RaggedTensor):
            return tensor.merge_dims(0, 1)
        if isinstance(tensor, tf.SparseTensor):
            shape = tensor.dense_shape
            return tf.sparse.reshape(
                tensor, tf.concat([shape[:1], shape[2:]], 0)
            )
        return tf.squeeze(tensor, axis=1)

    return tf.nest.map_structure(merge, batches_of_one)
