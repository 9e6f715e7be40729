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


def _dense(predictions: Any, dtype: Any) -> Any:
    predictions = ops.convert_to_tensor(predictions, dtype=dtype, sparse=False)
    if len(predictions.shape) < 2:
        predictions = ops.reshape(predictions, (-1, 1))
    return predictions
