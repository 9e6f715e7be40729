"""How a `tf.data.Dataset` is batched, and batches of another size."""

import enum
import itertools
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.elements import (
    tensor_specs,
    unpack,
)
from tensorflow_model_remediation_ext.common.rows import row_count

_CHUNK_ROWS = 1024
_CHUNK_BYTES = 16 * 2**20
_STRING_BYTES = 256  # Guesses; these sizes are not known beforehand.
_SPARSE_BYTES = 4096


class Layout(enum.Enum):
    """Whether the elements of a dataset are examples or batches of them."""

    EXAMPLES = "examples"
    BATCHES = "batches"

    @property
    def axes(self) -> int:
        """The number of axes before those of an example."""
        return int(self is Layout.BATCHES)


def layout_of(dataset: tf.data.Dataset, weight: Any = None) -> Layout:
    """Returns whether elements are examples or batches.

    Args:
        dataset: The dataset. Without a weight its elements look like batches
            if all their tensors have an axis, and text is among them, or the
            first axis is of unknown size, or the dataset knows its batch size.
        weight: The spec of a weight that each example has. Where its rank is
            known, that decides: a scalar for an example, `[batch]` for a
            batch.
    """
    if isinstance(weight, tf.TensorSpec) and weight.shape.rank is not None:
        return Layout.BATCHES if weight.shape.rank else Layout.EXAMPLES
    specs = tensor_specs(dataset.element_spec)
    batched = all(spec.shape.rank for spec in specs) and (
        any(spec.dtype == tf.string for spec in specs)
        or all(spec.shape[0] is None for spec in specs)
        or declared_batch_size(dataset) is not None
    )
    return Layout.BATCHES if batched else Layout.EXAMPLES


def holds_examples(element_spec: Any) -> bool:
    """Returns whether `(x, y, sample_weight)` cannot be a batch.

    Args:
        element_spec: The spec of an element. A scalar in it has no rows, and a
            first axis that is unknown in `x` and known in `y` is not theirs.
    """
    x, *rest = (
        [s.shape for s in tensor_specs(p)] for p in unpack(element_spec)
    )
    scalar = any(shape.rank == 0 for shape in itertools.chain(x, *rest))
    return scalar or (
        all(shape.rank and shape[0] is None for shape in x)
        and any(shape.rank and shape[0] for shape in itertools.chain(*rest))
    )


def holds_batches(element_spec: Any) -> bool:
    """Returns whether `(x, y, sample_weight)` looks like a batch of fixed size.

    Args:
        element_spec: The spec of an element. All tensors of a batch have one
            first axis, above 1. Of a single tensor that would say nothing.
    """
    specs = tensor_specs(element_spec)
    rows = {spec.shape[0] if spec.shape.rank else None for spec in specs}
    return len(specs) > 1 and len(rows) == 1 and rows.pop() not in (None, 1)


def batch_size(dataset: tf.data.Dataset) -> int | None:
    """Returns the number of rows of each batch but the last, if known."""
    shape = tf.nest.flatten(dataset.element_spec)[0].shape
    return (shape.rank or None) and (shape[0] or declared_batch_size(dataset))


def declared_batch_size(dataset: tf.data.Dataset) -> int | None:
    """Returns the size that a batching transformation gave, if known."""
    if not tf.executing_eagerly():
        return None
    # TensorFlow has no public name for this. The operation follows the
    # transformations back, and says -1 where one leaves the size open.
    variant = tf.data.experimental.to_variant(dataset)
    size = int(tf.raw_ops.ComputeBatchSize(input_dataset=variant))
    return size if size > 0 else None


def require_batches(dataset: tf.data.Dataset, name: str) -> None:
    """Checks that the elements of a dataset may be batches.

    Args:
        dataset: The dataset.
        name: How error messages call it.

    Raises:
        ValueError: If an element holds a scalar, or tensors that cannot be
            of one batch.
    """
    specs = tensor_specs(dataset.element_spec)
    rows = {
        s.shape[0] for s in specs if s.shape.rank and s.shape[0] is not None
    }
    scalars = any(spec.shape.rank == 0 for spec in specs)
    alone = (
        len(specs) == 1
        and declared_batch_size(dataset) is None
        and layout_of(dataset) is Layout.EXAMPLES
    )
    if scalars or len(rows) > 1 or (alone and specs[0].shape.rank == 1):
        raise ValueError(
            f"`{name}` must be batched: call `.batch(...)` on it. "
            f"Received: elements of {dataset.element_spec}"
        )


def count_rows(counts: tf.data.Dataset) -> int:
    """Returns the sum of a dataset of int64 numbers, reading it once."""
    return int(counts.reduce(tf.constant(0, tf.int64), lambda a, b: a + b))


def inner_sizes_vary(
    element_spec: Any, layout: Layout = Layout.BATCHES
) -> bool:
    """Returns whether rows of dense features may differ in shape."""
    return not all(
        spec.shape[layout.axes :].is_fully_defined()
        for spec in tensor_specs(element_spec)
        if isinstance(spec, tf.TensorSpec)
    )


def chunk_rows(element_spec: Any, layout: Layout) -> int | None:
    """Returns how many rows to take at once, so that memory holds them.

    Args:
        element_spec: The spec of an element.
        layout: Whether that is an example or a batch.

    Returns:
        Their number, or `None` where rows may differ in shape.
    """
    size = 0
    for spec in tensor_specs(element_spec):
        shape = spec.shape[layout.axes :]
        if isinstance(spec, tf.RaggedTensorSpec):
            size += _SPARSE_BYTES
        elif not shape.is_fully_defined():
            return None
        elif isinstance(spec, tf.SparseTensorSpec):
            size += _SPARSE_BYTES
        else:
            string = spec.dtype == tf.string
            item = _STRING_BYTES if string else spec.dtype.size
            size += item * shape.num_elements()
    return min(_CHUNK_ROWS, max(1, _CHUNK_BYTES // max(1, size)))


def regroup(sized_rows: tf.data.Dataset, size: int | None) -> tf.data.Dataset:
    """Regroups rows into batches, the last of which may be smaller.

    Reads the dataset once and lazily, and drops nothing.

    Args:
        sized_rows: Pairs of an int64 size and a structure of any number of
            rows.
        size: The number of rows of a batch; `None` for the first of the sizes
            in the dataset.

    Returns:
        A dataset of batches of the structure. Where inner sizes may vary from
        element to element, so that rows of two of them need not fit into one
        batch, its elements are those that came, without the empty ones.
    """
    rows = sized_rows.map(_second)
    if inner_sizes_vary(rows.element_spec):
        return rows.filter(_any_rows)
    if size is not None:
        return rows.rebatch(size)
    return (
        sized_rows.scan(tf.constant(0, tf.int64), _remember_first_size)
        .unbatch()
        .group_by_window(_key, _batch_window, window_size_func=_key_itself)
    )


def _second(_, rows):
    return rows


def _any_rows(*rows):
    return row_count(rows) > 0


def _remember_first_size(first, element):
    size, rows = element
    size = tf.where(first > 0, first, size)
    return size, (tf.fill([row_count(rows)], size), rows)


def _key(size, _):
    return size


def _key_itself(size):
    return size


def _batch_window(size, window):
    # In this order: a ragged row that is not in a batch would become dense.
    return window.batch(size).map(_second)
