r"""Exact removal and replacement of terms in string tensors.

The meaning of a match is that of Python's `re`:

    re.compile(r"(?<!\w)(?:longest term|...|shortest)(?!\w)", re.IGNORECASE)

TensorFlow's regular expressions (RE2) have no lookaround, know word
boundaries between ASCII characters only, and may fold case by the tables of
another Unicode version. So the classes of characters are taken from the
running Python and written out, and two patterns share the work:

* The fast one asserts ASCII boundaries. Wherever the exact pattern matches
  something, it does too, so the rows it leaves alone hold no term. In rows
  without a non-ASCII word character the two are equal.
* In the few rows that remain, boundaries are written into the text as control
  characters (`_AFTER`, `_BEFORE`) that the exact pattern can consume.
"""

import re
from collections.abc import Iterable, Mapping

import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import characters
from tensorflow_model_remediation_ext.counterfactual.replacements import (
    MATCH,
    Replacements,
)

_AFTER = "\x01"  # What precedes may be the end of a term.
_BEFORE = "\x02"  # What follows may be the start of a term.
_ESCAPE = "\x04"
_EDGE = "\x05"  # Around bytes that are not UTF-8, and the text between them.
# The escape character itself comes first, so that it is unescaped last.
_ESCAPES = {_ESCAPE: "\x06", _AFTER: "\x07", _BEFORE: "\x08"}
_ESCAPES |= {MATCH: "\x0e", _EDGE: "\x0f"}
_RESERVED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class TermEditor:
    r"""Removes or replaces terms in string tensors, exactly and vectorized.

    A term matches literally, as a whole word or phrase: no character of
    Python's Unicode `\w` stands beside it. Where several terms match, the
    longest wins. A removed term takes one neighboring space with it, the
    preceding one if there is one. All replacements happen at once.

    A replacement follows the case of what it replaces, for the term's lower,
    UPPER, Capitalized and Title spellings; the spelling given for the term
    and any other mixture of cases get the replacement as given. A term that
    is given in several cases must have one replacement, up to case.

    Only TensorFlow string operations without resources are used, so that a
    `tf.data` pipeline that calls the editor stays serializable. Bytes that
    are not valid UTF-8 are kept and count as non-word characters. Text is not
    normalized: "é" in one code point does not match "e" and a combining
    accent. With far more than a thousand terms, RE2 may exceed the memory its
    fast matcher is allowed: the result is the same, but slow to come.

    Args:
        sensitive_terms_to_remove: Terms to remove.
        terms_to_replace: A dict from terms to their replacements. Exactly one
            of the two must be given.
        case_sensitive: Whether case must match. By default it is ignored as
            by Python's `re.IGNORECASE`.

    Raises:
        TypeError: Terms are not a collection (a dict for `terms_to_replace`)
            of strings.
        ValueError: None or both arguments are given; there are no terms; or
            one is blank, begins or ends with whitespace, holds control
            characters or cannot be encoded; replacements contradict one
            another; or there are too many terms for one regular expression.

    Examples:
        >>> remove = TermEditor(["gay"])
        >>> remove(tf.constant(["I am a gay man", "begayt"])).numpy().tolist()
        [b'I am a man', b'begayt']
        >>> swap = TermEditor(terms_to_replace={"he": "she", "she": "he"})
        >>> swap(tf.constant("He said SHE is here")).numpy()
        b'She said HE is here'
    """

    def __init__(
        self,
        sensitive_terms_to_remove: Iterable[str] | None = None,
        terms_to_replace: Mapping[str, str] | None = None,
        *,
        case_sensitive: bool = False,
    ):
        if (sensitive_terms_to_remove is None) == (terms_to_replace is None):
            raise ValueError(
                "Give exactly one of `sensitive_terms_to_remove` and "
                "`terms_to_replace`. Received: "
                f"sensitive_terms_to_remove={sensitive_terms_to_remove!r}, "
                f"terms_to_replace={terms_to_replace!r}"
            )
        if terms_to_replace is None:
            terms = _check_terms(sensitive_terms_to_remove)
            self._mark, self._replacements = MATCH, None
        else:
            terms = _check_replacements(terms_to_replace)
            self._mark = MATCH + r"\0" + MATCH
        variants = characters.variants_of(terms, case_sensitive)
        if terms_to_replace is not None:
            self._replacements = Replacements(
                terms_to_replace, variants, case_sensitive
            )
        # Terms that can match at the same place are prefixes of one another,
        # so this puts the longer ones first; and common prefixes together,
        # which RE2 needs to stay fast with many terms.
        terms = sorted(
            set(terms),
            key=lambda term: characters.fold(term, variants),
            reverse=True,
        )
        self._fast = "|".join(_fast_pattern(t, variants) for t in terms)
        exact = "|".join(_exact_pattern(t, variants) for t in terms)
        self._exact = f"{_BEFORE}(?:{exact}){_AFTER}"
        # Bytes that are not UTF-8 match no class: their rows are not sure.
        symbols = characters.symbol_class(without="".join(variants.values()))
        self._sure = rf"[\x00\x06-\x7f{symbols}]*"
        self._check_size(len(terms))

    def __call__(self, text: tf.Tensor | tf.RaggedTensor):
        """Edits `text`.

        Args:
            text: A string tensor of any shape, dense or ragged, in UTF-8.

        Returns:
            The edited text, of the same shape; equal to `text` wherever no
            term occurs.
        """
        if isinstance(text, tf.RaggedTensor):
            return text.with_flat_values(self(text.flat_values))
        text = tf.convert_to_tensor(text)
        flat = tf.reshape(text, [-1])
        marked = tf.strings.regex_replace(flat, self._fast, self._mark)
        rows = tf.where(marked != flat)
        marked, hit = tf.gather_nd(marked, rows), tf.gather_nd(flat, rows)
        edited = self._edit(hit, marked)
        edited = tf.tensor_scatter_nd_update(flat, rows, edited)
        return tf.ensure_shape(tf.reshape(edited, tf.shape(text)), text.shape)

    def _edit(self, text, marked):
        """Edits texts, of which `marked` is what the fast pattern marks."""
        rows = tf.where(~tf.strings.regex_full_match(text, self._sure))
        unsure = tf.gather_nd(text, rows)
        clean = tf.reduce_all(
            tf.strings.regex_full_match(unsure, r"[^\x01-\x05]*")
        )
        unsure = tf.cond(clean, lambda: unsure, lambda: _protect(unsure))
        exact = self._mark_exactly(unsure)
        marked = tf.tensor_scatter_nd_update(marked, rows, exact)
        edited = self._substitute(marked)
        # Sure rows hold none of the characters that this touches.
        return tf.cond(clean, lambda: edited, lambda: _unprotect(edited))

    def _mark_exactly(self, text):
        bounded = tf.strings.regex_replace(
            text, f"[^{characters.word_class()}]", rf"{_AFTER}\0{_BEFORE}"
        )
        bounded = tf.strings.join([_BEFORE, bounded, _AFTER])
        # A term ends before the next one, adjacent to it, begins.
        bounded = tf.strings.regex_replace(
            bounded, _BEFORE + _AFTER, _AFTER + _BEFORE
        )
        marked = tf.strings.regex_replace(bounded, self._exact, self._mark)
        rows = tf.where(marked != bounded)
        marked = tf.strings.regex_replace(
            tf.gather_nd(marked, rows), f"[{_AFTER}{_BEFORE}]", ""
        )
        return tf.tensor_scatter_nd_update(text, rows, marked)

    def _substitute(self, marked):
        if self._replacements is None:
            return tf.strings.regex_replace(marked, f" {MATCH}|{MATCH} ?", "")
        return self._replacements(marked)

    def _check_size(self, number_of_terms):
        try:
            with tf.init_scope():
                for pattern in (self._fast, self._exact, self._sure):
                    tf.strings.regex_full_match("", pattern)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(
                f"{number_of_terms} terms are too many for one regular "
                "expression of TensorFlow. Give fewer or shorter terms. "
                f"TensorFlow says: {error.message[-200:]}"
            ) from error


def _protect(text):
    """Makes room for the control characters, and shields invalid bytes."""
    for char, code in _ESCAPES.items():
        text = tf.strings.regex_replace(text, char, _ESCAPE + code)
    return tf.strings.regex_replace(
        text, r"[\x{0}-\x{10FFFF}]+|\C", rf"{_EDGE}\0{_EDGE}"
    )


def _unprotect(text):
    text = tf.strings.regex_replace(text, _EDGE, "")
    for char, code in reversed(_ESCAPES.items()):
        text = tf.strings.regex_replace(text, _ESCAPE + code, char)
    return text


def _fast_pattern(term, variants):
    last = len(term) - 1
    return "".join(
        _fast_class(variants[c], i == 0, i == last) for i, c in enumerate(term)
    )


def _fast_class(chars, first, last):
    plain = "".join(c for c in chars if c.isascii())
    other = "".join(c for c in chars if not c.isascii())
    if not plain or not (first or last):
        return f"[{characters.escape(chars)}]"
    edge = r"\b" if characters.is_word(plain[0]) else r"\B"
    pattern = edge * first + f"[{characters.escape(plain)}]" + edge * last
    return f"(?:{pattern}|[{characters.escape(other)}])" if other else pattern


def _exact_pattern(term, variants):
    pattern = previous = ""
    for char in term:
        chars = variants[char]
        if previous:
            pattern += f"{_AFTER}?" * (not all(map(characters.is_word, chars)))
            pattern += f"{_BEFORE}?" * (
                not all(map(characters.is_word, previous))
            )
        pattern += f"[{characters.escape(chars)}]"
        previous = chars
    return pattern


def _check_terms(terms, name="sensitive_terms_to_remove"):
    if name == "sensitive_terms_to_remove" and (
        isinstance(terms, str | bytes | Mapping)
        or not isinstance(terms, Iterable)
    ):
        raise TypeError(
            f"`{name}` must be a list of terms. Received: {terms!r}"
        )
    terms = list(terms)
    if not terms:
        raise ValueError(f"`{name}` must hold at least one term.")
    for term in terms:
        _check_string(term, name)
        if not term.strip() or term != term.strip():
            raise ValueError(
                f"A term of `{name}` must not be blank, nor begin or end with "
                f"whitespace. Received: {term!r}"
            )
    return terms


def _check_replacements(terms_to_replace):
    name = "terms_to_replace"
    if not isinstance(terms_to_replace, Mapping):
        raise TypeError(
            f"`{name}` must be a dict from terms to replacements. "
            f"Received: {terms_to_replace!r}"
        )
    for term, replacement in terms_to_replace.items():
        _check_string(replacement, name)
        if not replacement:
            raise ValueError(
                f"`{name}` must give a replacement. To remove a term use "
                f"`sensitive_terms_to_remove`. Received: {term!r} to ''"
            )
    return _check_terms(terms_to_replace, name)


def _check_string(value, name):
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must hold strings. Received: {value!r}")
    if _RESERVED.search(value) or re.search("[\ud800-\udfff]", value):
        raise ValueError(
            f"`{name}` must not hold control characters (other than tab and "
            f"line ends) or unpaired surrogates. Received: {value!r}"
        )
