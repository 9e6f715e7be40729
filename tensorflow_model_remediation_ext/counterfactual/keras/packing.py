"""Packing task data and counterfactual pairs into one dataset."""

import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import (
    Layout,
    batch_size,
    count_rows,
    inner_sizes_vary,
)
from tensorflow_model_remediation_ext.common.cardinality import keep_cardinality
from tensorflow_model_remediation_ext.common.checks import is_number
from tensorflow_model_remediation_ext.common.elements import (
    as_one_argument,
    check_dataset,
    unpack,
)
from tensorflow_model_remediation_ext.common.endless import known_length
from tensorflow_model_remediation_ext.common.objectives import (
    argument_name,
    by_objective,
    unwrap,
)
from tensorflow_model_remediation_ext.common.rows import (
    row_count,
    take_rows,
)
from tensorflow_model_remediation_ext.counterfactual.keras.packed import (
    CounterfactualPackedInputs,
)
from tensorflow_model_remediation_ext.counterfactual.keras.pair_stream import (
    PairStream,
)


def pack_counterfactual_data(
    original_input: tf.data.Dataset,
    counterfactual_data: tf.data.Dataset | dict[str, tf.data.Dataset],
    *,
    pairs_per_example: float | str = 1.0,
) -> tf.data.Dataset:
    """Puts counterfactual pairs with each element of the task's data.

    Every element of `original_input` comes once and in order. The pairs are
    repeated without end, and cut so that a batch has as many pairs as task
    examples, or fewer; the rows with a last, smaller batch are the first of a
    full one. They may come from another, unlabeled source than the task's
    data. Both halves come in the structure of the task's `x`. Where sizes of
    dense features vary from row to row, pairs are padded with zeros or empty
    strings at the end, as by `tf.data.Dataset.padded_batch`.

    The pairs are read again and again: `cache()` them if they fit in memory,
    or all of their source is searched for terms each time. Where an epoch
    takes less than a quarter of them, the first epoch starts at the first pair
    and each later one at another place, so that all of them have their turn.
    For that their number must be known, as that of found pairs is not: tell
    it (`pairs.apply(tf.data.experimental.assert_cardinality(n))`), or
    `shuffle` them, or each epoch takes the first ones. Data that repeat
    themselves without end start at the beginning, too. For the same pairs
    each time, as in validation, `cache()` what is returned.

    Args:
        original_input: A dataset of `x`, `(x,)`, `(x, y)` or
            `(x, y, sample_weight)`, batched or not.
        counterfactual_data: A dataset of `(original_x, counterfactual_x,
            weight)` or `(original_x, counterfactual_x)`, batched in any way
            or not, as `build_counterfactual_data` makes it; or a dict of such
            datasets by objective. Features must be like those of
            `original_input`. A pair without a weight counts as weight 1. A
            scalar weight tells single pairs from batches.
        pairs_per_example: How many pairs a batch has for each of its examples,
            greater than 0 and at most 1, rounded to at least one pair a
            batch. A pair costs two forward passes: where one text in five
            holds a term, 0.2 trains on each pair once an epoch. `"auto"` takes
            the number of pairs for each example of `original_input`, at most
            1; it reads both datasets once, here, to count. Anything but 1 is
            for task data in batches.

    Returns:
        A dataset of `CounterfactualPackedInputs`, of the cardinality of
        `original_input`. If counterfactual data turn out to hold no pair, its
        first element raises `tf.errors.InvalidArgumentError`. Endless data
        are searched without end: build pairs before `repeat()`.

    Raises:
        TypeError: An argument is not a dataset.
        ValueError: Elements are of another form, features do not match, a
            dataset is known to be empty, or `pairs_per_example` is not a
            number of this range or cannot be counted.

    Examples:
        >>> task = tf.data.Dataset.from_tensor_slices((["a", "b c"], [0, 1]))
        >>> pairs = build_counterfactual_data(task, ["c"])
        >>> packed = pack_counterfactual_data(task.batch(2), pairs)
        >>> element = next(iter(packed))
        >>> element.counterfactual_data[1].numpy().tolist()
        [b'b', b'b']
    """
    check_dataset(original_input, "original_input")
    sources = by_objective(counterfactual_data, "counterfactual_data")
    streams = {}
    for objective, source in sources.items():
        name = argument_name("counterfactual_data", objective)
        streams[objective] = PairStream(
            source, original_input.element_spec, name
        )
    layouts = {pairs.layout_of_task for pairs in streams.values()}
    if len(layouts) > 1:
        raise ValueError(
            "The datasets of `counterfactual_data` must have features of the "
            "same ranks."
        )
    (layout,) = layouts
    shares = _shares(pairs_per_example, original_input, streams, layout)
    task = as_one_argument(original_input).map(unpack)
    steps = known_length(original_input)
    if layout is Layout.EXAMPLES:
        rows = {
            objective: pairs.rows(steps) for objective, pairs in streams.items()
        }
        packed = tf.data.Dataset.zip((task, rows))
    else:
        size = batch_size(original_input)
        packed = _pack_batches(task, streams, shares, size, steps)
    packed = packed.map(
        lambda original_input, pairs: CounterfactualPackedInputs(
            original_input, unwrap(pairs)
        )
    )
    packed = keep_cardinality(packed, original_input)
    return packed.prefetch(tf.data.AUTOTUNE)


def _pack_batches(task, streams, shares, size, steps):
    """Zips batches of the task with dicts of pairs by objective."""

    def cut(original_input, pairs):
        rows = row_count(original_input[0])
        return original_input, {
            objective: take_rows(each, _pairs_for(rows, shares[objective]))
            for objective, each in pairs.items()
        }

    if size is None:
        packed = task.map(lambda *original_input: (original_input, ()))
        for objective, pairs in streams.items():
            packed = _add_by_rows(packed, pairs.rows(), shares[objective])
        return packed.map(
            lambda original_input, pairs: cut(
                original_input, dict(zip(streams, pairs, strict=True))
            )
        )
    batches = {
        objective: pairs.batches(_pairs_for(size, shares[objective]), steps)
        for objective, pairs in streams.items()
    }
    packed = tf.data.Dataset.zip((task, batches))
    full = tf.nest.flatten(task.element_spec)[0].shape[0] == size
    return packed if full else packed.map(cut)


def _add_by_rows(packed, rows, share):
    """Adds the next pairs to batches of any size, to each at least one."""

    def spread(original_input, pairs):
        count = _pairs_for(row_count(original_input[0]), share)
        count = tf.maximum(count, 1)
        element = count, original_input, pairs
        return tf.data.Dataset.from_tensors(element).repeat(count)

    def count_of(element, _):
        return element[0]

    def gather(count, window):
        element = window.take(1).map(lambda element, _: element[1:])
        pairs = window.map(lambda _, row: row)
        pairs = join(pairs, count)
        return tf.data.Dataset.zip((element, pairs)).map(
            lambda element, pairs: (element[0], (*element[1], pairs))
        )

    def join(pairs, count):
        if inner_sizes_vary(rows.element_spec, Layout.EXAMPLES):
            return pairs.unbatch().padded_batch(count)
        return pairs.rebatch(count)

    # The rows of one batch come one after another and fill a window, so that
    # the next batch finds it empty. Rows are batches of one, as a ragged row
    # on its own would become dense.
    return tf.data.Dataset.zip(
        (packed.flat_map(spread), rows.batch(1))
    ).group_by_window(count_of, gather, window_size_func=lambda count: count)


def _pairs_for(rows, share):
    """Returns the number of pairs for a number of rows, at least one."""
    if share == 1.0:
        return rows
    if isinstance(rows, int):
        return max(1, int(rows * share + 0.5))
    wanted = tf.cast(tf.cast(rows, tf.float64) * share + 0.5, tf.int64)
    return tf.minimum(rows, tf.maximum(wanted, 1))


def _shares(pairs_per_example, original_input, streams, layout):
    """Returns how many pairs an example has, by objective."""
    if pairs_per_example == "auto":
        examples = _count_examples(original_input, layout)
        return {
            objective: min(1.0, pairs.count() / examples)
            for objective, pairs in streams.items()
        }
    share = pairs_per_example
    if not is_number(share) or not 0 < share <= 1:
        raise ValueError(
            "`pairs_per_example` must be a number greater than 0 and at most "
            f"1, or 'auto'. Received: pairs_per_example={share!r}"
        )
    if share != 1 and layout is Layout.EXAMPLES:
        raise ValueError(_BATCH_FIRST.format(share))
    return dict.fromkeys(streams, float(share))


_BATCH_FIRST = (
    "Other `pairs_per_example` than 1 are for task data in batches: batch "
    "`original_input` first. Received: single examples with "
    "pairs_per_example={!r}"
)


def _count_examples(original_input, layout):
    if layout is Layout.EXAMPLES:
        raise ValueError(_BATCH_FIRST.format("auto"))
    if original_input.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "`pairs_per_example='auto'` counts the examples of "
            "`original_input`, which must come to an end: give a number, or "
            "repeat the packed data instead. Received: an endless dataset"
        )
    examples = count_rows(as_one_argument(original_input).map(row_count))
    if not examples:
        raise ValueError("`original_input` is empty: it holds no example.")
    return examples
