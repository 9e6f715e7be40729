"""How far groups are apart in a figure, and how sure that is."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from tensorflow_model_remediation_ext.evaluation.figures import Figure
from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
    all_alike,
    level_of,
    normal_quantile,
    without_interval,
)
from tensorflow_model_remediation_ext.evaluation.tables import Row

_STEPS = 50


@dataclasses.dataclass(frozen=True)
class DisparityRow(Row):
    """How far groups are apart in one figure.

    Args:
        metric: A figure of a group's row, `"demographic_parity"` or
            `"equalized_odds"`.
        difference: Largest minus smallest value of a group.
        ratio: Smallest divided by largest value of a group.
        lowest: The group with the smallest value; empty if all are equal.
        highest: The group with the largest value; likewise.
        groups: Number of groups that have the figure.
        fewest_rows: Number of rows of the group with the fewest among them,
            or in the scarcer class for areas.
    """

    metric: str
    difference: Estimate
    ratio: Estimate
    lowest: str
    highest: str
    groups: int
    fewest_rows: int


def disparity(
    metric: str,
    figures: Sequence[Figure],
    names: Sequence[str],
    confidence: float,
    n_boot: int,
    rng: np.random.Generator,
    *,
    has_ratio: bool = True,
) -> DisparityRow:
    """Compares groups in one figure, or in that of several that differs most.

    The interval joins those of all pairs of groups. Each is made of the
    groups' own intervals (MOVER), at a level at which all of them hold
    together: the studentized range of errors that correlate as the groups' do,
    drawn from a normal distribution. Two groups need no such correction.

    Args:
        metric: What to call the row.
        figures: One figure; or several, of which the largest difference and
            the smallest ratio count.
        names: Names of the groups.
        confidence: Level of the intervals.
        n_boot: Number of draws.
        rng: Their source.
        has_ratio: Whether values are never negative, so that a ratio means
            something.

    References:
        Zou and Donner 2008, "Construction of confidence limits about effect
        measures: a general approach"; Tukey 1953, "The problem of multiple
        comparisons".
    """
    parts = [_Compared.of(figure) for figure in figures]
    parts = [part for part in parts if len(part.groups) > 1]
    if not parts:
        return DisparityRow(metric, UNKNOWN, UNKNOWN, "", "", 0, 0)
    level = _joint_level(parts, confidence, n_boot, rng)
    differences = [part.difference(level) for part in parts]
    ratios = [part.ratio(level) if has_ratio else UNKNOWN for part in parts]
    apart = parts[int(np.argmax([each.value for each in differences]))]
    lowest, highest = "", ""
    if not all_alike(apart.values):
        lowest = names[apart.groups[np.argmin(apart.values)]]
        highest = names[apart.groups[np.argmax(apart.values)]]
    return DisparityRow(
        metric,
        Estimate(*map(float, np.max(differences, axis=0))),
        _smallest(ratios),
        lowest,
        highest,
        len(apart.groups),
        int(apart.rows.min()),
    )


def _smallest(ratios: list[Estimate]) -> Estimate:
    known = [ratio for ratio in ratios if ratio.value == ratio.value]
    return Estimate(*map(float, np.min(known, axis=0))) if known else UNKNOWN


@dataclasses.dataclass(frozen=True)
class _Compared:
    """The groups that have a figure."""

    groups: np.ndarray
    figure: Figure

    @classmethod
    def of(cls, figure: Figure) -> _Compared:
        return cls(np.flatnonzero(~np.isnan(figure.values)), figure)

    @property
    def values(self) -> np.ndarray:
        return self.figure.values[self.groups]

    @property
    def rows(self) -> np.ndarray:
        return self.figure.rows[self.groups]

    @property
    def correlation(self) -> np.ndarray:
        return correlation(self.figure.covariance)[
            np.ix_(self.groups, self.groups)
        ]

    def limits(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.figure.limits(level)
        return low[self.groups], high[self.groups]

    def difference(self, level: float) -> Estimate:
        values, (low, high) = self.values, self.limits(level)
        below, above = values - low, high - values
        # Of each group minus each other one.
        apart = values[:, None] - values
        lower = apart - _joined(below[:, None], above, self.correlation)
        upper = apart + _joined(above[:, None], below, self.correlation)
        np.fill_diagonal(lower, -np.inf)
        np.fill_diagonal(upper, -np.inf)
        return Estimate(np.ptp(values), max(lower.max(), 0.0), upper.max())

    def ratio(self, level: float) -> Estimate:
        values, (low, high) = self.values, self.limits(level)
        if values.max() <= 0 or values.min() < 0:
            return UNKNOWN
        if np.isnan(low + high).any():
            return without_interval(values.min() / values.max())
        below, above = values - low, high - values
        correlations = self.correlation
        # A ratio is possible where the interval of `one - ratio * other`
        # holds 0. It need not be above 1: then the inverse one is not.
        found = np.divide(
            values[:, None],
            values,
            out=np.ones_like(correlations),
            where=values > 0,
        ).clip(0, 1)

        def possible(ratio, side):
            one, other = (below, above) if side > 0 else (above, below)
            reach = _joined(one[:, None], ratio * other, correlations)
            return side * (values[:, None] - ratio * values) <= reach

        ends = []
        for side, outermost in ((1, 0.0), (-1, 1.0)):
            inside, outside = found, np.full_like(found, outermost)
            inside = np.where(possible(outside, side), outside, inside)
            for _ in range(_STEPS):
                middle = (inside + outside) / 2
                fits = possible(middle, side)
                inside = np.where(fits, middle, inside)
                outside = np.where(fits, outside, middle)
            np.fill_diagonal(inside, 1.0)
            ends.append(inside.min())
        return Estimate(values.min() / values.max(), *ends)


def _joined(one, other, correlation) -> np.ndarray:
    """Returns the error of a difference from those of its two sides."""
    square = one**2 + other**2 - 2 * correlation * one * other
    return np.sqrt(np.maximum(square, 0.0))


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Returns correlations, 0 where a variance is 0."""
    deviations = np.sqrt(np.diag(covariance))
    product = np.outer(deviations, deviations)
    result = np.divide(
        covariance, product, out=np.zeros_like(product), where=product > 0
    )
    np.fill_diagonal(result, 1.0)
    return np.clip(result, -1, 1)


def _joint_level(
    parts: Sequence[_Compared],
    confidence: float,
    n_boot: int,
    rng: np.random.Generator,
) -> float:
    """Returns the level of each interval at which all hold together."""
    if len(parts) == 1 and len(parts[0].groups) == 2:
        return confidence
    largest = np.zeros(n_boot)
    z = normal_quantile(confidence)
    for part in parts:
        low, high = part.limits(confidence)
        scale = np.nan_to_num((high - low) / (2 * z))
        covariance = part.correlation * np.outer(scale, scale)
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        errors = rng.standard_normal((n_boot, len(scale))) @ root.T
        for one, other in itertools.combinations(range(len(scale)), 2):
            spread = covariance[one, one] + covariance[other, other]
            spread -= 2 * covariance[one, other]
            if spread > 1e-12 * covariance[one, one]:
                apart = np.abs(errors[:, one] - errors[:, other])
                np.maximum(largest, apart / np.sqrt(spread), out=largest)
    return level_of(max(float(np.quantile(largest, confidence)), z))
