"""What stands in the place of the terms that were found."""

from __future__ import annotations

import re
from collections.abc import Mapping

import tensorflow as tf

from tensorflow_model_remediation_ext.common import characters, indices
from tensorflow_model_remediation_ext.counterfactual.matching import Spans

# Before a term that stands without a noun, which has a form of its own.
APART = "\x06"

_MOST_COPIED = 2**24  # Bytes.
_PIECES, _RATIO = 4096, 8  # Of a stretch of text, which then is cut again.


class Replacements:
    """Replaces terms, keeping their case.

    Args:
        terms_to_replace: A dict from terms to replacements.
        variants: A dict from each character of the terms to its cases.
        case_sensitive: Whether only the spellings given can have matched.

    Raises:
        ValueError: Terms that differ in case only have two replacements.
    """

    def __init__(
        self,
        terms_to_replace: Mapping[str, str],
        variants: Mapping[str, str],
        case_sensitive: bool,
    ):
        spellings = dict(terms_to_replace)
        folded: dict[str, str] = {}
        self._folds: list[tuple[str, str]] = []
        if not case_sensitive:
            for term, replacement in terms_to_replace.items():
                for spelling, value in _spellings(term, replacement):
                    spellings.setdefault(spelling, value)
                key = characters.fold(term, variants)
                other = folded.setdefault(key, replacement)
                if other.lower() != replacement.lower():
                    raise ValueError(
                        "`terms_to_replace` gives two replacements for terms "
                        "that differ only in case. Make them agree, or set "
                        "`case_sensitive=True`. Received: "
                        f"{term.removeprefix(APART)!r} to {replacement!r} "
                        f"and to {other!r}"
                    )
            self._folds = [
                (
                    f"[{characters.escape(chars)}]",
                    characters.representative(chars),
                )
                for chars in sorted(set(variants.values()))
                if len(chars) > 1 and not chars.isascii()
            ]
        self._spellings = Table(spellings)
        self._folded = Table(folded or spellings)

    def __call__(self, text: tf.Tensor, spans: Spans) -> tf.Tensor:
        """Returns texts `[rows]` with the terms at `spans` replaced.

        Args:
            text: Strings `[rows]`.
            spans: Where terms are in them.
        """
        found = cut(text, *spans)
        return put(text, *spans, self.values(found))

    def values(self, found: tf.Tensor) -> tf.Tensor:
        """Returns the replacements of terms as they were found.

        Args:
            found: Strings `[matches]`.
        """
        known, values = self._spellings(found)
        return tf.cond(
            tf.reduce_all(known),
            lambda: values,
            lambda: tf.where(known, values, self._folded(self._fold(found))[1]),
        )

    def _fold(self, found):
        found = tf.strings.lower(found)
        for pattern, representative in self._folds:
            found = tf.strings.regex_replace(found, pattern, representative)
        return found


def remove(text: tf.Tensor, spans: Spans) -> tf.Tensor:
    """Returns texts without the terms at `spans` and a space next to each.

    Args:
        text: Strings `[rows]`.
        spans: Where terms are in them.
    """
    spans = with_spaces(text, spans)
    return put(text, *spans, tf.fill(tf.shape(spans.row), ""))


def with_spaces(text: tf.Tensor, spans: Spans) -> Spans:
    """Returns spans that take in a space next to each.

    That is the space before a term, or the one after it where there is none
    before or an earlier term took it.

    Args:
        text: Strings `[rows]`.
        spans: Where terms are in them.
    """
    row, start, end = spans
    # A term begins and ends with something else than a space.
    around = cut(text, row, tf.maximum(start - 1, 0), end + 1)
    before = tf.strings.substr(around, 0, 1) == " "
    after = tf.strings.substr(around, -1, 1) == " "
    # Of terms in a row with one space between, each does as the first one.
    adjoins = (
        indices.shifted(after, False)
        & (indices.shifted(end, 0) + 1 == start)
        & (indices.shifted(row, 0) == row)
    )
    group = tf.cumsum(tf.cast(~adjoins, tf.int32)) - 1
    first = tf.gather(indices.where(~adjoins), group)
    before = tf.gather(before, first)
    after &= ~before
    start -= tf.cast(before, tf.int64)
    end += tf.cast(after, tf.int64)
    return Spans(row, start, end)


def cut(
    text: tf.Tensor, row: tf.Tensor, start: tf.Tensor, end: tf.Tensor
) -> tf.Tensor:
    """Returns pieces of texts.

    Args:
        text: Strings `[rows]`.
        row: Which text each piece is of, `[pieces]`.
        start: Its first byte, `[pieces]`.
        end: The byte after its last one, `[pieces]`.
    """
    copied = tf.reduce_sum(tf.gather(_lengths(text), row))
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


def _lengths(text):
    return tf.cast(tf.strings.length(text), tf.int64)


def gaps(
    text: tf.Tensor, row: tf.Tensor, start: tf.Tensor, end: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the text between pieces that follow one another.

    Args:
        text: Strings `[rows]`.
        row: Which text each piece is of, ascending, `[pieces]`.
        start: Its first byte, `[pieces]`.
        end: The byte after its last one, `[pieces]`.

    Returns:
        The text before each piece, from the end of the one before it, and
        that after the last piece of each text, `[rows]`.
    """
    follows = indices.shifted(row, -1) == row
    previous = tf.where(follows, indices.shifted(end, 0), 0)
    last = tf.math.unsorted_segment_max(end, row, tf.size(text))
    last = tf.maximum(last, 0)
    rest = _lengths(text) - last
    return cut(text, row, previous, start), tf.strings.substr(text, last, rest)


def put(
    text: tf.Tensor,
    row: tf.Tensor,
    start: tf.Tensor,
    end: tf.Tensor,
    values: tf.Tensor,
) -> tf.Tensor:
    """Returns texts with pieces replaced.

    Args:
        text: Strings `[rows]`.
        row: Which text each piece is of, ascending, `[pieces]`.
        start: Its first byte, `[pieces]`.
        end: The byte after its last one, `[pieces]`.
        values: What to put there, `[pieces]`.
    """
    before, rest = gaps(text, row, start, end)
    return join(before, values, row, rest)


def join(
    before: tf.Tensor, values: tf.Tensor, row: tf.Tensor, rest: tf.Tensor
) -> tf.Tensor:
    """Returns texts made of pieces: the reverse of `gaps`.

    Args:
        before: What precedes each value, `[pieces]`.
        values: The values, `[pieces]`.
        row: Which text each is of, ascending, `[pieces]`.
        rest: What follows the last one in each text, `[rows]`.
    """
    pieces = tf.strings.join([before, values])
    begun = tf.strings.unsorted_segment_join(pieces, row, tf.size(rest))
    return tf.strings.join([begun, rest])


class Table:
    """A map from strings to strings without a TensorFlow resource.

    Args:
        mapping: The map; not empty.
    """

    _BUCKETS = 2**62

    def __init__(self, mapping: Mapping[str, str]):
        keys = list(mapping)
        with tf.init_scope():
            hashes = tf.strings.to_hash_bucket_fast(keys, self._BUCKETS).numpy()
        order = hashes.argsort()
        self._hashes = hashes[order]
        self._keys = [keys[i] for i in order]
        self._values = [mapping[key] for key in self._keys]

    def __call__(self, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns whether each key is known, and its value.

        Args:
            keys: Strings `[keys]`.
        """
        hashes = tf.strings.to_hash_bucket_fast(keys, self._BUCKETS)
        index = indices.searchsorted(self._hashes, hashes)
        index = tf.minimum(index, len(self._keys) - 1)
        known = tf.gather(self._keys, index) == keys
        return known, tf.gather(self._values, index)


def _spellings(term, replacement):
    """Yields the other cases of a term, and of its replacement."""
    lower = term.lower()
    base = replacement if term == lower else replacement.lower()
    if sum(c.upper() != c.lower() for c in term) > 1:
        yield term.upper(), replacement.upper()
    yield _title(lower), _title(base)
    yield _capitalize(lower), _capitalize(base)
    yield lower, base


def _capitalize(text):
    return re.sub(r"\w", lambda m: m[0].title(), text, count=1)


def _title(text):
    return re.sub(r"[^\s-]+", lambda m: _capitalize(m[0]), text)
