"""Datasets of counterfactual pairs, and packing them for training."""

from typing import Any, NamedTuple


class CounterfactualPackedInputs(NamedTuple):
    """One element of training data with its counterfactual pairs beside it.

    Being a NamedTuple, it survives `tf.data.Dataset` transformations such as
    `map`, `batch`, `shuffle` and `prefetch`.

    Attributes:
        original_input: The `(x, y, sample_weight)` of the task; `y` and
            `sample_weight` may be `None`.
        counterfactual_data: `(original_x, counterfactual_x,
            counterfactual_sample_weight)`, or a dict of such triples by
            objective.
    """

    original_input: Any
    counterfactual_data: Any
