"""Keras' progress bar around a loop over batches."""

import numbers
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def num_batches(batches: Any) -> int | None:
    """The number of batches, or `None` if it is not known without reading."""
    if isinstance(batches, tf.data.Dataset):
        cardinality = int(batches.cardinality())
        return cardinality if cardinality >= 0 else None
    return len(batches) if hasattr(batches, "__len__") else None


def progress_bar(
    target: int | None, verbose: int | str, unit_name: str = "batch"
) -> Any:
    """Keras' bar for a number of batches.

    Args:
        target: The number, or `None` as long as it is unknown.
        verbose: `0` for silence, otherwise as in `keras.Model.fit`.
        unit_name: What it counts.

    Raises:
        ValueError: If `verbose` is none of those.
    """
    known = isinstance(verbose, (str, bool, np.bool_, numbers.Integral))
    if not known or verbose not in ("auto", 0, 1, 2):
        raise ValueError(
            "`verbose` must be 'auto', 0, 1 or 2. Received: "
            f"verbose={verbose!r}"
        )
    verbose = 1 if verbose == "auto" else int(verbose)
    return keras.utils.Progbar(target, verbose=verbose, unit_name=unit_name)


def with_progress(
    batches: Any, verbose: int | str = "auto", name: str = "dataset"
) -> Iterator[Any]:
    """Yields batches while Keras' progress bar counts them.

    Args:
        batches: A `tf.data.Dataset`, a `keras.utils.PyDataset` or another
            iterable of batches.
        verbose: See `progress_bar`.
        name: What to call `batches` in an error.

    Yields:
        The batches.

    Raises:
        TypeError: If `batches` cannot be read batch by batch.
        ValueError: If it is known never to end.
    """
    if isinstance(batches, keras.utils.PyDataset):
        count = batches.num_batches
        if count is None:
            raise ValueError(f"`{name}` must be finite: it has no num_batches.")
        batches = map(batches.__getitem__, range(count))
    elif hasattr(batches, "shape") or not hasattr(batches, "__iter__"):
        raise TypeError(
            f"`{name}` must be a tf.data.Dataset, PyDataset or iterable of "
            f"batches. Received: {type(batches).__name__}"
        )
    else:
        count = num_batches(batches)
        if isinstance(batches, tf.data.Dataset) and (
            batches.cardinality() == tf.data.INFINITE_CARDINALITY
        ):
            raise ValueError(f"`{name}` must be finite: take(n) some of it.")
    bar = progress_bar(count, verbose)
    seen = 0
    for seen, batch in enumerate(batches, 1):
        yield batch
        bar.update(seen, finalize=False)
    bar.update(seen, finalize=True)
