"""What `flips` returns."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.tables import (
    Headline,
    Row,
    Table,
)


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


@dataclasses.dataclass(frozen=True)
class FlowRow(Row):
    """Pairs that are decided one way, and their counterfactuals another.

    Args:
        flow: The group and both classes.
        group: Name of the group.
        source: Class that was decided for on the original.
        target: Class that was decided for on the counterfactual.
        n: Number of pairs of the group with that source.
        flip_count: Number of those with that target.
        flip_rate: Weighted share of those with that target.
    """

    flow: str
    group: str
    source: str
    target: str
    n: int
    flip_count: int
    flip_rate: Estimate


@dataclasses.dataclass(frozen=True)
class ExampleRow(Row):
    """A pair whose decision flips.

    Args:
        pair: Its place among all pairs, from 0.
        original: The original text.
        counterfactual: The counterfactual text.
        original_score: Prediction on the original; with several columns, of
            the class that was decided for on it.
        counterfactual_score: Prediction on the counterfactual, of the same
            class.
    """

    pair: int
    original: str
    counterfactual: str
    original_score: float
    counterfactual_score: float


@dataclasses.dataclass(frozen=True, repr=False)
class TermReport(Table[FlipRow]):
    """Flips by the term that was changed; its `repr` is a table.

    Args:
        rows: A `FlipRow` for each term, named in `group`, those first whose
            decisions flip most.
        confidence: Level of the intervals.
    """

    measures: ClassVar[str] = (
        "How often decisions change where a term is changed. A pair in which "
        "several terms are changed counts for each."
    )
    caveat: ClassVar[str] = (
        "Of many terms some flip often by chance: read the intervals. Terms "
        "that are changed together cannot be told apart."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "group",
        "n",
        "flip_count",
        "flip_rate",
        "counterfactual_gap",
    )
    plotted: ClassVar[dict[str, str]] = {"flip_rate": "flip rate"}
    axis_label: ClassVar[str] = "flip rate by term"
    most_plotted: ClassVar[int] = 20


@dataclasses.dataclass(frozen=True, repr=False)
class FlipReport(Table[FlipRow]):
    """The figures of all groups; its `repr` is a table.

    Args:
        rows: One `FlipRow` for all pairs, `"overall"`, then one for each
            group.
        confidence: Level of the intervals.
        flows: With more than two classes, a `FlowRow` for each group, source
            and target that occur, the most frequent first.
        terms: Flips by term, see `flips_of_model`; otherwise `None`.
        examples: The pairs that flip furthest, see `flips_of_model`.
    """

    flows: tuple[FlowRow, ...] = ()
    terms: TermReport | None = None
    examples: tuple[ExampleRow, ...] = ()

    measures: ClassVar[str] = (
        "How often a decision changes from an input to its counterfactual, in "
        "which only what should not matter is changed, and by how much the "
        "prediction does (the counterfactual gap)."
    )
    caveat: ClassVar[str] = (
        "A flip rate of zero is not equal treatment: it says that decisions on "
        "these pairs do not depend on what was changed in them. In a small "
        "group it says little even of that; its interval says how little."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "group",
        "n",
        "flip_count",
        "flip_rate",
        "positive_to_negative",
        "negative_to_positive",
        "counterfactual_gap",
    )
    plotted: ClassVar[dict[str, str]] = {"flip_rate": "flip rate"}
    compared: ClassVar[dict[str, str]] = {
        "flip_rate": "flip rate",
        "flip_count": "flip count",
        "counterfactual_gap": "counterfactual gap",
    }
    axis_label: ClassVar[str] = "flip rate"

    def headlines(self) -> list[Headline]:
        """Returns the flip rate of all pairs."""
        return [Headline("flip rate", self.rows[0].flip_rate, percent=True)]

    def remarks(self) -> list[str]:
        """Returns which term flips most decisions."""
        if self.terms is None or not self.terms.rows:
            return []
        first = max(self.terms.rows, key=lambda row: row.flip_rate.low)
        if not first.flip_count:
            return ["no decision flips where a term is changed."]
        low, high = (100 * end for end in first.flip_rate[1:])
        return [
            f"decisions flip most where \u201c{first.group}\u201d is changed: "
            f"in {first.flip_count:,} of {first.n:,} pairs (between {low:.0f} "
            f"and {high:.0f} %)."
        ]
