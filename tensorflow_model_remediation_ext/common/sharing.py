"""Sharing batches among the processes of `keras.distribution`.

Keras cuts each batch of a dataset into one piece for each process, and asks
that all parts of it have as many rows. Rows of penalties may be fewer than
those of the task, or more. So each part is shared by its own rows here, and
Keras takes what comes as it is.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import NamedTuple

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.data_errors import require
from tensorflow_model_remediation_ext.common.elements import as_one_argument
from tensorflow_model_remediation_ext.common.remediation_inputs import (
    RemediationInputs,
)
from tensorflow_model_remediation_ext.common.rows import keep_rows, row_count


class _Share(NamedTuple):
    """The rows of each part of a batch that a process feeds.

    Attributes:
        first: The first of `whole` equal pieces.
        last: The one after the last.
        whole: The number of pieces.
        multiple: Numbers of rows must be multiples of it.
    """

    first: int
    last: int
    whole: int
    multiple: int


def own_rows(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the rows of batches that Keras would give this process.

    Rows of penalties that cannot be shared evenly are left out: there may be
    one fewer than there are devices.

    Args:
        dataset: Keras' batches, the same in each process. Those of the task
            must share evenly.
    """
    share = _share()
    if share is None:
        return dataset
    return as_one_argument(dataset).map(
        tf.autograph.experimental.do_not_convert(
            lambda batch: _rows_of_batch(batch, share)
        )
    )


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


def _share():
    """Returns the share of this process, or `None` for all of any batch."""
    distribution = _distribution()
    if distribution is None:
        return None
    import jax

    mesh = distribution.device_mesh
    devices = mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
    # What Keras does with a batch of numbers, it would do with any. Of its
    # class, since `nothing_more_to_share` replaces the method.
    whole = devices * jax.process_count()
    numbers = tf.data.Dataset.range(whole).batch(whole)
    share = type(distribution).distribute_dataset(distribution, numbers)
    mine = next(iter(share)).numpy()
    if len(mine) == whole and not getattr(
        distribution, "auto_shard_dataset", True
    ):
        # Each process brings rows of its own.
        devices = max(1, devices // jax.process_count())
    if devices == 1:
        return None
    return _Share(int(mine[0]), int(mine[-1]) + 1, whole, devices)


def _rows_of_batch(batch, share):
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    packed = isinstance(x, RemediationInputs)
    of_task = (x.x if packed else x), y, sample_weight
    rows = row_count(of_task)
    sentence = (
        "Each batch must have a multiple of as many rows as there are "
        f"devices, {share.multiple}. Received: a batch with rows of the task:"
    )
    with require(rows % share.multiple == 0, sentence, rows):
        own_x, y, sample_weight = _own(of_task, rows, share)
    if packed:
        own_x = RemediationInputs(
            own_x,
            {
                objective: _own_penalty_rows(inputs, objective, share)
                for objective, inputs in x.penalty_inputs.items()
            },
        )
    return keras.utils.pack_x_y_sample_weight(own_x, y, sample_weight)


def _own_penalty_rows(inputs, objective, share):
    rows = row_count(inputs)
    kept = rows - rows % share.multiple
    name = f" of {objective!r}" if objective else ""
    sentence = (
        f"Each batch must have a row of the penalty{name} for each device, "
        f"{share.multiple} or more: pack more with it. Received: a batch with "
        "rows of the penalty:"
    )
    with require(kept > 0, sentence, rows):
        return _own(inputs, kept, share)


def _own(part, rows, share):
    """Returns the share of the first `rows` rows of a part of a batch."""
    number = tf.range(row_count(part))
    first, last = (
        rows * piece // share.whole for piece in (share.first, share.last)
    )
    mine = tf.identity((number >= first) & (number < last))
    return keep_rows(part, mine)
