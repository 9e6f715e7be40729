"""Keras masks, read by the protocol that Keras promises.

A layer whose `call` has an argument `<input>_mask` is given the mask of that
input, on every backend. Where masks are kept is Keras' own affair: an attribute
of the tensor, or a side table where tensors refuse attributes.
"""

from typing import Any

import keras


class _Masks(keras.layers.Layer):
    """Returns the mask that Keras has for its input, in a list.

    Keras hands a mask over as `<argument>_mask` only where a layer has two
    inputs or more.
    """

    def call(self, inputs, again, inputs_mask=None):
        return [] if inputs_mask is None else [inputs_mask]

    def compute_mask(self, inputs, previous_mask):
        return None


_MASKS = _Masks(autocast=False, dtype="float32", name="masks")


def mask_of(tensor: Any) -> Any:
    """Returns the Keras mask of a tensor, or `None` if it has none.

    Args:
        tensor: A tensor of any backend. Whatever else, such as an array, has
            no mask.
    """
    if not keras.ops.is_tensor(tensor):
        return None
    found = _MASKS(tensor, tensor)
    return found[0] if found else None


def padding_mask(inputs: Any) -> Any:
    """Returns which tokens are not padding, as KerasHub says it, or `None`.

    Its models have no Keras masks, but an input of this name.

    Args:
        inputs: What a model takes.
    """
    return inputs.get("padding_mask") if isinstance(inputs, dict) else None
