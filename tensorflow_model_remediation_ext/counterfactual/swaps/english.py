"""What English needs around a swap: pronouns by context, articles, commas.

Rules look at few texts: those where a term was found, and of these at the
pronouns and articles next to one. They are right for most sentences and not
for all: "I gave her flowers" and "I gave her flowers away" differ in nothing
that a rule could see.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tensorflow_model_remediation_ext.common import characters, indices
from tensorflow_model_remediation_ext.counterfactual import marks, spans
from tensorflow_model_remediation_ext.counterfactual.swaps import english_rules
from tensorflow_model_remediation_ext.counterfactual.swaps.tagger import (
    Tagger,
)

_MARK = english_rules.MARK
_CAPITAL = "\x05"  # Stands where a term with a capital was removed.
_UPPER = "\x06"  # Stands on both sides of a letter that takes a capital.
_MARKS = f"[{_MARK}{_CAPITAL}]"
_LETTERS = r"\pL\pM"  # In Unicode, some letters are several characters.
_BREAK = rf"(^|[^{_LETTERS}\pN_'’-])"
# Where terms were: with a swap the new one follows, else the next word.
_PLACE = rf"(?:\s*{_MARKS})+\s*[\"“‘'(]*"
# An article before such a place.
_ARTICLE = rf"{_BREAK}([Aa])[Nn]?({_PLACE})"
_DONE = "\x04"  # An article that has been looked at.
_DETERMINER = (
    rf"(?i:(?:^|[^{_LETTERS}\pN_'’])(?:an?|the|this|that|his|her|their|my|your"
    r"|our|some|every|each|no|any|one))"
)
_STOP = r"[.!?…][\"”’')]*"
# Commas that are left over next to removed terms, and what stays.
_COMMAS = (
    # "tall, [gay], happy", "tall, [gay]."
    (rf"\s*,({_MARKS}+\s*(?:[,.;:!?)]|$))", r"\1"),
    # "a [gay], tall man"
    (rf"({_DETERMINER}\s*{_MARKS}+),", r"\1"),
    # "Hello. [Gay], and": the space before went with the term.
    (rf"({_STOP}{_CAPITAL}{_MARKS}*),", r"\1"),
    # "[Gay], and"
    (rf"((?:^|[\s“‘(])[\"“‘'(]*{_MARKS}+), ?", r"\1"),
    # "a tall, [gay] man"
    (rf"({_DETERMINER}\s[{_LETTERS}'’-]+),({_MARKS}+\s)", r"\1\2"),
)
_BEGINS = (
    rf"((?:^|{_STOP}|\n\s*\n)\s*[\"“‘'(]*"
    rf"{_CAPITAL}[\s\"“({_MARK}{_CAPITAL}]*)(\p{{Ll}})"
)


class English:
    """Puts values where terms were found, so that the text stays English.

    Args:
        forms: A dict from the terms that have two replacements, by what
            follows, to the one before a noun and the other one. The
            plain replacement of such a term is the one before a noun.
        variants: A dict from each of their characters to all that match it.
        tagger: Decides instead of the rules, if given.
    """

    def __init__(
        self,
        forms: Mapping[str, tuple[str, str]],
        variants: Mapping[str, str],
        tagger: Tagger | None = None,
    ):
        self._tagger = tagger
        self._ambiguous = "|".join(
            "".join(f"[{characters.escape(variants[char])}]" for char in term)
            for term in forms
        )

    def apart_from_noun(self, pieces: marks.Pieces) -> tf.Tensor:
        """Returns which terms take the form that stands without a noun.

        Args:
            pieces: The texts, cut at their terms.

        Returns:
            Indices of terms, int64 `[apart]`.
        """
        if not self._ambiguous:
            return tf.zeros([0], tf.int64)
        found, text = pieces.found, pieces.whole
        some = indices.where(
            tf.strings.regex_full_match(found, self._ambiguous)
        )
        row, start, end = (
            tf.gather(values, some) for values in spans.of_terms(pieces)
        )
        if self._tagger is not None:
            apart = self._tagger(text, row, start)
            return tf.gather(some, indices.where(apart))
        size = tf.gather(spans.lengths(text), row)
        before = tf.maximum(start - english_rules.BEHIND, 0)
        after = tf.minimum(end + english_rules.AHEAD, size)
        # "her" is also what "him" is: more can follow it than "his".
        term = tf.strings.lower(tf.gather(found, some))
        following = tf.strings.regex_replace(
            spans.cut(text, spans.Spans(row, end, after)),
            english_rules.TO_MARK,
            rf"{english_rules.FUNCTION}\0",
        )
        context = tf.strings.join(
            [
                # The text may hold a mark itself, and a character that is cut.
                tf.strings.unicode_transcode(
                    spans.cut(text, spans.Spans(row, before, start)),
                    "UTF-8",
                    "UTF-8",
                    replacement_char=ord(" "),
                    replace_control_characters=True,
                ),
                tf.where(term == "her", english_rules.OBJECT, _MARK),
                following,
            ]
        )
        apart = tf.strings.regex_full_match(context, _CONTEXT)
        apart &= ~tf.strings.regex_full_match(context, _COORDINATED)
        return tf.gather(some, indices.where(apart))

    def put(self, pieces: marks.Pieces, values: tf.Tensor) -> tf.Tensor:
        """Returns texts with values in the place of terms.

        An article before a value is made to agree with it.

        Args:
            pieces: The texts, cut at their terms.
            values: What to put there, `[terms]`.
        """
        marked = tf.strings.join([_MARK, values])
        return self._mended(pieces, marked, values)

    def remove(self, marked: tf.Tensor) -> tf.Tensor:
        """Returns texts without the terms.

        With a term goes one space, and a comma that would be left over. An
        article before it is made to agree with what follows, and the word
        that then begins a sentence takes the capital of the term.

        Args:
            marked: Marked texts `[rows]`.
        """
        marked = marks.without_spaces(marked)
        # Of two terms with a comma between them, the second one takes it.
        marked = tf.strings.regex_replace(
            marked, rf"(^|{marks.CLOSE})\s*,(\s*{marks.OPEN})", r"\1\2"
        )
        pieces = marks.pieces(marked)
        capital = tf.strings.regex_full_match(pieces.found, r"\p{Lu}\C*")
        mark = tf.where(capital, _CAPITAL, _MARK)
        return self._mended(pieces, mark, tf.zeros_like(mark), removal=True)

    def _mended(self, pieces, marked, values, removal=False):
        marked = pieces.joined(marked)
        # A text that holds the marks itself stays without repairs.
        plain = tf.strings.regex_full_match(pieces.whole, r"[^\x03-\x06]*")
        if removal:
            marked = _where_matches(marked, plain, r"(?s)\C*,\C*", _commas)
            marked = _where_matches(marked, plain, r"(?s)\C*\x05\C*", _capitals)
        marked = _where_matches(
            marked,
            plain,
            rf"(?s)(?:\C*[^{_LETTERS}\pN_'’-])?[Aa][Nn]?{_PLACE}\C*",
            _articles,
        )
        return tf.where(
            plain,
            tf.strings.regex_replace(marked, r"[\x03-\x05]", ""),
            pieces.joined(values),
        )


_CONTEXT = english_rules.NOT_BEFORE_NOUN
_COORDINATED = english_rules.COORDINATED


def _where_matches(text, allowed, pattern, function):
    """Returns text with the rows that match a pattern mapped."""
    rows = tf.where(allowed & tf.strings.regex_full_match(text, pattern))
    return tf.cond(
        tf.size(rows) > 0,
        lambda: tf.tensor_scatter_nd_update(
            text, rows, function(tf.gather_nd(text, rows))
        ),
        lambda: text,
    )


def _articles(text):
    text = tf.strings.regex_replace(
        text,
        rf"{_BREAK}([Aa][Nn]?)({_PLACE}{english_rules.PRONOUNS})",
        rf"\1\2{_DONE}\3",
    )
    for pattern, article in english_rules.ARTICLES:
        text = tf.strings.regex_replace(
            text,
            rf"{_ARTICLE}({pattern})",
            rf"\1\2{article[1:]}{_DONE}\3\4",
        )
    # "AN" before a word in capitals.
    return tf.strings.regex_replace(
        text, rf"An({_DONE}{_PLACE}\p{{Lu}}{{2}})", r"AN\1"
    )


def _commas(text):
    for pattern, kept in _COMMAS:
        text = tf.strings.regex_replace(text, pattern, kept)
    return text


def _capitals(text):
    marked = tf.strings.regex_replace(text, _BEGINS, rf"\1{_UPPER}\2{_UPPER}")
    place, pieces, _ = tf.raw_ops.StringSplitV2(input=marked, sep=_UPPER)
    # Every second piece is such a letter.
    pieces = tf.where(
        place[:, 1] % 2 == 1, tf.strings.upper(pieces, "utf-8"), pieces
    )
    return tf.strings.unsorted_segment_join(pieces, place[:, 0], tf.size(text))
