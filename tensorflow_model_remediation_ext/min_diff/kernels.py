"""Kernels: how alike two predictions are."""

from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common.checks import (
    flag,
    is_number,
)
from tensorflow_model_remediation_ext.common.configs import (
    PACKAGE,
    constructor_config,
)


class MinDiffKernel:
    """Base class of the kernels that compare predictions.

    Subclasses implement `call(x, y)`, which gets two float tensors that
    broadcast to `[n, m, columns]` and returns `[n, m]`. Register a subclass
    with `@keras.saving.register_keras_serializable()`, so that models that
    use it can be loaded; one with arguments of its own needs a `get_config`.

    Args:
        tile_input: Whether `x` and `y` come as rows, `[n, columns]` and
            `[m, columns]`, of which every pair is compared. Otherwise they
            are passed to `call` as they are.

    Examples:
        ```python
        @keras.saving.register_keras_serializable()
        class LinearKernel(MinDiffKernel):
            def call(self, x, y):
                return keras.ops.sum(x * y, axis=-1)
        ```
    """

    def __init__(self, tile_input: bool = True):
        self.tile_input = flag("tile_input", tile_input)

    def __call__(self, x: Any, y: Any = None) -> Any:
        """Returns the similarity of each row of `x` to each row of `y`.

        Args:
            x: Float tensor, `[n, columns]`; `[n, m, columns]` where the
                kernel does not tile.
            y: Float tensor, `[m, columns]` or `[n, m, columns]`; default: `x`.

        Returns:
            Tensor `[n, m]`.
        """
        x = ops.convert_to_tensor(x)
        y = x if y is None else ops.convert_to_tensor(y)
        if self.tile_input:
            x, y = ops.expand_dims(x, axis=1), ops.expand_dims(y, axis=0)
        return self.call(x, y)

    def call(self, x: Any, y: Any) -> Any:
        """Returns the similarities, `[n, m]`."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `call(x, y)`."
        )

    def get_config(self) -> dict:
        """Returns the arguments of the constructor.

        Raises:
            ValueError: If a subclass takes an argument that it does not save.
        """
        return constructor_config(
            self, self._arguments_by_name(), MinDiffKernel
        )

    def _arguments_by_name(self) -> dict:
        return {"tile_input": self.tile_input}

    @classmethod
    def from_config(cls, config: dict) -> "MinDiffKernel":
        """Makes the kernel that `get_config` described."""
        return cls(**config)


class _LengthKernel(MinDiffKernel):
    """A kernel that falls with the distance over a length."""

    def __init__(self, kernel_length: float = 0.1, tile_input: bool = True):
        super().__init__(tile_input)
        if not is_number(kernel_length) or kernel_length <= 0:
            raise ValueError(
                "`kernel_length` must be a finite number greater than 0. "
                f"Received: kernel_length={kernel_length!r}"
            )
        self.kernel_length: float = float(kernel_length)

    def _arguments_by_name(self) -> dict:
        return {
            **super()._arguments_by_name(),
            "kernel_length": self.kernel_length,
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class GaussianKernel(_LengthKernel):
    """`exp(-|x - y|^2 / kernel_length^2)`.

    Args:
        kernel_length: Distance, in the unit of the predictions, over which
            they still count as alike. The standard deviation of the
            predictions is a good first guess: a length far above it sees only
            means, one far below it only noise.
        tile_input: See `MinDiffKernel`.

    Examples:
        >>> kernel = GaussianKernel(kernel_length=1.0)
        >>> float(kernel([[0.0]], [[1.0]])[0, 0])
        0.3678...
    """

    def call(self, x: Any, y: Any) -> Any:
        """Returns the similarities, `[n, m]`."""
        inverse = 1.0 / self.kernel_length
        return ops.exp(_squares(x, y) * (-inverse * inverse))


@keras.saving.register_keras_serializable(package=PACKAGE)
class LaplacianKernel(_LengthKernel):
    """`exp(-|x - y| / kernel_length)`.

    Args:
        kernel_length: See `GaussianKernel`.
        tile_input: See `MinDiffKernel`.

    Examples:
        >>> kernel = LaplacianKernel(kernel_length=1.0)
        >>> float(kernel([[0.0]], [[2.0]])[0, 0])
        0.1353...
    """

    def call(self, x: Any, y: Any) -> Any:
        """Returns the similarities, `[n, m]`."""
        squares = _squares(x, y)
        # The root has no gradient at 0, where a row meets itself.
        apart = squares > 0
        root = ops.sqrt(ops.where(apart, squares, ops.ones_like(squares)))
        distance = ops.where(apart, root, ops.zeros_like(squares))
        return ops.exp(distance * (-1.0 / self.kernel_length))


def _squares(x, y):
    """Returns the squared distances of rows."""
    # Of a difference, the gradient takes a pass over all pairs more.
    squares = ops.square(x + (-y))
    if squares.shape[-1] == 1:  # Faster than a sum, which has a gradient.
        return ops.squeeze(squares, axis=-1)
    return ops.sum(squares, axis=-1)


_BY_NAME = {
    name + ending: kernel
    for kernel, names in (
        (GaussianKernel, ("gauss", "gaussian")),
        (LaplacianKernel, ("laplace", "laplacian")),
    )
    for name in names
    for ending in ("", "_kernel")
}


def get(kernel: Any, name: str = "kernel") -> MinDiffKernel | None:
    """Resolves a kernel.

    Args:
        kernel: `None`, a `MinDiffKernel`, its serialized form, or a name in
            any case: `"gaussian"` (or `"gauss"`), `"laplacian"` (or
            `"laplace"`).
        name: Name of the argument, for error messages.

    Returns:
        The kernel, or `None`.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If `kernel` is none of these.
    """
    if isinstance(kernel, dict):
        kernel = keras.saving.deserialize_keras_object(kernel)
    if kernel is None or isinstance(kernel, MinDiffKernel):
        return kernel
    if not isinstance(kernel, str):
        raise TypeError(
            f"`{name}` must be a MinDiffKernel or the name (a string) of one. "
            f"Received: {name}={kernel!r} of type {type(kernel).__name__}"
        )
    if kernel.lower() not in _BY_NAME:
        raise ValueError(
            f"`{name}` must be one of {sorted(_BY_NAME)}. "
            f"Received: {name}={kernel!r}"
        )
    return _BY_NAME[kernel.lower()]()
