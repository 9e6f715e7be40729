"""Sharing batches among devices, and among processes of `keras.distribution`.

Keras cuts each batch into one piece for each device or process, and asks that
all parts of it have as many rows, or at least that they share evenly. Rows of
penalties may be fewer than those of the task, or more. So each part is cut by
its own rows here, and Keras takes what comes as it is.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.data_errors import require
from tensorflow_model_remediation_ext.common.elements import as_one_argument
from tensorflow_model_remediation_ext.common.remediation_inputs import (
    RemediationInputs,
)
from tensorflow_model_remediation_ext.common.rows import row_count


class _Share(NamedTuple):
    """The rows of each part of a batch that a process feeds.

    Attributes:
        first: The first of `whole` equal pieces.
        last: The one after the last.
        whole: The number of pieces.
        devices: The number of devices that share these rows.
    """

    first: int
    last: int
    whole: int
    devices: int


def own_rows(
    dataset: tf.data.Dataset,
    replicas: int = 1,
    spread: Callable | None = None,
) -> tf.data.Dataset:
    """Returns the rows of batches that Keras would give this process.

    Rows of penalties share evenly: what is more than a multiple of the number
    of devices is left out, and fewer rows than devices are repeated, once for
    each device. `shares` tells by how much these count.

    Args:
        dataset: Keras' batches, the same in each process. With a
            `keras.distribution` the rows of the task must share evenly.
        replicas: The number of devices where a `tf.distribute.Strategy` shares
            the batches.
        spread: See `PackedDataModel.spread_rows`; by default rows stay in
            their order.
    """
    share = _Share(0, 1, 1, replicas)
    if keras.backend.backend() == "jax":
        share = _share_of_process(_distribution())
    if share.devices == 1:
        return dataset
    return as_one_argument(dataset).map(
        tf.autograph.experimental.do_not_convert(
            lambda batch: _rows_of_batch(batch, share, spread)
        )
    )


def sharing_devices(replicas: int = 1) -> int:
    """Returns how many devices share a batch that this process brings.

    Keras' batches that do not come from a dataset are each process' own.

    Args:
        replicas: The number of devices of a `tf.distribute.Strategy`.
    """
    distribution = _distribution()
    if distribution is None:
        return replicas
    import jax

    return max(1, _batch_devices(distribution) // jax.process_count())


def even_rows(batch: Any, devices: int, spread: Callable | None = None) -> Any:
    """Returns a batch with as many rows of penalties for each device.

    As `own_rows`, for a batch that does not come from a dataset.

    Args:
        batch: A batch of Keras, of arrays or tensors.
        devices: The number of devices that share it.
        spread: As in `own_rows`.
    """
    if devices == 1:
        return batch
    return _rows_of_batch(batch, _Share(0, 1, 1, devices), spread)


@contextlib.contextmanager
def nothing_more_to_share() -> Iterator[None]:
    """Lets Keras take datasets as they are for a while."""
    distribution = _distribution()
    if distribution is None:
        yield
        return
    ours = copy.copy(distribution)
    ours.distribute_dataset = lambda dataset: dataset
    with ours.scope():
        yield


def _distribution():
    """Returns the distribution that is set, where Keras heeds it."""
    if keras.backend.backend() != "jax":
        return None
    return keras.distribution.distribution()


def _share_of_process(distribution):
    if distribution is None:
        return _Share(0, 1, 1, 1)
    import jax

    devices = _batch_devices(distribution)
    # What Keras does with a batch of numbers, it would do with any. Of its
    # class, since `nothing_more_to_share` replaces the method.
    whole = devices * jax.process_count()
    numbers = tf.data.Dataset.range(whole).batch(whole)
    mine = type(distribution).distribute_dataset(distribution, numbers)
    mine = next(iter(mine)).numpy()
    if not getattr(distribution, "auto_shard_dataset", True):
        # Each process brings rows of its own.
        devices = max(1, devices // jax.process_count())
    return _Share(int(mine[0]), int(mine[-1]) + 1, whole, devices)


def _batch_devices(distribution):
    mesh = distribution.device_mesh
    return mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]


def _rows_of_batch(batch, share, spread):
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    packed = isinstance(x, RemediationInputs)
    of_task = (x.x if packed else x), y, sample_weight
    if keras.backend.backend() == "jax":
        of_task = _own_task_rows(of_task, share)
    own_x, y, sample_weight = of_task
    if packed:
        penalty_inputs, shares = {}, {}
        for objective, inputs in x.penalty_inputs.items():
            inputs = _tensors(inputs)
            if spread is not None:
                inputs = spread(objective, inputs, _are_parted(inputs, share))
            penalty_inputs[objective], shares[objective] = _own_penalty_rows(
                inputs, share
            )
        own_x = RemediationInputs(own_x, penalty_inputs, shares)
    return keras.utils.pack_x_y_sample_weight(own_x, y, sample_weight)


def _own_task_rows(of_task, share):
    of_task = _tensors(of_task)
    rows = row_count(of_task)
    sentence = (
        "The rows of each batch must be a multiple of the number of devices, "
        f"{share.devices}. Received: a batch of the task with rows:"
    )
    with require(rows % share.devices == 0, sentence, rows):
        return _own(of_task, rows, share)


def _are_parted(inputs, share):
    """Returns whether a penalty is not computed on all rows together.

    Replicas compute it each on their rows. A distribution computes it on all
    but those that do not share evenly.
    """
    if keras.backend.backend() == "tensorflow":
        return tf.constant(True)
    return row_count(inputs) % share.devices != 0


def _own_penalty_rows(inputs, share):
    """Returns rows of a penalty, and how much each counts in figures."""
    rows, devices = row_count(inputs), share.devices
    copies = tf.where(rows < devices, tf.cast(devices, tf.int64), 1)
    counts = tf.fill([rows], 1 / tf.cast(copies, tf.float32))
    return _own(
        (inputs, counts),
        tf.where(copies > 1, rows * copies, rows - rows % devices),
        share,
    )


def _tensors(structure):
    return tf.nest.map_structure(
        lambda part: (
            part
            if part is None or tf.is_tensor(part)
            else tf.convert_to_tensor(part)
        ),
        structure,
    )


def _own(part, rows, share):
    """Returns the share of a part of a batch that is to have `rows` rows."""
    first, last = (
        rows * piece // share.whole for piece in (share.first, share.last)
    )
    index = tf.range(first, last) % row_count(part)
    return tf.nest.map_structure(
        lambda tensor: _gather(tensor, index, share.devices), part
    )


def _gather(tensor: Any, index: tf.Tensor, most: int) -> Any:
    """Returns rows one after the other, from the first again after the last.

    Args:
        tensor: Dense, ragged or sparse, or `None`.
        index: `[rows]`.
        most: How often the same row may be among them.
    """
    if tensor is None:
        return None
    if not isinstance(tensor, tf.SparseTensor):
        return tf.gather(tensor, index)
    repeated = tf.sparse.concat(0, [tensor] * most)
    start = tf.concat([index[:1], tf.zeros_like(tensor.dense_shape[1:])], 0)
    size = tf.concat([tf.shape(index, tf.int64), tensor.dense_shape[1:]], 0)
    return tf.sparse.slice(repeated, start, size)
