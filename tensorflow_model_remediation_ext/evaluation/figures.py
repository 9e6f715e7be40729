"""One figure of every group, and how the errors of groups correlate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
    trials_of,
    wilson_interval,
)

_CHUNK = 65_536


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure of every group.

    Args:
        values: The figures, `[groups]`; NaN where there is none.
        covariance: Covariances of their errors, `[groups, groups]`.
        rows: Number of rows that each is computed from, `[groups]`.
        limits: Returns lower and upper ends, `[groups]`, of intervals of any
            level.
    """

    values: np.ndarray
    covariance: np.ndarray
    rows: np.ndarray
    limits: Callable[[float], tuple[np.ndarray, np.ndarray]]

    def estimates(self, confidence: float) -> list[Estimate]:
        """Returns the figures with their intervals."""
        return [
            Estimate(float(value), float(low), float(high))
            if value == value
            else UNKNOWN
            for value, low, high in zip(
                self.values, *self.limits(confidence), strict=True
            )
        ]

    def without_first(self) -> Figure:
        """Returns the figure of all groups but the first."""

        def limits(confidence):
            low, high = self.limits(confidence)
            return low[1:], high[1:]

        return Figure(
            self.values[1:], self.covariance[1:, 1:], self.rows[1:], limits
        )


def chunks(
    rows: np.ndarray, members: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields some rows at a time, and their memberships as numbers."""
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        yield some, np.take(members.T, some, axis=1).astype(np.float64).T


def sorted_places(
    places: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorts rows by small whole numbers.

    Args:
        places: Numbers from 0, `[n]`.
        count: How many numbers there may be.

    Returns:
        The numbers that there are; the order of the rows, `[n]`; and where
        each number begins in it.
    """
    if count <= 2**16:
        places = places.astype(np.uint16)  # NumPy sorts these much faster.
    order = np.argsort(places, kind="stable")
    found = np.bincount(places, minlength=1)
    names = np.flatnonzero(found)
    return names, order, np.cumsum(found[names]) - found[names]


class Decisions(NamedTuple):
    """Sums over the cells of a confusion matrix, for every group.

    Attributes:
        true: Class of each cell, `[cells]`.
        decided: Decision of each cell, `[cells]`.
        counts: Numbers of rows, `[cells, groups]`.
        weights: Sums of weights, `[cells, groups]`.
        squares: Sums of squared weights of rows that are in two groups,
            `[cells, groups, groups]`.
    """

    true: np.ndarray
    decided: np.ndarray
    counts: np.ndarray
    weights: np.ndarray
    squares: np.ndarray

    @classmethod
    def read(
        cls,
        true: np.ndarray,
        decided: np.ndarray,
        classes: int,
        weights: np.ndarray,
        members: np.ndarray,
    ) -> Decisions:
        """Sums up rows.

        Args:
            true: Class of each row, `[n]`, from 0.
            decided: Class that was decided for, `[n]`.
            classes: Number of classes.
            weights: Non-negative weights, `[n]`.
            members: Boolean memberships, `[n, groups]`.
        """
        cells = true.astype(np.int64) * classes + decided
        names, order, starts = sorted_places(cells, classes**2)
        groups = members.shape[1]
        counts, sums = np.zeros((2, len(names), groups))
        squares = np.zeros((len(names), groups, groups))
        for k, rows in enumerate(np.split(order, starts[1:])):
            for some, inside in chunks(rows, members):
                weight = weights[some]
                both = np.stack([np.ones(len(some)), weight]) @ inside
                counts[k] += both[0]
                sums[k] += both[1]
                squares[k] += (inside.T * weight**2) @ inside
        return cls(names // classes, names % classes, counts, sums, squares)

    def sizes(self) -> np.ndarray:
        """Returns Kish's effective number of rows, `[groups]`."""
        spread = np.einsum("cgg->g", self.squares)
        return np.nan_to_num(_ratio(self.weights.sum(axis=0) ** 2, spread))

    def share(self, hit: np.ndarray, base: np.ndarray) -> Share:
        """Returns how often a row of the base cells is a hit.

        Args:
            hit: Boolean `[cells]`.
            base: Boolean `[cells]`.
        """
        rows = self.counts[base].sum(axis=0)
        total = self.weights[base].sum(axis=0)
        values = _ratio(self.weights[hit & base].sum(axis=0), total)
        influence = base[:, None] * (hit[:, None] - np.nan_to_num(values))
        influence = _ratio(influence, total[None, :] * np.ones_like(influence))
        spread = np.einsum("cgg->cg", self.squares)[base].sum(axis=0)
        return Share(
            np.clip(values, 0, 1),
            np.nan_to_num(influence),
            _ratio(total**2, spread),
            rows,
        )

    def figure(self, shares: Sequence[Share]) -> Figure:
        """Returns the mean of some shares as a figure.

        It has no value in groups where one of them has none.
        """
        values = np.mean([each.values for each in shares], axis=0)
        influence = np.mean([each.influence for each in shares], axis=0)
        covariance = np.einsum(
            "cgh,cg,ch->gh", self.squares, influence, influence, optimize=True
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            size = len(shares) ** 2 / sum(1 / each.size for each in shares)
        trials = trials_of(values, size, np.diag(covariance) * size)

        def limits(confidence):
            hits = np.nan_to_num(values) * trials
            return wilson_interval(np.minimum(hits, trials), trials, confidence)

        rows = np.min([each.rows for each in shares], axis=0)
        return Figure(values, covariance, rows.astype(int), limits)


class Share(NamedTuple):
    """How often something holds, for every group.

    Attributes:
        values: The shares, `[groups]`.
        influence: What the weight of a row adds, `[cells, groups]`.
        size: Effective number of rows, `[groups]`.
        rows: Number of rows, `[groups]`.
    """

    values: np.ndarray
    influence: np.ndarray
    size: np.ndarray
    rows: np.ndarray


# Standard errors below this share of the largest value are rounding errors.
_ROUNDING = 1e-9


def mean_figure(
    values: np.ndarray,
    weights: np.ndarray,
    members: np.ndarray,
    student: Any,
    least: float = -np.inf,
) -> Figure:
    """Returns the weighted mean of some values in every group.

    Args:
        values: The values, `[n]`.
        weights: Non-negative weights, `[n]`.
        members: Boolean memberships, `[n, groups]`.
        student: SciPy's distribution of Student's t.
        least: What no mean can be below.
    """
    groups = members.shape[1]
    shift = values.mean()
    counts, total, sums = np.zeros((3, groups))
    crossed = np.zeros((3, groups, groups))
    for some, inside in chunks(np.arange(len(values)), members):
        weight, value = weights[some], values[some] - shift
        counts += (weight > 0) @ inside
        total += weight @ inside
        sums += (weight * value) @ inside
        for power in range(3):
            factor = weight**2 * value**power
            crossed[power] += (inside.T * factor) @ inside
    means = _ratio(sums, total)
    known = np.nan_to_num(means)
    size = _ratio(total**2, np.diag(crossed[0]))
    covariance = _ratio(
        crossed[2]
        - crossed[1] * (known[:, None] + known)
        + crossed[0] * np.outer(known, known),
        np.outer(total, total),
    )
    # Of a single value nothing is known.
    more = np.sqrt(_ratio(size, np.maximum(size - 1, 0)))
    covariance = np.nan_to_num(covariance * np.outer(more, more))
    # Values that only rounding tells apart are constant: nothing is known.
    varies = np.diag(covariance) > (_ROUNDING * np.abs(values).max()) ** 2
    covariance *= np.outer(varies, varies)
    variance = np.diag(covariance)

    def limits(confidence):
        degrees = np.where(size > 1, size - 1, np.nan)
        half = student.ppf((1 + confidence) / 2, degrees) * np.sqrt(variance)
        half = np.where(variance > 0, half, np.nan)
        center = means + shift
        return np.maximum(center - half, least), center + half

    return Figure(means + shift, covariance, counts.astype(int), limits)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=b > 0)
