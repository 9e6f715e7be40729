"""The figures that `flips` returns."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.tables import Row, Table


@dataclasses.dataclass(frozen=True)
class FlipRow(Row):
    """The figures of one group of counterfactual pairs.

    Args:
        group: Name of the group.
        n: Number of pairs with a positive weight.
        effective_n: Kish's effective number of pairs, `n` without weights.
        flip_count: Number of those pairs whose decision flips.
        flip_rate: Weighted share of pairs whose decision flips.
        positive_to_negative: Weighted share of pairs decided positive on the
            original and negative on the counterfactual; NaN with more than
            two classes.
        negative_to_positive: The other way round.
        counterfactual_gap: Weighted mean absolute difference of the
            predictions, over all columns (Garg et al. 2018).
    """

    group: str
    n: int
    effective_n: float
    flip_count: int
    flip_rate: Estimate
    positive_to_negative: Estimate
    negative_to_positive: Estimate
    counterfactual_gap: Estimate


@dataclasses.dataclass(frozen=True, repr=False)
class FlipReport(Table[FlipRow]):
    """The figures of all groups; its `repr` is a table.

    Args:
        rows: One `FlipRow` for all pairs, `"overall"`, then one for each
            group.
        confidence: Level of the intervals.
    """

    measures: ClassVar[str] = (
        "How often a decision changes from an input to its counterfactual, in "
        "which only what should not matter is changed, and by how much the "
        "prediction does (the counterfactual gap)."
    )
    caveat: ClassVar[str] = (
        "A flip rate of zero is not equal treatment: it says that decisions on "
        "these pairs do not hang on what was changed in them. In a small group "
        "it says little even of that; its interval says how little."
    )
    _columns: ClassVar[tuple[str, ...]] = (
        "group",
        "n",
        "flip_count",
        "flip_rate",
        "positive_to_negative",
        "negative_to_positive",
        "counterfactual_gap",
    )
    _plotted: ClassVar[dict[str, str]] = {"flip_rate": "flip rate"}
    _compared: ClassVar[dict[str, str]] = {
        "flip_rate": "flip rate",
        "flip_count": "flip count",
        "counterfactual_gap": "counterfactual gap",
    }
    _axis_label: ClassVar[str] = "flip rate"
