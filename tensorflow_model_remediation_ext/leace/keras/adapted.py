"""Whether a layer has learned what to erase: a weight that can be asked."""

import contextlib

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tensorflow_model_remediation_ext.common.layers import inferring_shapes


class Adapted(keras.Variable):
    """One once its layer has learned, zero before.

    It is a weight like the others: whatever sets, loads or clones these says
    by it whether the layer has learned.

    Args:
        adapted: Its first value.
        dtype: Its dtype.
    """

    def __init__(self, adapted: bool, dtype: str):
        self._assigned = adapted

        def initializer(shape, dtype=None):
            return ops.full(shape, float(adapted), dtype)

        super().__init__(
            initializer,
            shape=(),
            dtype=dtype,
            trainable=False,
            autocast=False,
            name="adapted",
        )

    def assign(self, value):
        """Takes a new value."""
        result = super().assign(value)
        # What is only being traced has no value yet.
        with contextlib.suppress(TypeError, NotImplementedError, RuntimeError):
            self._assigned = bool(np.all(ops.convert_to_numpy(value) > 0))
        return result

    def learned(self) -> bool:
        """Says whether the layer has learned, as far as that is known now."""
        backend = keras.backend.backend()
        # Checkpoints of TensorFlow and PyTorch go around `assign`.
        if backend == "tensorflow":
            with tf.init_scope():
                value = self.value
                if tf.executing_eagerly() and not tf.is_symbolic_tensor(value):
                    return bool(np.all(ops.convert_to_numpy(value) > 0))
        elif backend == "torch" and not _compiling():
            return bool(np.all(ops.convert_to_numpy(self.value) > 0))
        # On JAX Keras takes values away from variables while it runs a model.
        return self._assigned


def _compiling():
    import torch

    return torch.compiler.is_compiling()


def require_adapted(layer: keras.layers.Layer, adapted: Adapted) -> None:
    """Refuses to run a layer that has not learned.

    Shapes are inferred all the same: a model is built, loaded and cloned before
    its layers have their weights.

    Args:
        layer: The layer, which `adapt` would teach.
        adapted: Its weight.

    Raises:
        RuntimeError: If it has not.
    """
    if not inferring_shapes() and not adapted.learned():
        raise RuntimeError(
            f"The layer {layer.name!r} does not know yet what to erase. "
            "Call its `adapt(x, z)`, or construct it with a fitted `eraser`, "
            "before running it."
        )
