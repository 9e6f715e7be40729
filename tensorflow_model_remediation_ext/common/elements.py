"""What a `tf.data.Dataset` yields: one element as `(x, y, sample_weight)`."""

import reprlib
from typing import Any

import tensorflow as tf

# Options of `Dataset.map` for work that takes long; the order stays.
PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


def check_dataset(dataset: Any, name: str) -> None:
    """Raises unless given a `tf.data.Dataset` that may hold something.

    Args:
        dataset: What to check.
        name: What to call it in an error.

    Raises:
        TypeError: It is not a `tf.data.Dataset`.
        ValueError: It is known to be empty.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(
            f"`{name}` must be a `tf.data.Dataset`. "
            f"Received: {reprlib.repr(dataset)} of type "
            f"{type(dataset).__name__}"
        )
    if tf.executing_eagerly() and dataset.cardinality() == 0:
        raise ValueError(f"`{name}` is empty: it is known to hold no element.")


def as_one_argument(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset whose `map` passes each element as one argument."""
    return tf.data.Dataset.zip((dataset,))


def unpack(element: Any) -> tuple[Any, Any, Any]:
    """Returns an element, or its spec, as `(x, y, sample_weight)`.

    Args:
        element: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`.

    Raises:
        ValueError: It is a tuple of another length.
    """
    if not isinstance(element, tuple):
        element = (element,)
    if not 1 <= len(element) <= 3:
        raise ValueError(
            "Elements must be `x`, `(x,)`, `(x, y)` or `(x, y, "
            f"sample_weight)`. Received: {len(element)} components, {element}"
        )
    return (*element, None, None)[:3]


def tensor_specs(element_spec: Any) -> list[tf.TypeSpec]:
    """Returns the flat list of specs, without those of `None`s."""
    kinds = tf.TensorSpec, tf.RaggedTensorSpec, tf.SparseTensorSpec
    return [s for s in tf.nest.flatten(element_spec) if isinstance(s, kinds)]
