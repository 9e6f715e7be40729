"""Datasets that know how long they are."""

import tensorflow as tf


def keep_cardinality(
    dataset: tf.data.Dataset, like: tf.data.Dataset
) -> tf.data.Dataset:
    """Returns a dataset that knows that it is as long as another.

    Args:
        dataset: A dataset that is as long as `like`.
        like: Knows its length or not; may be endless.
    """
    cardinality = like.cardinality()
    if cardinality == tf.data.UNKNOWN_CARDINALITY:
        return dataset
    return dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
