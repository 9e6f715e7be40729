"""Task data and counterfactual pairs in one element."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tensorflow_model_remediation_ext.common.elements import unpack
from tensorflow_model_remediation_ext.common.objectives import (
    by_objective,
    unwrap,
)
from tensorflow_model_remediation_ext.common.structures import alike


class CounterfactualPackedInputs(NamedTuple):
    """One element of training data with its counterfactual pairs.

    Being a NamedTuple, it survives `tf.data.Dataset` transformations such as
    `map`, `batch`, `shuffle` and `prefetch`, and `Dataset.save` and
    `Dataset.load`.

    Attributes:
        original_input: The `(x, y, sample_weight)` of the task; `y` and
            `sample_weight` may be `None`.
        counterfactual_data: `(original_x, counterfactual_x,
            counterfactual_sample_weight)`, or a dict of such triples by
            objective.
    """

    original_input: Any
    counterfactual_data: Any


def as_packed(batch: Any) -> CounterfactualPackedInputs | None:
    """Returns packed inputs, known by their fields, or `None` for others.

    `Dataset.load` and other libraries make a class of their own of a
    NamedTuple.

    Args:
        batch: Anything; or the element spec of a dataset.

    Returns:
        `((x, y, sample_weight), pairs)`, where each half of the pairs has the
        structure of `x`.

    Raises:
        ValueError: Pairs are not pairs, or have other names than `x`.
    """
    fields = getattr(batch, "_fields", None)
    if fields != CounterfactualPackedInputs._fields:
        return None
    original_input = unpack(batch.original_input)
    pairs = by_objective(batch.counterfactual_data, "counterfactual_data")
    for objective, parts in pairs.items():
        check_pair(parts, "counterfactual_data")
        original, counterfactual, *weight = parts
        pairs[objective] = (
            alike(original, original_input[0], "original_x", "x"),
            alike(counterfactual, original_input[0], "counterfactual_x", "x"),
            *weight,
        )
    return CounterfactualPackedInputs(original_input, unwrap(pairs))


def replace_inputs(
    element: Any, function: Callable[[Any], Any]
) -> CounterfactualPackedInputs | None:
    """Returns a packed element with a function applied to each input.

    Args:
        element: Anything; or the element spec of a dataset.
        function: Called with the task's `x` and with both halves of pairs.

    Returns:
        The element with what `function` returned; `None` if not packed.
    """
    packed = as_packed(element)
    if packed is None:
        return None
    (x, y, sample_weight), pairs = packed
    replaced = {
        objective: (function(original), function(counterfactual), *weight)
        for objective, (original, counterfactual, *weight) in by_objective(
            pairs, "counterfactual_data"
        ).items()
    }
    return CounterfactualPackedInputs(
        (function(x), y, sample_weight), unwrap(replaced)
    )


def check_pair(parts: Any, name: str) -> None:
    """Raises `ValueError` unless given a pair, with a weight or without."""
    if not isinstance(parts, tuple | list) or len(parts) not in (2, 3):
        raise ValueError(
            f"`{name}` must yield `(original_x, counterfactual_x, weight)`, "
            f"as `build_counterfactual_data` does. Received: {parts}"
        )
