"""The base of fitters: streaming, merging, state and a cached eraser."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.progress import with_progress
from tensorflow_model_remediation_ext.leace.arrays import numbers, tensor
from tensorflow_model_remediation_ext.leace.moments import Moments

# An update costs as much for a few rows as for hundreds. With more numbers than
# these it gains nothing, and with more rows float32 loses precision.
_ROWS, _NUMBERS = 4096, 2**22

FitterT = TypeVar("FitterT", bound="Fitter")
T = TypeVar("T")


class Fitter(tf.Module):
    """Streams the statistics that an eraser is computed from.

    A subclass says what its statistics are, has an `update`, and an `eraser`
    that it gets from `cached`.

    Args:
        moments: The statistics, for each class where there are several.
        sizes: What another fitter must agree in to be merged, by name.
        name: Name of the module.
    """

    update: Callable[..., Any]

    def __init__(
        self,
        moments: Moments | list[Moments],
        sizes: dict[str, Any],
        name: str | None = None,
    ):
        super().__init__(name=name)
        # Checkpoints of version 0.1.0 know them by this name.
        self._moments: Any = moments
        self._own = _Own(sizes)

    def fit_dataset(
        self: FitterT, dataset: Any, verbose: int | str = "auto"
    ) -> FitterT:
        """Updates with every batch of a dataset.

        Args:
            dataset: A `tf.data.Dataset`, a `keras.utils.PyDataset` or another
                iterable of batches `(x, z)` or `(x, z, sample_weight)`. A
                `LeaceFitter` with `preserve_dim` takes a tuple `(z, preserve)`
                as `z`.
            verbose: `0` for silence, otherwise as in `keras.Model.fit`.

        Returns:
            The fitter itself.

        Raises:
            TypeError: If `dataset` is of another type.
            ValueError: As from `update`; the batches before have been added.
        """
        update_all(self.update, batches(dataset, verbose))
        return self

    def merge(self: FitterT, other: FitterT) -> FitterT:
        """Adds what `other` has seen; the options stay those of this fitter.

        Merging is associative: replicas, shards and processes may each have
        their own fitter.

        Args:
            other: A fitter of the same class and sizes.

        Returns:
            The fitter itself.

        Raises:
            TypeError: If `other` is of another class.
            ValueError: If it differs in sizes, or sums of both overflow.
                Nothing is changed then.
        """
        if not isinstance(other, Fitter) or not (
            isinstance(other, type(self)) or isinstance(self, type(other))
        ):
            kind = type(self).__name__
            article = "an" if kind[0] in "AEIOU" else "a"
            raise TypeError(
                f"`other` must be {article} {kind}. Received: other={other!r}"
            )
        mine, theirs = self._own.sizes, other._own.sizes
        if mine != theirs:
            *first, last = mine
            raise ValueError(
                f"`other` must have the same {', '.join(first)} and {last}, "
                f"{tuple(mine.values())}. Received: {tuple(theirs.values())}"
            )
        pairs = list(zip(self._parts, other._parts, strict=True))
        shifted = [mine.shifted(theirs) for mine, theirs in pairs]
        for (mine, _), more in zip(pairs, shifted, strict=True):
            mine.add_shifted(more)  # None of them failed.
        return self

    def get_state(self) -> list[np.ndarray]:
        """Returns the statistics as arrays, to send to another process."""
        return [array for part in self._parts for array in part.get_state()]

    def set_state(self, state: list[np.ndarray]) -> None:
        """Replaces the statistics by those of a fitter of the same sizes.

        Args:
            state: What `get_state` returned.

        Raises:
            TypeError: If it is not a list of arrays.
            ValueError: If it is not of such a fitter, or holds numbers that
                are not finite in the `dtype` of this one. Nothing is changed
                then.
        """
        if not isinstance(state, Iterable):
            raise TypeError(
                "`state` must be a list of arrays, as `get_state` returns. "
                f"Received: state={state!r}"
            )
        arrays = [np.asarray(numbers("state", array)) for array in state]
        received = [array.shape for array in arrays]
        variables = [each for part in self._parts for each in part.variables]
        wanted = [tuple(variable.shape) for variable in variables]
        if received != wanted:
            raise ValueError(
                "`state` must be that of a fitter of the same sizes, arrays of "
                f"shapes {wanted}. Received: state with shapes {received}"
            )
        for array, variable in zip(arrays, variables, strict=True):
            if not (np.abs(array) <= variable.dtype.max).all():
                raise ValueError(
                    "`state` must hold numbers that are finite in "
                    f"{variable.dtype.name}. Received: {variable.name} with "
                    "NaN, infinity or larger ones"
                )
        for part in self._parts:
            count = len(part.state_shapes)
            part.set_state(arrays[:count])
            arrays = arrays[count:]

    def cached(self, compute: Callable[[], T]) -> T:
        """Returns what was computed from the statistics as they are now.

        Their values decide, not the calls of `update`: those traced into a
        graph, and restored checkpoints, run no Python of ours.

        Args:
            compute: Computes it where the statistics have changed.
        """
        key = [part.fingerprint() for part in self._parts]
        if key != self._own.key:
            self._own.value, self._own.key = compute(), key
        return self._own.value

    @property
    def _parts(self) -> list[Moments]:
        one = isinstance(self._moments, Moments)
        return [self._moments] if one else self._moments


class _Own:
    """What TensorFlow must not track: a checkpoint holds statistics only."""

    def __init__(self, sizes):
        self.sizes, self.key, self.value = sizes, None, None


def enough_samples(n: Any) -> Any:
    """Returns whether a covariance can be computed from a total weight.

    There must be more than one sample, counted by weights. Rounding does not
    make a total of one, as of normalized weights, more than one.
    """
    return n > 1.001


def degrees_of_freedom(n: float) -> float:
    """Returns the divisor of a covariance: the number of samples less one.

    Raises:
        ValueError: If there are not enough samples.
    """
    if not enough_samples(n):
        raise ValueError(
            "At least two samples, counted by their weights, are needed. "
            "Weights count rows: multiply weights that were normalized to sum "
            f"to one by the number of rows. Received: n={n:g}"
        )
    return n - 1


def batches(data: Any, verbose: Any, name: str = "dataset") -> Iterator[tuple]:
    """Yields `(x, z, sample_weight or None)` tensors, with a progress bar.

    Args:
        data: A `tf.data.Dataset`, a `keras.utils.PyDataset` or an iterable of
            batches `(x, z)` or `(x, z, sample_weight)`. `z` may be a tuple.
        verbose: `0` for silence, otherwise as in `keras.Model.fit`.
        name: What to call `data` in an error.

    Yields:
        The batches.

    Raises:
        TypeError: If `data` is of another type.
        ValueError: If it never ends, is empty, or a batch is not such a tuple.
    """
    empty = True
    for batch in with_progress(data, verbose, name):
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise ValueError(
                f"`{name}` must yield (x, z) or (x, z, sample_weight). "
                f"Received: {type(batch).__name__}"
            )
        empty = False
        x, z, weight = (*batch, None)[:3]
        z = tuple(map(tensor, z)) if isinstance(z, tuple) else tensor(z)
        x = keras.tree.map_structure(tensor, x)
        yield x, z, None if weight is None else tensor(weight)
    if empty:
        raise ValueError(f"`{name}` is empty.")


def update_all(update: Callable[..., Any], data: Iterable[tuple]) -> None:
    """Updates with all batches, with the rows of several small ones at once.

    Args:
        update: Takes `x`, `z` and `sample_weight`, and adds all rows or none.
        data: As `batches` yields them.

    Raises:
        ValueError: As from `update`; the batches before have been added.
    """
    for alike in together(data):
        if len(alike) > 1:
            x, z, weight = concatenated(alike)
            try:
                update(x, z, sample_weight=weight)
                continue
            except ValueError:
                pass  # One of them is at fault: those before it are added.
        for x, z, weight in alike:
            update(x, z, sample_weight=weight)


def concatenated(alike: list[tuple]) -> tuple:
    """Returns the rows of batches that `together` yielded as one batch."""

    def concatenate(*values):
        return None if values[0] is None else tf.concat(values, 0)

    if len(alike) == 1:
        return alike[0]
    return tf.nest.map_structure(concatenate, *alike)


def together(data: Iterable[tuple]) -> Iterator[list[tuple]]:
    """Yields lists of batches, one after another, that can be concatenated.

    Args:
        data: As `batches` yields them.

    Yields:
        Batches of few rows together, others alone.
    """
    held: list[tuple] = []
    kind, rows, numbers = None, 0, 0
    try:
        for batch in data:
            last, (kind, more, size) = kind, _measured(batch)
            rows, numbers = rows + more, numbers + size
            full = rows > _ROWS or numbers > _NUMBERS
            if held and (full or kind != last):
                yield held
                held, rows, numbers = [], more, size
            held.append(batch)
    except Exception:
        if held:
            yield held  # They came before what failed.
        raise
    if held:
        yield held


def _measured(batch):
    """Returns what batches must share, and the rows and the size of `x`."""
    leaves = [value for value in tf.nest.flatten(batch) if value is not None]
    dense = all(isinstance(value, tf.Tensor) for value in leaves)
    # Rows that one batch lacks must not be those of another.
    if not dense or len({tuple(value.shape[:1]) for value in leaves}) > 1:
        return object(), 0, 0
    kind = tf.nest.map_structure(
        lambda value: value is None or (value.dtype, value.shape[1:]), batch
    )
    shape = leaves[0].shape
    return kind, shape[:-1].num_elements(), shape.num_elements()
