"""Arrays, tables and tensors of numbers, as dense TensorFlow tensors."""

import numbers as number_types
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import hides_values
from tensorflow_model_remediation_ext.common.torch_tensors import (
    is_torch,
    without_torch,
)

# Where TensorFlow wants a tensor's memory to begin, at most.
_ALIGNMENT = 64


def require(*checks: tuple[Any, str]) -> Any:
    """Returns a context manager whose body runs only if all conditions hold.

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
    """Returns the precision to erase in: that of `x`, but at least float32."""
    return x.dtype if x.dtype == tf.float64 else tf.float32


def tensor(value: Any) -> tf.Tensor:
    """Returns a TensorFlow tensor of an array or table, or of another backend.

    Raises:
        ValueError: If a table holds other than numbers.
    """
    if tf.is_tensor(value):
        return value
    # A table or series of pandas or polars, or a tensor of PyTorch.
    known = hasattr(value, "to_numpy") or is_torch(value)
    if known or hides_values(value):
        return numbers("data", value)
    return tf.convert_to_tensor(keras.ops.convert_to_numpy(value))


def cast_to_tensor(value: np.ndarray, dtype: tf.DType) -> tf.Tensor:
    """Returns a cast array as a tensor on the CPU, in one pass over it.

    TensorFlow copies what NumPy has allocated. Here NumPy casts into memory
    that TensorFlow can use as it is, for it begins at a multiple of 64 bytes.
    """
    size = value.size * dtype.size
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    aligned = memory[start : start + size].view(dtype.as_numpy_dtype)
    aligned = aligned.reshape(value.shape)
    np.copyto(aligned, value, casting="same_kind")
    return tf.experimental.dlpack.from_dlpack(aligned.__dlpack__())


def numbers(name: str, value: Any, hint: str = "") -> tf.Tensor:
    """Returns a dense tensor of real numbers or booleans.

    Tables of pandas and polars may have columns of several dtypes, nullable
    ones included; missing and masked values become NaN.

    Args:
        name: What to call the argument in an error.
        value: An array, tensor, table, series or nested list.
        hint: What to do where it holds no numbers, for the error.

    Raises:
        ValueError: If it is anything else; the message names the dtype.
    """
    if not tf.is_tensor(value):
        value = as_array(name, value, hint)
    try:
        value = tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise _not_dense(name, value) from error
    dtype = value.dtype
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        raise _no_numbers(name, dtype.name, hint)
    return value


def floats(name: str, value: Any) -> tf.Tensor:
    """Returns a dense tensor of floats; integers and booleans become float64.

    Raises:
        ValueError: As from `numbers`.
    """
    value = numbers(name, value)
    if value.dtype.is_floating:
        return value
    return tf.cast(value, tf.float64)


def rows(name: str, value: Any) -> tf.Tensor:
    """Returns rows of numbers, a tensor of rank two or more.

    Raises:
        ValueError: As from `numbers`, and on a smaller rank.
    """
    value = numbers(name, value)
    if value.shape.rank < 2:
        raise ValueError(
            f"`{name}` must be of shape [n, ..., {name}_dim]. Received: {name} "
            f"of shape {value.shape}"
        )
    return value


def features(x: Any, x_dim: int, *, least_rank: int = 1) -> tf.Tensor:
    """Returns `x` as a tensor, checked to be of shape `[..., x_dim]`.

    Args:
        x: An array, tensor or table.
        x_dim: Size of its last axis.
        least_rank: One, or two where rows are counted.

    Raises:
        ValueError: If it is not, or not of a floating dtype.
    """
    x = numbers("x", x)
    rank = x.shape.rank
    if rank is None or rank < least_rank or x.shape[-1] != x_dim:
        leading = "" if least_rank == 1 else "n, "
        hint = ""
        if rank == 1 and x.shape[0] == x_dim:
            hint = "; give a single row as x[None], a dataset in batches"
        raise ValueError(
            f"`x` must be of shape [{leading}..., {x_dim}]. Received: x of "
            f"shape {x.shape}{hint}"
        )
    if not x.dtype.is_floating:
        raise ValueError(
            "`x` must be of a floating dtype. Received: x of dtype "
            f"{x.dtype.name}"
        )
    return x


def require_dense(name: str, value: Any) -> None:
    """Refuses what is sparse or ragged, symbolic tensors of Keras included.

    Args:
        name: What to call the argument in an error.
        value: An array or tensor of any kind.

    Raises:
        ValueError: If it is; the message says what to do.
    """
    if _way_to_dense(value):
        raise _not_dense(name, value)


def _way_to_dense(value):
    """What to do with a sparse or ragged value; empty for any other."""
    kind = type(value).__name__
    symbolic = isinstance(value, keras.KerasTensor)
    if kind == "RaggedTensor" or (symbolic and getattr(value, "ragged", False)):
        return (
            " that is ragged: pad it, as by `to_tensor()`, and leave the "
            "padding out by a mask or by weights"
        )
    # The tensors of TensorFlow, the arrays of SciPy and those of JAX.
    sparse = kind == "SparseTensor" or hasattr(value, "todense")
    if sparse or (symbolic and value.sparse):
        return (
            " that is sparse: make it dense, as by `tf.sparse.to_dense` or "
            "`toarray()`"
        )
    return ""


def _not_dense(name, value):
    way = _way_to_dense(value) or f": {value!r:.80}"
    return ValueError(
        f"`{name}` must be a dense array or tensor of numbers. Received: "
        f"{name} of type {type(value).__name__}{way}"
    )


def _no_numbers(name, dtype, hint):
    return ValueError(
        f"`{name}` must hold real numbers. Received: {name} of dtype "
        f"{dtype}{hint}"
    )


def as_array(name: str, value: Any, hint: str = "") -> np.ndarray:
    """Returns a NumPy array, of numbers unless its dtype says otherwise.

    Args:
        name: As in `numbers`.
        value: An array, tensor, table, series or nested list.
        hint: As in `numbers`.

    Raises:
        ValueError: As from `numbers`.
    """
    try:
        if hides_values(value):
            value = value.astype(np.float64).filled(np.nan)
        array = np.asarray(without_torch(value))
    except (RuntimeError, TypeError, ValueError) as error:
        raise _not_dense(name, value) from error
    if array.dtype != object:
        if array.dtype.kind in "MmSTU":
            raise _no_numbers(name, array.dtype, hint)
        return array
    if array.ndim == 0:
        raise _not_dense(name, value)
    if not hasattr(value, "columns"):
        return _from_objects(name, value, "", hint)
    return np.column_stack(
        [
            _from_objects(name, column, f" in column {label!r}", hint)
            for label, column in _columns(value)
        ]
    )


def _columns(table):
    """Returns pairs of the name and the values of a table's columns."""
    if hasattr(table, "get_columns"):  # polars
        return zip(table.columns, table.get_columns(), strict=True)
    return ((label, table.iloc[:, i]) for i, label in enumerate(table.columns))


def _from_objects(name, column, where, hint):
    """Returns an array of numbers of an array or series of objects."""
    array = np.asarray(column)
    if array.dtype.kind in "biuf":
        return array
    missing = np.array([_is_missing(v) for v in array.flat], bool)
    missing = missing.reshape(array.shape)
    kinds = set(map(type, array[~missing]))
    for dtype, allowed in (
        (np.bool_, (bool, np.bool_)),
        (np.int64, number_types.Integral),
        (np.float64, (bool, np.bool_, number_types.Real)),
    ):
        if all(issubclass(kind, allowed) for kind in kinds):
            if not missing.any():
                return array.astype(dtype)
            filled = np.full(array.shape, np.nan)
            filled[~missing] = array[~missing].astype(np.float64)
            return filled
    raise _no_numbers(name, f"{getattr(column, 'dtype', object)}{where}", hint)


def _is_missing(value):
    return value is None or type(value).__name__ == "NAType"


def constant(
    name: str, value: Any, dtype: tf.DType | None = None
) -> tf.Variable:
    """Returns a variable, not trainable, of values that an eraser keeps.

    Args:
        name: What to call it, also in an error.
        value: An array of numbers; whole ones become floats.
        dtype: Dtype to cast to; default: its own.

    Raises:
        ValueError: As from `numbers`, and if one is NaN or infinite.
    """
    value = floats(name, value)
    with require(
        (
            tf.reduce_all(tf.math.is_finite(value)),
            f"`{name}` must be finite. Received: {name} with NaN or infinity",
        )
    ):
        value = tf.cast(value, dtype or value.dtype)
    return tf.Variable(value, trainable=False, name=name)
