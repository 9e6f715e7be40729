"""Characters in a tensor of the bytes of UTF-8 texts."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import characters

LONGEST = 4  # Bytes of a character, at most.
_ASCII = np.array([characters.is_word(chr(c)) for c in range(128)] + 128 * [0])
_ASCII = _ASCII.astype(np.int32)
# Bytes of a character by its first byte, 0 for bytes that begin none.
_LENGTH = np.array(128 * [1] + 66 * [0] + 30 * [2] + 16 * [3] + 5 * [4])
_LENGTH = np.pad(_LENGTH, (0, 256 - len(_LENGTH))).astype(np.int32)
# What is left of a first byte's value without the mark of the length.
_MODULUS = np.array([1, 128, 32, 16, 8], np.int32)
_LEAST = np.array([0, 0, 0x80, 0x800, 0x10000], np.int32)


def word_at(data: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns 1 where a character that belongs to a word begins, else 0.

    Args:
        data: Bytes as int32 `[size]`, with `LONGEST` of padding at the end.
        place: Indices of first bytes, int64 `[places]`.
    """
    byte = tf.gather(data, place)
    return _with_others(
        tf.gather(_ASCII, byte), byte, place, lambda p: _wide(data, p)[0]
    )


def word_before(data: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns 1 where a character that belongs to a word ends, else 0.

    Args:
        data: Bytes as int32 `[size]`, with `LONGEST` of padding at the start.
        place: Indices of the bytes that follow, int64 `[places]`.
    """

    def wide(place):
        sizes = tf.range(2, LONGEST + 1, dtype=tf.int64)[:, None]
        first = tf.reshape(place - sizes, [-1])
        word, length = (
            tf.reshape(each, [LONGEST - 1, -1]) for each in _wide(data, first)
        )
        ends = length == tf.cast(sizes, tf.int32)
        return tf.reduce_max(tf.where(ends, word, 0), axis=0)

    byte = tf.gather(data, place - 1)
    return _with_others(tf.gather(_ASCII, byte), byte, place, wide)


def _with_others(word, byte, place, wide):
    """Returns `word` with the values that are not ASCII filled in."""
    others = tf.where(byte > 127)
    return tf.cond(
        tf.size(others) > 0,
        lambda: tf.tensor_scatter_nd_update(
            word, others, wide(tf.gather_nd(place, others))
        ),
        lambda: word,
    )


def _wide(data, place):
    """Returns whether words hold the characters, and lengths (0: invalid)."""
    first = tf.gather(data, place)
    length = tf.gather(_LENGTH, first)
    code = first % tf.gather(_MODULUS, length)
    valid = length > 0
    for k in range(1, LONGEST):
        byte = tf.gather(data, place + k)
        inside = k < length
        valid &= ~inside | (byte // 64 == 2)
        code = tf.where(inside, 64 * code + byte % 64, code)
    valid &= (code >= tf.gather(_LEAST, length)) & (code < 0x110000)
    valid &= ~((code >= 0xD800) & (code < 0xE000))
    ranges = characters.word_ranges()
    word = tf.searchsorted(ranges, code, side="right") % 2
    zero = tf.zeros_like(word)
    return tf.where(valid, word, zero), tf.where(valid, length, zero)
