"""Difference between the groups' rates of decisions, smoothed."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common.checks import (
    is_number,
    number,
)
from tensorflow_model_remediation_ext.common.configs import PACKAGE
from tensorflow_model_remediation_ext.min_diff.losses.min_diff_loss import (
    ConfiguredLoss,
)
from tensorflow_model_remediation_ext.min_diff.members import require_one_column


@keras.saving.register_keras_serializable(package=PACKAGE)
class RateGapLoss(ConfiguredLoss):
    """Difference between the groups' rates of positive decisions, smoothed.

    A decision counts as `sigmoid((prediction - threshold) / temperature)`,
    so that a gradient flows; `min_diff.keras.metrics.RateGap` counts hard
    decisions. Over rows with label 0 the rate is the false positive rate,
    over rows with label 1 the true positive rate: see `condition` in
    `build_min_diff_dataset`.

    Args:
        threshold: Decision threshold, in the unit of the predictions
            (probability or logit).
        temperature: Width of the smoothing, in that unit, greater than 0.
        signed: Whether the loss is the sensitive group's rate minus the
            other's (with more groups: each group's minus that of the rest, of
            which the largest is returned), rather than the size of the
            difference. `None`: the size, and signed under a target
            (`loss_weight=AtMost(...)`), which pulls the gap both ways. The
            size is biased in small batches: it is above 0 where there is no
            difference. A fixed weight cannot be given to a signed loss.
        name: Name of the loss.
        predictions_transform: See `MinDiffLoss`.
        groups: See `MinDiffLoss`.

    Raises:
        ValueError: When called on predictions with several columns: one of
            them must be chosen, by `predictions_transform`.

    Examples:
        >>> loss = RateGapLoss(temperature=0.01)
        >>> float(loss([1, 1, 0, 0], [0.9, 0.1, 0.9, 0.9]))
        0.5
        >>> signed = RateGapLoss(temperature=0.01, signed=True)
        >>> float(signed([1, 1, 0, 0], [0.9, 0.1, 0.9, 0.9]))
        -0.5
    """

    _arguments = (
        "threshold",
        "temperature",
        "signed",
        "predictions_transform",
    )

    def __init__(
        self,
        threshold: float = 0.5,
        temperature: float = 0.05,
        signed: bool | None = None,
        name: str | None = None,
        *,
        predictions_transform: str | Callable | None = None,
        groups: int = 2,
    ):
        super().__init__(
            predictions_transform=predictions_transform,
            name=name,
            groups=groups,
        )
        self.threshold = number("threshold", threshold)
        if not is_number(temperature) or temperature <= 0:
            raise ValueError(
                "`temperature` must be a finite number greater than 0. "
                f"Received: temperature={temperature!r}"
            )
        if not (signed is None or isinstance(signed, bool)):
            raise ValueError(
                "`signed` must be None, True or False. "
                f"Received: signed={signed!r}"
            )
        self.temperature = float(temperature)
        self.signed = signed

    def signed_gaps(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> list:
        """Returns the gap of each comparison with its sign.

        Args:
            membership: See `MinDiffLoss`.
            predictions: See `MinDiffLoss`.
            sample_weight: See `MinDiffLoss`.

        Returns:
            One scalar for two groups, otherwise one for each group.
        """
        return self.compare_groups(
            self._gap, membership, predictions, sample_weight
        )

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the difference of two rates, a scalar."""
        gap = self._gap(membership, predictions, sample_weight)
        return gap if self.signed else ops.abs(gap)

    def _gap(self, membership, predictions, weight):
        require_one_column(predictions, self.name)
        decisions = ops.sigmoid(
            (predictions - self.threshold) / self.temperature
        )
        rates = [
            ops.divide_no_nan(ops.sum(group * decisions), ops.sum(group))
            for group in (membership * weight, (1.0 - membership) * weight)
        ]
        return rates[0] - rates[1]

    def _arguments_by_name(self) -> dict:
        return {
            **super()._arguments_by_name(),
            "threshold": self.threshold,
            "temperature": self.temperature,
            "signed": self.signed,
        }
