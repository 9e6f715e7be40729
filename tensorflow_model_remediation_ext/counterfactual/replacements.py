"""What stands in the place of the terms that were found."""

from __future__ import annotations

import re
from collections.abc import Mapping

import tensorflow as tf

from tensorflow_model_remediation_ext.common import characters, indices
from tensorflow_model_remediation_ext.counterfactual import marks

# Before a term that stands without a noun, which has a form of its own.
APART = "\x06"


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

    def __call__(self, marked: tf.Tensor) -> tf.Tensor:
        """Returns texts `[rows]` with the terms replaced.

        Args:
            marked: Marked texts `[rows]`.
        """
        pieces = marks.pieces(marked)
        return pieces.joined(self.values(pieces.found))

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
