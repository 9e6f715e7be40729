r"""Texts in which terms are marked: what finding hands to replacing.

A mark stands before and after each term. The text around them is coded, so
that it holds none of these marks itself, whatever characters it is made of.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

OPEN, CLOSE = "\x03", "\x04"
# No term holds these characters, so that a code is not found as one.
_ESCAPE = "\x05"
_CODES = (
    (_ESCAPE, _ESCAPE + "\x01"),  # First, as the others bring more of them.
    (OPEN, _ESCAPE + "\x02"),
    (CLOSE, _ESCAPE + "\x06"),
    ("_", _ESCAPE + "\x07"),
)
UNDERSCORE = dict(_CODES)["_"]
_TERM = f"{OPEN}[^{CLOSE}]*{CLOSE}"
_WITH_SPACE = f" ({_TERM})|({_TERM}) ?"


def code(text: tf.Tensor) -> tf.Tensor:
    """Returns texts `[rows]` that hold no marks and no underscores.

    Two control characters stand for each that the texts held.
    """
    for character, stand_in in _CODES:
        text = tf.strings.regex_replace(text, character, stand_in)
    return text


def decode(text: tf.Tensor) -> tf.Tensor:
    """Returns the texts that `code` was given."""
    for character, stand_in in reversed(_CODES):
        text = tf.strings.regex_replace(text, stand_in, character)
    return text


def remove(text: tf.Tensor) -> tf.Tensor:
    """Returns texts without the terms and a space next to each.

    Args:
        text: Marked texts `[rows]`.
    """
    return decode(tf.strings.regex_replace(text, _WITH_SPACE, ""))


def without_spaces(text: tf.Tensor) -> tf.Tensor:
    """Returns marked texts without the space that goes with each term.

    That is the space before a term, or the one after it where there is none
    before or an earlier term took it.

    Args:
        text: Marked texts `[rows]`.
    """
    return tf.strings.regex_replace(text, _WITH_SPACE, r"\1\2")


class Pieces(NamedTuple):
    """Texts cut at their terms.

    Every term stands between two other pieces of its text, which may be empty.

    Attributes:
        text: The pieces in order, strings `[pieces]`.
        row: Which text each is of, int64 `[pieces]`.
        place: Which piece of the text it is, int64 `[pieces]`.
        term: Which pieces are terms, int64 `[terms, 1]`.
        rows: Number of texts.
    """

    text: tf.Tensor
    row: tf.Tensor
    place: tf.Tensor
    term: tf.Tensor
    rows: tf.Tensor

    @property
    def found(self) -> tf.Tensor:
        """The terms as they stand in the texts, `[terms]`."""
        return tf.gather_nd(self.text, self.term)

    @property
    def whole(self) -> tf.Tensor:
        """The texts `[rows]`."""
        return tf.strings.unsorted_segment_join(self.text, self.row, self.rows)

    def joined(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the texts `[rows]` with values `[terms]` for the terms."""
        text = tf.tensor_scatter_nd_update(self.text, self.term, values)
        return self._replace(text=text).whole


def pieces(text: tf.Tensor) -> Pieces:
    """Cuts marked texts `[rows]` into `Pieces`."""
    text = tf.strings.regex_replace(text, CLOSE, OPEN)
    places, parts, shape = tf.raw_ops.StringSplitV2(input=text, sep=OPEN)
    row, place = tf.unstack(places, axis=1)
    return Pieces(decode(parts), row, place, tf.where(place % 2), shape[0])
