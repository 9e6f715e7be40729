"""Running a model without side effects on its state."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def without_side_effects(model: keras.Model) -> Iterator[None]:
    """Leaves variables and random generators as they are found.

    Each run inside starts from the state at the beginning: two runs in two
    such contexts draw the same random numbers. That holds for what Keras
    draws: with seed generators, of layers or global, and on PyTorch, where
    dropout without a seed draws from PyTorch's generators, for those of the
    processor and of the current CUDA device. It does not hold for what a layer
    draws past Keras, as by `tf.random` or NumPy, nor for state that it keeps
    past Keras' variables.

    Args:
        model: The model that is run.
    """
    # On JAX the values in force are those of the scope around this one;
    # elsewhere variables are read where they are, which costs nothing.
    on_jax = keras.backend.backend() == "jax"
    variables = model.variables if on_jax else []
    with (
        _generators_restored(),
        keras.StatelessScope([(v, v.value) for v in variables]),
    ):
        yield


def _generators_restored() -> contextlib.AbstractContextManager:
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    cuda = torch.cuda.is_available()
    devices = [torch.cuda.current_device()] if cuda else []
    return torch.random.fork_rng(devices=devices)
