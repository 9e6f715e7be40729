"""Keras data by batches: told from single examples, and converted."""

from collections.abc import Callable
from types import GeneratorType
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.elements import as_one_argument


def convert_batches(
    data: Any, convert: Callable, parallel: bool = False
) -> Any:
    """Returns `data` with `convert` applied to every batch.

    Args:
        data: A `tf.data.Dataset`, a `PyDataset` or a generator.
        convert: Returns a new batch, or the batch itself where there is
            nothing to convert. For a dataset it is called with the element
            spec first, for a `PyDataset` with workers with the first batch.
        parallel: Whether converting takes long enough to do it for several
            batches at a time; then it may branch on tensors, too.

    Returns:
        Data of the same kind, or `None` where `data` is of another kind.
    """
    if isinstance(data, tf.data.Dataset):
        # What the conversion needs must exist before `map` traces it.
        spec = convert(data.element_spec)
        if spec is data.element_spec:
            return data
        data = as_one_argument(data)
        if parallel:
            return data.map(convert, tf.data.AUTOTUNE)
        return data.map(tf.autograph.experimental.do_not_convert(convert))
    if isinstance(data, keras.utils.PyDataset):
        if data.workers > 1 or data.use_multiprocessing:
            # As above: what a worker makes, others do not see.
            convert(data[0])
        return _ConvertedPyDataset(data, convert)
    if isinstance(data, GeneratorType):
        return (convert(batch) for batch in data)
    return None


def of_backend(batch: Any) -> Any:
    """Returns a batch that JAX takes, too: it takes no tensors of TensorFlow.

    Args:
        batch: Tensors of TensorFlow, or anything else, which stays as it is.
    """
    if keras.backend.backend() == "tensorflow":
        return batch
    return tf.nest.map_structure(
        lambda part: part.numpy() if isinstance(part, tf.Tensor) else part,
        batch,
    )


def as_dataset(
    x: Any, y: Any, sample_weight: Any, batch_size: int | None
) -> tf.data.Dataset:
    """Returns arrays as a dataset of batches, as Keras cuts them.

    Args:
        x: Arrays, or a list of strings.
        y: Arrays or `None`.
        sample_weight: An array or `None`.
        batch_size: Rows of a batch; `None` for 32.

    Raises:
        ValueError: If `x` is a single string or scalar.
    """
    check_axis(x)
    data = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
    slices = tf.data.Dataset.from_tensor_slices(data)
    return slices.batch(batch_size or 32)


def check_axis(x: Any) -> None:
    """Raises for a single string or number where a batch is wanted."""
    if isinstance(x, (str, bytes)) or getattr(x, "ndim", None) == 0:
        raise ValueError(
            "`x` must have an axis for the batch: give a list of one for a "
            f"single example. Received: {x!r}"
        )


def check_batched(batch: Any, x: Any, y: Any, model: keras.Model) -> None:
    """Raises for a single example where a batch is wanted.

    Args:
        batch: What should be a batch, or the element spec of a dataset.
        x: The part of it that is the task's input.
        y: The part of it that is the task's target; `None` without.
        model: The model that is to run on it.

    Raises:
        ValueError: If a part of a spec, or `x` or `y` of a batch, has no axis,
            so none for the batch; or if `model` takes one input, which has an
            axis more than `x`.
    """
    inputs, targets = keras.tree.flatten(x), keras.tree.flatten(y)
    # A batch may hold one weight for all its rows; a dataset does not.
    specs = [
        each
        for each in keras.tree.flatten(batch)
        if isinstance(each, tf.TypeSpec)
    ]
    single = [e for e in (*inputs, *targets, *specs) if _rank(e) == 0]
    wanted = getattr(model, "inputs", None)
    if isinstance(wanted, list) and len(wanted) == len(inputs) == 1:
        shape = wanted[0].shape
        # Keras adds a last axis of size 1.
        if _rank(inputs[0]) == len(shape) - 1 and shape[-1] != 1:
            single += inputs
    if single:
        raise ValueError(
            "Data must come in batches: use `data.batch(32)`. Received: "
            f"single examples, of which a part is {single[0]}"
        )


def _rank(each: Any) -> int | None:
    shape = getattr(each, "shape", None)
    if shape is None:
        return None
    return shape.rank if isinstance(shape, tf.TensorShape) else len(shape)


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
