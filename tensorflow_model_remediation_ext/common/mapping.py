"""A function applied to every input in packed data."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import function_of_one
from tensorflow_model_remediation_ext.common.data_errors import require
from tensorflow_model_remediation_ext.common.elements import (
    as_one_argument,
    check_dataset,
    tensor_specs,
)
from tensorflow_model_remediation_ext.common.preprocessing import (
    function_of_x,
)
from tensorflow_model_remediation_ext.common.rows import row_count

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
        ValueError: `packed` does not hold packed elements, or `function`
            returns no tensor. As the data are read,
            `tf.errors.InvalidArgumentError` where it returns another number of
            rows than it got.
    """
    check_packed(packed, replace, packed_by)
    function_of_one("function", function, "an `x`")
    batched = all(
        spec.shape.rank != 0 for spec in tensor_specs(packed.element_spec)
    )

    apply = function_of_x(function)

    def checked(x):
        return _checked(apply(x), x if batched else None)

    return as_one_argument(packed).map(
        lambda element: replace(element, checked),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


@tf.autograph.experimental.do_not_convert
def _checked(mapped: Any, x: Any) -> Any:
    """Returns what a function made of an `x`; of a batch, row by row."""
    parts = tf.nest.flatten(mapped)
    if not parts or any(part is None for part in parts):
        raise ValueError(
            "`function` must return an `x`, a tensor or a structure of them. "
            f"Received: {mapped}"
        )
    if x is None:
        return mapped
    sparse = tf.RaggedTensor, tf.SparseTensor
    parts = [
        p if isinstance(p, sparse) else tf.convert_to_tensor(p) for p in parts
    ]
    rows = tf.stack([row_count(part) for part in parts])
    with require(
        tf.reduce_all(rows == row_count(x)),
        "`function` must return one row for each row of its `x`. Received "
        "numbers of rows:",
        rows,
    ):
        parts = tf.nest.flatten(parts, expand_composites=True)
        parts = [tf.identity(part) for part in parts]
        return tf.nest.pack_sequence_as(mapped, parts, expand_composites=True)


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
