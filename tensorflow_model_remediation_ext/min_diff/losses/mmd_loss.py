"""Maximum mean discrepancy of the predictions on groups of rows."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.min_diff import kernels
from tensorflow_model_remediation_ext.min_diff.kernels import (
    PACKAGE,
    MinDiffKernel,
)
from tensorflow_model_remediation_ext.min_diff.losses.min_diff_loss import (
    ConfiguredLoss,
)


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
        self.unbiased = bool(unbiased)

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the squared discrepancy, a scalar."""
        return self._discrepancy(membership, predictions, sample_weight)[0]

    def _discrepancy(self, membership, predictions, weight):
        """Returns the discrepancy, and each group's variance of the mean."""
        similar = self.predictions_kernel(predictions)
        # A column of weights for each of the two groups.
        groups = ops.concatenate([membership, 1.0 - membership], axis=1)
        groups = groups * weight
        totals, squared = ops.sum(groups, axis=0), ops.square(groups)
        squares = ops.sum(squared, axis=0)
        itself = ops.expand_dims(ops.diagonal(similar), axis=1)
        pairs = ops.matmul(ops.transpose(groups), ops.matmul(similar, groups))
        counts, same = ops.outer(totals, totals), ops.eye(2, dtype=totals.dtype)
        if self.unbiased:
            pairs = pairs - same * ops.sum(squared * itself, axis=0)
            # Rounding leaves a trace of a single row's weight.
            enough = ops.square(totals) - squares > 1e-6 * ops.square(totals)
            counts = ops.where(enough, counts - same * squares, 0.0)
        means = ops.divide_no_nan(pairs, counts)
        figure = ops.sum(means * (2.0 * same - 1.0))
        if self.unbiased:
            figure = ops.where(ops.all(enough), figure, 0.0)
        spreads = ops.divide_no_nan(
            ops.sum(groups * itself, axis=0), totals
        ) - ops.diagonal(means)
        variances = ops.divide_no_nan(spreads * squares, ops.square(totals))
        return figure, ops.sum(variances)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "unbiased": self.unbiased}


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
        figure, variance = self._discrepancy(
            membership, predictions, sample_weight
        )
        return figure / (ops.stop_gradient(variance) + 1e-2)
