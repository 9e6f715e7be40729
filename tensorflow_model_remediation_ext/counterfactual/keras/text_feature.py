"""The text among the features of an example, and its editor."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import Layout
from tensorflow_model_remediation_ext.common.rows import changed_rows
from tensorflow_model_remediation_ext.common.structures import alike
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor


class TextFeature:
    """The text among the features `x` of an element, and its editor.

    Args:
        x_spec: The spec of `x`: a string tensor, or a dict or tuple with one.
        text_key: Its key or index there; by default the only string feature.
        editor: Edits the text.

    Raises:
        TypeError: The text is not a string tensor.
        ValueError: It cannot be found, or its rank is not known.
    """

    def __init__(self, x_spec: Any, text_key: Any, editor: TermEditor):
        self._editor = editor
        self._key = find_text(x_spec, text_key)
        spec = self._text(x_spec)
        if spec.shape.rank is None:
            raise ValueError(
                "The rank of the text must be known: 0 for one example, more "
                f"for a batch. Received: {spec}"
            )
        #: A text of rank 0 is one example.
        self.layout = Layout.BATCHES if spec.shape.rank else Layout.EXAMPLES

    def edit(self, x: Any) -> Any:
        """Returns `x` with its text edited, in the same structure."""
        edited = self._editor(self._text(x))
        if self._key is None:
            return edited
        if isinstance(x, Mapping):
            parts = {**x, self._key: edited}
        else:
            parts = (*x[: self._key], edited, *x[self._key + 1 :])
        return alike(parts, x, "counterfactual_x", "x")

    def changes(self, x: Any) -> tf.Tensor:
        """Returns which rows would change (a scalar for one example)."""
        text = self._text(x)
        edited = self._editor(text)
        if self.layout is Layout.BATCHES:
            return changed_rows(text, edited)
        return text != edited

    def _text(self, x):
        return x if self._key is None else x[self._key]


def find_text(spec: Any, text_key: Any) -> Any:
    """Returns the key or index of the text, `None` where `x` is the text.

    Args:
        spec: The spec of `x`: a string tensor, or a dict or tuple with one.
        text_key: What the user gave; `None` for the only string feature.

    Raises:
        TypeError: The text is not a string tensor.
        ValueError: It cannot be found.
    """
    if not isinstance(spec, Mapping | tuple):
        if text_key is not None:
            raise ValueError(
                "`text_key` is for features that are a dict or a tuple. "
                f"Received: text_key={text_key!r} for {spec}"
            )
        _check_text(spec, "x")
        return None
    keys = list(spec) if isinstance(spec, Mapping) else list(range(len(spec)))
    if text_key is None:
        texts = [key for key in keys if _is_text(spec[key])]
        if not texts:
            _check_text(spec, "x")
        if len(texts) != 1:
            raise ValueError(
                "`text_key` must say which feature is the text. String "
                f"features: {texts}; all features: {keys}"
            )
        return texts[0]
    if text_key not in keys:
        raise ValueError(
            f"`text_key` must be one of {keys}. Received: {text_key!r}"
        )
    _check_text(spec[text_key], repr(text_key))
    return text_key


def _is_text(spec):
    kinds = tf.TensorSpec | tf.RaggedTensorSpec
    return isinstance(spec, kinds) and spec.dtype == tf.string


def _check_text(spec, name):
    if not _is_text(spec):
        dtype = getattr(spec, "dtype", None)
        raise TypeError(
            "Terms are edited in dense or ragged string tensors. For other "
            "features give a `custom_counterfactual_function`. Received: "
            f"dtype={getattr(dtype, 'name', None)}, {name}={spec}"
        )
