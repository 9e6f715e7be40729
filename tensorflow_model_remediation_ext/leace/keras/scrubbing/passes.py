"""Passes over a dataset, stage by stage of a model, with a cache on disk."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batches import check_batched
from tensorflow_model_remediation_ext.common.masks import padding_mask
from tensorflow_model_remediation_ext.common.progress import (
    num_batches,
    progress_bar,
)
from tensorflow_model_remediation_ext.leace import arrays, fitting
from tensorflow_model_remediation_ext.leace.keras.scrubbing.stages import (
    Run,
    Stage,
)


class Batch(NamedTuple):
    """One batch, flattened.

    Attributes:
        state: The inputs of the model, or what it goes on from.
        labels: The concept, and task labels if there are any.
        weight: The sample weight as a list of one, or empty.
        padding: Which tokens are not padding, likewise.
    """

    state: list[tf.Tensor]
    labels: list[tf.Tensor]
    weight: list[tf.Tensor]
    padding: list[tf.Tensor]


class Data:
    """A finite dataset that can be read again and again.

    Args:
        dataset: See `scrub`.
        model: What is to run on it.
        num_labels: Number of labels in `z`; if above one, it is a tuple.

    Attributes:
        specs: `tf.TensorSpec`s of the model's argument, nested as it is.
        cardinality: Number of batches, or `None` if unknown.

    Raises:
        TypeError: If the dataset is of another type.
        ValueError: If it is infinite, empty, not in batches, or holds other
            than dense tensors.
    """

    def __init__(self, dataset: Any, model: keras.Model, num_labels: int):
        if isinstance(dataset, Iterator):
            raise TypeError(
                "`dataset` must be a collection of batches that can be read "
                f"again. Received: the iterator {dataset!r}"
            )
        self._dataset, self._num_labels = dataset, num_labels
        x, z, weight = batch = next(fitting.batches(dataset, verbose=0))
        check_batched(batch, x, z, model)
        self._unweighted = weight is None
        self.cardinality = num_batches(dataset)
        if isinstance(dataset, tf.data.Dataset):
            self.specs = dataset.element_spec[0]
        else:
            self.specs = batch_specs(x)
        self._flat_specs = keras.tree.flatten(self.specs)
        if not all(isinstance(s, tf.TensorSpec) for s in self._flat_specs):
            raise ValueError(
                "`x` must be made of dense tensors. Received: "
                f"{self._flat_specs}"
            )

    def __iter__(self) -> Iterator[Batch]:
        """The batches as dense tensors."""
        for x, z, weight in fitting.batches(self._dataset, verbose=0):
            state = keras.tree.flatten(x)
            labels = list(z) if isinstance(z, tuple) else [z]
            if len(labels) != self._num_labels:
                raise ValueError(
                    "`z` must be a tuple (z, preserve) with preserve_dim. "
                    f"Received: {len(labels)} parts"
                )
            if len(state) != len(self._flat_specs) or not all(
                spec.is_compatible_with(value)
                for spec, value in zip(self._flat_specs, state, strict=True)
            ):
                raise ValueError(
                    "`x` must be of the same structure, dtypes and shapes in "
                    "every batch except for the first axis, or come in a "
                    f"tf.data.Dataset. Received: {state} after {self.specs}"
                )
            if (weight is None) != self._unweighted:
                raise ValueError(
                    "Either all batches of `dataset` have weights, or none."
                )
            padding = padding_mask(x)
            parts = ([] if v is None else [v] for v in (weight, padding))
            yield Batch(state, labels, *parts)


def batch_specs(x: Any) -> Any:
    """The `tf.TensorSpec`s of batches like `x`, of any number of examples."""

    def spec(value):
        value = arrays.tensor(value)
        return tf.TensorSpec([None, *value.shape[1:]], value.dtype)

    return keras.tree.map_structure(spec, x)


class Spool:
    """Holds batches in a file, to be read back in order, once or often.

    Args:
        directory: Where to make the file.
        limit: Its largest size in bytes.
    """

    def __init__(self, directory: Path, limit: float):
        handle, self._path = tempfile.mkstemp(dir=directory)
        os.close(handle)
        self._writer = tf.io.TFRecordWriter(self._path)
        self._room = limit
        # The dtypes of each batch's parts: labels may come in several.
        self._dtypes: list[list[list[tf.DType]]] = []

    def write(self, batch: Batch) -> bool:
        """Adds a batch, and says whether there was room for it."""
        tensors = [tensor for part in batch for tensor in part]
        records = [tf.io.serialize_tensor(t).numpy() for t in tensors]
        self._room -= sum(map(len, records))
        if self._room >= 0:
            self._dtypes.append([[t.dtype for t in part] for part in batch])
            for record in records:
                self._writer.write(record)
        return self._room >= 0

    def __iter__(self) -> Iterator[Batch]:
        """The batches that were written, after which no more can be."""
        self._writer.close()
        # Taking them out of a batch of records would copy each once more.
        records = iter(tf.data.TFRecordDataset(self._path))
        for parts in self._dtypes:
            yield Batch(
                *(
                    [tf.io.parse_tensor(next(records), dtype) for dtype in part]
                    for part in parts
                )
            )

    def delete(self) -> None:
        """Deletes the file."""
        self._writer.close()
        os.remove(self._path)


class Passes:
    """Runs stages one after the other over all of the data.

    The tensors that the next stage needs are kept in a file, and with them the
    labels. Where that file would grow beyond the limit, this stage and all
    that follow start from the inputs, and nothing is kept any more.

    Args:
        data: The batches.
        cache_bytes: The limit for one file; there may be two at a time.
    """

    def __init__(self, data: Data, cache_bytes: float):
        self._directory = tempfile.TemporaryDirectory()
        self._source: Data | Spool = data
        self._data, self._limit = data, cache_bytes
        self._started = False

    def close(self) -> None:
        """Deletes the files."""
        self._directory.cleanup()

    def spool(self, limit: float) -> Spool:
        """Returns a file for batches, deleted at the latest by `close`."""
        return Spool(Path(self._directory.name), limit)

    def over(
        self, stage: Stage
    ) -> Iterator[tuple[dict[str, list[Run]], list[tf.Tensor], Any, Any]]:
        """Runs a stage on every batch.

        Args:
            stage: The one after that of the call before.

        Yields:
            The runs of each layer by path, the labels, and the sample weight
            and the padding mask, each or `None`.
        """
        source = self._source
        can_resume = isinstance(source, Spool) or not self._started
        self._started = True
        spool = None
        if can_resume and stage.leaves_state and self._limit:
            spool = self.spool(self._limit)
        run = stage.resume() if can_resume else _from_inputs(stage)
        for batch in source:
            runs, state = run(batch.state)
            weight, padding = (part or [None] for part in batch[2:])
            yield runs, batch.labels, *weight, *padding
            if spool and not spool.write(batch._replace(state=state)):
                spool.delete()
                spool = None
        if isinstance(source, Spool):
            source.delete()
        self._source = spool or self._data


def _from_inputs(
    stage: Stage,
) -> Callable[[list], tuple[dict[str, list[Run]], list]]:
    """Returns a function as `resume` does, for a stage that leaves nothing."""
    restarted = stage.restart()
    return lambda inputs: (restarted(inputs), [])


class Progress:
    """Keras' bar over all batches of all stages, which tells layers done.

    Args:
        stages: The stages.
        batches: Of one pass, or `None` as long as that is unknown.
        verbose: See `progress_bar`.
    """

    def __init__(
        self, stages: list[Stage], batches: int | None, verbose: int | str
    ):
        self._stages, self._batches = stages, batches
        self._layers = sum(len(stage.paths) for stage in stages)
        self._seen = self._done = 0
        self._bar = progress_bar(None, verbose)
        self._show()

    def _show(self):
        if self._batches is not None:
            self._bar.target = self._batches * len(self._stages)
        self._bar.unit_name = f"batch, {self._done}/{self._layers} layers done"

    def batch_done(self) -> None:
        """Counts a batch."""
        self._seen += 1
        self._bar.update(self._seen, finalize=False)

    def stage_done(self, stage: Stage) -> None:
        """Counts the layers of a stage."""
        self._done += len(stage.paths)
        if self._batches is None:
            self._batches = self._seen
        self._show()
        self._bar.update(self._seen, finalize=self._done == self._layers)
