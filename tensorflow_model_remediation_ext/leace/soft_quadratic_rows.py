"""The rows that a `SoftQuadraticEraser` is fitted to, read many times."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.progress import progress_bar
from tensorflow_model_remediation_ext.leace import (
    arrays,
    fitting,
    labels,
    logistic,
)

# How often the data are read: for means and covariances, for each step of the
# regression, for the statistics of the classes, and for the last LEACE.
PASSES = logistic.STEPS + 3


def require_rereadable(name: str, data: Any) -> None:
    """Refuses what can be read only once.

    Raises:
        TypeError: If it is an iterator.
    """
    if isinstance(data, Iterator):
        raise TypeError(
            f"`{name}` is read several times, {PASSES} in all: give a "
            "tf.data.Dataset or another iterable that can be read again. "
            f"Received: {name} of type {type(data).__name__}"
        )


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a fit is of.

    Args:
        x_dim: Number of features.
        num_classes: Number of classes.
        preserve_dim: Columns or classes of the task to preserve.
    """

    x_dim: int
    num_classes: int
    preserve_dim: int


class Rows(NamedTuple):
    """A batch as arrays: `[n, d]`, `[n]` ids, `[n, m]` or `None`, `[n]`."""

    x: np.ndarray
    z: np.ndarray
    preserve: np.ndarray | None
    weight: np.ndarray


class Passes:
    """Reads a dataset again and again, and sees that it stays the same.

    Args:
        dataset: Batches of `(x, z)` or `(x, z, sample_weight)`.
        sizes: What to expect in them.
        verbose: As in `keras.Model.fit`.
    """

    def __init__(self, dataset: Iterable[Any], sizes: Sizes, verbose: Any):
        self._dataset, self._sizes = dataset, sizes
        self._bar = progress_bar(PASSES, verbose, "pass")
        self._first: tuple | None = None

    def read(self) -> Iterator[tuple[Rows, np.ndarray]]:
        """Yields the batches of a pass, and the folds of their rows.

        Raises:
            ValueError: If a batch is not as it should be, or at the end if the
                rows were not those of the first pass.
        """
        total, count = 0, 0
        for alike in fitting.together(fitting.batches(self._dataset, 0)):
            rows = self._rows(*fitting.concatenated(alike))
            hashed = logistic.hashes(rows.x)
            mark = _fingerprint(hashed, rows)
            total, count = (total + mark) % 2**64, count + len(hashed)
            yield rows, logistic.folds(hashed)
        if self._first is None:
            self._first = total, count
        elif self._first != (total, count):
            raise ValueError(
                f"`dataset` must yield the same rows each of {PASSES} times "
                "that it is read, in any order, each with the same labels and "
                "weight: no random changes to them, nothing zipped after "
                "shuffling, and no remainder dropped after it. Received: "
                f"{self._first[1]} rows at first, then {count}, or other ones"
            )
        self._bar.add(1)

    def _rows(self, x, z, weight) -> Rows:
        sizes, preserve = self._sizes, None
        if sizes.preserve_dim:
            if not isinstance(z, tuple) or len(z) != 2:
                raise ValueError(
                    "`dataset` must yield (x, (z, preserve)) where "
                    "preserve_dim is positive."
                )
            z, preserve = z
        elif isinstance(z, tuple):
            raise ValueError(
                "`z` must be an array, or preserve_dim positive. Received: "
                "z of type tuple"
            )
        x = arrays.features(x, sizes.x_dim, least_rank=2)
        leading = x.shape[:-1]
        if weight is not None:
            weight = labels.weights(weight, leading, tf.float64)
        k = sizes.num_classes
        ids = labels.blanked(labels.class_ids("z", z, leading, k)[0], weight)
        with arrays.require(labels.in_range("z", ids, k)):
            ids = ids.numpy()
        if preserve is not None:
            m = sizes.preserve_dim
            preserve = labels.columns_or_ids(
                "preserve", preserve, m, leading, tf.float64
            )
            preserve = labels.blanked(preserve, weight)
            if preserve.dtype == tf.int64:
                with arrays.require(labels.in_range("preserve", preserve, m)):
                    preserve = tf.one_hot(preserve, m, dtype=tf.float64)
            preserve = preserve.numpy()
        # In float32 the sums of a pass, and so the steps of the regression,
        # would depend on how rows are batched.
        x = tf.reshape(tf.cast(x, tf.float64), [-1, sizes.x_dim])
        weight = np.ones(len(ids)) if weight is None else weight.numpy()
        # A row of weight zero is left out, whatever it holds.
        kept = weight != 0
        if preserve is not None:
            preserve = preserve[kept]
        return Rows(x.numpy()[kept], ids[kept], preserve, weight[kept])


def _fingerprint(hashed, rows):
    """Of rows with what belongs to them; sums do not depend on their order."""
    others = [rows.z, rows.weight]
    if rows.preserve is not None:
        others.extend(rows.preserve.T)
    # Of which row they are is in it: those of two rows may not be swapped.
    marks = logistic.hashes(np.column_stack([hashed.astype(float), *others]))
    return int(marks.sum(dtype=np.uint64))
