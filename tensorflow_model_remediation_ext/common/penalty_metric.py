"""The base of metrics that look at the inputs of a penalty."""

from typing import Any, ClassVar

import keras

from tensorflow_model_remediation_ext.common.configs import (
    constructor_config,
)


class PenaltyMetric(keras.metrics.Metric):
    """A metric whose `update_state` does not take labels and predictions.

    So it cannot stand in `compile(metrics=...)`, where Keras would hand it
    those: remediation models refuse it there.
    """

    #: The `penalty_name` of the models that give it what it takes, or `None`
    #: where any may.
    penalty_name: ClassVar[str | None] = None

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor.

        Raises:
            ValueError: If a subclass takes an argument that it does not save.
        """
        config = {**super().get_config(), **self._arguments_by_name()}
        return constructor_config(self, config, PenaltyMetric)

    def _arguments_by_name(self) -> dict[str, Any]:
        """Returns those besides the name and the dtype."""
        return {}
