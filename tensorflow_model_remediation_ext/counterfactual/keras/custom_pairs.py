"""Pairs from a function that the user gives."""

import contextlib
from collections.abc import Callable

import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import (
    Layout,
    batch_size,
    declared_batch_size,
    holds_batches,
    layout_of,
    regroup,
)
from tensorflow_model_remediation_ext.common.data_errors import require
from tensorflow_model_remediation_ext.common.elements import (
    PARALLEL,
    as_one_argument,
    tensor_specs,
    unpack,
)
from tensorflow_model_remediation_ext.common.rows import (
    assert_same_types,
    changed_pairs,
    differs,
    keep_rows,
    row_count,
)
from tensorflow_model_remediation_ext.common.structures import alike
from tensorflow_model_remediation_ext.counterfactual.keras.text_feature import (
    TextFeature,
)

_ONE_ROW_EACH = (
    "`custom_counterfactual_function` must return one row for each pair in "
    "both halves, and in the weight if there is one. Received:"
)
_PARTS = "`original_x`", "`counterfactual_x`", "the weight"


def pairs_by_function(
    dataset: tf.data.Dataset, function: Callable, text: TextFeature | None
) -> tf.data.Dataset:
    """Returns the pairs that a function makes and that are not identical.

    Args:
        dataset: What `build_counterfactual_data` was given.
        function: Its `custom_counterfactual_function`.
        text: The text whose terms restrict the examples, if they do.

    Returns:
        A dataset of what the function returns, in halves of one structure.

    Raises:
        ValueError: The function returns something else than pairs, or halves
            or a weight that are known to differ in their numbers of rows.
            Where they turn out to, reading raises `InvalidArgumentError`.
    """

    def with_x(element):
        return unpack(element)[0], element

    def holds_term(x, _):
        return text.changes(x)

    def keep_terms(x, element):
        return x, keep_rows(element, text.changes(x))

    def holds_rows(_, element):
        return row_count(element) > 0

    def pair(x, element):
        return x, _as_pair(function(element), unpack(element)[0])

    examples = as_one_argument(dataset).map(with_x)
    if text is not None and text.layout is Layout.EXAMPLES:
        examples = examples.filter(holds_term)
    elif text is not None:
        examples = examples.map(keep_terms, **PARALLEL).filter(holds_rows)
    pairs = examples.map(pair, **PARALLEL)
    layout = _layout_of_pairs(dataset, text, pairs.element_spec[1])
    if layout is Layout.EXAMPLES:
        pairs = pairs.map(lambda _, pair: _ranked(layout, *pair))
        return pairs.filter(differs)

    known = {s.shape[0] for s in tensor_specs(pairs.element_spec[1])}
    if len(known - {None}) > 1:
        raise ValueError(_ONE_ROW_EACH + f" {pairs.element_spec[1]}")

    def changed(x, pair):
        pair = _ranked(layout, *pair)
        # `x` tells how many rows there were before any was left out.
        with _require_one_row_each(*pair):
            return row_count(x), changed_pairs(*pair)

    return regroup(pairs.map(changed, **PARALLEL), batch_size(dataset))


def _as_pair(result, x):
    """Returns what the function returned, its halves alike and ranked."""
    if not isinstance(result, tuple | list) or len(result) not in (2, 3):
        raise ValueError(
            "`custom_counterfactual_function` must return `(original_x, "
            "counterfactual_x)` or `(original_x, counterfactual_x, weight)`. "
            f"Received: {result!r}"
        )
    original, counterfactual, *weight = result
    # The function may choose other features than those of the task.
    with contextlib.suppress(ValueError):
        original = alike(original, x, "original_x", "x")
    counterfactual = alike(
        counterfactual, original, "counterfactual_x", "original_x"
    )
    original, counterfactual = tf.nest.map_structure(
        _as_tensor, (original, counterfactual)
    )
    assert_same_types(original, counterfactual)
    flat = map(tf.nest.flatten, (original, counterfactual))
    features = [_same_rank(a, b) for a, b in zip(*flat, strict=True)]
    halves = zip(*features, strict=True)
    structures = original, counterfactual
    return *map(tf.nest.pack_sequence_as, structures, halves), *weight


def _as_tensor(value):
    if value is None or tf.is_tensor(value):
        return value
    return tf.convert_to_tensor(value)


def _same_rank(original, counterfactual):
    """Returns two features, with one's shape for the other without a rank."""
    if original is None:
        return original, counterfactual
    a, b = original.shape.rank, counterfactual.shape.rank
    if a != b and None in (a, b):
        shape = original.shape if b is None else counterfactual.shape
        return tf.ensure_shape(original, shape), tf.ensure_shape(
            counterfactual, shape
        )
    if a is None or a != b:
        raise ValueError(
            "`custom_counterfactual_function` must return features of known "
            "and equal ranks: `tf.ensure_shape` sets those that "
            f"`tf.py_function` loses. Received: {original} and "
            f"{counterfactual}"
        )
    return original, counterfactual


def _layout_of_pairs(dataset, text, pair_spec):
    """Returns the layout of pairs; checks that features and weight agree."""
    features = tensor_specs(pair_spec[:2])
    weight = pair_spec[2] if len(pair_spec) == 3 else None
    by_weight = layout_of(dataset, weight)
    weighted = isinstance(weight, tf.TensorSpec) and (
        weight.shape.rank is not None
    )
    ranked = all(spec.shape.rank for spec in features)
    if text is not None:
        layout = text.layout
        wrong = weighted and by_weight is not layout
    elif weighted:
        layout = by_weight
        wrong = layout is Layout.EXAMPLES and (
            ranked and _are_batches(dataset, features)
        )
    else:
        # Features alone may be as long as one another in one example, too.
        labeled = bool(tensor_specs(unpack(dataset.element_spec)[1:]))
        batches = by_weight is Layout.BATCHES or (
            labeled and holds_batches(dataset.element_spec)
        )
        layout = Layout.BATCHES if batches and ranked else Layout.EXAMPLES
        wrong = False
    if wrong or (layout is Layout.BATCHES and not ranked):
        raise ValueError(
            "`custom_counterfactual_function` must return a weight of shape "
            "`[batch]` for a batch, and a scalar for an example. Received: "
            f"{weight} with {features}"
        )
    return layout


def _require_one_row_each(*pair):
    """Requires as many rows in all parts of a batch of pairs.

    Otherwise rows would be paired that do not belong together.
    """
    counts = {
        name: [row_count(t) for t in tf.nest.flatten(part) if t is not None]
        for name, part in zip(_PARTS, pair, strict=False)
        if part is not None
    }
    flat = tf.stack(tf.nest.flatten(counts))
    return require(
        tf.reduce_all(flat == flat[0]),
        _ONE_ROW_EACH,
        tf.strings.format(
            ", ".join(f"{name} with rows {{}}" for name in counts),
            list(counts.values()),
        ),
    )


def _are_batches(dataset, features):
    """Returns whether features that all have an axis can only be batches."""
    text = any(spec.dtype == tf.string for spec in features)
    return text or declared_batch_size(dataset) is not None


def _ranked(layout, original, counterfactual, *weight):
    """Returns a pair, or triple, whose weight has a known rank."""
    if weight and weight[0] is not None and weight[0].shape.rank is None:
        weight = [tf.ensure_shape(weight[0], [None] * layout.axes)]
    return original, counterfactual, *weight
