"""Predictions made comparable: the one owner of their masks and weights.

Masks are folded into weights here, once, and what comes out carries no mask:
losses and metrics see weights only.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from tensorflow_model_remediation_ext.common.masks import mask_of
from tensorflow_model_remediation_ext.common.real_tensors import (
    checked_weight,
    real_tensor,
)


class Compared(NamedTuple):
    """Two predictions of one shape, dense and without masks.

    Attributes:
        original: `[batch, ..., columns]`.
        counterfactual: Same shape.
        weight: One weight for each position, in the shape of the predictions
            without the last axis; 0 where one of the two is masked. `None`
            for ones.
        unmasked: Share of the positions that are not masked, a scalar; `None`
            where there is no mask.
    """

    original: Any
    counterfactual: Any
    weight: Any
    unmasked: Any

    def weight_for(self, reduction: str | None) -> Any:
        """Returns the weights to give a Keras loss.

        As Keras does with masks, those that divide by the number of positions
        count only the ones that are not masked.

        Args:
            reduction: The `reduction` of the loss.
        """
        if self.unmasked is None or reduction not in (
            "sum_over_batch_size",
            "mean",
        ):
            return self.weight
        return ops.divide_no_nan(self.weight, self.unmasked)


def compare(
    original: Any,
    counterfactual: Any,
    sample_weight: Any,
    owner: str,
    dtype: Any = None,
    names: tuple[str, str] = ("original", "counterfactual"),
) -> Compared:
    """Returns two predictions and their weights, ready to be compared.

    Args:
        original: Predictions, `[batch]` or `[batch, ..., columns]`, dense or
            sparse, with or without a Keras mask.
        counterfactual: Predictions to compare them with, same shape.
        sample_weight: `None`, `[batch]`, `[batch, 1]`, or of the shape of the
            predictions without the last axis.
        owner: Who asks, for error messages.
        dtype: Dtype to convert to; default: theirs, or that of Keras where
            they are integers or booleans.
        names: What to call the predictions in an error.

    Raises:
        ValueError: If there are none, if they are no real numbers, the shapes
            differ or the weights do not fit, or are negative or not finite
            where that can be seen; in a graph negative ones are NaN.
    """
    both = tuple(zip(names, (original, counterfactual), strict=True))
    for name, given in both:
        if given is None:
            raise ValueError(
                f"{owner}: `{name}` must hold predictions. Received: None"
            )
    found = map(mask_of, (original, counterfactual))
    masks = [mask for mask in found if mask is not None]
    original, counterfactual = (
        _dense(real_tensor(name, given, owner, dtype), bool(masks))
        for name, given in both
    )
    shapes = tuple(original.shape), tuple(counterfactual.shape)
    if not _may_equal(*shapes):
        raise ValueError(
            f"{owner}: `original` and `counterfactual` predictions must have "
            f"the same shape. Received: original.shape={shapes[0]}, "
            f"counterfactual.shape={shapes[1]}"
        )
    weight, unmasked = fold(sample_weight, masks, original, owner)
    return Compared(original, counterfactual, weight, unmasked)


def fold(
    sample_weight: Any, masks: list[Any], predictions: Any, owner: str
) -> tuple[Any, Any]:
    """Folds masks into weights.

    Args:
        sample_weight: As in `compare`.
        masks: Booleans, each `[batch, ...]`, false where nothing counts.
        predictions: Dense, `[batch, ..., columns]`.
        owner: Who asks, for error messages.

    Returns:
        The weights, or `None` for ones; and the share of the positions that
        no mask hides, or `None` without masks.

    Raises:
        ValueError: If weights or masks do not fit the predictions, or weights
            are negative or not finite.
    """
    weight = sample_weight
    if weight is not None:
        weight = align_weight(weight, predictions, owner)
        weight = checked_weight(weight, owner)
        if tuple(weight.shape) != tuple(predictions.shape[:-1]):
            # Each position counts: some losses divide by the sum of weights.
            ones = ops.ones_like(predictions[..., 0], dtype=weight.dtype)
            weight = ops.multiply(weight, ones)
    if not masks:
        return weight, None
    mask = masks[0]
    for other in masks[1:]:
        mask = ops.logical_and(mask, other)
    mask = align_weight(mask, predictions, owner, "mask")
    mask = ops.cast(mask, keras.config.floatx())
    unmasked = ops.mean(mask)
    weight = mask if weight is None else ops.multiply(weight, mask)
    return weight, unmasked


def align_weight(
    sample_weight: Any,
    predictions: Any,
    owner: str,
    name: str = "sample_weight",
) -> Any:
    """Returns weights in the rank of the predictions without the last axis.

    Args:
        sample_weight: `[batch]`, `[batch, 1]`, or of the shape of the
            predictions without the last axis.
        predictions: `[batch]` or `[batch, ..., columns]`.
        owner: Who asks, for the error message.
        name: What to call the weights there.

    Returns:
        The weights as floats, with axes of length 1 added or dropped at the
        end.

    Raises:
        ValueError: If they do not fit.
    """
    given = real_tensor(name, sample_weight, owner)
    shape = tuple(predictions.shape)
    shape = shape[:-1] if len(shape) > 1 else shape
    weight = given
    while len(weight.shape) > len(shape) and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, axis=-1)
    while len(weight.shape) < len(shape):
        weight = ops.expand_dims(weight, axis=-1)
    if len(weight.shape) > len(shape) or not all(
        a is None or b is None or a in (1, b)
        for a, b in zip(weight.shape, shape, strict=True)
    ):
        shapes = " or ".join(dict.fromkeys(map(str, (shape[:1], shape))))
        raise ValueError(
            f"{owner}: `{name}` must be of shape {shapes}. "
            f"Received: {name}.shape={tuple(given.shape)}"
        )
    return _floats(weight)


def _dense(predictions: Any, masked: bool) -> Any:
    if len(predictions.shape) < 2:
        predictions = ops.reshape(predictions, (-1, 1))
    predictions = _floats(predictions)
    # A new tensor: Keras knows masks by the tensor that they belong to.
    return ops.copy(predictions) if masked else predictions


def _floats(tensor: Any) -> Any:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if "float" in dtype:
        return tensor
    return ops.cast(tensor, keras.config.floatx())


def _may_equal(a: tuple, b: tuple) -> bool:
    return len(a) == len(b) and all(
        m is None or n is None or m == n for m, n in zip(a, b, strict=True)
    )
