"""Which group is served worst?"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    all_alike,
    normal_quantile,
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


def surely_worst(
    rows: Sequence[Any], worst: WorstRow, least: float, confidence: float
) -> WorstRow | None:
    """Returns the worst group of those that are worse beyond chance.

    Beyond chance is worse than some other group, by more than both intervals
    allow (MOVER), at a level at which those of all pairs hold together. The
    group with the worst value need not be that: it may have but a few rows.

    Args:
        rows: Rows of the groups.
        worst: The one with the worst value.
        least: Lower end of the difference between the extreme groups; NaN if a
            group has no interval.
        confidence: Level of the intervals.
    """
    estimates = [getattr(row, worst.metric) for row in rows]
    values, low, high = np.array(estimates).T
    if worst.value.value > np.nanmin(values):  # Smaller is better.
        values, low, high = -values, -high, -low
    # How much better each other group is, measured by what both intervals
    # allow.
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = (values - values[:, None]) / np.hypot(
            (high - values)[:, None], values - low
        )
    apart = np.max(np.nan_to_num(apart, nan=-np.inf, posinf=np.inf), axis=1)
    pairs = max(len(rows) * (len(rows) - 1) / 2, 1)
    wanted = normal_quantile(1 - (1 - confidence) / pairs)
    wanted /= normal_quantile(confidence)
    if least > 0:  # Some differ beyond chance; the plainest of them do.
        wanted = min(wanted, apart.max())
    surely = (apart > 0) & (apart >= wanted)
    if least <= 0 or not surely.any():
        return None
    row = rows[int(np.argmin(np.where(surely, values, np.inf)))]
    return WorstRow(worst.metric, row.group, row.n, getattr(row, worst.metric))


def least_well_served(rows: Sequence[WorstRow]) -> str | None:
    """Returns the group that is worst by most figures.

    Of groups that are worst equally often it is the one that comes first;
    `None` if nothing was compared, or nothing differed.
    """
    counts = collections.Counter(row.group for row in rows)
    return counts.most_common(1)[0][0] if counts else None
