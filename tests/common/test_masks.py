"""Masks of Keras, wherever it keeps them."""

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.masks import mask_of

IDS = np.array([[1, 0], [2, 3]])


def test_reads_the_mask_of_a_tensor_and_leaves_it_there():
    hidden = keras.layers.Embedding(4, 2, mask_zero=True)(IDS)
    for _ in range(2):
        mask = keras.ops.convert_to_numpy(mask_of(hidden))
        np.testing.assert_array_equal(mask, IDS > 0)


def test_what_has_no_mask():
    hidden = keras.layers.Embedding(4, 2, mask_zero=True)(IDS)
    for each in (IDS, IDS.tolist(), None, hidden + 1, tf.constant(IDS)):
        assert mask_of(each) is None


def test_in_a_graph():
    embed = keras.layers.Embedding(4, 2, mask_zero=True)
    mask = tf.function(lambda ids: mask_of(embed(ids)))(tf.constant(IDS))
    np.testing.assert_array_equal(mask, IDS > 0)
