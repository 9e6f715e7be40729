"""Pieces of texts by where they begin and end, in bytes."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tensorflow_model_remediation_ext.common import indices
from tensorflow_model_remediation_ext.counterfactual.marks import Pieces

_MOST_COPIED = 2**24  # Bytes.
_PIECES, _RATIO = 4096, 8  # Of a stretch of text, which then is cut again.


class Spans(NamedTuple):
    """Places in texts, ordered by text and place.

    Attributes:
        row: Index of the text, int64 `[spans]`.
        start: First byte of the span, int64 `[spans]`.
        end: The byte after its last one, int64 `[spans]`.
    """

    row: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


def of_terms(pieces: Pieces) -> Spans:
    """Returns where the terms are in the texts that were cut."""
    size = lengths(pieces.text)
    begin = tf.cumsum(size, exclusive=True)
    term = tf.squeeze(pieces.term, 1)
    first = term - tf.gather(pieces.place, term)
    start = tf.gather(begin, term) - tf.gather(begin, first)
    return Spans(
        tf.gather(pieces.row, term), start, start + tf.gather(size, term)
    )


def cut(text: tf.Tensor, spans: Spans) -> tf.Tensor:
    """Returns the spans of texts, strings `[spans]`.

    Args:
        text: Strings `[rows]`.
        spans: Places in them.
    """
    row, start, end = spans
    copied = tf.reduce_sum(tf.gather(lengths(text), row))
    at = tf.range(tf.size(row))

    # Long texts with many pieces become stretches that hold a few of them, so
    # that each is copied a few times only.
    def stretch(pieces, text, row, start, end):
        first = (indices.shifted(row, 0) != row) | (at % pieces == 0)
        place = tf.cumsum(tf.cast(first, tf.int64)) - 1
        begin = tf.math.segment_min(start, place)
        text = _cut(
            text,
            tf.math.segment_min(row, place),
            begin,
            tf.math.segment_max(end, place),
        )
        begin = tf.gather(begin, place)
        return pieces // _RATIO, text, place, start - begin, end - begin

    any_length = tf.TensorShape([None])
    _, *found = tf.while_loop(
        lambda pieces, *_: pieces > 1,
        stretch,
        (
            tf.where(copied > _MOST_COPIED, _PIECES, 1),
            text,
            row,
            start,
            end,
        ),
        (tf.TensorShape([]), *[any_length] * 4),
    )
    return _cut(*found)


def _cut(text, row, start, end):
    # This copies the whole text for each of its pieces.
    return tf.strings.substr(tf.gather(text, row), start, end - start)


def gaps(text: tf.Tensor, spans: Spans) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the text between spans that follow one another.

    Args:
        text: Strings `[rows]`.
        spans: Places in them.

    Returns:
        The text before each span, from the end of the one before it, and that
        after the last span of each text, `[rows]`.
    """
    row, start, end = spans
    follows = indices.shifted(row, -1) == row
    previous = tf.where(follows, indices.shifted(end, 0), 0)
    last = tf.math.unsorted_segment_max(end, row, tf.size(text))
    last = tf.maximum(last, 0)
    rest = tf.strings.substr(text, last, lengths(text) - last)
    return cut(text, Spans(row, previous, start)), rest


def lengths(text: tf.Tensor) -> tf.Tensor:
    """Returns the number of bytes of each string, int64."""
    return tf.cast(tf.strings.length(text), tf.int64)
