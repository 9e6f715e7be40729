"""Which groups a dataset has: those that are given, or those found in it."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.min_diff.keras.grouping import (
    Grouping,
    named,
)


class Groups(NamedTuple):
    """The groups of a dataset, in the order of their ids.

    Attributes:
        values: What tells each group: a value for each name.
        keys: Their keys; see `Grouping.keys`.
        counts: Their rows that the condition keeps; 0 if not counted.
        length: The number of elements; `None` if not counted.
    """

    values: list[tuple]
    keys: tf.Tensor
    counts: list[int]
    length: int | None

    @property
    def shares(self) -> list[float]:
        """The weight of a row of each group.

        More than two weigh what they weigh in the data, or "the rest" would
        not be that of the data.
        """
        number, total = len(self.counts), sum(self.counts)
        if number == 2 or not total:
            return [1.0] * number
        return [number * count / total for count in self.counts]


def groups_of(
    source: tf.data.Dataset, grouping: Grouping, given: Any
) -> Groups:
    """Returns the groups of a dataset, which is read once if need be.

    Args:
        source: The dataset, its elements as one argument of `map`.
        grouping: Tells the groups of its elements.
        given: The values of the groups, or `None` for those that it holds.

    Raises:
        ValueError: If they are not two groups or more, each with a row.
    """
    spec = source.map(grouping.values).element_spec
    dtypes = [each.dtype for each in spec]
    if given is None and not grouping.names and dtypes[0] == tf.bool:
        given = [False, True]
    if given is not None:
        values = _given(given, grouping)
        keys = grouping.keys(
            tuple(
                _column([value[k] for value in values], dtype, given)
                for k, dtype in enumerate(dtypes)
            )
        )
        if len(values) == 2:
            return Groups(values, keys, [0, 0], None)
        found, length = grouping.found_in(source, keys)
        counts = [found[key][1] for key in keys.numpy()]
        return _filled(Groups(values, keys, counts, length), grouping)
    found, length = grouping.found_in(source)
    counted = dict(found.values())
    if not grouping.names and dtypes[0].is_integer:
        counted = _all_ids(counted)
    if len(counted) < 2:
        raise ValueError(
            "`group` must tell two groups apart, or more. Received: "
            f"{grouping.described} with the values {named(counted)}"
        )
    keys = tf.constant(list(found))
    groups = Groups(list(counted), keys, list(counted.values()), length)
    return _filled(groups, grouping)


def no_rows(grouping: Grouping, value: tuple) -> str:
    """What to tell the user of a group that has no rows."""
    return (
        f"`group`: there is no row of the group {named([value])[0]} "
        f"({grouping.described}){grouping.condition_described}."
    )


def _filled(groups, grouping):
    for value, count in zip(groups.values, groups.counts, strict=True):
        if not count:
            raise ValueError(no_rows(grouping, value))
    return groups


def _given(groups, grouping):
    """Returns what the user gave for groups as tuples."""
    listed = isinstance(groups, Iterable)
    # The order of a set differs from run to run, and with it the ids.
    unordered = (str, bytes, Mapping, set, frozenset)
    if not listed or isinstance(groups, unordered):
        raise ValueError(
            "`groups` must be a list of the values of `group`, in the order "
            f"of their ids. Received: groups={groups!r}"
        )
    several = len(grouping.names) > 1
    values = []
    for value in groups:
        if isinstance(value, (tuple, list, np.ndarray)) and several:
            values.append(tuple(value))
        else:
            values.append((value,))
    if any(len(v) != max(1, len(grouping.names)) for v in values):
        raise ValueError(
            "`groups` must hold a tuple for each group, of a value for "
            f"each of {grouping.names}. Received: groups={groups!r}"
        )
    try:
        different = len(set(values))
    except TypeError as error:
        raise _not_values(groups) from error
    if different < max(2, len(values)):
        raise ValueError(
            "`groups` must hold two different values or more. "
            f"Received: groups={groups!r}"
        )
    return values


def _column(values, dtype, groups):
    """Returns given values as the dataset would hold them."""
    texts = [isinstance(value, (str, bytes)) for value in values]
    if all(texts):
        return tf.constant([tf.compat.as_bytes(value) for value in values])
    numbers = np.asarray(values)
    if any(texts) or numbers.ndim != 1 or numbers.dtype.kind not in "biuf":
        raise _not_values(groups)
    if dtype.is_floating:
        # The nearest that there can be: 0.1 in float32 is another number.
        numbers = numbers.astype("float64").astype(dtype.as_numpy_dtype)
    return tf.constant(numbers)


def _not_values(groups):
    return ValueError(
        "`groups` must hold values of one kind for each name, all numbers or "
        f"all text. Received: groups={groups!r}"
    )


def _all_ids(counts):
    """Adds the class ids that no row has; the largest tells their number."""
    ids = [value[0] for value in counts]
    if ids and min(ids) < 0:
        raise ValueError(
            "`group` must return class ids from 0 on. "
            f"Received: {sorted(ids)[:5]}"
        )
    return {(k,): counts.get((k,), 0) for k in range(max(ids, default=-1) + 1)}
