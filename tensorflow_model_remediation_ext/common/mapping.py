"""A function applied to every input in packed data."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.elements import (
    as_one_argument,
    check_dataset,
)

# Returns a packed element with a function applied to each of its inputs, or
# `None` for an element that is not packed. Each wing has its own.
Replace = Callable[[Any, Callable], Any]


def map_packed(
    packed: tf.data.Dataset,
    function: Callable[[Any], Any],
    replace: Replace,
    packed_by: str,
) -> tf.data.Dataset:
    """Applies a function to every input, and leaves all else as it is.

    Args:
        packed: A dataset of packed elements, batched or not.
        function: Takes an `x` and returns another, with as many rows.
        replace: How elements of this kind take a function.
        packed_by: Name of the function that packs them, for errors.

    Returns:
        A dataset of packed elements, in the same order.

    Raises:
        TypeError: `packed` is not a dataset or `function` not callable.
        ValueError: `packed` does not hold packed elements.
    """
    check_packed(packed, replace, packed_by)
    if not callable(function):
        raise TypeError(
            "`function` must be callable with an `x`. "
            f"Received: function={function!r}"
        )
    return as_one_argument(packed).map(
        lambda element: replace(element, function),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def check_packed(
    packed: tf.data.Dataset, replace: Replace, packed_by: str
) -> None:
    """Raises unless given a dataset of packed elements."""
    check_dataset(packed, "packed")
    if replace(packed.element_spec, lambda x: x) is None:
        raise ValueError(
            f"`packed` must hold data packed by `{packed_by}`. Received: a "
            f"dataset of {packed.element_spec}"
        )
