"""Counterfactual pairs of one objective, read again and again."""

from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import (
    Layout,
    batch_size,
    count_rows,
    holds_examples,
    inner_sizes_vary,
    layout_of,
)
from tensorflow_model_remediation_ext.common.elements import (
    check_dataset,
    unpack,
)
from tensorflow_model_remediation_ext.common.endless import (
    repeat_from_anywhere,
)
from tensorflow_model_remediation_ext.common.rows import row_count
from tensorflow_model_remediation_ext.common.structures import alike, is_alike
from tensorflow_model_remediation_ext.counterfactual.keras.packed import (
    check_pair,
)


class PairStream:
    """Pairs with weights, in the structure of the task's `x`, without end.

    Args:
        source: A dataset of pairs, with weights or without.
        task_spec: The spec of the task's elements, `(x, y, sample_weight)`.
        name: What to call the source in an error.

    Attributes:
        layout_of_task: Whether the task's data are batches, which the ranks of
            its features tell from those of the pairs.

    Raises:
        TypeError: `source` is not a dataset.
        ValueError: It is empty, does not yield pairs, or features differ from
            those of the task.
    """

    def __init__(self, source: tf.data.Dataset, task_spec: Any, name: str):
        check_dataset(source, name)
        check_pair(source.element_spec, name)
        original, counterfactual, *weight = source.element_spec
        x_spec = unpack(task_spec)[0]
        self._weighted = bool(weight) and isinstance(weight[0], tf.TensorSpec)
        self._name = name
        self._source, self._x_spec = source, x_spec
        for half in (original, counterfactual):
            _check_dtypes(half, x_spec, name)
        specs = x_spec, alike(original, x_spec, name, "x")
        self._layout = layout_of(source, *weight)
        if not self._weighted:
            self._layout = _layout_by_task(self._layout, *specs, task_spec)
        self.layout_of_task = _layout_of_task(*specs, self._layout, name)
        self._dataset = self._pairs(source)

    def count(self) -> int:
        """Returns the number of pairs, reading them once."""
        if self._source.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "`pairs_per_example='auto'` counts the pairs, which must come "
                f"to an end. Received: `{self._name}` is an endless dataset"
            )
        return count_rows(
            self._dataset.map(
                lambda *pairs: (
                    row_count(pairs)
                    if self._layout is Layout.BATCHES
                    else tf.constant(1, tf.int64)
                )
            )
        )

    def rows(self, wanted: int | None = None) -> tf.data.Dataset:
        """Returns single pairs.

        Args:
            wanted: How many are read in an iteration, if known.
        """
        endless = self._endless(wanted)
        return endless.unbatch() if self._layout is Layout.BATCHES else endless

    def batches(self, size: int, wanted: int | None = None) -> tf.data.Dataset:
        """Returns batches of `size` pairs.

        Args:
            size: See there.
            wanted: How many batches are read in an iteration, if known.
        """
        wanted = wanted and wanted * size
        # Endless, so nothing is dropped; and the shape stays known.
        if inner_sizes_vary(self._dataset.element_spec, self._layout):
            return self.rows(wanted).padded_batch(size, drop_remainder=True)
        if self._layout is Layout.BATCHES:
            return self._endless(wanted).rebatch(size, drop_remainder=True)
        return self._endless(wanted).batch(size, drop_remainder=True)

    def _endless(self, wanted):
        if wanted is not None and self._layout is Layout.BATCHES:
            size = batch_size(self._source)
            wanted = wanted // size if size else None
        return repeat_from_anywhere(
            self._source,
            self._pairs,
            f"No example holds a term: `{self._name}` is empty, or it can be "
            "read only once and has been.",
            wanted,
        )

    def _pairs(self, source):
        """Returns pairs with weights, in the structure of the task's `x`."""
        halves, x_spec = source.element_spec[:2], self._x_spec
        if self._layout is Layout.BATCHES:
            # Batches of no rows would repeat without end, and give none.
            source = source.filter(lambda *pairs: row_count(pairs) > 0)
        if self._weighted and all(is_alike(half, x_spec) for half in halves):
            return source
        return source.map(
            lambda original, counterfactual, *weight: (
                alike(original, x_spec, "original_x", "x"),
                alike(counterfactual, x_spec, "counterfactual_x", "x"),
                weight[0] if self._weighted else self._ones(original),
            )
        )

    def _ones(self, half):
        batched = self._layout is Layout.BATCHES
        return tf.ones([row_count(half)] if batched else [])


def _check_dtypes(half, x_spec, name):
    """Raises unless a half has the names and dtypes of the task's `x`."""
    parts = alike(half, x_spec, name, "x")
    for part, x in zip(
        tf.nest.flatten(parts), tf.nest.flatten(x_spec), strict=True
    ):
        if getattr(part, "dtype", None) != getattr(x, "dtype", None):
            raise ValueError(
                f"The features of `{name}` must have the same names and "
                f"dtypes as those of `x`. Received: {half} and {x_spec}"
            )


def _layout_by_task(layout, x_spec, original_spec, task_spec):
    """Returns the layout of pairs without a weight to tell it.

    Args:
        layout: What pairs alone look like. Images or sequences of unknown
            size look like batches of rows.
        x_spec: The spec of the task's `x`.
        original_spec: The spec of a half of a pair, of the same structure.
        task_spec: The spec of the task's elements.
    """
    flat = map(tf.nest.flatten, (x_spec, original_spec))
    ranks = [
        (x.shape.rank, half.shape.rank) for x, half in zip(*flat, strict=True)
    ]
    if any(None in pair for pair in ranks):
        return layout
    # Only a batch has an axis more than the other side.
    if all(of_task > of_pairs for of_task, of_pairs in ranks):
        return Layout.EXAMPLES
    if all(of_task < of_pairs for of_task, of_pairs in ranks):
        return Layout.BATCHES
    return Layout.EXAMPLES if holds_examples(task_spec) else layout


def _layout_of_task(x_spec, original_spec, layout, name):
    """Returns the layout of the task, given that of the pairs."""
    found = None
    for x, original in zip(
        tf.nest.flatten(x_spec), tf.nest.flatten(original_spec), strict=True
    ):
        if x.shape.rank is None or original.shape.rank is None:
            raise ValueError(
                "The ranks of all features must be known. "
                f"Received: {x} and {original}"
            )
        axes = x.shape.rank - original.shape.rank + layout.axes
        found = axes if found is None else found
        if (
            axes not in (0, 1)
            or axes != found
            or not x.shape[axes:].is_compatible_with(
                original.shape[layout.axes :]
            )
        ):
            raise ValueError(
                f"The features of `{name}` must have the shapes of those of "
                f"`original_input`. Received: {original} and {x}"
            )
    return Layout.BATCHES if found else Layout.EXAMPLES
