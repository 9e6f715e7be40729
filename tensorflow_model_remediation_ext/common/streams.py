"""Datasets that never end, and those that should hold something."""

import tensorflow as tf


def endless(dataset: tf.data.Dataset, message: str) -> tf.data.Dataset:
    """Returns a dataset repeated without end.

    Args:
        dataset: Any dataset, itself endless or not.
        message: What to say, at the first element, if it is empty.

    Returns:
        A dataset of the same elements. If there are none, reading it raises
        `tf.errors.InvalidArgumentError` with the message.
    """

    def fail(never):
        with tf.control_dependencies([tf.debugging.Assert(never, [message])]):
            return dataset

    # Repeating an empty dataset ends at once.
    fallback = tf.data.Dataset.from_tensors(False).flat_map(fail)
    return dataset.repeat().concatenate(fallback)


def keep_cardinality(
    dataset: tf.data.Dataset, like: tf.data.Dataset
) -> tf.data.Dataset:
    """Returns a dataset that knows that it is as long as another."""
    cardinality = like.cardinality()
    if cardinality == tf.data.UNKNOWN_CARDINALITY:
        return dataset
    return dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
