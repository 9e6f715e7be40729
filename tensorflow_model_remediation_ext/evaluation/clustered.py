"""Estimates over rows that belong together, and rows that came twice."""

from __future__ import annotations

import numpy as np

from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    wilson_interval,
)


def clustered_variance(
    influence: np.ndarray, units: np.ndarray, grouped: bool
) -> float:
    """Returns the variance of a sum, of which units are independent.

    Args:
        influence: `[n]` deviations that the sum is made of.
        units: `[n]` ids of what belongs together: the row itself where it came
            more than once, or its group.
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
    """Returns the share of rows that are right, and for how many they count.

    Args:
        right: `[n]` booleans.
        units: As in `clustered_variance`.
        grouped: As in `clustered_variance`.
        distinct: Number of different rows, for more than which they never
            count.
        confidence: Level of Wilson's interval.
        inflation: Factor of the variance.
    """
    n, rate = len(right), float(right.mean())
    variance = clustered_variance((right - rate) / n, units, grouped)
    # Where all are right, or all wrong, nothing tells how far the rows of a
    # group go together; suppose they do entirely.
    effective = len(np.unique(units))
    if variance:
        effective = min(rate * (1 - rate) / variance, distinct)
    effective = effective / inflation
    low, high = wilson_interval(
        min(rate * effective, effective), effective, confidence
    )
    return Estimate(rate, float(low), float(high)), effective
