"""Which texts hold terms, and where: exactly, for any number of terms."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import tensorflow as tf

from tensorflow_model_remediation_ext.common import indices
from tensorflow_model_remediation_ext.counterfactual import (
    marks,
    patterns,
    spans,
    utf8,
)
from tensorflow_model_remediation_ext.counterfactual.trie import Trie

_PADDING = "\0" * utf8.LONGEST


class Matcher:
    r"""Finds terms in texts as Python's regular expressions would.

    The matches are those of

        (?<![\w\p{M}\u200c\u200d])(?:longest|...|shortest)(?![\w\p{M}...])

    without the assertions for terms that match anywhere: from left to right,
    the longest at each place, none over another. A regular expression of RE2
    finds them, see `patterns`. Where the terms are too many for it, each place
    where one may begin walks down a trie.

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
        self._filters = patterns.filters(terms, variants, anywhere)
        self._marker = patterns.marker(terms, variants, anywhere)
        if self._marker is None:
            self._trie = Trie(terms, variants, anywhere)

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

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Marks the terms.

        Args:
            text: UTF-8 strings `[rows]`. Bytes that are not UTF-8 match
                nothing and belong to no word.

        Returns:
            Marked texts `[rows]`, see `marks`.
        """
        if self._marker is None:
            return _marked(text, self._walked(text))
        text = marks.code(text)
        for pattern, result in (
            (patterns.wide_runs(), patterns.JOINED),
            (self._marker, rf"{marks.OPEN}\0{marks.CLOSE}"),
            ("_", ""),
        ):
            text = tf.strings.regex_replace(text, pattern, result)
        return text

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
        return spans.Spans(row, start - first, end - first)

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


def _marked(text, found):
    """Returns texts with the terms at spans marked."""
    before, rest = spans.gaps(text, found)
    parts = [marks.code(part) for part in (before, spans.cut(text, found))]
    parts = tf.strings.join([parts[0], marks.OPEN, parts[1], marks.CLOSE])
    begun = tf.strings.unsorted_segment_join(parts, found.row, tf.size(text))
    return tf.strings.join([begun, marks.code(rest)])


def _bytes(text):
    """Returns the bytes of all texts, and where each begins among them."""
    # No term holds what stands around the texts, so that none begins in one
    # and ends in another.
    lines = tf.strings.reduce_join(text, 0, separator="\0")
    lines = tf.strings.join([_PADDING, lines, "\0" + _PADDING])
    data = tf.io.decode_raw(lines, tf.uint8)
    begin = tf.cumsum(spans.lengths(text) + 1, exclusive=True) + utf8.LONGEST
    return tf.cast(data, tf.int32), begin


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
