"""The inputs of a Keras model with penalties."""

from typing import Any, NamedTuple


class RemediationInputs(NamedTuple):
    """What the wrapper sees as `x`.

    Attributes:
        x: Input of the wrapped model.
        penalty_inputs: Extra inputs of the penalties, by objective.
        shares: Where devices share batches, by objective: how much each row
            of a penalty counts in figures, `[rows]`; 1 divided by the number
            of copies on all devices. Without an objective, 1.
    """

    x: Any
    penalty_inputs: dict[str, Any]
    shares: dict[str, Any]
