"""What layers adapt to: arrays of any backend, and Keras masks as weights."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.masks import mask_of
from tensorflow_model_remediation_ext.common.progress import with_progress
from tensorflow_model_remediation_ext.leace import arrays, labels


def require_labels(data: Any, z: Any, sample_weight: Any) -> None:
    """Refuses an array without labels, and batches with weights of their own.

    Args:
        data: What the layer is to adapt to: an array, or batches.
        z: Its labels, which only an array has.
        sample_weight: Its weights, likewise.

    Raises:
        TypeError: If `z` is given, but `data` is not an array.
        ValueError: If `z` is not given, but `data` is an array or has weights.
    """
    if z is None and (sample_weight is not None or hasattr(data, "shape")):
        raise ValueError(
            "`z` must be given with an array, or `data` yield (x, z) or "
            "(x, z, sample_weight). Received: z=None, data of type "
            f"{type(data).__name__}"
        )
    if z is not None and not hasattr(data, "shape"):
        raise TypeError(
            "`data` must be an array or tensor where `z` is given. Received: "
            f"data of type {type(data).__name__}"
        )


def labeled_rows(
    data: Any, z: Any, sample_weight: Any
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Returns an array, its labels and its weights, or else mask, as tensors.

    Raises:
        ValueError: If they do not hold numbers, or not equally many rows.
    """
    weight = mask_of(data) if sample_weight is None else sample_weight
    x, z = arrays.numbers("data", data), labels.labels("z", z)
    if weight is not None:
        weight = arrays.numbers("sample_weight", weight)
    for name, value in (("z", z), ("sample_weight", weight)):
        if value is not None and value.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"`{name}` must have as many rows as `data`. Received: data "
                f"of shape {x.shape}, {name} of shape {value.shape}"
            )
    return x, z, weight


class MaskedBatches:
    """Batches with the Keras masks of their inputs as weights.

    They can be read as often as the data that they come from.

    Args:
        data: Batches `(x, z)` or `(x, z, sample_weight)`.
        verbose: `0` for silence, otherwise as in `keras.Model.fit`.
    """

    def __init__(self, data: Any, verbose: int | str = 0):
        self._data, self._verbose = data, verbose

    def __iter__(self) -> Iterator[Any]:
        """The batches; weights that were given count instead of masks."""
        for batch in with_progress(self._data, self._verbose, "data"):
            if isinstance(batch, (tuple, list)) and len(batch) == 2:
                yield (*batch, mask_of(batch[0]))
            else:
                yield batch
