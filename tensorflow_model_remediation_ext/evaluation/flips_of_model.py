"""How a model's decisions change from inputs to counterfactuals."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batches import check_batched
from tensorflow_model_remediation_ext.common.checks import number, whole
from tensorflow_model_remediation_ext.common.progress import with_progress
from tensorflow_model_remediation_ext.evaluation.changed_texts import (
    ChangedTexts,
    is_text,
)
from tensorflow_model_remediation_ext.evaluation.checks import require_model
from tensorflow_model_remediation_ext.evaluation.flip_report import FlipReport
from tensorflow_model_remediation_ext.evaluation.flips import flips
from tensorflow_model_remediation_ext.evaluation.intervals import (
    normal_quantile,
)
from tensorflow_model_remediation_ext.evaluation.predicting import (
    predict_batch,
)


def flips_of_model(
    model: keras.Model,
    pairs: Any,
    *,
    groups: Any = None,
    threshold: float = 0.5,
    classes: Sequence[Any] | None = None,
    by_term: bool | Iterable[str] = False,
    text_key: Any = None,
    examples: int = 5,
    confidence: float = 0.95,
    seed: int | np.random.Generator | None = None,
    verbose: int | str = "auto",
) -> FlipReport:
    """Predicts counterfactual pairs and measures how decisions change.

    The pairs are read once, batch by batch. Nothing is kept but predictions,
    weights and groups, and of texts the examples and, with `by_term`, the words
    that were changed. Where both halves of a batch are dense, of one shape and
    one dtype, they go through the model together. What `flips` says about the
    figures holds: a flip rate of zero is not equal treatment.

    Args:
        model: A model with one output, `[batch]`, `[batch, 1]` or
            `[batch, classes]`.
        pairs: A finite `tf.data.Dataset`, or an iterable, of batches of pairs
            as `build_counterfactual_data` makes them: `(original_x,
            counterfactual_x)`, `(original_x, counterfactual_x, weight)` or
            `(original_x, counterfactual_x, weight, groups)`. The weight,
            `[batch]`, may be `None`, in all batches. The groups of a batch are
            a dict of boolean masks `[batch]`, which may overlap, or labels
            `[batch]`.
        groups: Groups of all pairs in the order in which they come, in any of
            the forms of `flips`; or, better, in the batches.
        threshold: As in `flips`: 0.5 for probabilities, 0.0 for logits.
        classes: Names of the model's columns, for the flows from class to
            class; by default their numbers.
        by_term: Whether to tell which terms flip decisions. What was changed is
            found by comparing both texts of a pair word by word: the words
            that were removed, or `"he > she"` for what was replaced. Words
            that were removed next to one another are one term, unless the
            terms are given here as a list of one or more.
        text_key: Which input is the text, a key of a dict or the place in a
            tuple; needed with `by_term` where several inputs are text, all of
            which are shown in `examples` without it. An example whose
            text is several strings, as `[batch, k]` or ragged, is one pair.
        examples: How many texts to keep of those whose decisions flip, the
            largest gaps first. 0 keeps none, as texts may be private.
        confidence: Level of the two-sided intervals.
        seed: Seed or generator of the bootstrap.
        verbose: `0` for silence, otherwise as in `keras.Model.predict`.

    Returns:
        The report of `flips`, with `terms` if asked for, and `examples` if
        inputs are texts.

    Raises:
        TypeError: If `model` is not a Keras model, `pairs` cannot be read
            batch by batch, `by_term` is neither a boolean nor a list of
            texts, or the input named by `text_key` is no text.
        ValueError: If there are no pairs, or no end of them; if they are not
            in batches, or weights or groups not in every batch; if the model
            has several outputs or one of another length than its inputs;
            if groups are given twice; if there is no input `text_key`; or for
            what `flips` refuses.

    Examples:
        >>> inputs = keras.Input((2,))
        >>> model = keras.Model(
        ...     inputs, keras.layers.Dense(1, "sigmoid")(inputs)
        ... )
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> pairs = tf.data.Dataset.from_tensor_slices((x, x * [1, 0]))
        >>> flips_of_model(model, pairs.batch(32), verbose=0)["overall"].n
        100

    References:
        Garg et al. 2018, "Counterfactual Fairness in Text Classification
        through Robustness", arXiv 1809.10610, section 3.1.
    """
    require_model(model)
    whole("examples", examples, least=0)
    normal_quantile(confidence)
    number("threshold", threshold)
    before, after, weights, members = [], [], [], []
    texts = ChangedTexts(_terms(by_term), text_key, examples)
    if isinstance(pairs, tf.data.Dataset):
        pairs = pairs.prefetch(tf.data.AUTOTUNE)
    for batch in with_progress(pairs, verbose, "pairs"):
        original, counterfactual, weight, of_batch = _parts(batch)
        check_batched(batch, original, None, model)
        if text_key is not None and not before:
            _require_text(original, text_key)
            _require_text(counterfactual, text_key)
        halves = _predict(model, original, counterfactual)
        for half, kept in zip(halves, (before, after), strict=True):
            kept.append(half)
        weights.append(_of_batch(weight, len(halves[0])))
        members.append(of_batch)
        texts.add(original, counterfactual, halves, weights[-1], threshold)
    if not before:
        raise ValueError(
            "`pairs` is empty: no example has a counterfactual, or it can be "
            "read only once and has been."
        )
    in_batches = _join(members, "groups")
    if in_batches is not None and groups is not None:
        raise ValueError("Give `groups`, or groups in the batches, not both.")
    measure = functools.partial(
        flips,
        np.concatenate(before),
        np.concatenate(after),
        threshold=threshold,
        sample_weight=_join(weights, "a weight"),
        classes=classes,
        confidence=confidence,
        seed=seed,
    )
    report = measure(groups=groups if in_batches is None else in_batches)
    return dataclasses.replace(
        report, terms=texts.by_term(measure), examples=texts.examples()
    )


def _terms(by_term: Any) -> Any:
    """Returns whether terms are asked for, or the terms, checked."""
    if isinstance(by_term, (bool, np.bool_)):
        return bool(by_term)
    known = isinstance(by_term, Iterable) and not isinstance(
        by_term, (str, bytes)
    )
    terms = tuple(by_term) if known else ()
    if not known or not all(isinstance(term, str) for term in terms):
        raise TypeError(
            "`by_term` must be True, False or a list of terms. "
            f"Received: by_term={by_term!r}"
        )
    if not terms or not all(terms):
        raise ValueError(
            "`by_term` must hold one term or more, none of them empty; True "
            f"finds them. Received: by_term={by_term!r}"
        )
    return terms


def _require_text(inputs: Any, key: Any) -> None:
    """Raises unless a key or place among inputs is that of a text."""
    names = (
        list(inputs)
        if isinstance(inputs, Mapping)
        else list(range(len(inputs)))
        if isinstance(inputs, (tuple, list))
        else []
    )
    if key not in names:
        raise ValueError(
            f"`text_key` must name one of the inputs, {names}, or be None "
            "where there is but one. "
            f"Received: text_key={key!r}"
        )
    if not is_text(inputs[key]):
        raise TypeError(
            "`text_key` must name an input that is text. "
            f"Received: text_key={key!r}, of dtype {_dtype(inputs[key])}"
        )


def _dtype(value: Any) -> str:
    dtype = getattr(value, "dtype", None) or np.asarray(value).dtype
    return str(getattr(dtype, "name", dtype))


def _parts(batch: Any) -> tuple:
    if hasattr(batch, "counterfactual_data"):
        raise ValueError(
            "`pairs` must be the data that `build_counterfactual_data` "
            "returns, not packed ones."
        )
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3, 4):
        raise ValueError(
            "`pairs` must yield (original_x, counterfactual_x), with a weight "
            f"and groups or without. Received: {type(batch).__name__}"
        )
    original, counterfactual, weight, members = (*batch, None, None)[:4]
    if any(
        not len(getattr(each, "shape", ()))
        for each in keras.tree.flatten((original, counterfactual, weight))
        if each is not None
    ):
        raise ValueError("`pairs` must come in batches: use `pairs.batch(n)`.")
    return original, counterfactual, weight, members


def _predict(model, original, counterfactual) -> tuple[np.ndarray, np.ndarray]:
    """Returns both predictions, from one forward pass if possible."""
    rows = int(keras.tree.flatten(original)[0].shape[0])
    if _alike(original, counterfactual):
        both = keras.tree.map_structure(
            lambda a, b: tf.concat([a, b], axis=0), original, counterfactual
        )
        predictions = predict_batch(model, both, 2 * rows)
        return predictions[:rows], predictions[rows:]
    return (
        predict_batch(model, original, rows),
        predict_batch(model, counterfactual, rows),
    )


def _alike(original: Any, counterfactual: Any) -> bool:
    left, right = (
        keras.tree.flatten(half) for half in (original, counterfactual)
    )
    return len(left) == len(right) and all(
        _is_dense(a)
        and _is_dense(b)
        and (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(left, right, strict=True)
    )


def _is_dense(value: Any) -> bool:
    return isinstance(value, (tf.Tensor, np.ndarray)) and value.ndim > 0


def _of_batch(weight: Any, rows: int) -> np.ndarray | None:
    if weight is None:
        return None
    weight = np.asarray(weight)
    if weight.shape != (rows,):
        raise ValueError(
            "`pairs` must yield weights of shape [batch]. "
            f"Received: shape={list(weight.shape)} with {rows} pairs"
        )
    return weight


def _join(parts: list, what: str) -> Any:
    """Returns what all batches have as one, or `None` if none has it."""
    missing = sum(part is None for part in parts)
    if missing == len(parts):
        return None
    if missing:
        raise ValueError(
            f"`pairs` must yield {what} in every batch or in none. "
            f"Received: none in {missing} of {len(parts)} batches"
        )
    names = [
        sorted(map(str, part)) if isinstance(part, Mapping) else None
        for part in parts
    ]
    other = next((each for each in names if each != names[0]), names[0])
    if other != names[0]:
        raise ValueError(
            "`pairs` must yield the same groups in every batch. "
            f"Received: masks named {names[0]}, then {other}"
        )
    if names[0] is None:
        # As objects, so that missing labels do not become text.
        return np.concatenate([np.asarray(p, dtype=object) for p in parts])
    return {
        name: np.concatenate([np.asarray(part[name]) for part in parts])
        for name in names[0]
    }
