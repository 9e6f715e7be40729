"""What probes return."""

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
class ProbeRow(Row):
    """What one kind of reader finds.

    Args:
        kind: `"linear"` or `"mlp"`.
        n: Number of examples.
        effective_n: Number of independent examples that the interval of the
            accuracy supposes, see `linear_probe`.
        classes: Number of classes of the concept.
        majority_rate: Share of the largest class: the accuracy of a reader
            that sees nothing.
        accuracy: Share of held-out examples that are read rightly.
        auc: Area under the ROC curve on held-out examples; with more than two
            classes, the mean of one class against the rest. 0.5 for a reader
            that sees nothing.
        converged: Whether every reader's training came to its end. If not,
            accuracy and AUC may be too low.
    """

    kind: str
    n: int
    effective_n: float
    classes: int
    majority_rate: float
    accuracy: Estimate
    auc: Estimate
    converged: bool


@dataclasses.dataclass(frozen=True, repr=False)
class ProbeReport(Table[ProbeRow]):
    """What readers find; the `repr` is a table.

    Args:
        rows: One `ProbeRow`, or two with `kind="mlp"`.
        confidence: Level of the intervals.
    """

    measures: ClassVar[str] = (
        "How well a reader that was trained for it finds a concept in a "
        "representation, on folds held out from its training. One that sees "
        "nothing has the accuracy of the majority rate and an AUC of 0.5."
    )
    caveat: ClassVar[str] = (
        "A blind probe is not a blind network: what this reader does not find "
        "on these data, another kind of reader, or later layers, may. That a "
        "probe reads a concept does not say that the network uses it."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "kind",
        "n",
        "classes",
        "majority_rate",
        "accuracy",
        "auc",
    )
    plotted: ClassVar[dict[str, str]] = {"accuracy": "accuracy", "auc": "AUC"}
    reference_fields: ClassVar[dict[str, str]] = {"accuracy": "majority_rate"}
    axis_label: ClassVar[str] = "on held-out folds"

    def headlines(self) -> list[Headline]:
        """Returns the AUC of each reader."""
        return [
            Headline(f"AUC of the {r.kind} reader", r.auc) for r in self.rows
        ]

    def __repr__(self) -> str:
        stopped = [row.kind for row in self.rows if not row.converged]
        if not stopped:
            return super().__repr__()
        return (
            f"{super().__repr__()}\nNot converged, figures may be too low: "
            f"{', '.join(stopped)}"
        )
