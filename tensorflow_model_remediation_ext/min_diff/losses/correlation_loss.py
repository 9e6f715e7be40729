"""Absolute correlation of membership and predictions."""

from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common.configs import PACKAGE
from tensorflow_model_remediation_ext.min_diff.losses.min_diff_loss import (
    ConfiguredLoss,
)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AbsoluteCorrelationLoss(ConfiguredLoss):
    """Absolute correlation of membership and predictions.

    With several columns, the mean over them. It is 0 where the groups' mean
    predictions are the same, which says nothing of the rest of their
    distributions.

    Args:
        name: Name of the loss.
        groups: See `MinDiffLoss`.

    Examples:
        >>> loss = AbsoluteCorrelationLoss()
        >>> round(float(loss([1, 1, 0, 0], [0.9, 0.9, 0.1, 0.1])), 4)
        1.0

    References:
        Beutel et al. 2019, "Putting Fairness Principles into Practice"
        (arXiv 1901.04562).
    """

    def __init__(self, name: str | None = None, *, groups: int = 2):
        super().__init__(name=name, groups=groups)

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the absolute correlation, a scalar."""

        def centered(values):
            return values - ops.sum(sample_weight * values, axis=0)

        # From a row that counts, so that equal predictions are exactly 0: what
        # rounding makes of them would have a gradient of a million.
        row = ops.take(predictions, ops.argmax(sample_weight[:, 0]), axis=0)
        member = centered(membership)
        score = centered(predictions - ops.stop_gradient(row))
        together = ops.sum(sample_weight * member * score, axis=0)
        variances = ops.sum(
            sample_weight * ops.square(member), axis=0
        ) * ops.sum(sample_weight * ops.square(score), axis=0)
        # Predictions that are all the same have no correlation, and the root
        # no gradient there.
        varied = ops.logical_not(variances <= 0)
        root = ops.sqrt(ops.where(varied, variances, ops.ones_like(variances)))
        return ops.mean(
            ops.where(varied, ops.abs(together) / root, ops.zeros_like(root))
        )
