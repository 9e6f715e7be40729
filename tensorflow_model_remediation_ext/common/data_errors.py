"""What is wrong with data that are being read, said in one sentence.

An error in a data pipeline reaches the user inside TensorFlow's account of
where it happened, which is long and about something else.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.real_tensors import values_of

# The sentence stands between these in TensorFlow's message.
_BEGIN, _END = "Error in the data: ", " (End of the error in the data.)"
# Of a value, TensorFlow makes brackets.
_SENTENCE = re.compile(
    rf"{re.escape(_BEGIN)}(.*?)(?:\] \[(.*?)\] \[)?{re.escape(_END)}", re.DOTALL
)
# What TensorFlow says of rows that do not fit into one batch.
_SIZES = re.compile(r"Cannot batch tensors with different shapes[^\n]*")

_OF_ONE_SIZE = (
    "Inputs of different sizes do not fit into one batch. Give them one size "
    "first: images by `map_inputs(packed, keras.layers.Resizing(height, "
    "width))` or `data.map`, texts by a tokenizer of fixed length; then call "
    "`batch`. TensorFlow says: "
)

P = ParamSpec("P")
R = TypeVar("R")


def repeat_or_fail(dataset: tf.data.Dataset, sentence: str) -> tf.data.Dataset:
    """Repeats a dataset without end; an empty one fails instead of hanging.

    Args:
        dataset: The dataset.
        sentence: What to tell the user if it holds nothing.

    Returns:
        An endless dataset. If there is nothing to repeat, its first element
        raises `tf.errors.InvalidArgumentError`.
    """
    message = f"{_BEGIN}{sentence}{_END}"

    def fail(never):
        with tf.control_dependencies([tf.debugging.Assert(never, [message])]):
            return dataset

    # Repeating an empty dataset ends at once.
    fallback = tf.data.Dataset.from_tensors(False).flat_map(fail)
    return dataset.repeat().concatenate(fallback)


def require(condition: tf.Tensor, sentence: str, received: tf.Tensor) -> Any:
    """Returns a context in which tensors fail unless a condition holds.

    Args:
        condition: A boolean scalar.
        sentence: What to tell the user otherwise.
        received: The value at the end of the sentence; of many numbers the
            first.
    """
    # The operation itself, as it is run on every batch: what
    # `tf.debugging.Assert` makes of it is a branch, which takes longer.
    check = tf.raw_ops.Assert(
        condition=condition,
        data=[f"{_BEGIN}{sentence}", received, _END],
        summarize=5,
    )
    return tf.control_dependencies([check])


def require_none(wrong: tf.Tensor, sentence: str, values: tf.Tensor) -> Any:
    """Returns a context in which tensors fail if any value is wrong.

    Args:
        wrong: Which ones are, as booleans.
        sentence: What to tell the user then.
        values: Of the same shape; the first that are wrong are at the end of
            the sentence.
    """
    if not wrong.shape.rank:  # TensorFlow looks for none in a single value.
        wrong, values = tf.reshape(wrong, [-1]), tf.reshape(values, [-1])
    # Few operations, as it is run on every batch, too.
    found = tf.gather_nd(values, tf.where(wrong))
    return require(tf.equal(tf.size(found), 0), sentence, found)


def usable_weight(weight: Any, name: str) -> Any:
    """Returns the weights of rows, which fail unless they can be used.

    Args:
        weight: An array, a tensor, its spec or `None`; what is no tensor of a
            graph comes back as it is.
        name: What to call the data in an error.

    Raises:
        ValueError: If values can be seen, and one is negative or not finite.
            In the graph of a dataset, `tf.errors.InvalidArgumentError` is
            raised as they are read.
    """
    if weight is None or isinstance(weight, tf.TypeSpec):
        return weight
    sentence = f"`{name}`: weights must be finite, zero or greater. Received:"
    seen = values_of(weight)
    if seen is not None:
        seen = np.asarray(seen, "float64")
        wrong = seen[~((seen >= 0) & (seen < np.inf))]
        if wrong.size:
            raise ValueError(f"{sentence} {wrong[:5].tolist()}")
        return weight
    if not weight.dtype.is_floating:
        weight = tf.cast(weight, tf.float32)
    usable = tf.clip_by_value(weight, 0, weight.dtype.max)
    with require_none(tf.not_equal(weight, usable), sentence, weight):
        return tf.identity(weight)


def in_plain_words(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that reads data: our sentence is all of an error.

    Args:
        function: Reads datasets whose errors `repeat_or_fail` or `require`
            raises, or whose rows differ in size.

    Returns:
        The function. Errors of other origin pass through.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            found = _SENTENCE.search(error.message)
            sizes = _SIZES.search(error.message)
            if found is not None:
                said = [part for part in found.groups() if part is not None]
                sentence = _unescape(" ".join(said))
            elif sizes is not None:
                sentence = _OF_ONE_SIZE + sizes[0]
            else:
                raise
        raise tf.errors.InvalidArgumentError(None, None, sentence)

    return wrapped


def _unescape(text: str) -> str:
    """Undoes the escapes of quotes and of bytes in TensorFlow's message."""

    def byte(match):
        return bytes([int(match[1], 8)]) if match[1] else match[2]

    escaped = re.compile(rb"\\(?:([0-7]{3})|(.))")
    return escaped.sub(byte, text.encode("utf-8")).decode("utf-8")
