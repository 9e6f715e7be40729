"""Figures of several seeds, and what is uncertain in their mean."""

from __future__ import annotations

import math
from collections.abc import Iterable

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
        ImportError: If there are several seeds, and SciPy is missing.
    """
    value, low, high = np.array(list(estimates)).T
    mean, n = value.mean(), len(value)
    below, above = (value - low).mean(), (high - value).mean()
    if n > 1:
        stats = extra("scipy.stats", "An interval over several seeds")
        spread = stats.t.ppf((1 + confidence) / 2, n - 1)
        # What differs by a rounding alone tells nothing of other seeds.
        same = all_alike(value)
        spread *= 0.0 if same else value.std(ddof=1) / math.sqrt(n)
        # Plain numbers come without an error of measurement.
        below, above = (
            math.hypot(half, spread)
            if half == half
            else (spread if spread else math.nan)
            for half in (below, above)
        )
    low, high = np.clip([mean - below, mean + above], *limits)
    return Estimate(float(mean), float(low), float(high))
