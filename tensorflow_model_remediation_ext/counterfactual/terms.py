r"""Exact removal and replacement of terms in string tensors.

A cheap filter finds the few texts that may hold a term, an exact matcher the
terms in them; the others stay as they are, at the speed of one regular
expression.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common import characters
from tensorflow_model_remediation_ext.common.checks import flag
from tensorflow_model_remediation_ext.counterfactual import (
    marks,
    replacements,
)
from tensorflow_model_remediation_ext.counterfactual.matching import Matcher
from tensorflow_model_remediation_ext.counterfactual.swaps import Swaps

_RESERVED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class TermEditor:
    r"""Removes or replaces terms in string tensors, exactly and vectorized.

    A term matches literally, as a whole word or phrase: no word character
    stands next to it. Word characters are those of Python's `\w`, combining
    marks, and the joiners U+200C and U+200D. Terms written wholly in scripts
    without spaces between words (Han, Hiragana, Katakana) match anywhere.
    Where several terms match, the longest wins. A removed term takes one
    neighboring space with it, the preceding one if there is one. All
    replacements happen at once.

    A replacement follows the case of what it replaces, for the term's lower,
    UPPER, Capitalized and Title spellings; the spelling given for the term
    and any other mixture of cases get the replacement as given. A term that
    is given in several cases must have one replacement, up to case.

    Only TensorFlow operations without resources are used, so that a `tf.data`
    pipeline that calls the editor stays serializable. Bytes that are not valid
    UTF-8 are kept and count as non-word characters.

    It does not normalize text: "é" in one code point does not match "e" and a
    combining accent. It does not fold "ß" to "SS": "GROSSVATER" does not match
    "Großvater". It knows no grammar: in Thai, Lao, Khmer and Burmese words
    stand without spaces, and in Arabic, Hebrew and Korean words take prefixes
    or particles, so that whole words miss many terms there. A warning says so.

    Args:
        sensitive_terms_to_remove: Terms to remove.
        terms_to_replace: A dict from terms to their replacements. Exactly one
            of the two must be given.
        case_sensitive: Whether case must match. By default it is ignored as
            by Python's `re.IGNORECASE`.
        whole_words: Whether terms match as whole words only (`True`) or
            anywhere (`False`). By default, anywhere if their script puts no
            spaces between words, otherwise as whole words.

    Raises:
        TypeError: Terms are not a collection (a dict for `terms_to_replace`)
            of strings, or `whole_words` is not `None` or a boolean.
        ValueError: None or both arguments are given; there are no terms; or
            one is blank, begins or ends with whitespace, holds control
            characters or cannot be encoded; or replacements contradict one
            another.

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
        whole_words: bool | None = None,
    ):
        if (sensitive_terms_to_remove is None) == (terms_to_replace is None):
            raise ValueError(
                "Give exactly one of `sensitive_terms_to_remove` and "
                "`terms_to_replace`. Received: "
                f"sensitive_terms_to_remove={sensitive_terms_to_remove!r}, "
                f"terms_to_replace={terms_to_replace!r}"
            )
        if whole_words is not None and not isinstance(
            whole_words, (bool, np.bool_)
        ):
            raise TypeError(
                "`whole_words` must be `None`, `True` or `False`. Received: "
                f"whole_words={whole_words!r}"
            )
        case_sensitive = flag("case_sensitive", case_sensitive)
        if terms_to_replace is None:
            terms = _check_removals(sensitive_terms_to_remove)
        else:
            terms = _check_replacements(terms_to_replace)
        if whole_words is None:
            _warn_of_scripts(terms)
            anywhere = [characters.is_unspaced(term) for term in terms]
        else:
            anywhere = [not whole_words] * len(terms)
        variants = characters.variants_of(terms, case_sensitive)
        self._find = Matcher(terms, variants, anywhere)
        if isinstance(terms_to_replace, Swaps):
            self._replace = terms_to_replace.replacer(variants, case_sensitive)
        elif terms_to_replace is not None:
            self._replace = replacements.Replacements(
                terms_to_replace, variants, case_sensitive
            )
        elif isinstance(sensitive_terms_to_remove, Swaps):
            self._replace = sensitive_terms_to_remove.remover()
        else:
            self._replace = marks.remove

    @tf.autograph.experimental.do_not_convert
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
        rows = self._find.rows(flat)
        some = tf.gather_nd(flat, rows)
        edited = self._replace(self._find(some))
        edited = tf.tensor_scatter_nd_update(flat, rows, edited)
        return tf.ensure_shape(tf.reshape(edited, tf.shape(text)), text.shape)


def _warn_of_scripts(terms):
    for reason, some in characters.uncertain_scripts(terms).items():
        warnings.warn(
            f"Terms match as whole words, but their script has {reason}, so "
            "that many places will not be found. Give each form of a term, or "
            "pass `whole_words=False` to match inside words too, or "
            f"`whole_words=True` to keep this. Received: {some[:3]}",
            stacklevel=4,
        )


def check_terms(terms: Iterable[str], name: str) -> list[str]:
    """Returns terms as a list, checked.

    Args:
        terms: The terms; an iterator is read once, here.
        name: What the argument is called.

    Raises:
        TypeError: They are not a collection of strings.
        ValueError: There are none; or one is blank, begins or ends with
            whitespace, holds control characters or cannot be encoded.
    """
    # What a table yields are the names of its columns.
    table = hasattr(terms, "columns")
    if (
        table
        or isinstance(terms, str | bytes)
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


def _check_removals(terms):
    name = "sensitive_terms_to_remove"
    # A dict is meant for `terms_to_replace`.
    if isinstance(terms, Mapping) and not isinstance(terms, Swaps):
        raise TypeError(
            f"`{name}` must be a list of terms. Received: {terms!r}"
        )
    return check_terms(terms, name)


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
    return check_terms(terms_to_replace, name)


def _check_string(value, name):
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must hold strings. Received: {value!r}")
    if _RESERVED.search(value) or re.search("[\ud800-\udfff]", value):
        raise ValueError(
            f"`{name}` must not hold control characters (other than tab and "
            f"line ends) or unpaired surrogates. Received: {value!r}"
        )
