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
    "trials_of",
    "weighted_rate",
    "wilson_interval",
    "without_interval",
]

_RESAMPLES = 2_000
_RESAMPLED_ROWS = 1_000
# So many rows' spread of weighted hits counts as much as the supposed one.
_PRIOR_ROWS = 10
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
        low, high = wilson_interval(rate * n, n, confidence)
        return Estimate(float(rate), float(low), float(high))
    chosen = weights[hits]
    return weighted_rate(
        chosen.sum() / weights.sum(),
        effective_size(weights),
        chosen @ chosen / (weights @ weights),
        confidence,
    )


def weighted_rate(
    rate: float, size: float, share: float, confidence: float
) -> Estimate:
    """Returns a weighted rate with Wilson's interval.

    Args:
        rate: Share of the weights that hits have.
        size: Kish's effective number of rows.
        share: Share of the squared weights that hits have.
        confidence: Level of the interval.
    """
    rate = min(rate, 1.0)
    # `share * (1 - rate)^2 + (1 - share) * rate^2`, so written that without
    # weights it is that of a plain rate to the last digit.
    spread = rate * (1 - rate) + (share - rate) * (1 - 2 * rate)
    trials = float(trials_of(rate, size, spread))
    low, high = wilson_interval(min(rate * trials, trials), trials, confidence)
    return Estimate(float(rate), float(low), float(high))


def trials_of(rate: Any, size: Any, spread: Any) -> np.ndarray:
    """Returns of how many rows without weights a rate is as sure.

    Where weights and hits are unrelated that is Kish's effective number of
    rows. Where they go together, the rate is spread more, or less.

    Args:
        rate: Weighted rates, a scalar or array.
        size: Kish's effective numbers of rows, likewise.
        spread: Variances of the rates times these numbers.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.divide(spread, np.multiply(rate, np.subtract(1, rate)))
    ratio = np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1.0)
    ratio = (_PRIOR_ROWS + size * ratio) / (_PRIOR_ROWS + size)
    return np.nan_to_num(size / ratio)


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
    """Estimates a mean, with the accelerated bootstrap's interval.

    Percentiles of the bootstrap are corrected for skewness, without which the
    interval of a mean of many small gaps and a few large ones ends too low,
    and for the degrees of freedom. Up to 1,000 rows they are those of 2,000
    resamples. From there on they are those of the Cornish-Fisher expansion of
    the same bootstrap distribution from its first three cumulants. What it
    leaves out is of the order of 1/n of the interval's width, far below the
    noise of 2,000 resamples, a few percent. Of fewer than ten rows, with
    weights of a smaller effective number, or of rows that are all alike,
    there is none.

    Args:
        values: Array, `[n]`.
        weights: Non-negative array, `[n]`, not all zero; or `None`. Rows are
            resampled with their weights.
        confidence: Level of the interval.
        rng: Source of the resamples.

    Returns:
        The mean; NaN if `n` is 0. The ends are NaN if there is no interval.

    References:
        Efron 1987, "Better bootstrap confidence intervals"; Hall 1992, "The
        Bootstrap and Edgeworth Expansion", section 2.5; Hesterberg 2015, "What
        teachers should know about the bootstrap", on small samples.
    """
    n = len(values)
    if not n:
        return UNKNOWN
    if weights is None:
        weights = np.ones(1)
    weights = np.broadcast_to(weights, n)
    mean = values @ weights / weights.sum()
    counted = values[weights > 0]
    size = effective_size(weights)
    if not has_mean_interval(size, np.ptp(counted)):
        return without_interval(mean)
    # The weighted mean is a ratio; to first order it moves like the mean of
    # these.
    influence = (values - mean) * (weights / weights.mean())
    square, cube = np.mean([influence**2, influence**3], axis=1)
    if n <= _RESAMPLED_ROWS:
        skewness = _skewness(square, cube, n)
        ends = _bootstrap_quantiles(skewness, size, confidence)
        low, high = _resampled(values, weights, ends, rng)
    else:
        interval = expanded_interval(square, cube, n, size, confidence)
        low, high = np.clip(mean + interval, values.min(), values.max())
    return Estimate(float(mean), float(low), float(high))


def has_mean_interval(size: float, spread: float) -> bool:
    """Returns whether values tell how sure their mean is.

    Args:
        size: Their effective number, but for a rounding.
        spread: Largest minus smallest of them.
    """
    return size > _LEAST_ROWS - 1e-6 and spread > 0


def _resampled(values, weights, ends, rng) -> np.ndarray:
    rows = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    totals = weights[rows].sum(axis=1)
    # Where zero weights are drawn alone there is no mean.
    kept = totals > 0
    means = (values * weights)[rows].sum(axis=1)[kept] / totals[kept]
    return np.quantile(means, [*map(NormalDist().cdf, ends)])


def expanded_interval(
    square: float, cube: float, n: float, size: float, confidence: float
) -> np.ndarray:
    """Expands the bootstrap distribution of a mean, up to its skewness.

    Args:
        square: Mean square of the centered values.
        cube: Mean cube of the centered values.
        n: Number of values.
        size: Their effective number.
        confidence: Level of the interval.

    Returns:
        Lower and upper end, `[2]`, relative to the mean.
    """
    if square == 0:
        return np.zeros(2)
    skewness = _skewness(square, cube, n)
    z = _bootstrap_quantiles(skewness, size, confidence)
    return np.sqrt(square / n) * (z + skewness * (z**2 - 1) / 6)


def _skewness(square: float, cube: float, n: float) -> float:
    """Returns the skewness of a mean, from the moments of its values."""
    return cube / square**1.5 / np.sqrt(n)


def _bootstrap_quantiles(
    skewness: float, size: float, confidence: float
) -> np.ndarray:
    """Returns which normal quantiles of the bootstrap distribution to take.

    Those of the bias-corrected and accelerated bootstrap, as far out as
    Student's, since resamples vary less than samples do.
    """
    z, degrees = normal_quantile(confidence), size - 1
    # Student's quantile by its expansion: 0.1 % off at nine degrees.
    t = z + (z**3 + z) / (4 * degrees)
    t += (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    ends = np.sqrt(size / degrees) * t * np.array([-1.0, 1.0])
    # Of a mean, the correction of its bias is the acceleration.
    acceleration = skewness / 6
    ends += acceleration
    return acceleration + ends / np.maximum(1 - acceleration * ends, 0.2)
