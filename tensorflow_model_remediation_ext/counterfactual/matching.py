"""Where terms stand in texts: exactly, and for any number of terms."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from tensorflow_model_remediation_ext.common import indices
from tensorflow_model_remediation_ext.counterfactual import patterns, utf8
from tensorflow_model_remediation_ext.counterfactual.trie import Trie

_MARK = "\x03"  # Stands before and after each term that was found.
_PADDING = "\0" * utf8.LONGEST


class Spans(NamedTuple):
    """Matches in a batch of texts, ordered by text and place.

    Attributes:
        row: Index of the text, int64 `[matches]`.
        start: First byte of the match, int64 `[matches]`.
        end: The byte after its last one, int64 `[matches]`.
    """

    row: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


class Matcher:
    r"""Finds terms in texts as Python's regular expressions would.

    The matches are those of

        (?<![\w\p{M}\u200c\u200d])(?:longest|...|shortest)(?![\w\p{M}...])

    without the assertions for terms that match anywhere: from left to right,
    the longest at each place, none over another. Two ways share the work:

    * A regular expression of RE2 marks the terms. It does not see word
      characters that are not ASCII. Where no such character stands next to
      any of its matches in a text, these are the exact ones.
    * In the few texts that remain, and in all where the terms are too many
      for RE2, each place where a term may begin walks down a trie.

    Args:
        terms: The terms. Those that differ in case only are one.
        variants: A dict from each of their characters to all that match it.
        anywhere: Whether each term matches inside words.
    """

    def __init__(
        self,
        terms: Sequence[str],
        variants: Mapping[str, str],
        anywhere: Sequence[bool],
    ):
        self._trie = Trie(terms, variants, anywhere)
        self._filters = patterns.filters(terms, variants, anywhere)
        self._marker = patterns.marker(terms, variants, anywhere)
        self._all_anywhere = all(anywhere)

    def rows(self, text: tf.Tensor) -> tf.Tensor:
        """Returns which texts may hold a term: fast, and missing none.

        Args:
            text: UTF-8 strings `[rows]`.

        Returns:
            Their indices, int64 `[found, 1]`.
        """
        if not self._filters:
            return tf.range(tf.size(text, tf.int64))[:, None]
        found = [tf.strings.regex_full_match(text, p) for p in self._filters]
        return tf.where(functools.reduce(tf.logical_or, found))

    def __call__(self, text: tf.Tensor) -> Spans:
        """Finds the terms.

        Args:
            text: UTF-8 strings `[rows]`. Bytes that are not UTF-8 match
                nothing and belong to no word.

        Returns:
            The `Spans` of all matches.
        """
        if self._marker is None:
            return self._walked(text)
        spans, unsure = self._marked(text)
        rows = indices.where(unsure)

        def walked_too():
            row, start, end = self._walked(tf.gather(text, rows))
            kept = indices.where(~tf.gather(unsure, spans.row))
            both = [
                tf.concat([tf.gather(a, kept), b], 0)
                for a, b in zip(
                    spans, (tf.gather(rows, row), start, end), strict=True
                )
            ]
            order = tf.argsort(both[0], stable=True)
            return Spans(*(tf.gather(values, order) for values in both))

        return tf.cond(tf.size(rows) > 0, walked_too, lambda: spans)

    def _marked(self, text):
        """Returns what RE2 finds, and in which texts it may be wrong."""
        marked = tf.strings.regex_replace(
            text, self._marker, _MARK + r"\0" + _MARK
        )
        # Texts that hold the mark themselves have too many.
        unsure = ~tf.strings.regex_full_match(text, f"[^{_MARK}]*")
        places, pieces, _ = tf.raw_ops.StringSplitV2(input=marked, sep=_MARK)
        row, place = tf.unstack(places, axis=1)
        match = indices.where(place % 2)
        row, place = tf.gather(row, match), tf.gather(place, match)
        size = _lengths(pieces)
        begin = tf.cumsum(size, exclusive=True)
        start = tf.gather(begin, match) - tf.gather(begin, match - place)
        end = start + tf.gather(size, match)
        spans = Spans(row, start, end)
        if not self._all_anywhere:
            data, begin = _bytes(text)
            word_begins, word_ends = utf8.words(data)
            begin = tf.gather(begin, row)
            within = tf.gather(word_ends, start + begin)
            within += tf.gather(word_begins, end + begin)
            unsure |= (
                tf.math.unsorted_segment_sum(within, row, tf.size(text)) > 0
            )
        return spans, unsure

    def _walked(self, text):
        """Returns what the trie finds."""
        data, begin_of_row = _bytes(text)
        word_begins, word_ends = utf8.words(data)
        begin, after_word = self._begins(data, word_ends)
        end = self._walk(data, word_begins, begin, after_word)
        found = indices.where(end > 0)
        start, end = tf.gather(begin, found), tf.gather(end, found)
        chosen = _leftmost(start, end)
        start, end = tf.gather(start, chosen), tf.gather(end, chosen)
        row = indices.searchsorted(begin_of_row, start, "right") - 1
        first = tf.gather(begin_of_row, row)
        return Spans(row, start - first, end - first)

    def _begins(self, data, word_ends):
        """Returns where terms may begin, and whether a word ends there."""
        kind = tf.gather(self._trie.begins, data)
        place = indices.where(kind)
        kind = tf.gather(kind, place)
        after_word = tf.gather(word_ends, place)
        allowed = indices.where(kind > after_word)
        return tf.gather(place, allowed), tf.gather(after_word, allowed)

    def _walk(self, data, word_begins, begin, after_word):
        """Returns the end of the longest match from each begin, or 0."""
        trie = self._trie

        def step(k, state, place, end):
            byte = tf.cast(tf.gather(data, place), tf.int64)
            key = state * 256 + byte
            edge = indices.searchsorted(trie.edges, key)
            edge = tf.minimum(edge, len(trie.edges) - 1)
            alive = indices.where(tf.gather(trie.edges, edge) == key)
            k, place = tf.gather(k, alive), tf.gather(place, alive) + 1
            state = tf.gather(trie.targets, tf.gather(edge, alive))
            # What matches as a word has none before it and none after it.
            kind = tf.gather(trie.kind, state)
            ended = indices.where(kind > tf.gather(after_word, k))
            last, kind = tf.gather(place, ended), tf.gather(kind, ended)
            inside = tf.gather(word_begins, last)
            ended = tf.gather(ended, indices.where(kind > inside))
            end = tf.tensor_scatter_nd_update(
                end,
                tf.gather(tf.expand_dims(k, 1), ended),
                tf.gather(place, ended),
            )
            return k, state, place, end

        places = tf.range(tf.size(begin, tf.int64))
        start = (places, tf.zeros_like(begin), begin, tf.zeros_like(begin))
        any_length = tf.TensorShape([None])
        *_, end = tf.while_loop(
            lambda k, *_: tf.size(k) > 0,
            step,
            start,
            shape_invariants=(any_length,) * len(start),
            maximum_iterations=trie.depth,
        )
        return end


def _bytes(text):
    """Returns the bytes of all texts, and where each begins among them."""
    # No term holds what stands around the texts, so that none begins in one
    # and ends in another.
    lines = tf.strings.reduce_join(text, 0, separator="\0")
    lines = tf.strings.join([_PADDING, lines, "\0" + _PADDING])
    data = tf.io.decode_raw(lines, tf.uint8)
    begin = tf.cumsum(_lengths(text) + 1, exclusive=True) + utf8.LONGEST
    return tf.cast(data, tf.int32), begin


def _lengths(text):
    return tf.cast(tf.strings.length(text), tf.int64)


def _leftmost(start, end):
    """Returns which matches remain where none may overlap an earlier one."""
    # The first match remains, then the first that begins after its end, and so
    # on: paths that double their length each time.
    size = tf.size(start, tf.int64)
    following = indices.searchsorted(start, end)
    following = tf.concat([following, [size]], 0)
    reached = tf.one_hot(0, tf.cast(size, tf.int32) + 1, True, False)

    def double(reached, following):
        found = tf.gather(following, indices.where(reached))
        reached = tf.tensor_scatter_nd_update(
            reached,
            tf.expand_dims(found, 1),
            tf.ones_like(found, tf.bool),
        )
        return reached, tf.gather(following, following)

    reached, _ = tf.while_loop(
        lambda _, following: following[0] < size, double, (reached, following)
    )
    return indices.where(reached[:-1])
