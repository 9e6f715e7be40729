"""Pairs of predictions, made comparable."""

from typing import Any

from keras import ops


def dense_pair(
    original: Any, counterfactual: Any, owner: str, dtype: Any = None
) -> tuple[Any, Any]:
    """Returns both predictions dense, at least of rank 2 and of one shape.

    Args:
        original: Predictions, `[batch]` or `[batch, ..., columns]`, dense or
            sparse.
        counterfactual: Predictions to compare them with, same shape.
        owner: Who asks, for the error message.
        dtype: Dtype to convert to; default: theirs.

    Returns:
        The two tensors, `[batch]` made `[batch, 1]`.

    Raises:
        ValueError: If the shapes differ.
    """
    original = _dense(original, dtype)
    counterfactual = _dense(counterfactual, dtype)
    shapes = tuple(original.shape), tuple(counterfactual.shape)
    same = len(shapes[0]) == len(shapes[1]) and all(
        a is None or b is None or a == b for a, b in zip(*shapes, strict=True)
    )
    if not same:
        raise ValueError(
            f"{owner}: `original` and `counterfactual` predictions must have "
            f"the same shape. Received: original.shape={shapes[0]}, "
            f"counterfactual.shape={shapes[1]}"
        )
    return original, counterfactual


def joint_mask(original: Any, counterfactual: Any) -> Any:
    """Returns where neither prediction is masked by Keras, or `None`."""
    masks = [
        getattr(p, "_keras_mask", None) for p in (original, counterfactual)
    ]
    masks = [mask for mask in masks if mask is not None]
    return ops.logical_and(masks[0], masks[-1]) if masks else None


def align_weight(sample_weight: Any, predictions: Any, owner: str) -> Any:
    """Returns weights of pairs in the rank of a loss of the predictions.

    Args:
        sample_weight: `[batch]`, `[batch, 1]`, or of the shape of the
            predictions without the last axis.
        predictions: `[batch]` or `[batch, ..., columns]`.
        owner: Who asks, for the error message.

    Returns:
        The weights with axes of length 1 added or dropped at the end.

    Raises:
        ValueError: If they do not fit.
    """
    sample_weight = ops.convert_to_tensor(sample_weight)
    shape = tuple(predictions.shape)
    shape = shape[:-1] if len(shape) > 1 else shape
    weight = sample_weight
    while len(weight.shape) > len(shape) and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, axis=-1)
    while len(weight.shape) < len(shape):
        weight = ops.expand_dims(weight, axis=-1)
    if len(weight.shape) > len(shape) or not all(
        a is None or b is None or a in (1, b)
        for a, b in zip(weight.shape, shape, strict=True)
    ):
        raise ValueError(
            f"{owner}: `sample_weight` must be of shape {shape[:1]} or "
            f"{shape}. Received: sample_weight.shape="
            f"{tuple(sample_weight.shape)}"
        )
    return weight


def _dense(predictions: Any, dtype: Any) -> Any:
    predictions = ops.convert_to_tensor(predictions, dtype=dtype, sparse=False)
    if len(predictions.shape) < 2:
        predictions = ops.reshape(predictions, (-1, 1))
    return predictions
