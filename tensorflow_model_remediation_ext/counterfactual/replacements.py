"""Replacement of marked terms that keeps their case."""

import re

import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import characters

MATCH = "\x03"  # Stands before and after each term that was found.


class Replacements:
    """Replaces what stands between pairs of `MATCH`, keeping case.

    Args:
        terms_to_replace: A dict from terms to replacements.
        variants: A dict from each character of the terms to its cases.
        case_sensitive: Whether only the spellings given can have matched.
    """

    def __init__(self, terms_to_replace, variants, case_sensitive):
        spellings = dict(terms_to_replace)
        folded = {}
        self._folds = []
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
                        f"{term!r} to {replacement!r} and to {other!r}"
                    )
            self._folds = [
                (
                    f"[{characters.escape(chars)}]",
                    characters.representative(chars),
                )
                for chars in sorted(set(variants.values()))
                if len(chars) > 1 and not chars.isascii()
            ]
        self._spellings = _Table(spellings)
        self._folded = _Table(folded or spellings)

    def __call__(self, marked):
        """Returns `marked` texts `[rows]` with their terms replaced."""
        pieces = tf.strings.split(marked, MATCH)
        rows = pieces.value_rowids()
        starts = tf.gather(pieces.row_starts(), rows)
        is_match = (tf.range(tf.size(rows), dtype=tf.int64) - starts) % 2 == 1
        matches = tf.where(is_match)
        found = tf.gather_nd(pieces.values, matches)
        values = tf.tensor_scatter_nd_update(
            pieces.values, matches, self._replace(found)
        )
        return tf.strings.unsorted_segment_join(values, rows, pieces.nrows())

    def _replace(self, found):
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


class _Table:
    """A map from strings to strings without a TensorFlow resource."""

    _BUCKETS = 2**62

    def __init__(self, mapping):
        keys = list(mapping)
        with tf.init_scope():
            hashes = tf.strings.to_hash_bucket_fast(keys, self._BUCKETS).numpy()
        order = hashes.argsort()
        self._hashes = hashes[order]
        self._keys = [keys[i] for i in order]
        self._values = [mapping[key] for key in self._keys]

    def __call__(self, keys):
        """Returns whether each key is known, and its value."""
        hashes = tf.strings.to_hash_bucket_fast(keys, self._BUCKETS)
        index = tf.searchsorted(self._hashes, hashes)
        index = tf.minimum(index, len(self._keys) - 1)
        return tf.gather(self._keys, index) == keys, tf.gather(
            self._values, index
        )


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
