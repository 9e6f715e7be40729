"""The weight of a penalty in the loss of a remediation model."""

from typing import Any

from tensorflow_model_remediation_ext.common.checks import is_number
from tensorflow_model_remediation_ext.common.objectives import (
    by_objective,
    prefixed,
    unwrap,
)
from tensorflow_model_remediation_ext.common.target import AtMost


def checked_weights(loss_weight: Any) -> Any:
    """Returns the weight or weights as floats or targets.

    Args:
        loss_weight: A finite number, zero or greater, an `AtMost`, or a dict
            of either by objective.

    Raises:
        ValueError: If one of them is something else.
    """
    weights = by_objective(loss_weight, "loss_weight")
    return unwrap({o: _checked(o, weight) for o, weight in weights.items()})


def weigh(weight: float, value: Any) -> Any:
    """Returns what a penalty adds to the loss.

    Args:
        weight: As `checked_weights` returned it.
        value: The penalty, a scalar.

    Returns:
        A scalar; or `None` for a weight of 0, which leaves the loss, and so
        training, exactly as it was.
    """
    return weight * value if weight else None


def _checked(objective: str, weight: Any) -> float | AtMost:
    if isinstance(weight, AtMost):
        return weight
    if not is_number(weight) or weight < 0:
        raise ValueError(
            "`loss_weight` must be a finite number, zero or greater, or an "
            "`AtMost(...)`. Received: "
            f"{prefixed(objective, 'loss_weight')}={weight!r}"
        )
    return float(weight)
