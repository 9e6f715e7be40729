"""Which group is served worst?"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    all_alike,
)
from tensorflow_model_remediation_ext.evaluation.tables import Row


@dataclasses.dataclass(frozen=True)
class WorstRow(Row):
    """The group that a model serves worst by one figure.

    Args:
        metric: The figure.
        group: The group with the worst value.
        n: Number of its rows.
        value: Its value.
    """

    metric: str
    group: str
    n: int
    value: Estimate


def worst_rows(
    rows: Sequence[Any], smaller_is_better: Sequence[str], larger: Sequence[str]
) -> tuple[WorstRow, ...]:
    """Returns the worst group by each figure in which groups differ.

    Args:
        rows: Rows of the groups.
        smaller_is_better: Figures whose largest value is the worst.
        larger: Figures whose smallest value is the worst.
    """
    found = []
    for sign, metrics in ((1, larger), (-1, smaller_is_better)):
        for metric in metrics:
            known = [
                (sign * getattr(row, metric).value, k)
                for k, row in enumerate(rows)
                if getattr(row, metric).value == getattr(row, metric).value
            ]
            if known and not all_alike([value for value, _ in known]):
                row = rows[min(known)[1]]
                found.append(
                    WorstRow(metric, row.group, row.n, getattr(row, metric))
                )
    return tuple(found)


def least_well_served(rows: Sequence[WorstRow]) -> str | None:
    """Returns the group that is worst by most figures.

    Of groups that are worst equally often it is the one that comes first;
    `None` if nothing was compared, or nothing differed.
    """
    counts = collections.Counter(row.group for row in rows)
    return counts.most_common(1)[0][0] if counts else None
