"""The inputs of a Keras model with penalties."""

from typing import Any, NamedTuple


class RemediationInputs(NamedTuple):
    """What the wrapper sees as `x`.

    Attributes:
        x: Input of the wrapped model.
        penalty_inputs: Extra inputs of the penalties, by objective.
    """

    x: Any
    penalty_inputs: dict[str, Any]
