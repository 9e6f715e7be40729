"""What fitters share beside their moments: checks, streaming and caching."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.progress import with_progress


def require(*checks: tuple[Any, str]) -> Any:
    """Context manager: its body runs only if all conditions hold.

    Args:
        *checks: Pairs of a boolean scalar tensor and a message.

    Raises:
        ValueError: With the first message that applies, in eager mode.
        tf.errors.InvalidArgumentError: The same in graph mode.
    """
    if tf.executing_eagerly():
        for fine, message in checks:
            if not fine:
                raise ValueError(message)
        return tf.control_dependencies(None)
    return tf.control_dependencies(
        [tf.debugging.Assert(fine, [message]) for fine, message in checks]
    )


def working_dtype(x: tf.Tensor) -> tf.DType:
    """The precision to erase in: that of `x`, but at least float32."""
    return x.dtype if x.dtype == tf.float64 else tf.float32


def numbers(name: str, value: Any) -> tf.Tensor:
    """A tensor of real numbers or booleans.

    Raises:
        ValueError: If it is none.
    """
    try:
        value = tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be a dense array or tensor of numbers. Received: "
            f"{name}={value!r}"
        ) from error
    if not (
        value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool
    ):
        raise ValueError(
            f"`{name}` must hold real numbers. Received: {name} of dtype "
            f"{value.dtype.name}"
        )
    return value


def labels(name: str, value: Any) -> tf.Tensor:
    """A tensor of real numbers, where booleans are the classes 0 and 1."""
    value = numbers(name, value)
    return tf.cast(value, tf.int64) if value.dtype.is_bool else value


def weights(value: Any, leading: tf.TensorShape, dtype: tf.DType) -> tf.Tensor:
    """Flat sample weights, one for each row.

    Raises:
        ValueError: If they are not of shape `leading`, or no numbers.
    """
    value = numbers("sample_weight", value)
    if not value.shape.is_compatible_with(leading):
        raise ValueError(
            f"`sample_weight` must be of shape {leading}, that of x without "
            "its last axis. Received: sample_weight of shape "
            f"{value.shape}"
        )
    return tf.reshape(tf.cast(value, dtype), [-1])


def columns_or_ids(
    name: str,
    value: Any,
    size: int,
    leading: tf.TensorShape,
    dtype: tf.DType,
) -> tf.Tensor:
    """A concept or label as rows, checked as far as its shape is known.

    Args:
        name: What to call the argument in an error.
        value: `[..., size]`; `[...]` where `size == 1`; integer class ids
            `[...]` where `size > 1`.
        size: Number of columns or classes.
        leading: The shape `[...]`, that of `x` without its last axis.
        dtype: To cast columns to.

    Returns:
        `[n, size]` of dtype `dtype`, or `[n]` int64 class ids, which may be
        out of range.

    Raises:
        ValueError: If the dtype or the shape is wrong.
    """
    value = labels(name, value)
    shape, columns = value.shape, leading.concatenate(size)
    if shape.rank == columns.rank and shape.is_compatible_with(columns):
        return tf.reshape(tf.cast(value, dtype), [-1, size])
    if shape.rank == leading.rank and shape.is_compatible_with(leading):
        if size == 1:
            return tf.reshape(tf.cast(value, dtype), [-1, 1])
        if value.dtype.is_integer:
            return tf.reshape(tf.cast(value, tf.int64), [-1])
    or_else = "" if size == 1 else " of integer class ids"
    raise ValueError(
        f"`{name}` must be of shape {columns}, or {leading}{or_else}, as x and "
        f"{name}_dim={size} say. Received: {name} of shape {shape} and dtype "
        f"{value.dtype.name}"
    )


def in_range(
    name: str, ids: tf.Tensor, num_classes: int
) -> tuple[tf.Tensor, str]:
    """The check for `require` that class ids are of existing classes."""
    fine = tf.reduce_all((ids >= 0) & (ids < num_classes))
    message = f"`{name}` holds class ids outside of [0, {num_classes})."
    if tf.executing_eagerly() and not fine:
        low, high = int(tf.reduce_min(ids)), int(tf.reduce_max(ids))
        message += f" Received: {name} from {low} to {high}"
    return fine, message


def class_ids(
    name: str, ids: Any, leading: tf.TensorShape, num_classes: int
) -> tuple[tf.Tensor, tuple[tf.Tensor, str]]:
    """Flat int64 class ids, and the check for `require` that all exist.

    Args:
        name: What to call the argument in an error.
        ids: Integer array or tensor.
        leading: The shape wanted.
        num_classes: Ids are below this.

    Raises:
        ValueError: If the dtype or the shape is wrong.
    """
    ids = labels(name, ids)
    if not ids.dtype.is_integer or not ids.shape.is_compatible_with(leading):
        raise ValueError(
            f"`{name}` must be integer class ids of shape {leading}, that of x "
            f"without its last axis. Received: {name} of shape {ids.shape} and "
            f"dtype {ids.dtype.name}"
        )
    ids = tf.reshape(tf.cast(ids, tf.int64), [-1])
    return ids, in_range(name, ids, num_classes)


def features(x: Any, x_dim: int) -> tf.Tensor:
    """`x` as a tensor, checked to be of shape `[..., x_dim]`.

    Raises:
        ValueError: If it is not, or not numeric.
    """
    x = numbers("x", x)
    rank = x.shape.rank
    if rank is None or rank < 2 or x.shape[-1] != x_dim:
        raise ValueError(
            f"`x` must be of shape [..., {x_dim}]. Received: x of shape "
            f"{x.shape}"
        )
    if not x.dtype.is_floating:
        raise ValueError(
            "`x` must be of a floating dtype. Received: x of dtype "
            f"{x.dtype.name}"
        )
    return x


def tensor(value: Any) -> tf.Tensor:
    """A TensorFlow tensor of an array or of any Keras backend's tensor."""
    if tf.is_tensor(value):
        return value
    return tf.convert_to_tensor(keras.ops.convert_to_numpy(value))


def batches(data: Any, verbose: Any, name: str = "dataset") -> Iterator[tuple]:
    """Yields `(x, z, sample_weight or None)` tensors, with a progress bar.

    Args:
        data: A `tf.data.Dataset`, a `keras.utils.PyDataset` or an iterable of
            batches `(x, z)` or `(x, z, sample_weight)`. `z` may be a tuple.
        verbose: `0` for silence, otherwise as in `keras.Model.fit`.
        name: What to call `data` in an error.

    Raises:
        TypeError: If `data` is of another type.
        ValueError: If it never ends, is empty, or a batch is no such tuple.
    """
    empty = True
    for batch in with_progress(data, verbose, name):
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise ValueError(
                f"`{name}` must yield (x, z) or (x, z, sample_weight). "
                f"Received: {type(batch).__name__}"
            )
        empty = False
        x, z, weight = (*batch, None)[:3]
        z = tuple(map(tensor, z)) if isinstance(z, tuple) else tensor(z)
        x = keras.tree.map_structure(tensor, x)
        yield x, z, None if weight is None else tensor(weight)
    if empty:
        raise ValueError(f"`{name}` is empty.")


def fit_dataset(fitter: Any, dataset: Any, verbose: Any = "auto") -> Any:
    """Updates a fitter with every batch of a dataset, see `batches`."""
    for x, z, weight in batches(dataset, verbose):
        fitter.update(x, z, sample_weight=weight)
    return fitter


class Cache:
    """A value computed from moments, until these change.

    The moments' variables decide, not the calls of `update`: those traced into
    a graph, and restored checkpoints, run no Python of ours.
    """

    def __init__(self):
        self._key = self._value = None

    def get(self, moments: list, compute: Callable[[], Any]) -> Any:
        """The cached value, or that of `compute()`."""
        key = [each.fingerprint() for each in moments]
        if key != self._key:
            self._value, self._key = compute(), key
        return self._value
