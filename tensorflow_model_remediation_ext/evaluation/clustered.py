"""Estimates over rows that are not independent: grouped, or used twice."""

from __future__ import annotations

import numpy as np

from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    wilson_interval,
)


def classes_of_units(
    classes: np.ndarray, groups: np.ndarray | None
) -> np.ndarray:
    """Returns the class of each independent unit, `[units]`.

    Args:
        classes: `[n]` class ids of rows.
        groups: `[n]` ids of what belongs together, or `None`: then each row is
            a unit. A group with rows of several classes is a unit of each.
    """
    if groups is None:
        return classes
    return np.unique(np.stack([classes, groups]), axis=1)[0]


def clustered_variance(
    influence: np.ndarray, units: np.ndarray, grouped: bool
) -> float:
    """Returns the variance of a sum whose units are independent.

    Args:
        influence: `[n]` deviations that add up to the sum.
        units: `[n]` ids of what belongs together: the row itself, which may
            come more than once, or its group.
        grouped: Whether units are groups, which may be few.
    """
    units, place = np.unique(units, return_inverse=True)
    sums = np.bincount(place, influence)
    variance = float(sums @ sums)
    if grouped and len(units) > 1:
        variance *= len(units) / (len(units) - 1)
    return variance


def clustered_accuracy(
    right: np.ndarray,
    units: np.ndarray,
    grouped: bool,
    distinct: int,
    confidence: float,
    inflation: float = 1.0,
) -> tuple[Estimate, float]:
    """Returns the share of rows that are right, and their effective number.

    Args:
        right: `[n]` booleans.
        units: As in `clustered_variance`.
        grouped: As in `clustered_variance`.
        distinct: Number of different rows: the most that the effective number
            can be.
        confidence: Level of Wilson's interval.
        inflation: Factor of the variance.
    """
    n, rate = len(right), float(right.mean())
    variance = clustered_variance((right - rate) / n, units, grouped)
    # Where all are right, or all wrong, the correlation within groups cannot
    # be estimated: suppose it is perfect.
    effective = len(np.unique(units))
    if variance:
        effective = min(rate * (1 - rate) / variance, distinct)
    effective = effective / inflation
    low, high = wilson_interval(
        min(rate * effective, effective), effective, confidence
    )
    return Estimate(rate, float(low), float(high)), effective
