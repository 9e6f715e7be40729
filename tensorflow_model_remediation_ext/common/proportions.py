"""Intervals of proportions."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.common.checks import is_number


def normal_quantile(confidence: float) -> float:
    """Returns how many standard errors a two-sided normal interval spans.

    Args:
        confidence: Level between 0 and 1, such as 0.95.

    Returns:
        The quantile, 1.96 for 0.95.

    Raises:
        ValueError: If `confidence` is not between 0 and 1.
    """
    if not is_number(confidence) or not 0 < confidence < 1:
        raise ValueError(
            "`confidence` must lie between 0 and 1, both excluded. "
            f"Received: confidence={confidence!r}"
        )
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson_interval(
    successes: Any, n: Any, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Computes Wilson's score interval of a binomial proportion.

    Unlike the textbook interval it stays within 0 and 1, and is neither empty
    nor wildly off for proportions near 0 and 1 or for few trials. Its coverage
    is near `confidence` on average; for a given proportion and `n` it can be
    off by a few percent (0.91 instead of 0.95 at a proportion of 0.01 and
    `n=50`).

    Args:
        successes: Number of successes; a scalar or array, not necessarily
            whole (an effective number).
        n: Number of trials, of a shape that broadcasts with `successes`.
        confidence: Level of the two-sided interval.

    Returns:
        Lower and upper ends, `float64`, of the broadcast shape; NaN where `n`
        is 0.

    Raises:
        ValueError: If `successes` is not between 0 and `n`, `n` not finite,
            or `confidence` not between 0 and 1.

    Examples:
        >>> low, high = wilson_interval([0, 5], [10, 10])
        >>> low.round(3), high.round(3)
        (array([0.   , 0.237]), array([0.278, 0.763]))

    References:
        Wilson 1927, "Probable inference, the law of succession, and
        statistical inference"; Brown, Cai and DasGupta 2001, "Interval
        estimation for a binomial proportion", equation 4.
    """
    z = normal_quantile(confidence)
    successes, n = np.broadcast_arrays(
        np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    )
    if not np.all((successes >= 0) & (successes <= n) & np.isfinite(n)):
        raise ValueError(
            "`successes` must lie between 0 and `n`, which must be finite. "
            f"Received: successes={successes}, n={n}"
        )
    trials = np.where(n > 0, n, np.nan)
    rate = successes / trials
    center = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = (
        z
        / (1 + z**2 / trials)
        * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    )
    # At the ends the formula gives 0 and 1 only up to rounding.
    low = np.where(successes == 0, 0.0 * trials, center - half)
    high = np.where(successes == n, 1.0 + 0.0 * trials, center + half)
    return low[()], high[()]
