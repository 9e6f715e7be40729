"""Keras' progress bar around a loop over batches."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


def with_progress(batches: Any, verbose: int | str = "auto") -> Iterator[Any]:
    """Yields batches while Keras' progress bar counts them.

    Args:
        batches: A `tf.data.Dataset` or an iterable of batches.
        verbose: `0` for silence, otherwise as in `keras.Model.fit`.

    Yields:
        The batches.
    """
    target = None
    if isinstance(batches, tf.data.Dataset):
        cardinality = int(batches.cardinality())
        target = cardinality if cardinality >= 0 else None
    elif hasattr(batches, "__len__"):
        target = len(batches)
    verbose = 1 if verbose == "auto" else int(verbose)
    progress = keras.utils.Progbar(target, verbose=verbose, unit_name="batch")
    seen = 0
    for seen, batch in enumerate(batches, 1):
        yield batch
        progress.update(seen, finalize=False)
    progress.update(seen, finalize=True)
