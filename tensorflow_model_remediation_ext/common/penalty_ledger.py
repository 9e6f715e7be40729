"""The trackers of a remediation model: losses and metrics by objective."""

from collections.abc import Iterable
from typing import Any

import keras

from tensorflow_model_remediation_ext.common.structures import (
    SINGLE,
    prefixed,
)


class PenaltyLedger:
    """Trackers of one compiled model.

    A plain object, which Keras neither saves nor loads: weights files do not
    depend on what was logged.
    """

    def __init__(self, penalty_name: str, metrics: Any):
        self._penalty_name = penalty_name
        self.given = metrics
        self.original_loss = keras.metrics.Mean(name="original_loss")
        self.losses: dict[str, keras.metrics.Mean] = {}
        self.metrics: dict[str, list[keras.metrics.Metric]] = {}

    def open(self, objectives: Iterable[str]) -> None:
        """Creates the trackers of objectives that are new."""
        for objective in objectives:
            if objective in self.losses:
                continue
            given = self.given
            if isinstance(given, dict):
                given = given.get(objective, [])
            names = [metric.name for metric in given]
            if len(set(names)) < len(names):
                raise ValueError(
                    f"`{self._penalty_name}_metrics` must have different "
                    f"names, or they hide one another. Received: {names}"
                )
            self.metrics[objective] = [_named(m, objective) for m in given]
            self.losses[objective] = keras.metrics.Mean(
                name=prefixed(objective, f"{self._penalty_name}_loss")
            )

    def trackers(self, objectives: Iterable[str]) -> list[keras.Metric]:
        """Returns the trackers of `objectives`, losses first."""
        objectives = list(objectives)
        losses = [self.losses[objective] for objective in objectives]
        return losses + [m for o in objectives for m in self.metrics[o]]


def _named(metric: keras.Metric, objective: str) -> keras.Metric:
    """Returns the metric itself, or a copy that is named after `objective`."""
    if objective == SINGLE:
        return metric
    name = prefixed(objective, metric.name)
    return type(metric).from_config({**metric.get_config(), "name": name})
