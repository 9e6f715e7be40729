"""Estimates with their confidence intervals."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from tensorflow_model_remediation_ext.common.proportions import (
    normal_quantile,
    wilson_interval,
)

__all__ = [
    "UNKNOWN",
    "Estimate",
    "all_alike",
    "effective_size",
    "expanded_interval",
    "has_mean_interval",
    "level_of",
    "mean_estimate",
    "normal_quantile",
    "rate_estimate",
    "wilson_interval",
    "without_interval",
]

_RESAMPLES = 2_000
_RESAMPLED_ROWS = 1_000
# Of fewer rows no bootstrap knows how far their mean may be off.
_LEAST_ROWS = 10


class Estimate(NamedTuple):
    """A value between the ends of its confidence interval.

    Attributes:
        value: The estimate; NaN if there was nothing to estimate it from.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


# One object, so that reports with the same gaps are equal.
_NAN = float("nan")
UNKNOWN = Estimate(_NAN, _NAN, _NAN)


def without_interval(value: float) -> Estimate:
    """Returns an estimate of which nothing tells how sure it is."""
    return Estimate(float(value), _NAN, _NAN)


def all_alike(values: Any) -> bool:
    """Returns whether numbers differ by roundings alone: no spread is in them.

    Args:
        values: Numbers, `[n]`, one or more.
    """
    values = np.asarray(values)
    return np.allclose(values, values[0], rtol=1e-9, atol=1e-12)


def level_of(quantile: float) -> float:
    """Returns the level of a normal interval of so many standard errors.

    Args:
        quantile: What `normal_quantile` returns.
    """
    # Below 1, so that it can be taken back.
    return min(2 * NormalDist().cdf(quantile) - 1, 1 - 1e-12)


def rate_estimate(
    hits: np.ndarray, weights: np.ndarray | None, confidence: float
) -> Estimate:
    """Estimates how often something holds, with Wilson's interval.

    With weights, the number of trials is Kish's effective sample size,
    `sum(w)^2 / sum(w^2)`, which supposes that weights and hits are unrelated.

    Args:
        hits: Boolean array, `[n]`.
        weights: Non-negative array, `[n]`, not all zero; or `None`.
        confidence: Level of the interval.

    Returns:
        The share of hits; NaN if `n` is 0.
    """
    if not len(hits):
        return UNKNOWN
    if weights is None:
        rate, n = np.count_nonzero(hits) / len(hits), len(hits)
    else:
        rate = min(weights[hits].sum() / weights.sum(), 1.0)
        n = effective_size(weights)
    low, high = wilson_interval(rate * n, n, confidence)
    return Estimate(float(rate), float(low), float(high))


def effective_size(weights: np.ndarray) -> float:
    """Returns Kish's effective sample size of non-negative weights."""
    total = weights.sum()
    return float(total * (total / (weights @ weights))) if total else 0.0


def mean_estimate(
    values: np.ndarray,
    weights: np.ndarray | None,
    confidence: float,
    rng: np.random.Generator,
) -> Estimate:
    """Estimates a mean, with the percentile bootstrap's interval.

    Up to 1,000 rows the interval is that of 2,000 resamples. From there on it
    is the Cornish-Fisher expansion of the same bootstrap distribution from its
    first three cumulants. What it leaves out is of the order of 1/n of the
    interval's width, far below the noise of 2,000 resamples, a few percent.
    Of fewer than ten rows, or of rows that are all alike, there is none.

    Args:
        values: Array, `[n]`.
        weights: Non-negative array, `[n]`, not all zero; or `None`. Rows are
            resampled with their weights.
        confidence: Level of the interval.
        rng: Source of the resamples.

    Returns:
        The mean; NaN if `n` is 0. The ends are NaN if there is no interval.

    References:
        Hall 1992, "The Bootstrap and Edgeworth Expansion", section 2.5.
    """
    n = len(values)
    if not n:
        return UNKNOWN
    if weights is None:
        weights = np.ones(1)
    weights = np.broadcast_to(weights, n)
    mean = values @ weights / weights.sum()
    counted = values[weights > 0]
    if not has_mean_interval(len(counted), np.ptp(counted)):
        return without_interval(mean)
    if n <= _RESAMPLED_ROWS:
        low, high = _resampled(values, weights, confidence, rng)
    else:
        # The weighted mean is a ratio; to first order it moves like the mean
        # of these.
        influence = (values - mean) * (weights / weights.mean())
        squares = influence * influence
        interval = expanded_interval(
            squares.mean(), squares @ influence / n, n, confidence
        )
        low, high = np.clip(mean + interval, values.min(), values.max())
    return Estimate(float(mean), float(low), float(high))


def has_mean_interval(n: float, spread: float) -> bool:
    """Returns whether values tell how sure their mean is.

    Args:
        n: Number of values.
        spread: Largest minus smallest of them.
    """
    return n >= _LEAST_ROWS and spread > 0


def _resampled(values, weights, confidence, rng) -> np.ndarray:
    rows = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    totals = weights[rows].sum(axis=1)
    # Where zero weights are drawn alone there is no mean.
    kept = totals > 0
    means = (values * weights)[rows].sum(axis=1)[kept] / totals[kept]
    tail = (1 - confidence) / 2
    return np.quantile(means, [tail, 1 - tail])


def expanded_interval(
    square: float, cube: float, n: float, confidence: float
) -> np.ndarray:
    """Expands the bootstrap distribution of a mean, up to its skewness.

    Args:
        square: Mean square of the centered values.
        cube: Mean cube of the centered values.
        n: Number of values.
        confidence: Level of the interval.

    Returns:
        Lower and upper end, `[2]`, relative to the mean.
    """
    if square == 0:
        return np.zeros(2)
    skewness = cube / square**1.5 / np.sqrt(n)
    z = normal_quantile(confidence) * np.array([-1.0, 1.0])
    return np.sqrt(square / n) * (z + skewness * (z**2 - 1) / 6)
