"""Penalties on the difference between predictions on groups of rows."""

from typing import Any

from tensorflow_model_remediation_ext.min_diff import kernels
from tensorflow_model_remediation_ext.min_diff.kernels import (
    GaussianKernel,
    LaplacianKernel,
    MinDiffKernel,
)
from tensorflow_model_remediation_ext.min_diff.losses.correlation_loss import (
    AbsoluteCorrelationLoss,
)
from tensorflow_model_remediation_ext.min_diff.losses.min_diff_loss import (
    MinDiffLoss,
)
from tensorflow_model_remediation_ext.min_diff.losses.mmd_loss import (
    AdjustedMMDLoss,
    MMDLoss,
)
from tensorflow_model_remediation_ext.min_diff.losses.rate_gap_loss import (
    RateGapLoss,
)

__all__ = [
    "AbsoluteCorrelationLoss",
    "AdjustedMMDLoss",
    "GaussianKernel",
    "LaplacianKernel",
    "MMDLoss",
    "MinDiffKernel",
    "MinDiffLoss",
    "RateGapLoss",
    "get",
    "kernels",
]

_BY_NAME = {
    name + ending: loss
    for loss, names in (
        (MMDLoss, ("mmd", "maximum_mean_discrepancy")),
        (AdjustedMMDLoss, ("adjusted_mmd",)),
        (AbsoluteCorrelationLoss, ("abs_corr", "absolute_correlation")),
        (RateGapLoss, ("rate_gap",)),
    )
    for name in names
    for ending in ("", "_loss")
}


def get(loss: Any) -> MinDiffLoss:
    """Resolves a loss on groups of rows.

    Args:
        loss: A `MinDiffLoss`, or a name in any case: `"mmd_loss"` (or
            `"mmd"`), `"adjusted_mmd_loss"`, `"absolute_correlation_loss"` (or
            `"abs_corr"`), `"rate_gap_loss"`.

    Returns:
        A loss to call as `loss(membership, predictions, sample_weight)`.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If `loss` is none of these.
    """
    if isinstance(loss, MinDiffLoss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(
            "`loss` must be a MinDiffLoss or the name (a string) of one. "
            f"Received: loss={loss!r} of type {type(loss).__name__}"
        )
    if loss.lower() not in _BY_NAME:
        raise ValueError(
            f"`loss` must be one of {sorted(_BY_NAME)}. Received: loss={loss!r}"
        )
    return _BY_NAME[loss.lower()]()
