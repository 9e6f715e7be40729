"""The options of a LEACE fit, checked in one place."""

import dataclasses
from typing import Any

import keras

from tensorflow_model_remediation_ext.common.checks import (
    flag,
    is_number,
    whole,
)

METHODS = ("leace", "orth")


@dataclasses.dataclass(frozen=True)
class LeaceOptions:
    """What a LEACE fit can be told, apart from sizes of the data.

    Whoever takes these options makes one of these early, and hands it on as
    `LeaceFitter(x_dim, z_dim, **vars(options))`.

    Attributes:
        method: `"leace"` or `"orth"`.
        affine: Whether erasure keeps the mean of `x`.
        shrinkage: Whether to shrink the covariance of `x`.
        svd_tol: Singular values up to this are not erased.
        dtype: Of the accumulators, `"float32"` or `"float64"`.
        preserve_dim: Columns or classes of the task labels to preserve.
        max_rank: Most directions to erase, or `None` for all.

    Raises:
        ValueError: If an option is out of range.
    """

    method: str = "leace"
    affine: bool = True
    shrinkage: bool = True
    svd_tol: float = 0.01
    dtype: str = "float64"
    preserve_dim: int = 0
    max_rank: int | None = None

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(
                f"`method` must be one of {METHODS}. Received: "
                f"method={self.method!r}"
            )
        flag("affine", self.affine)
        flag("shrinkage", self.shrinkage)
        tolerance("svd_tol", self.svd_tol)
        whole("preserve_dim", self.preserve_dim, 0)
        if self.max_rank is not None:
            whole("max_rank", self.max_rank, 0)
        object.__setattr__(self, "dtype", accumulator_dtype(self.dtype))


def tolerance(name: str, value: Any, positive: bool = False) -> float:
    """Returns a tolerance.

    Args:
        name: What to call it in an error.
        value: A number.
        positive: Whether zero is refused too.

    Raises:
        ValueError: If it is not a finite number, negative, or zero where that
            is refused.
    """
    if is_number(value) and (value > 0 if positive else value >= 0):
        return value
    wanted = "a positive number" if positive else "a number of at least 0"
    raise ValueError(
        f"`{name}` must be {wanted}, and finite. Received: {name}={value!r}"
    )


def accumulator_dtype(dtype: Any) -> str:
    """Returns the name of the dtype that sums are kept in.

    Args:
        dtype: A name, or a dtype of NumPy or of any backend of Keras.

    Raises:
        ValueError: If it is neither float32 nor float64.
    """
    try:
        name = keras.backend.standardize_dtype(dtype)
    except (TypeError, ValueError):
        name = None
    # By identity: dtypes of NumPy and TensorFlow are equal to a `float` too.
    if dtype is None or dtype is float or name not in ("float32", "float64"):
        raise ValueError(
            f"`dtype` must be float32 or float64. Received: dtype={dtype!r}"
        )
    return name
