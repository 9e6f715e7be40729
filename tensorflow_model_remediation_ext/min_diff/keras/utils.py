"""Helpers to prepare MinDiff data, under their public names."""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.embedding import embed_packed
from tensorflow_model_remediation_ext.common.mapping import map_packed
from tensorflow_model_remediation_ext.common.objective_structures import (
    validate_structure,
)
from tensorflow_model_remediation_ext.min_diff.keras.datasets import (
    build_min_diff_dataset,
)
from tensorflow_model_remediation_ext.min_diff.keras.packing import (
    MinDiffPackedInputs,
    pack_min_diff_data,
    replace_inputs,
    unpack_min_diff_data,
    unpack_original_inputs,
)

__all__ = [
    "MinDiffPackedInputs",
    "build_min_diff_dataset",
    "embed_inputs",
    "map_inputs",
    "pack_min_diff_data",
    "unpack_min_diff_data",
    "unpack_original_inputs",
    "validate_min_diff_structure",
]


def map_inputs(
    packed: tf.data.Dataset, function: Callable[[Any], Any]
) -> tf.data.Dataset:
    """Applies a function to the task's `x` and to that of the groups' rows.

    For what stands before the model and works on its inputs, such as a
    tokenizer. Labels, memberships, weights, objectives and the order stay as
    they are.

    Args:
        packed: A dataset from `pack_min_diff_data`.
        function: Takes a batch of `x` and returns another one with as many
            rows, by operations that `tf.data.Dataset.map` can run.

    Returns:
        A dataset of packed elements.

    Raises:
        TypeError: If `packed` is not a dataset, or `function` not callable.
        ValueError: If `packed` does not hold packed inputs.

    Examples:
        >>> x = tf.data.Dataset.from_tensors((tf.ones([2, 1]), tf.ones([2])))
        >>> packed = map_inputs(pack_min_diff_data(x, x, x), lambda x: x * 3)
        >>> inputs, _ = next(iter(packed))
        >>> inputs.min_diff_data[0].numpy().ravel().tolist()
        [3.0, 3.0, 3.0, 3.0]
    """
    return map_packed(
        packed, function, replace_inputs, pack_min_diff_data.__name__
    )


def embed_inputs(
    packed: tf.data.Dataset,
    backbone: Callable[[Any], Any],
    directory: str | os.PathLike | None = None,
    *,
    verbose: int | str = "auto",
) -> tf.data.Dataset:
    """Replaces inputs by their embeddings, for a backbone that stays frozen.

    The data go through `backbone` once, here, in inference mode: its dropout is
    off. A head that trains on the result learns what it would learn through
    the backbone in that mode, without running it in every epoch. Freezing by
    `trainable = False` alone is another thing: Keras passes `training=True` on
    to a frozen part too, and its dropout stays on while the head trains.

    What a pipeline draws anew in each epoch, such as an order or the rows of
    the groups, is drawn once.

    Args:
        packed: A finite dataset from `pack_min_diff_data`.
        backbone: A `keras.Model`, run in inference mode, or another function
            of an `x`, called as it is. Its outputs are the new inputs, a list
            of them as a tuple. A
            KerasHub task with its preprocessor takes raw strings or images; a
            backbone takes what the preprocessor gives:
            `map_inputs(packed, task.preprocessor)`.
        directory: A new or empty directory to keep the result in: one batch at
            a time is held in memory, and `tf.data.Dataset.load(directory)`
            gives the result again. `None` keeps it in memory.
        verbose: `0` for silence, otherwise as in `keras.Model.predict`.

    Returns:
        A dataset of packed batches.

    Raises:
        TypeError: If `packed` is not a dataset, or `backbone` not callable.
        ValueError: If `packed` does not hold packed batches, is endless or
            empty, has strings where `backbone` takes numbers or the reverse,
            if `backbone` returns a Keras mask or another number of rows, or
            if `directory` holds something.

    Examples:
        >>> x = tf.data.Dataset.from_tensors((tf.ones([2, 4]), tf.ones([2])))
        >>> packed = pack_min_diff_data(x, x, x)
        >>> backbone = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(3)]
        ... )
        >>> embedded = embed_inputs(packed, backbone, verbose=0)
        >>> next(iter(embedded))[0].min_diff_data[0].shape
        TensorShape([4, 3])
    """
    return embed_packed(
        packed,
        backbone,
        directory,
        replace_inputs,
        pack_min_diff_data.__name__,
        verbose,
    )


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
