"""Rows of every group, drawn out of one dataset."""

import collections
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import (
    Layout,
    holds_batches,
    inner_sizes_vary,
    layout_of,
)
from tensorflow_model_remediation_ext.common.data_errors import repeat_or_fail
from tensorflow_model_remediation_ext.common.elements import (
    as_one_argument,
    tensor_specs,
)
from tensorflow_model_remediation_ext.common.rows import (
    keep_rows,
    row_count,
)
from tensorflow_model_remediation_ext.min_diff.keras.grouping import Grouping

_CHUNK_ROWS = 1024


def stratified_rows(
    dataset: tf.data.Dataset,
    group: Any,
    condition: Any,
    batch_size: int,
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
    source = as_one_argument(dataset)
    grouping = Grouping(group, condition, dataset.element_spec, batched)
    values, shares = _groups_of(source, grouping, groups)
    if batch_size < len(values):
        raise ValueError(
            f"`batch_size` must be at least {len(values)}, a row of each "
            f"group. Received: batch_size={batch_size}"
        )
    known = grouping.keys(
        tuple(
            tf.constant([value[k] for value in values])
            for k in range(len(values[0]))
        )
    )
    ragged = any(
        isinstance(spec, tf.RaggedTensorSpec)
        for spec in tensor_specs(dataset.element_spec)
    )
    vary = inner_sizes_vary(
        dataset.element_spec, Layout.BATCHES if batched else Layout.EXAMPLES
    )
    if batched and not ragged and not vary:
        # Fewer, larger steps.
        source = as_one_argument(dataset.rebatch(_CHUNK_ROWS))
    streams = []
    for index, value in enumerate(values):
        rows = _rows_of_group(
            source, grouping, known[index], batched, ragged, keep_group
        )
        rows = rows.map(_completed(index, shares[index], ragged))
        rows = rows.shuffle(
            shuffle_buffer, seed=None if seed is None else seed + index
        )
        streams.append(repeat_or_fail(rows, _no_rows(grouping, value)))
    turns = tf.data.Dataset.range(len(streams)).repeat()
    mixed = tf.data.Dataset.choose_from_datasets(streams, turns)
    if ragged:
        mixed = mixed.batch(batch_size, drop_remainder=True).map(_merged)
    elif vary:
        mixed = mixed.padded_batch(batch_size, drop_remainder=True)
    else:
        mixed = mixed.batch(batch_size, drop_remainder=True)
    return mixed.prefetch(tf.data.AUTOTUNE)


def _elements_are_batches(dataset):
    layout = layout_of(dataset)
    return layout is Layout.BATCHES or holds_batches(dataset.element_spec)


def _groups_of(source, grouping, groups):
    """Returns the values of the groups, and the weight of rows of each."""
    if groups is not None:
        values = [
            v if isinstance(v, tuple) and len(grouping.names) > 1 else (v,)
            for v in groups
        ]
        if len(set(values)) < max(2, len(values)):
            raise ValueError(
                "`groups` must hold two different values or more. "
                f"Received: groups={groups!r}"
            )
        if any(len(v) != max(1, len(grouping.names)) for v in values):
            raise ValueError(
                "`groups` must hold a tuple for each group, of a value for "
                f"each of {grouping.names}. Received: groups={groups!r}"
            )
        return values, [1.0] * len(values)
    spec = source.map(grouping.values).element_spec
    if not grouping.names and spec[0].dtype == tf.bool:
        return [(False,), (True,)], [1.0, 1.0]
    counts = grouping.found_in(source)
    if not grouping.names and spec[0].dtype.is_integer:
        counts = _all_ids(counts)
    if len(counts) < 2:
        raise ValueError(
            "`group` must tell two groups apart, or more. Received: "
            f"{grouping.described} with the values {_named(counts)}"
        )
    for value, count in counts.items():
        if not count:
            raise ValueError(_no_rows(grouping, value))
    total, number = sum(counts.values()), len(counts)
    if number == 2:
        return list(counts), [1.0, 1.0]
    return list(counts), [number * c / total for c in counts.values()]


def _all_ids(counts):
    """Adds the class ids that no row has; the largest tells their number."""
    ids = [value[0] for value in counts]
    if ids and min(ids) < 0:
        raise ValueError(
            "`group` must return class ids from 0 on. "
            f"Received: {sorted(ids)[:5]}"
        )
    return {(k,): counts.get((k,), 0) for k in range(max(ids, default=-1) + 1)}


def _rows_of_group(source, grouping, key, batched, ragged, keep_group):
    """Returns `(x, weight)`, one by one; batches of one where ragged."""

    def belongs(element):
        same = grouping.keys(grouping.values(element)) == key
        return tf.logical_and(same, grouping.counts(element))

    def parts(element):
        x, _, weight = keras.utils.unpack_x_y_sample_weight(element)
        if isinstance(x, Mapping) and not keep_group:
            kept = [(k, x[k]) for k in x if k not in grouping.names]
            ordered = isinstance(x, collections.OrderedDict)
            x = collections.OrderedDict(kept) if ordered else dict(kept)
        if weight is None:
            weight = tf.ones([row_count(x)] if batched or ragged else [])
        return x, tf.cast(weight, tf.float32)

    if not batched:
        rows = source.filter(belongs)
        # On its own a ragged row would become dense.
        return (rows.batch(1) if ragged else rows).map(parts)
    chunks = source.map(
        lambda element: keep_rows(parts(element), belongs(element)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    chunks = chunks.filter(lambda x, weight: row_count(x) > 0)
    return chunks.rebatch(1) if ragged else chunks.unbatch()


def _completed(membership, share, batches_of_one):
    shape = [1, 1] if batches_of_one else [1]

    def complete(x, weight):
        inner = weight.shape[1:] if batches_of_one else weight.shape
        if inner.num_elements() != 1:
            raise ValueError(
                "`sensitive_group_dataset` must hold weights of shape [batch] "
                f"or [batch, 1]. Received, for one row: {weight}"
            )
        weight = tf.reshape(weight, shape) * share
        return x, tf.fill(shape, float(membership)), weight

    return complete


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


def _no_rows(grouping, value):
    return (
        f"`group`: there is no row of the group {_named([value])[0]} "
        f"({grouping.described}){grouping.condition_described}."
    )


def _named(values):
    return [repr(v[0]) if len(v) == 1 else repr(v) for v in values]
