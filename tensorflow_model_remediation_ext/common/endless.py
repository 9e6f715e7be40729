"""Datasets read without end, each iteration from another place on.

Keras opens a new iterator each epoch, and with it a stream of penalty rows
begins anew. If it always began at the first row, what lies beyond the first
epoch's reach would never be seen.
"""

from collections.abc import Callable

import tensorflow as tf

from tensorflow_model_remediation_ext.common.data_errors import repeat_or_fail

# Elements are many if they are as many times what an iteration reads of them.
_FEW = 4


def each_iteration(
    build: Callable[[tf.Tensor], tf.data.Dataset], seed: int | None
) -> tf.data.Dataset:
    """Returns a dataset that is made anew, of another number, when read.

    How far an earlier iteration was read has no part in the number, so that
    one seed gives the same elements in the same epochs.

    Args:
        build: Makes an endless dataset of an int64 scalar, which is zero or
            greater. It may be the seed of a `shuffle`.
        seed: Seed of the numbers.
    """

    def dataset(number):
        # Of this function alone. With a global seed of 0, TensorFlow cannot
        # take a tensor for the seed of a `shuffle`.
        tf.random.set_seed(1)
        return build(number)

    return _endless(_numbers(seed).take(1).flat_map(dataset))


def repeat_from_anywhere(
    dataset: tf.data.Dataset,
    prepare: Callable[[tf.data.Dataset], tf.data.Dataset],
    sentence: str,
    reach: float | None = None,
) -> tf.data.Dataset:
    """Repeats a dataset without end, each iteration from another place on.

    The first iteration starts at the beginning, and the places of later ones
    are the same in each run. A dataset that does not know how many elements
    it has, or of which an iteration reads a quarter or more, is always read
    from the beginning: what is small gives the same elements each time.

    Args:
        dataset: What is read, as little transformed as can be, as elements
            before the start are read in vain.
        prepare: Makes of it what is repeated.
        sentence: See `repeat_or_fail`.
        reach: How many elements of `dataset` an iteration reads, if known.
    """
    repeated = repeat_or_fail(prepare(dataset), sentence)
    length = known_length(dataset)
    if length is None or length < 2:
        return repeated
    if reach is not None and reach * _FEW >= length:
        return repeated
    first = next(iter(_numbers(0)))

    def build(number):
        turned = prepare(start_at(dataset, number - first, length))
        return turned.concatenate(repeated)

    return each_iteration(build, 0).with_options(dataset.options())


def start_at(
    dataset: tf.data.Dataset, number: tf.Tensor, length: int
) -> tf.data.Dataset:
    """Returns all elements, from one of them over the end to the start.

    Args:
        dataset: Of `length` elements.
        number: Tells the first one, modulo the length.
        length: How many there are.
    """
    start = number % length
    return dataset.skip(start).concatenate(dataset.take(start))


def known_length(dataset: tf.data.Dataset) -> int | None:
    """Returns the number of elements, `None` if unknown or without end."""
    if not tf.executing_eagerly():
        return None
    length = int(dataset.cardinality())
    return length if length >= 0 else None


def _numbers(seed):
    return tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)


def _endless(dataset):
    endless = tf.data.experimental.assert_cardinality(
        tf.data.INFINITE_CARDINALITY
    )
    return dataset.apply(endless)
