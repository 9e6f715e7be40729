"""Datasets of rows of groups, for the penalty alone."""

import math
import numbers
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import (
    Layout,
    layout_of,
    require_batches,
)
from tensorflow_model_remediation_ext.common.checks import (
    flag,
    whole,
)
from tensorflow_model_remediation_ext.common.elements import check_dataset
from tensorflow_model_remediation_ext.common.endless import (
    repeat_from_anywhere,
)
from tensorflow_model_remediation_ext.common.objectives import (
    argument_name,
    by_objective,
    unwrap,
)
from tensorflow_model_remediation_ext.common.rows import row_count
from tensorflow_model_remediation_ext.min_diff.keras.stratified import (
    stratified_rows,
)


def build_min_diff_dataset(
    sensitive_group_dataset: Any,
    nonsensitive_group_dataset: Any = None,
    *,
    group: Any = None,
    condition: Any = None,
    batch_size: int | None = None,
    groups: Any = None,
    keep_group: bool = False,
    shuffle_buffer: int = 10_000,
    seed: int | None = None,
) -> tf.data.Dataset:
    """Builds the dataset that a MinDiff penalty is computed on.

    From two datasets of batches, each batch is one of the sensitive group
    followed by one of the other; both are repeated without end, each time from
    their beginning. `pack_min_diff_data` takes the two datasets themselves,
    too, and begins elsewhere in each epoch where they are long.

    With `group`, the first argument is a whole dataset, and the rows of each
    group are drawn out of it: as many of each group in every batch, one after
    the other, shuffled, without end. It is read once for each group, again
    and again: `cache()` it if it fits in memory. Each epoch starts at another
    place of it, so that all rows have their turn. One epoch sees what is near
    that place, so rows should be in no order. Unless `group` is a function
    that returns booleans, or `groups` gives two groups, it is also read once,
    now, to see which groups there are and to count them. More than two weigh
    what they weigh in the dataset, so that "the rest" is that of the data. A
    dataset that was not read, and does not know how many elements it has, is
    read from its beginning in each epoch: `shuffle` it, or tell it
    (`data.apply(tf.data.experimental.assert_cardinality(n))`).

    Args:
        sensitive_group_dataset: A dataset of `x`, `(x,)`, `(x, y)` or
            `(x, y, sample_weight)`: batches of rows of the sensitive group,
            or, with `group`, a whole, finite dataset, batched or not.
            Without `group`, it may be a dict of datasets by objective.
        nonsensitive_group_dataset: The same for the other group.
        group: Name of the feature in a dict `x` that tells the group; a list
            of names, of which each combination of values is a group; or a
            function of the element, as the dataset yields it, that returns
            booleans (true: sensitive) or class ids, one a row.
        condition: `"negatives"` keeps rows with label 0, so that false
            positive rates are compared, `"positives"` rows with label 1, for
            true positive rates (labels are 0 and 1, or booleans); or a
            function of the element that returns booleans, one a row.
        batch_size: Rows of a batch, of all groups together. Default: that of
            the dataset, if it is batched and has room for all groups, or 128.
        groups: The values of `group` in the order of their ids (tuples for
            several names); rows with other values are left out. Default:
            those found, sorted, none of which may be missing (NaN). With two
            groups, the second one is the sensitive one, with membership 1.
        keep_group: Whether features that tell the group stay in `x`.
        shuffle_buffer: Rows of each group held to draw from.
        seed: Seed of the shuffling and of the places to start at: with the
            same one, the same epochs have the same rows.

    Returns:
        A dataset without end of `(x, membership, weight)`: membership
        `[batch, 1]` float32, weights float32 ones where none are given.

    Raises:
        TypeError: If an argument is not a dataset, or a function takes
            another number of arguments than one.
        ValueError: If arguments do not go together, data are not batched, a
            group or a condition has no rows, or there is one group only. What
            shows up only as data are read raises
            `tf.errors.InvalidArgumentError` at the first element.

    Examples:
        >>> data = tf.data.Dataset.from_tensor_slices(
        ...     ({"age": [31.0, 58.0, 40.0], "sex": ["f", "m", "m"]}, [1, 0, 0])
        ... )
        >>> rows = build_min_diff_dataset(
        ...     data, group="sex", groups=["m", "f"], batch_size=4
        ... )
        >>> x, membership, weight = next(iter(rows))
        >>> membership.numpy().ravel().tolist()
        [0.0, 1.0, 0.0, 1.0]
        >>> list(x)
        ['age']
    """
    if batch_size is not None:
        batch_size = whole("batch_size", batch_size, least=2)
    flag("keep_group", keep_group)
    if seed is not None and not isinstance(seed, numbers.Integral):
        raise ValueError(
            f"`seed` must be an integer or None. Received: seed={seed!r}"
        )
    if group is not None:
        if nonsensitive_group_dataset is not None:
            raise ValueError(
                "`nonsensitive_group_dataset` has no meaning with `group`, "
                "which draws both groups out of the first dataset."
            )
        dataset = sensitive_group_dataset
        check_dataset(dataset, "sensitive_group_dataset")
        return stratified_rows(
            dataset,
            group,
            condition,
            batch_size,
            groups,
            keep_group,
            whole("shuffle_buffer", shuffle_buffer),
            seed,
        )
    if nonsensitive_group_dataset is None:
        raise ValueError(
            "Give `nonsensitive_group_dataset`, or `group`, which tells the "
            "groups of one dataset apart."
        )
    alone = {
        "condition": condition,
        "groups": groups,
        "keep_group": keep_group or None,
        "seed": seed,
    }
    given = {name: each for name, each in alone.items() if each is not None}
    if given:
        raise ValueError(
            "`condition`, `groups`, `keep_group` and `seed` have no meaning "
            f"without `group`. Received: {given}"
        )
    return rows_of_two_datasets(
        sensitive_group_dataset, nonsensitive_group_dataset, batch_size
    )


def rows_of_two_datasets(
    sensitive: Any,
    nonsensitive: Any,
    batch_size: int | None = None,
    reach: float | None = math.inf,
) -> Any:
    """Returns batches of rows of two groups, without end.

    Args:
        sensitive: See `build_min_diff_dataset`.
        nonsensitive: See there.
        batch_size: See there.
        reach: How many batches of each an iteration reads, `None` if unknown.

    Raises:
        ValueError: See there.
    """
    pair = {
        "sensitive_group_dataset": sensitive,
        "nonsensitive_group_dataset": nonsensitive,
    }
    sides = {name: by_objective(each, name) for name, each in pair.items()}
    first, second = sides.values()
    if set(first) != set(second):
        raise ValueError(
            "`sensitive_group_dataset` and `nonsensitive_group_dataset` must "
            "be dicts with the same keys, or neither. Received: "
            f"{sorted(first)} and {sorted(second)}"
        )
    halves = (None, None)
    if batch_size is not None:
        halves = (batch_size - batch_size // 2, batch_size // 2)
    built = {}
    for objective in first:
        streams = []
        for (name, by_name), size in zip(sides.items(), halves, strict=True):
            full = argument_name(name, objective)
            streams.append(_batches(by_name[objective], size, full, reach))
        built[objective] = tf.data.Dataset.zip(tuple(streams)).map(_join)
    return tf.data.Dataset.zip(unwrap(built))


def _batches(dataset, size, name, reach):
    check_dataset(dataset, name)
    if size is None:
        require_batches(dataset, name)
    layout = layout_of(dataset)

    def batches(rows):
        if size is not None:
            batched = layout is Layout.BATCHES
            rows = rows.rebatch(size) if batched else rows.batch(size)
        # Batches of no rows would repeat without end, and give none.
        return rows.filter(lambda *element: row_count(element) > 0)

    return repeat_from_anywhere(
        dataset,
        batches,
        f"`{name}` is empty, or it can be read only once and has been.",
        reach,
    )


def _join(sensitive, nonsensitive):
    """One batch of the sensitive group, then one of the other."""
    sides = [
        keras.utils.unpack_x_y_sample_weight(side)
        for side in (sensitive, nonsensitive)
    ]
    (x, _, _), (other, _, _) = sides
    try:
        tf.nest.assert_same_structure(x, other)
        flat = [
            _concat(a, b)
            for a, b in zip(
                tf.nest.flatten(x), tf.nest.flatten(other), strict=True
            )
        ]
    except (TypeError, ValueError) as error:
        raise ValueError(
            "The features of `sensitive_group_dataset` and "
            "`nonsensitive_group_dataset` must have the same names, dtypes "
            f"and shapes. Received: {x} and {other}"
        ) from error
    membership = tf.concat(
        [
            tf.fill([tf.cast(row_count(each), tf.int32), 1], value)
            for each, value in ((x, 1.0), (other, 0.0))
        ],
        axis=0,
    )
    return tf.nest.pack_sequence_as(x, flat), membership, _weights(sides)


def _weights(sides):
    ranks = [w.shape.rank for _, _, w in sides if w is not None] or [2]
    rank = max(rank or 1 for rank in ranks)
    weights = []
    for x, _, weight in sides:
        if weight is None:
            rows = tf.cast(row_count(x), tf.int32)
            weight = tf.ones([rows] + [1] * (rank - 1))
        if weight.shape.rank == 1 and rank == 2:
            weight = weight[:, None]
        weights.append(tf.cast(weight, tf.float32))
    return tf.concat(weights, axis=0)


def _concat(one, other):
    if isinstance(one, tf.SparseTensor):
        return tf.sparse.concat(0, [one, other], expand_nonconcat_dims=True)
    return tf.concat([one, other], axis=0)
