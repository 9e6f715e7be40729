"""Packing task data and counterfactual pairs into one dataset."""

from typing import Any, NamedTuple

import tensorflow as tf

from tensorflow_model_remediation_ext.common.objectives import (
    by_objective,
    unwrap,
)
from tensorflow_model_remediation_ext.common.rows import (
    batch_size,
    inner_sizes_vary,
    is_batched,
    row_count,
    take_rows,
)
from tensorflow_model_remediation_ext.counterfactual.keras import elements


class CounterfactualPackedInputs(NamedTuple):
    """One element of training data with its counterfactual pairs beside it.

    Being a NamedTuple, it survives `tf.data.Dataset` transformations such as
    `map`, `batch`, `shuffle` and `prefetch`.

    Attributes:
        original_input: The `(x, y, sample_weight)` of the task; `y` and
            `sample_weight` may be `None`.
        counterfactual_data: `(original_x, counterfactual_x,
            counterfactual_sample_weight)`, or a dict of such triples by
            objective.
    """

    original_input: Any
    counterfactual_data: Any


def pack_counterfactual_data(
    original_input: tf.data.Dataset,
    counterfactual_data: tf.data.Dataset | dict[str, tf.data.Dataset],
) -> tf.data.Dataset:
    """Puts counterfactual pairs beside each element of the task's data.

    Every element of `original_input` comes once and in order. The pairs are
    repeated without end, and cut so that a batch has as many pairs as task
    examples; the rows beside a last, smaller batch are the first of a full
    one. They may come from another, unlabeled source than the task's data.
    Where sizes of dense features vary from row to row, pairs are padded with
    zeros or empty strings at the end, as by `tf.data.Dataset.padded_batch`.

    The pairs are read again and again: `cache()` them if they fit in memory,
    or all of their source is searched for terms each time.

    Args:
        original_input: A dataset of `x`, `(x,)`, `(x, y)` or
            `(x, y, sample_weight)`, batched or not.
        counterfactual_data: A dataset of `(original_x, counterfactual_x,
            weight)` or `(original_x, counterfactual_x)`, batched in any way
            or not, as `build_counterfactual_data` makes it; or a dict of such
            datasets by objective. Features must be like those of
            `original_input`. A scalar weight tells single pairs from batches.

    Returns:
        A dataset of `CounterfactualPackedInputs`, of the cardinality of
        `original_input`. If counterfactual data turn out to hold no pair, its
        first element raises `tf.errors.InvalidArgumentError`.

    Raises:
        TypeError: An argument is no dataset.
        ValueError: Elements are of another form, features do not match, or a
            dataset is known to be empty.

    Examples:
        >>> task = tf.data.Dataset.from_tensor_slices((["a", "b c"], [0, 1]))
        >>> pairs = build_counterfactual_data(task, ["c"])
        >>> packed = pack_counterfactual_data(task.batch(2), pairs)
        >>> element = next(iter(packed))
        >>> element.counterfactual_data[1].numpy().tolist()
        [b'b', b'b']
    """
    elements.check_dataset(original_input, "original_input")
    _check_not_empty(original_input, "original_input")
    sources = by_objective(counterfactual_data, "counterfactual_data")
    x_spec = elements.unpack(original_input.element_spec)[0]
    streams, batched = {}, set()
    for objective, source in sources.items():
        name = f"counterfactual_data[{objective!r}]" * bool(objective)
        name = name or "counterfactual_data"
        streams[objective], like_batches = _endless_pairs(source, x_spec, name)
        batched.add(like_batches)
    if len(batched) > 1:
        raise ValueError(
            "The datasets of `counterfactual_data` must have features of the "
            "same ranks."
        )
    task = elements.whole(original_input).map(elements.unpack)
    if batched == {True}:
        packed = _pack_batches(task, streams, batch_size(original_input))
    else:
        packed = tf.data.Dataset.zip((task, _zip_rows(streams))).map(
            CounterfactualPackedInputs
        )
    cardinality = original_input.cardinality()
    if cardinality != tf.data.UNKNOWN_CARDINALITY:
        packed = packed.apply(
            tf.data.experimental.assert_cardinality(cardinality)
        )
    return packed.prefetch(tf.data.AUTOTUNE)


class _Pairs(NamedTuple):
    """Endless pairs, alone or in batches of any size."""

    dataset: tf.data.Dataset
    batched: bool

    def rows(self):
        return self.dataset.unbatch() if self.batched else self.dataset

    def batches(self, size):
        # Endless, so nothing is dropped; and the shape stays known.
        if inner_sizes_vary(self.dataset.element_spec, self.batched):
            return self.rows().padded_batch(size, drop_remainder=True)
        if self.batched:
            return self.dataset.rebatch(size, drop_remainder=True)
        return self.dataset.batch(size, drop_remainder=True)


def _zip_rows(streams):
    rows = {objective: pairs.rows() for objective, pairs in streams.items()}
    return tf.data.Dataset.zip(unwrap(rows))


def _pack_batches(task, streams, size):
    def cut(original_input, pairs):
        rows = row_count(original_input[0])
        return CounterfactualPackedInputs(
            original_input, take_rows(pairs, rows)
        )

    if size is None:
        return _zip_by_rows(task, _zip_rows(streams)).map(cut)
    batches = {
        objective: pairs.batches(size) for objective, pairs in streams.items()
    }
    pairs = tf.data.Dataset.zip(unwrap(batches))
    zipped = tf.data.Dataset.zip((task, pairs))
    if tf.nest.flatten(task.element_spec)[0].shape[0] == size:
        return zipped.map(CounterfactualPackedInputs)
    return zipped.map(cut)


def _zip_by_rows(task, pairs):
    """Zips batches of any size with as many rows of `pairs`, at least one."""

    def spread(index, *element):
        rows = tf.maximum(row_count(element[0]), 1)
        # Equal for the rows of one batch only, and tells their number.
        key = tf.bitwise.left_shift(index, 32) + rows
        return tf.data.Dataset.from_tensors((key, element)).repeat(rows)

    def key(keyed, _):
        return keyed[0]

    def rows_of(key):
        return key % 2**32

    padded = inner_sizes_vary(pairs.element_spec, batched=False)

    def gather(key, window):
        element = window.take(1).map(lambda keyed, _: keyed[1])
        rows, size = window.map(lambda _, pair: pair), rows_of(key)
        rows = (
            rows.unbatch().padded_batch(size) if padded else rows.rebatch(size)
        )
        return tf.data.Dataset.zip((element, rows))

    keyed = task.enumerate().flat_map(lambda i, e: spread(i, *e))
    # Batches of one, as a ragged row on its own would become dense.
    return tf.data.Dataset.zip((keyed, pairs.batch(1))).group_by_window(
        key, gather, window_size_func=rows_of
    )


def _endless_pairs(source, x_spec, name):
    """Returns `_Pairs`, and whether the task's data are batches."""
    elements.check_dataset(source, name)
    _check_not_empty(source, name)
    spec = source.element_spec
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise ValueError(
            f"`{name}` must yield `(original_x, counterfactual_x, weight)`, "
            f"as `build_counterfactual_data` does. Received: {spec}"
        )
    original, counterfactual, weight = (*spec, None)[:3]
    _check_like(original, counterfactual, name)
    weighted = isinstance(weight, tf.TensorSpec)
    if weighted and weight.shape.rank is not None:
        batched = weight.shape.rank > 0
    else:
        batched = is_batched(source)
    like_batches = _check_features(x_spec, original, batched, name)
    if batched:
        # Batches of no rows would repeat without end, and give none.
        source = source.filter(lambda *pair: row_count(pair) > 0)
    if not weighted:
        source = source.map(
            lambda *pair: (
                *pair[:2],
                tf.ones([row_count(pair)] if batched else []),
            )
        )
    return _Pairs(_repeat(source, name), batched), like_batches


def _repeat(pairs, name):
    """Repeats pairs without end; raises if there are none."""
    message = (
        f"`{name}` is empty: no example holds a term, or it can be read only "
        "once and has been."
    )

    def fail(never):
        with tf.control_dependencies([tf.debugging.Assert(never, [message])]):
            return pairs

    # Repeating an empty dataset ends at once.
    fallback = tf.data.Dataset.from_tensors(False).flat_map(fail)
    return pairs.repeat().concatenate(fallback)


def _check_not_empty(dataset, name):
    if dataset.cardinality() == 0:
        raise ValueError(f"`{name}` is empty.")


def _check_like(spec, other, name):
    try:
        tf.nest.assert_same_structure(spec, other, check_types=False)
        same = all(
            a.dtype == b.dtype
            for a, b in zip(
                tf.nest.flatten(spec), tf.nest.flatten(other), strict=True
            )
        )
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ValueError(
            f"The features of `{name}` must have the same names and dtypes "
            f"throughout. Received: {spec} and {other}"
        )


def _check_features(x_spec, original_spec, batched, name):
    """Returns whether the task's data are batches, given the pairs' are."""
    _check_like(x_spec, original_spec, name)
    task_batched = None
    for x, original in zip(
        tf.nest.flatten(x_spec), tf.nest.flatten(original_spec), strict=True
    ):
        if x.shape.rank is None or original.shape.rank is None:
            raise ValueError(
                "The ranks of all features must be known. "
                f"Received: {x} and {original}"
            )
        axes = x.shape.rank - original.shape.rank + batched
        if task_batched is None:
            task_batched = axes
        if (
            axes not in (0, 1)
            or axes != task_batched
            or not x.shape[axes:].is_compatible_with(original.shape[batched:])
        ):
            raise ValueError(
                f"The features of `{name}` must have the shapes of those of "
                f"`original_input`. Received: {original} and {x}"
            )
    return bool(task_batched)
