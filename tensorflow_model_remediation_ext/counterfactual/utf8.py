"""Characters in a tensor of the bytes of UTF-8 texts."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common import characters, indices

LONGEST = 4  # Bytes of a character, at most.
_ASCII = np.array([characters.is_word(chr(c)) for c in range(128)] + 128 * [0])
_ASCII = _ASCII.astype(np.int32)
# Bytes of a character by its first byte, 0 for bytes that begin none.
_LENGTH = np.array(128 * [1] + 66 * [0] + 30 * [2] + 16 * [3] + 5 * [4])
_LENGTH = np.pad(_LENGTH, (0, 256 - len(_LENGTH))).astype(np.int32)
# By length, of each byte of a character: the modulus that leaves its part of
# the value (1: it has none), the weight of that part, whether it is free.
_MODULI = np.array(
    [
        [1, 1, 1, 1],
        [128, 1, 1, 1],
        [32, 64, 1, 1],
        [16, 64, 64, 1],
        [8, 64, 64, 64],
    ],
    np.int32,
)
_WEIGHTS = np.array(
    [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [64, 1, 0, 0],
        [64**2, 64, 1, 0],
        [64**3, 64**2, 64, 1],
    ],
    np.int32,
)
_FREE = _MODULI != 64
_LEAST = np.array([0, 0, 0x80, 0x800, 0x10000], np.int32)


def words(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where characters that belong to words begin and end.

    Args:
        data: Bytes as int32 `[size]`, with `LONGEST` of zeros at both ends.

    Returns:
        Two int32 tensors `[size]`, 1 at the first byte of such a character,
        and 1 at the byte after its last one, else 0.
    """
    begins = tf.gather(_ASCII, data)
    ends = indices.shifted(begins, 0)
    others = indices.where(data > 127)
    word, length = _wide(data, others)
    held = indices.where(word > 0)
    first, length = tf.gather(others, held), tf.gather(length, held)
    after = first + tf.cast(length, tf.int64)
    ones = tf.ones_like(length)
    return (
        tf.tensor_scatter_nd_update(begins, tf.expand_dims(first, 1), ones),
        tf.tensor_scatter_nd_update(ends, tf.expand_dims(after, 1), ones),
    )


def _wide(data, place):
    """Returns whether words hold the characters, and lengths (0: invalid)."""
    length = tf.gather(_LENGTH, tf.gather(data, place))
    byte = tf.gather(data, tf.expand_dims(place, 1) + np.arange(LONGEST))
    parts = byte % tf.gather(_MODULI, length) * tf.gather(_WEIGHTS, length)
    code = tf.reduce_sum(parts, 1)
    valid = length > 0
    valid &= tf.reduce_all((byte // 64 == 2) | tf.gather(_FREE, length), 1)
    valid &= (code >= tf.gather(_LEAST, length)) & (code < 0x110000)
    valid &= code // 0x800 != 0xD800 // 0x800  # No surrogates.
    ranges = characters.word_ranges()
    word = indices.searchsorted(ranges, code, "right") % 2
    word = tf.cast(word, tf.int32)
    zero = tf.zeros_like(word)
    return tf.where(valid, word, zero), tf.where(valid, length, zero)
