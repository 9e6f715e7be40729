"""Helpers to prepare counterfactual data, under their public names."""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.embedding import embed_packed
from tensorflow_model_remediation_ext.common.mapping import map_packed
from tensorflow_model_remediation_ext.common.objective_structures import (
    validate_structure,
)
from tensorflow_model_remediation_ext.counterfactual.keras.packed import (
    CounterfactualPackedInputs,
    replace_inputs,
)
from tensorflow_model_remediation_ext.counterfactual.keras.packing import (
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.keras.pairs import (
    build_counterfactual_data,
)

__all__ = [
    "CounterfactualPackedInputs",
    "build_counterfactual_data",
    "embed_inputs",
    "map_inputs",
    "pack_counterfactual_data",
    "validate_counterfactual_structure",
]


def map_inputs(
    packed: tf.data.Dataset, function: Callable[[Any], Any]
) -> tf.data.Dataset:
    """Applies a function to the task's `x` and to both halves of the pairs.

    For what stands before the model and works on its inputs, such as a
    tokenizer or the preprocessing of images. Labels, weights, objectives and
    the order stay as they are.

    Args:
        packed: A dataset from `pack_counterfactual_data`, batched or not.
        function: Takes an `x` and returns another one with as many rows, by
            operations that `tf.data.Dataset.map` can run.

    Returns:
        A dataset of `CounterfactualPackedInputs`.

    Raises:
        TypeError: `packed` is not a dataset or `function` not callable.
        ValueError: `packed` does not hold packed inputs.

    Examples:
        >>> task = tf.data.Dataset.from_tensor_slices((["a b", "b"], [0, 1]))
        >>> pairs = build_counterfactual_data(task, ["a"])
        >>> packed = pack_counterfactual_data(task.batch(2), pairs)
        >>> upper = map_inputs(packed, tf.strings.upper)
        >>> next(iter(upper)).original_input[0].numpy().tolist()
        [b'A B', b'B']
    """
    return map_packed(
        packed, function, replace_inputs, pack_counterfactual_data.__name__
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

    Originals, counterfactuals, labels and weights stay together. What a
    pipeline draws anew in each epoch, such as an order or an augmentation, is
    drawn once: shuffle the result.

    Args:
        packed: A finite dataset of batches from `pack_counterfactual_data`.
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
        A dataset of batches of `CounterfactualPackedInputs`.

    Raises:
        TypeError: `packed` is not a dataset or `backbone` not callable.
        ValueError: `packed` does not hold packed batches, is endless or
            empty, has strings where `backbone` takes numbers or the reverse,
            `backbone` returns a Keras mask or another number of rows, or
            `directory` holds something.

    Examples:
        >>> x = np.eye(4, dtype="float32")
        >>> task = tf.data.Dataset.from_tensor_slices((x, [0, 1, 0, 1]))
        >>> pairs = build_counterfactual_data(
        ...     task, custom_counterfactual_function=lambda e: (e[0], 2 * e[0])
        ... )
        >>> packed = pack_counterfactual_data(task.batch(2), pairs)
        >>> backbone = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(3)]
        ... )
        >>> embedded = embed_inputs(packed, backbone, verbose=0)
        >>> next(iter(embedded)).counterfactual_data[1].shape
        TensorShape([2, 3])
    """
    return embed_packed(
        packed,
        backbone,
        directory,
        replace_inputs,
        pack_counterfactual_data.__name__,
        verbose,
    )


def validate_counterfactual_structure(
    struct: Any, struct_name: str = "struct", element_type: type | None = None
) -> None:
    """Checks that `struct` is a single element or a dict of them.

    Args:
        struct: What to check. Tuples count as single elements.
        struct_name: How error messages call it.
        element_type: The type that elements must have; `None` for any.

    Raises:
        TypeError: `struct` is neither an element nor a dict, or
            `element_type` is not a type.
        ValueError: A key of the dict is not a string, or a value not an
            element.

    Examples:
        >>> validate_counterfactual_structure({"a": 1.0, "b": 2.0})
    """
    validate_structure(struct, struct_name, element_type)
