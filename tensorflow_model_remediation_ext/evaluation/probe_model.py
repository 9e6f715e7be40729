"""Can a reader find a concept in a layer of a model?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batches import check_batched
from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    whole,
)
from tensorflow_model_remediation_ext.common.layers import (
    find,
    hook,
    run_as_python,
    sublayers,
)
from tensorflow_model_remediation_ext.common.masks import (
    mask_of,
    padding_mask,
)
from tensorflow_model_remediation_ext.common.preprocessing import (
    preprocessed_batches,
)
from tensorflow_model_remediation_ext.common.progress import with_progress
from tensorflow_model_remediation_ext.evaluation.checks import (
    require_model,
)
from tensorflow_model_remediation_ext.evaluation.probe_report import ProbeReport
from tensorflow_model_remediation_ext.evaluation.probes import linear_probe


def probe_model(
    model: keras.Model,
    layer: str | keras.layers.Layer,
    dataset: Any,
    *,
    max_rows: int | None = 20_000,
    cv: int = 5,
    kind: str = "linear",
    confidence: float = 0.95,
    seed: int = 0,
    max_iter: int | None = None,
    verbose: int | str = "auto",
) -> ProbeReport:
    """Measures how well a concept can be read from a layer's activations.

    The model runs batch by batch, in inference mode, and only `max_rows` rows
    of activations are kept, each row with the same chance; on them
    `linear_probe` runs, whose caveats hold. Of activations with more axes,
    such as `[batch, tokens, d]`, every position is a row. What comes from one
    example is then kept in one fold and not taken to be independent.

    That one layer is blind does not say that another one is.

    Args:
        model: A functional, Sequential or subclassed model.
        layer: A layer of the model or of a model or layer inside it, by name,
            by path, such as `"encoder/dense"`, or itself: what `scrub` takes
            and prints. Its output must be one tensor of shape
            `[batch, ..., d]`.
        dataset: A finite `tf.data.Dataset`, or an iterable, of batches
            `(x, z)`, `(x, z, sample_weight)` or `(x, z, sample_weight,
            groups)`. `x` is what the model takes, or raw strings or images for
            a KerasHub task with its preprocessor. `z`, labels as for
            `linear_probe`, none of them missing, is `[batch]`, or has a value
            for each position. Rows with a zero in `sample_weight`, of the same
            shapes, are left out, as are positions that the layer's own mask
            leaves out, or without one an input named `"padding_mask"`, as
            KerasHub's models have it; the weights count no further, and may be
            `None`. `groups`, `[batch]`, labels what belongs together.
        max_rows: Limit of the rows that are kept; `None` for all.
        cv: Number of folds.
        kind: `"linear"`, or `"mlp"` for a nonlinear reader as well.
        confidence: Level of the two-sided intervals.
        seed: Seed of the folds, the nonlinear reader and the rows kept.
        max_iter: Upper limit of training, see `linear_probe`.
        verbose: `0` for silence, otherwise as in `keras.Model.predict`.

    Returns:
        The report of `linear_probe`; its `n` is the number of rows kept.

    Raises:
        ImportError: If scikit-learn is missing.
        TypeError: If `model` is not a Keras model, or `dataset` cannot be read
            batch by batch.
        ValueError: If the model has no such layer, or several; if the layer
            does not run, or runs several times; if shapes do not match, there
            is no row to read, or no end of them; or for what `linear_probe`
            refuses, such as a label that is None, NaN or infinite.

    Examples:
        >>> inputs = keras.Input((4,))
        >>> hidden = keras.layers.Dense(8, "relu", name="hidden")(inputs)
        >>> model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
        >>> x = np.random.default_rng(0).normal(size=(200, 4))
        >>> data = tf.data.Dataset.from_tensor_slices((x, x[:, 0] > 0))
        >>> report = probe_model(model, "hidden", data.batch(50), verbose=0)
        >>> report["linear"].n
        200

    References:
        Alain and Bengio 2016, "Understanding intermediate layers using linear
        classifier probes", arXiv 1610.01644.
    """
    require_model(model)
    if max_rows is not None:
        whole("max_rows", max_rows)
    path = find(model, layer)
    dataset = preprocessed_batches(model, dataset)
    read = _activations(model, sublayers(model)[path], path, dataset)
    sample = _Sample(max_rows, checked_seed("seed", seed))
    examples, by_position, grouped = 0, False, False
    for batch in with_progress(dataset, verbose):
        x, z, weight, groups = _columns(batch)
        check_batched(batch, x, z, model)
        activations, mask = read(x)
        if activations.ndim < 2 or not len(activations):
            raise ValueError(
                "The layer's output must have shape [batch, ..., d]. "
                f"Received: shape={activations.shape}"
            )
        places = activations.shape[:-1]
        by_position |= len(places) > 1
        grouped |= groups is not None
        if groups is None:
            groups = np.arange(examples, examples + len(activations))
        examples += len(activations)
        padding = padding_mask(x)
        if mask is None and padding is not None:
            padding = keras.ops.convert_to_numpy(padding).astype(bool)
            mask = padding if padding.shape == places else None
        kept = mask if mask is not None else np.ones(places, bool)
        if weight is not None:
            kept = kept & (_spread(weight, places, "sample_weight") != 0)
        sample.add(
            activations[kept],
            _spread(z, places, "z")[kept],
            _spread(groups, places, "groups")[kept],
        )
    activations, z, groups = sample.rows()
    return linear_probe(
        activations,
        z,
        groups=groups if by_position or grouped else None,
        cv=cv,
        kind=kind,
        confidence=confidence,
        seed=seed,
        max_iter=max_iter,
    )


def _activations(
    model: keras.Model, layer: keras.layers.Layer, path: str, dataset: Any
) -> Callable:
    """Returns a function from inputs to the layer's output and its mask."""

    def run(x):
        if not model.built:
            model(x, training=False)
        outputs = []

        def listen(output, *args, **kwargs):
            outputs.append(output)
            return output

        # Layers of subclassed models, and those inside others, have no
        # symbolic output to build a model of.
        as_before = run_as_python(model)
        off = hook(layer, listen)
        try:
            model(x, training=False)
        finally:
            off()
            as_before()
        if len(outputs) != 1:
            raise ValueError(
                f"The layer {path!r} must run once for each batch. "
                f"Received: a model that runs it {len(outputs)} times"
            )
        if keras.tree.is_nested(outputs[0]):
            raise ValueError(
                f"The layer {path!r} must have one tensor as its output. "
                f"Received: {outputs[0]}"
            )
        return outputs[0], mask_of(outputs[0])

    if keras.backend.backend() == "tensorflow":
        signature = None
        if isinstance(dataset, tf.data.Dataset):
            # Traces once, whatever the sizes of the batches.
            signature = [_columns(dataset.element_spec)[0]]
        run = tf.function(
            run,
            input_signature=signature,
            reduce_retracing=signature is None,
            autograph=False,
        )

    def read(x):
        output, mask = run(x)
        output = keras.ops.convert_to_numpy(output)
        if output.dtype != np.float64:
            output = output.astype(np.float32)
        if mask is not None:
            mask = keras.ops.convert_to_numpy(mask)
            mask = _spread(mask, output.shape[:-1], "mask")
        return output, mask

    return read


def _columns(batch: Any) -> tuple:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3, 4):
        raise ValueError(
            "`dataset` must yield (x, z), (x, z, sample_weight) or "
            f"(x, z, sample_weight, groups). Received: {type(batch).__name__}"
        )
    return (*batch, None, None)[:4]


def _spread(values: Any, places: tuple[int, ...], name: str) -> np.ndarray:
    """Returns values for all places, from `[batch]` or more of their axes."""
    if not hasattr(values, "dtype"):
        # As objects, so that missing labels do not become text.
        values = np.asarray(values, dtype=object)
    values = np.asarray(values)
    if values.ndim > 1 and values.shape[-1] == 1 and values.shape != places:
        values = values[..., 0]
    if not values.ndim or values.shape != places[: values.ndim]:
        raise ValueError(
            f"`{name}` must have shape [batch], or that of the layer's output "
            f"without its last axis, {list(places)}. "
            f"Received: shape={list(values.shape)}"
        )
    more = len(places) - values.ndim
    return np.broadcast_to(values.reshape(values.shape + (1,) * more), places)


class _Sample:
    """A uniform sample of rows that come in batches."""

    def __init__(self, size: int | None, seed: int):
        self._size = size
        self._rng = np.random.default_rng(seed)
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._count = 0

    def add(self, *columns: np.ndarray) -> None:
        # The rows with the smallest keys are a sample in which each row had
        # the same chance.
        self._parts.append((self._rng.random(len(columns[0])), *columns))
        self._count += len(columns[0])
        if self._size is not None and self._count > 2 * self._size:
            self._shrink()

    def rows(self) -> list[np.ndarray]:
        """Returns the columns of the sample, in the order of the data."""
        if not self._count:
            raise ValueError(
                "`dataset` must hold a row to read: it is empty, or every row "
                "has weight zero."
            )
        self._shrink()
        return list(self._parts[0][1:])

    def _shrink(self) -> None:
        columns = [np.concatenate(c) for c in zip(*self._parts, strict=True)]
        if self._size is not None and len(columns[0]) > self._size:
            kept = np.argpartition(columns[0], self._size)[: self._size]
            kept.sort()
            columns = [column[kept] for column in columns]
        self._parts = [tuple(columns)]
        self._count = len(columns[0])
