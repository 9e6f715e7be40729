"""Pronouns by a part-of-speech tagger, for those who want more than rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

_MODEL = "en_core_web_sm"


class Tagger:
    """Tells "her" before a noun from "her" elsewhere with a spaCy pipeline.

    It runs in Python, on about a hundred texts a second, and only on texts
    that hold such a pronoun. A dataset that uses it cannot be saved as a
    graph.

    Args:
        pipeline: A loaded spaCy pipeline that tags English, or another
            function from a text to tokens with `idx` and `tag_`. By default
            spaCy's small English model, `en_core_web_sm`.

    Raises:
        ImportError: If spaCy or the model is missing.
    """

    def __init__(self, pipeline: Callable[[str], Any] | None = None):
        self._pipeline = pipeline or _load()

    def __call__(
        self, text: tf.Tensor, row: tf.Tensor, start: tf.Tensor
    ) -> tf.Tensor:
        """Returns whether no noun belongs to each pronoun.

        Args:
            text: Strings `[rows]`.
            row: Which text each pronoun is of, `[pronouns]`.
            start: First byte of the pronoun in it, `[pronouns]`.
        """
        apart = tf.numpy_function(self._apart, [text, row, start], tf.bool)
        return tf.ensure_shape(apart, [None])

    def _apart(self, text, row, start):
        result = np.zeros(len(row), bool)
        documents: dict[bytes, dict[int, str]] = {}
        for k, (of, place) in enumerate(zip(row, start, strict=True)):
            one = text[of]
            if one not in documents:
                document = self._pipeline(one.decode("utf-8", "replace"))
                documents[one] = {t.idx: t.tag_ for t in document}
            at = len(one[:place].decode("utf-8", "replace"))
            result[k] = documents[one].get(at) == "PRP"
        return result


def _load():
    try:
        import spacy
    except ImportError as error:
        raise ImportError(
            "A tagger needs spaCy: pip install "
            '"tensorflow_model_remediation_ext[language]"'
        ) from error
    try:
        return spacy.load(_MODEL, exclude=["parser", "ner", "lemmatizer"])
    except OSError as error:
        # PyPI has no models of spaCy's own.
        raise ImportError(
            f"A tagger needs spaCy's English model: python -m spacy download "
            f"{_MODEL}. Or pass a pipeline that you loaded."
        ) from error
