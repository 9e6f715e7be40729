"""Errors of predicted amounts by group of people."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from tensorflow_model_remediation_ext.evaluation.disparities import disparity
from tensorflow_model_remediation_ext.evaluation.figures import mean_figure
from tensorflow_model_remediation_ext.evaluation.group_table import GroupTable
from tensorflow_model_remediation_ext.evaluation.group_test import p_values
from tensorflow_model_remediation_ext.evaluation.groups import Groups
from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    effective_size,
)
from tensorflow_model_remediation_ext.evaluation.tables import (
    Headline,
    Row,
    extra,
)
from tensorflow_model_remediation_ext.evaluation.worst import worst_rows

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclasses.dataclass(frozen=True)
class ErrorRow(Row):
    """The errors of one group; an error is prediction minus truth.

    Args:
        group: Name of the group.
        n: Number of rows.
        effective_n: Kish's effective number of rows, `n` without weights.
        mean_error: Mean error: positive where predictions are too large.
        mean_absolute_error: Mean size of the error.
        q05: What one error in twenty is below.
        q25: What one error in four is below.
        median: The median error.
        q75: What one error in four is above.
        q95: What one error in twenty is above.
        p_value: Of the test that errors of the group are distributed as those
            of all others; NaN for `"overall"`.
    """

    group: str
    n: int
    effective_n: float
    mean_error: Estimate
    mean_absolute_error: Estimate
    q05: float
    q25: float
    median: float
    q75: float
    q95: float
    p_value: float


@dataclasses.dataclass(frozen=True, repr=False)
class GroupErrorReport(GroupTable[ErrorRow]):
    """Errors of all groups, and how far they are apart.

    `report["group"]` is the row of a group, `report.disparity("metric")` that
    of a metric.

    Args:
        rows: One `ErrorRow` for all rows, `"overall"`, then one for each group.
        confidence: Level of the intervals.
        disparities: A `DisparityRow` for each metric.
        worst: A `WorstRow` for the mean absolute error, if groups differ.
    """

    measures: ClassVar[str] = (
        "How far predicted amounts are off, for each group of people: on "
        "average, in size, and how errors are distributed. The p-value is of a "
        "test that a group's errors are distributed as all others'."
    )
    caveat: ClassVar[str] = (
        "Equal errors are not equal treatment, and true amounts may be unfair "
        "themselves. The difference of the extreme groups is never negative: "
        "with small groups it is large by chance."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "group",
        "n",
        "mean_error",
        "mean_absolute_error",
        "q05",
        "q25",
        "median",
        "q75",
        "q95",
        "p_value",
    )
    plotted: ClassVar[dict[str, str]] = {
        "mean_error": "mean error",
        "mean_absolute_error": "mean absolute error",
    }
    axis_label: ClassVar[str] = "error by group"

    def headlines(self) -> list[Headline]:
        """Returns the mean absolute error, and how far groups are apart."""
        name = "mean_absolute_error"
        return [
            Headline("mean absolute error", self.rows[0].mean_absolute_error),
            Headline(
                "gap in mean absolute error",
                self.disparity(name).difference,
            ),
        ]


def group_errors(
    errors: np.ndarray,
    weights: np.ndarray,
    groups: Groups,
    *,
    confidence: float,
    n_boot: int,
    n_permutations: int,
    rng: np.random.Generator,
) -> GroupErrorReport:
    """Measures errors by group.

    Args:
        errors: Predictions minus truths, `[n]`.
        weights: Positive weights, `[n]`.
        groups: The groups.
        confidence: Level of the intervals.
        n_boot: Number of draws for intervals of more than two groups.
        n_permutations: Number of permutations of the test.
        rng: Source of both.
    """
    student = extra("scipy.stats", "An interval of mean errors").t
    members = groups.with_everybody()
    figures = {
        "mean_error": mean_figure(errors, weights, members, student),
        "mean_absolute_error": mean_figure(
            np.abs(errors), weights, members, student, least=0.0
        ),
    }
    p = p_values(
        errors,
        np.argsort(errors),
        weights,
        groups.members,
        groups.others,
        n_permutations,
        rng,
    )
    estimates = {
        name: figure.estimates(confidence) for name, figure in figures.items()
    }
    rows = tuple(
        ErrorRow(
            group=name,
            n=int(np.count_nonzero(members[:, k])),
            effective_n=effective_size(weights[members[:, k]]),
            mean_error=estimates["mean_error"][k],
            mean_absolute_error=estimates["mean_absolute_error"][k],
            **_quantiles(errors[members[:, k]], weights[members[:, k]]),
            p_value=float(p[k - 1]) if k else float("nan"),
        )
        for k, name in enumerate(["overall", *groups.names])
    )
    disparities = tuple(
        disparity(
            name,
            [figure.without_first()],
            groups.names,
            confidence,
            n_boot,
            rng,
            has_ratio=name == "mean_absolute_error",
        )
        for name, figure in figures.items()
    )
    worst = worst_rows(rows[1:], ("mean_absolute_error",), ())
    return GroupErrorReport(rows, confidence, disparities, worst)


def _quantiles(errors: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Returns the smallest error that so many are not above."""
    names = ("q05", "q25", "median", "q75", "q95")
    if not len(errors):
        return dict.fromkeys(names, float("nan"))
    order = np.argsort(errors, kind="stable")
    sums = np.cumsum(weights[order])
    wanted = np.array(_QUANTILES) * sums[-1]
    # A rounding below a step is on it.
    places = np.searchsorted(sums, wanted * (1 - 1e-12))
    found = errors[order[np.minimum(places, len(order) - 1)]]
    return dict(zip(names, map(float, found), strict=True))
