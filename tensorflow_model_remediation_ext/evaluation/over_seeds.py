"""Means over seeds or other repetitions, and how uncertain they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    all_alike,
)
from tensorflow_model_remediation_ext.evaluation.tables import extra


def limits_of(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Returns what a figure lies between: 0 and 1 if it looks like a share."""
    share = all(0 <= estimate.value <= 1 for estimate in estimates)
    return (0.0, 1.0) if share else (-math.inf, math.inf)


def student_half_width(values: Any, confidence: float, purpose: str) -> float:
    """Returns half the width of Student's interval of a mean.

    It is 0 for values that differ by rounding alone, or a single one: they say
    nothing of what another repetition would give.

    Args:
        values: Numbers, `[n]`, one or more.
        confidence: Level of the interval.
        purpose: What needs SciPy, to begin an error message with.

    Raises:
        ImportError: If values differ, and SciPy is missing.
    """
    if all_alike(values):
        return 0.0
    n = len(values)
    quantile = extra("scipy.stats", purpose).t.ppf((1 + confidence) / 2, n - 1)
    return float(quantile * (np.std(values, ddof=1) / math.sqrt(n)))


def mean_over_seeds(
    estimates: Iterable[Estimate],
    confidence: float,
    limits: tuple[float, float],
) -> Estimate:
    """Returns a mean; joins the errors of measurement and of training.

    Args:
        estimates: A figure of each seed.
        confidence: Level of the intervals.
        limits: What the interval is kept between.

    Raises:
        ImportError: If seeds differ, and SciPy is missing.
    """
    value, low, high = np.array(list(estimates)).T
    mean, n = value.mean(), len(value)
    below, above = (value - low).mean(), (high - value).mean()
    if n > 1:
        spread = student_half_width(
            value, confidence, "An interval over several seeds"
        )
        # Plain numbers come without an error of measurement.
        below, above = (
            math.hypot(half, spread)
            if half == half
            else (spread if spread else math.nan)
            for half in (below, above)
        )
    low, high = np.clip([mean - below, mean + above], *limits)
    return Estimate(float(mean), float(low), float(high))
