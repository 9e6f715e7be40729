"""Maximum mean discrepancy of the predictions on groups of rows."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common.checks import flag
from tensorflow_model_remediation_ext.common.configs import PACKAGE
from tensorflow_model_remediation_ext.min_diff import kernels
from tensorflow_model_remediation_ext.min_diff.kernels import MinDiffKernel
from tensorflow_model_remediation_ext.min_diff.losses.min_diff_loss import (
    ConfiguredLoss,
)
from tensorflow_model_remediation_ext.min_diff.members import both_groups


@keras.saving.register_keras_serializable(package=PACKAGE)
class MMDLoss(ConfiguredLoss):
    """Maximum mean discrepancy of the predictions on two groups, squared.

    It is 0 in the mean where the scores of both groups have one distribution,
    and greater otherwise.

    Args:
        kernel: `"gaussian"`, `"laplacian"`, or a `MinDiffKernel`.
        predictions_transform: See `MinDiffLoss`.
        name: Name of the loss.
        unbiased: Whether rows are compared with other rows alone
            (U-statistic). It needs two rows of each group and is 0 without;
            and it can be negative. Otherwise each row meets itself too, as in
            the predecessor: then the loss is above 0 for groups without any
            difference, by .18 at 8 rows a group and .01 at 128, and lowers
            it by spreading scores.
        groups: See `MinDiffLoss`.

    Examples:
        >>> loss = MMDLoss()
        >>> float(loss([1, 1, 0, 0], [0.9, 0.9, 0.1, 0.1]))
        2.0
        >>> float(loss([1, 1, 1], [0.9, 0.5, 0.1]))
        0.0

    References:
        Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, lemma 6;
        Prost et al. 2019 (arXiv 1910.11779).
    """

    _arguments = ("kernel", "predictions_transform", "unbiased")

    def __init__(
        self,
        kernel: str | MinDiffKernel = "gaussian",
        predictions_transform: str | Callable | None = None,
        name: str | None = None,
        *,
        unbiased: bool = True,
        groups: int = 2,
    ):
        if kernel is None:
            raise TypeError("`kernel` must be a MinDiffKernel. Received: None")
        super().__init__(
            predictions_transform=predictions_transform,
            predictions_kernel=kernels.get(kernel),
            name=name,
            groups=groups,
        )
        self.unbiased = flag("unbiased", unbiased)

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the squared discrepancy, a scalar."""
        return self._discrepancy(
            *self._compared(membership, predictions, sample_weight)
        )

    def _compared(self, membership, predictions, weight):
        """Returns how alike rows are, `[n, n]`, and their shares, `[n, 2]`.

        The share is that of a row in the weight of its group.
        """
        groups = both_groups(membership) * weight
        shares = ops.divide_no_nan(groups, ops.sum(groups, axis=0))
        return self.predictions_kernel(predictions), shares

    def _discrepancy(self, similar, shares):
        """Returns the discrepancy of what `_compared` returned."""
        # Similarities within a group count for it, those between against it.
        same = ops.eye(2, dtype=shares.dtype)
        signs = 2.0 * same - 1.0
        if self.unbiased:
            left = 1.0 - ops.sum(ops.square(shares), axis=0)
            signs = ops.where(
                same > 0, ops.divide_no_nan(ops.ones_like(left), left), signs
            )
        factors = ops.matmul(ops.matmul(shares, signs), ops.transpose(shares))
        # The factors add up to 0, so that a constant changes nothing. Without
        # the 1 of equal rows, less is lost to rounding. Added, not taken off:
        # of `exp(x) - 1` TensorFlow makes a second, slower exponential.
        similar = similar + (-1.0)
        if not self.unbiased:
            return ops.sum(factors * similar)
        rows = ops.shape(similar)[0]
        factors = factors * (1.0 - ops.eye(rows, dtype=similar.dtype))
        figure = ops.sum(factors * similar)
        # Rounding leaves a trace of a single row.
        return ops.where(ops.all(left > 1e-6), figure, 0.0)

    def _arguments_by_name(self) -> dict:
        return {**super()._arguments_by_name(), "unbiased": self.unbiased}


@keras.saving.register_keras_serializable(package=PACKAGE)
class AdjustedMMDLoss(MMDLoss):
    """Maximum mean discrepancy over the variance of the groups' means.

    The variance, plus .01, is that in the space of the kernel; no gradient
    flows through it. So a difference counts more where it is more certain.

    Args:
        kernel: See `MMDLoss`.
        predictions_transform: See `MinDiffLoss`.
        name: Name of the loss.
        unbiased: See `MMDLoss`.
        groups: See `MinDiffLoss`.

    Examples:
        >>> loss = AdjustedMMDLoss()
        >>> round(float(loss([1, 1, 0, 0], [0.9, 0.9, 0.1, 0.1])), 2)
        200.0
    """

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the adjusted discrepancy, a scalar."""
        similar, shares = self._compared(membership, predictions, sample_weight)
        squares = ops.square(shares)
        total = ops.sum(squares, axis=0)
        itself = ops.expand_dims(ops.diagonal(similar), axis=1)
        apart = itself - ops.matmul(similar, shares)
        spreads = ops.sum(shares * apart, axis=0)
        if self.unbiased:
            lone = ops.sum((squares - total * shares) * itself, axis=0)
            spreads = ops.divide_no_nan(spreads + lone, 1.0 - total)
        variance = ops.sum(spreads * total)
        figure = self._discrepancy(similar, shares)
        return figure / (ops.stop_gradient(variance) + 1e-2)
