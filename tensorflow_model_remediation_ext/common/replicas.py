"""What replicas of a strategy share, in the middle of a training step."""

from typing import Any

import keras
import tensorflow as tf


def in_sync() -> int:
    """Returns the number of replicas that train together, 1 without any."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def total(value: Any) -> Any:
    """Returns the sum of a tensor over all replicas.

    On JAX and PyTorch, and without a strategy, that is the tensor itself.
    """
    if in_sync() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM, value
    )
