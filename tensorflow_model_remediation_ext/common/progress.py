"""Keras' progress bar around a loop over batches."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


def num_batches(batches: Any) -> int | None:
    """The number of batches, or `None` if it is not known without reading."""
    if isinstance(batches, tf.data.Dataset):
        cardinality = int(batches.cardinality())
        return cardinality if cardinality >= 0 else None
    return len(batches) if hasattr(batches, "__len__") else None


def progress_bar(target: int | None, verbose: int | str) -> Any:
    """Keras' bar for a number of batches.

    Args:
        target: The number, or `None` as long as it is unknown.
        verbose: `0` for silence, otherwise as in `keras.Model.fit`.
    """
    verbose = 1 if verbose == "auto" else int(verbose)
    return keras.utils.Progbar(target, verbose=verbose, unit_name="batch")


def with_progress(batches: Any, verbose: int | str = "auto") -> Iterator[Any]:
    """Yields batches while Keras' progress bar counts them.

    Args:
        batches: A `tf.data.Dataset` or an iterable of batches.
        verbose: See `progress_bar`.

    Yields:
        The batches.
    """
    bar = progress_bar(num_batches(batches), verbose)
    seen = 0
    for seen, batch in enumerate(batches, 1):
        yield batch
        bar.update(seen, finalize=False)
    bar.update(seen, finalize=True)
