"""Keras data with every batch converted."""

from collections.abc import Callable
from types import GeneratorType
from typing import Any

import keras
import tensorflow as tf


def convert_batches(data: Any, convert: Callable) -> Any:
    """Returns `data` with `convert` applied to every batch.

    Args:
        data: A `tf.data.Dataset`, a `PyDataset` or a generator.
        convert: Returns a new batch, or the batch itself where there is
            nothing to convert. For a dataset it is called with the element
            spec first.

    Returns:
        Data of the same kind, or `None` where `data` is of another kind.
    """
    if isinstance(data, tf.data.Dataset):
        # What the conversion needs must exist before `map` traces it.
        spec = convert(data.element_spec)
        if spec is data.element_spec:
            return data
        if type(data.element_spec) is tuple:
            # `map` passes its parts one by one.
            return data.map(lambda *batch: convert(batch))
        return data.map(convert)
    if isinstance(data, keras.utils.PyDataset):
        return _ConvertedPyDataset(data, convert)
    if isinstance(data, GeneratorType):
        return (convert(batch) for batch in data)
    return None


class _ConvertedPyDataset(keras.utils.PyDataset):
    """Another `PyDataset` with every batch converted."""

    def __init__(self, dataset: keras.utils.PyDataset, convert: Callable):
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self._dataset = dataset
        self._convert = convert

    def __getitem__(self, index: int) -> Any:
        return self._convert(self._dataset[index])

    @property
    def num_batches(self) -> int | None:
        return self._dataset.num_batches

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()
