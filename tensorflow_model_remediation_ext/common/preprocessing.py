"""The preprocessor of a KerasHub task, applied to packed data.

Such a task maps its preprocessor over raw strings or images in its own `fit`,
`evaluate` and `predict`. A wrapper does so over every part of packed data.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def preprocessor_of(model: keras.Model) -> Callable | None:
    """Returns the function that a task maps over raw data.

    Args:
        model: Any model.

    Returns:
        `function(x, y, sample_weight)` that returns those three, or `None`
        where the model has no preprocessor.
    """
    preprocess = getattr(model, "preprocess_samples", None)
    if not callable(preprocess) or getattr(model, "preprocessor", None) is None:
        return None

    def preprocessed(x, y=None, sample_weight=None):
        if _fits(model, x):
            return x, y, sample_weight
        done = preprocess(x, y, sample_weight)
        done = keras.utils.unpack_x_y_sample_weight(done)
        _check_structure(model, done[0])
        return done

    return preprocessed


def check_kind(model: keras.Model, x: Any) -> None:
    """Raises for text where numbers are taken, and the reverse.

    Args:
        model: Any model.
        x: Its input, or the spec of one.

    Raises:
        ValueError: If the model takes numbers, has no preprocessor and `x`
            holds text, or if it has one that takes text and `x` holds none.
    """
    wanted = getattr(model, "inputs", None)
    kind = type(model).__name__
    if preprocessor_of(model) is not None:
        tokenizer = getattr(model.preprocessor, "tokenizer", None)
        if tokenizer is not None and not (_fits(model, x) or _has_text(x)):
            wanted = getattr(model, "input", None)
            names = sorted(wanted) if isinstance(wanted, dict) else "tensors"
            raise ValueError(
                f"`original_model`, a {kind}, has a preprocessor that takes "
                "raw strings. Pass those; or, for data that are tokens "
                f"already, a dict of {names}. Received: x={_described(x)}"
            )
    elif wanted and _has_text(x) and not _has_text(wanted):
        raise ValueError(
            f"`original_model`, a {kind}, takes numbers, and has no "
            "preprocessor to make them of text. Give it one, as by "
            "`TextClassifier(..., preprocessor=...)`, or apply a tokenizer "
            "to every part of the packed data: `map_inputs(packed, "
            f"tokenizer)`. Received: x={_described(x)}"
        )


def _fits(model, x):
    """Whether `x` was preprocessed already, by the names of its parts."""
    wanted = getattr(model, "input", None)
    return (
        isinstance(wanted, dict)
        and isinstance(x, dict)
        and set(x) == set(wanted)
    )


def _check_structure(model, x):
    wanted = getattr(model, "input", None)
    if wanted is None:
        return
    try:
        keras.tree.assert_same_structure(wanted, x)
    except (TypeError, ValueError):
        raise ValueError(
            "The preprocessor of `original_model` must give what the model "
            f"takes, {_described(wanted)}. Received: {_described(x)}. Pass a "
            "model and a preprocessor that were made for one another."
        ) from None


def _has_text(x):
    return any(_is_text(each) for each in keras.tree.flatten(x))


def _is_text(each):
    if isinstance(each, (str, bytes)):
        return True
    dtype = getattr(each, "dtype", None)
    if dtype is None:
        return False
    return dtype == tf.string or getattr(dtype, "kind", "") in ("O", "S", "U")


def _described(x):
    return keras.tree.map_structure(
        lambda each: f"{getattr(each, 'dtype', type(each).__name__)}", x
    )
