"""Tensors of PyTorch, which none of this needs, as arrays."""

from typing import Any


def is_torch(value: Any) -> bool:
    """Says whether a value is a tensor of PyTorch, without importing it."""
    return any(kind.__module__ == "torch" for kind in type(value).__mro__)


def without_torch(value: Any) -> Any:
    """Returns an array of a tensor of PyTorch, and anything else as it is.

    A tensor may want gradients, be on any device, and be bfloat16, which
    becomes float32.
    """
    if not is_torch(value):
        return value
    value = value.detach().cpu()
    if str(value.dtype) == "torch.bfloat16":
        value = value.float()  # Exact; NumPy has no such dtype.
    return value.numpy()
