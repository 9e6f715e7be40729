"""Helpers to prepare MinDiff data, under their public names."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.elements import check_dataset
from tensorflow_model_remediation_ext.common.objective_structures import (
    validate_structure,
)
from tensorflow_model_remediation_ext.min_diff.keras.datasets import (
    build_min_diff_dataset,
)
from tensorflow_model_remediation_ext.min_diff.keras.packing import (
    MinDiffPackedInputs,
    is_packed,
    pack_min_diff_data,
    unpack_min_diff_data,
    unpack_original_inputs,
)

__all__ = [
    "MinDiffPackedInputs",
    "build_min_diff_dataset",
    "map_inputs",
    "pack_min_diff_data",
    "unpack_min_diff_data",
    "unpack_original_inputs",
    "validate_min_diff_structure",
]


def map_inputs(packed: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    """Applies a function to the task's inputs and to those of the groups.

    Args:
        packed: A dataset that `pack_min_diff_data` returned.
        function: Takes and returns a batch of inputs `x`.

    Returns:
        A packed dataset.

    Raises:
        TypeError: If `packed` is not a dataset, or `function` not callable.
        ValueError: If `packed` is not packed.

    Examples:
        >>> x = tf.data.Dataset.from_tensors((tf.ones([2, 1]), tf.ones([2])))
        >>> packed = map_inputs(pack_min_diff_data(x, x, x), lambda x: x * 3)
        >>> inputs, _ = next(iter(packed))
        >>> inputs.min_diff_data[0].numpy().ravel().tolist()
        [3.0, 3.0, 3.0, 3.0]
    """
    check_dataset(packed, "packed")
    if not callable(function):
        raise TypeError(f"`function` must be callable. Received: {function!r}")

    def apply(data):
        return (function(data[0]), *data[1:])

    def mapped(*element):
        inputs, *rest = element
        if not is_packed(inputs):
            raise ValueError(
                "`packed` must be packed by `pack_min_diff_data`. "
                f"Received: {packed.element_spec}"
            )
        data = inputs.min_diff_data
        if isinstance(data, dict):
            data = {key: apply(value) for key, value in data.items()}
        else:
            data = apply(data)
        inputs = MinDiffPackedInputs(function(inputs.original_inputs), data)
        return (inputs, *rest) if rest else inputs

    return packed.map(mapped)


def validate_min_diff_structure(
    struct: Any, struct_name: str = "struct", element_type: type | None = None
) -> None:
    """Checks that `struct` is a single element or a dict of them.

    Args:
        struct: What to check. Tuples count as single elements.
        struct_name: How error messages call it.
        element_type: The type that elements must have; `None` for any.

    Raises:
        TypeError: If `struct` is neither an element nor a dict, or
            `element_type` is not a type.
        ValueError: If a key of the dict is not a string, or a value not an
            element.

    Examples:
        >>> validate_min_diff_structure({"a": 1.0, "b": 2.0})
    """
    validate_structure(struct, struct_name, element_type)
