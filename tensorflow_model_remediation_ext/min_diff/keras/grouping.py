"""Which group each row of a dataset belongs to, and which rows count."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import function_of_one
from tensorflow_model_remediation_ext.common.data_errors import (
    in_plain_words,
    require_none,
)

_MOST_GROUPS = 64
_SEPARATOR = "\x1f"
# Below this every whole number is a float of its own.
_EXACT = 2.0**53


class Grouping:
    """Tells the group of each row of an element, or of the element itself.

    Args:
        group: Names of features, or a function; see `build_min_diff_dataset`.
        condition: See `build_min_diff_dataset`.
        spec: The spec of the dataset's elements.
        batched: Whether elements are batches.

    Raises:
        TypeError: If a function takes another number of arguments than one.
        ValueError: If features, labels or results of functions are not
            usable.
    """

    def __init__(
        self,
        group: str | list | Callable,
        condition: str | Callable | None,
        spec: Any,
        batched: bool,
    ):
        self._batched = batched
        self._condition = condition
        self.names: list = []
        self._function = group if callable(group) else None
        if self._function is None:
            self.names = (
                list(group) if isinstance(group, (list, tuple)) else [group]
            )
            self._check_names(spec)
        if not (
            condition in (None, "negatives", "positives") or callable(condition)
        ):
            raise ValueError(
                '`condition` must be None, "negatives", "positives" or a '
                f"function. Received: condition={condition!r}"
            )
        for name, given in (("group", group), ("condition", condition)):
            if callable(given):
                function_of_one(
                    name, given, "the element as the dataset yields it"
                )

    def values(self, element: Any) -> tuple[tf.Tensor, ...]:
        """Returns what tells the group: a tensor for each name."""
        if self._function is None:
            x = keras.utils.unpack_x_y_sample_weight(element)[0]
            return tuple(self._rows(x[name], repr(name)) for name in self.names)
        found = tf.convert_to_tensor(self._function(element))
        found = self._rows(found, "the result of `group`")
        if found.dtype.is_floating or found.dtype.is_complex:
            raise ValueError(
                "`group` must return booleans, class ids or text. "
                f"Received: {found}"
            )
        return (found,)

    def keys(self, values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Returns one string for each row, equal for rows of one group."""
        return tf.strings.join(list(map(_text, values)), separator=_SEPARATOR)

    def counts(self, element: Any) -> tf.Tensor:
        """Returns which rows the condition keeps, as booleans."""
        if self._condition is None:
            return tf.ones_like(self.values(element)[0], tf.bool)
        if callable(self._condition):
            kept = tf.convert_to_tensor(self._condition(element))
            if kept.dtype != tf.bool:
                raise ValueError(
                    f"`condition` must return booleans. Received: {kept}"
                )
            return self._rows(kept, "the result of `condition`")
        y = keras.utils.unpack_x_y_sample_weight(element)[1]
        if y is None or tf.nest.is_nested(y) or y.dtype == tf.string:
            raise ValueError(
                f"`condition={self._condition!r}` needs labels of 0 and 1 in "
                "the dataset; for others give a function. "
                f"Received: y={y}"
            )
        label = tf.cast(self._rows(y, "`y`"), tf.float32)
        with require_none(
            tf.logical_and(tf.not_equal(label, 0.0), tf.not_equal(label, 1.0)),
            f"`condition={self._condition!r}` needs labels of 0 and 1; for "
            "others give a function, such as `lambda element: element[1] == "
            "2`. Received, among the labels:",
            label,
        ):
            positive = label > 0.5
        if self._condition == "positives":
            return positive
        return tf.logical_not(positive)

    @in_plain_words
    def found_in(
        self, dataset: tf.data.Dataset, wanted: tf.Tensor | None = None
    ) -> tuple[dict[bytes, tuple[tuple, int]], int]:
        """Counts the rows of each group that the condition keeps.

        Args:
            dataset: The whole dataset, its elements as one argument of `map`.
            wanted: The keys of the groups to count, which may have no row;
                default: all that there are.

        Returns:
            Values and numbers of rows by key, sorted by value: a tuple of
            values and 0 for groups of which the condition keeps no row. And
            the number of elements.

        Raises:
            ValueError: Without `wanted`, if there are too many groups, or
                rows whose group is missing.
        """
        elements = missing = 0
        seen: dict[bytes, tuple[tuple, int]] = {}
        if wanted is not None:
            seen = {key: ((), 0) for key in wanted.numpy()}
        data = dataset.map(
            lambda element: (self.values(element), self.counts(element)),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        if not self._batched:
            data = data.batch(1024)
        for values, counts in data.as_numpy_iterator():
            elements += 1 if self._batched else len(counts)
            if wanted is None:
                present = _present(values)
                missing += int(np.sum(counts & ~present))
                values = [each[present] for each in values]
                counts = counts[present]
            if not len(counts):
                continue
            keys = self.keys(tuple(map(tf.constant, values))).numpy()
            keys, first, which = np.unique(
                keys, return_index=True, return_inverse=True
            )
            kept = np.bincount(which, counts.astype("float64"), len(first))
            for key, index, count in zip(keys, first, kept, strict=True):
                if wanted is None or key in seen:
                    value = tuple(_plain(v[index]) for v in values)
                    before = seen.get(key, (value, 0))[1]
                    seen[key] = value, before + int(count)
            if wanted is None and len(seen) > _MOST_GROUPS:
                raise ValueError(
                    f"`group` must tell at most {_MOST_GROUPS} groups apart. "
                    f"Received: {self.described}, with more values than that, "
                    f"such as {named(v for v, _ in seen.values())[:3]}"
                )
        if missing:
            raise ValueError(
                "`group` must have a value in each row: leave out rows with "
                "NaN, or give them a value of their own, or name the groups "
                f"to compare in `groups`. Received: {self.described} with "
                f"{missing} missing values"
            )
        ordered = sorted(seen.items(), key=lambda item: _rank(item[1][0]))
        return dict(ordered), elements

    @property
    def described(self) -> str:
        """How error messages call what tells the groups."""
        if self._function is not None:
            return "a function"
        return f"group={self.names if len(self.names) > 1 else self.names[0]!r}"

    @property
    def condition_described(self) -> str:
        """What to add where the condition has left no rows."""
        if self._condition is None:
            return ""
        if callable(self._condition):
            return " that `condition` keeps"
        label = int(self._condition == "positives")
        return f" with label {label} (condition={self._condition!r})"

    def _check_names(self, spec):
        x = keras.utils.unpack_x_y_sample_weight(spec)[0]
        if not isinstance(x, Mapping):
            raise ValueError(
                "`group` names features, so `x` must be a dict of them; for "
                "any other `x` give a function of the element. Received: "
                f"{self.described} for x={x}"
            )
        missing = [
            name
            for name in self.names
            if not isinstance(name, Hashable) or name not in x
        ]
        if missing or not self.names:
            raise ValueError(
                f"`group` must name features among {list(x)}. "
                f"Received: {self.described}"
            )

    def _rows(self, tensor, what):
        """One value a row: `[batch]`, or a scalar for one row."""
        rank = int(self._batched)
        shape = tensor.shape
        usable = shape.rank == rank or (
            shape.rank == rank + 1 and shape[-1] in (1, None)
        )
        if not isinstance(tensor, tf.Tensor) or not usable:
            raise ValueError(
                f"{what} must hold one value a row, of elements that are "
                f"{'batches' if rank else 'single examples'} here. "
                f"Received: {tensor}"
            )
        return tf.reshape(tensor, [-1] * rank)


def _text(values: tf.Tensor) -> tf.Tensor:
    """Equal text for equal values, of whatever dtype: 1, 1.0 and True."""
    if values.dtype == tf.string:
        return values
    if values.dtype.is_floating:
        wide = tf.cast(values, tf.float64)
        whole = (tf.round(wide) == wide) & (tf.abs(wide) < _EXACT)
        number = tf.cast(tf.where(whole, wide, 0.0), tf.int64)
        exact = tf.strings.as_string(wide, precision=17, scientific=True)
        return tf.where(whole, tf.strings.as_string(number), exact)
    return tf.strings.as_string(tf.cast(values, tf.int64))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value.item() if isinstance(value, np.generic) else value


def _rank(value: tuple) -> tuple:
    """What values of groups are sorted by; text in the order of its bytes."""
    return tuple(v.encode() if isinstance(v, str) else v for v in value)


def _present(values: tuple) -> np.ndarray:
    """Returns which rows have a value in all columns."""
    return np.all(
        [
            v == v if v.dtype.kind == "f" else np.full(len(v), True)
            for v in values
        ],
        axis=0,
    )


def named(values: Iterable[tuple]) -> list[str]:
    """How error messages call groups, by their values."""
    return [repr(v[0]) if len(v) == 1 else repr(v) for v in values]
