"""Accuracy and AUC with their confidence intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.common.checks import number
from tensorflow_model_remediation_ext.evaluation.checks import (
    finite_numbers,
    require_probabilities,
)
from tensorflow_model_remediation_ext.evaluation.frames import one_column
from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    normal_quantile,
    rate_estimate,
)


def accuracy(
    labels: Any,
    predictions: Any,
    *,
    threshold: float = 0.5,
    confidence: float = 0.95,
) -> Estimate:
    """Estimates the accuracy of binary decisions, with Wilson's interval.

    Args:
        labels: Zeros and ones, `[n]` or `[n, 1]`.
        predictions: Predictions, `[n]` or `[n, 1]`. One greater than
            `threshold` is a positive decision.
        threshold: Predictions must be probabilities if it is strictly between
            0 and 1; give `threshold=0.0` for logits.
        confidence: Level of the two-sided interval.

    Returns:
        The accuracy and its interval.

    Raises:
        ValueError: If there are no rows, lengths differ, labels are not 0 or
            1, a prediction is not finite or no probability where it must
            be, or an option is out of range.

    Examples:
        >>> accuracy([0, 1, 1, 0], [0.2, 0.9, 0.4, 0.1]).value
        0.75
    """
    number("threshold", threshold)
    positive, predictions = labels_and_scores(
        labels, predictions, "labels", "predictions"
    )
    require_probabilities(predictions, "predictions", threshold)
    return rate_estimate(
        (predictions > threshold) == positive, None, confidence
    )


def auc(labels: Any, predictions: Any, *, confidence: float = 0.95) -> Estimate:
    """Estimates the area under the ROC curve, with an interval.

    The area is the chance that a random positive example scores above a random
    negative one, ties counting half. The interval is a score interval, as
    Wilson's is for a rate: it holds every area that the observed one is
    compatible with, so it stays within 0 and 1, and has a width even where the
    scores separate the classes without an error. Its variance is DeLong's. In
    small classes, where that cannot be estimated well, it is drawn toward
    the one that Newcombe supposes.

    Args:
        labels: Zeros and ones, `[n]` or `[n, 1]`.
        predictions: Scores, `[n]` or `[n, 1]`; only their order counts.
        confidence: Level of the two-sided interval.

    Returns:
        The area and its interval.

    Raises:
        ValueError: If lengths differ, labels are not 0 or 1, a prediction is
            not finite, or a class has fewer than two examples.

    Examples:
        >>> auc([0, 1, 0, 1], [0.1, 0.9, 0.4, 0.3]).value
        0.75

    References:
        DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two
        or more correlated receiver operating characteristic curves"; computed
        from ranks as in Sun and Xu 2014, "Fast implementation of DeLong's
        algorithm". Newcombe 2006, "Confidence intervals for an effect size
        measure based on the Mann-Whitney statistic", part 2, method 5.
    """
    normal_quantile(confidence)  # Refuses a bad level before any work.
    positive, scores = labels_and_scores(
        labels, predictions, "labels", "predictions"
    )
    m = int(np.count_nonzero(positive))
    n = len(scores) - m
    if min(m, n) < 2:
        raise ValueError(
            "The area under the curve needs two examples of each class. "
            f"Received: {m} positive and {n} negative labels"
        )
    area, influence = ordered_share(positive, scores)
    return area_estimate(area, influence @ influence, m, n, confidence)


def ordered_share(
    positive: np.ndarray, scores: np.ndarray
) -> tuple[float, np.ndarray]:
    """Computes the area under the ROC curve, and what each example adds to it.

    Args:
        positive: Boolean labels, `[n]`, with both values.
        scores: Scores, `[n]`.

    Returns:
        The area, and deviations `[n]` whose sum of squares is DeLong's
        variance; NaN for the only example of a class.
    """
    m = np.count_nonzero(positive)
    n = len(scores) - m
    # For each example, the share of the other class that it is ordered
    # rightly against.
    share = midranks(scores)
    share[positive] -= midranks(scores[positive])
    share[~positive] -= midranks(scores[~positive])
    share[positive] /= n
    share[~positive] = 1 - share[~positive] / m
    area = share[positive].mean()
    with np.errstate(invalid="ignore"):
        influence = (share - area) / np.sqrt(
            np.where(positive, m * (m - 1.0), n * (n - 1.0))
        )
    return float(area), influence


# A variance estimated from this many examples counts as much as the supposed
# one. Chosen by simulation: 2 to 100 examples a class, areas of 0.6 to 0.97.
_PRIOR_EXAMPLES = 10


def area_estimate(
    area: float,
    variance: float,
    m: float,
    n: float,
    confidence: float,
    samples: float = 1.0,
) -> Estimate:
    """Returns an area under the ROC curve with its score interval.

    Args:
        area: The area.
        variance: Its variance, as estimated from the data.
        m: Number of positive examples, or an effective number.
        n: Number of negative examples, or an effective number.
        confidence: Level of the interval.
        samples: Of how many samples of these sizes it is the mean area, or an
            effective number. Examples of two samples are not compared.
    """
    low, high = area_interval(area, variance, m, n, confidence, samples)
    return Estimate(area, float(low), float(high))


def area_interval(
    area: Any,
    variance: Any,
    m: Any,
    n: Any,
    confidence: float,
    samples: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Computes score intervals of areas under the ROC curve.

    Args:
        area: Areas, a scalar or array.
        variance: Their variances, as estimated from the data.
        m: Numbers of positive examples, or effective numbers.
        n: Numbers of negative examples, or effective numbers.
        confidence: Level of the intervals.
        samples: As in `area_estimate`.

    Returns:
        Lower and upper ends; NaN where the area is.
    """
    area, variance, m, n = np.broadcast_arrays(
        *(np.asarray(each, np.float64) for each in (area, variance, m, n))
    )

    def supposed(area):
        # For exponential scores, with the mean of both class sizes.
        more = (m + n) / 2 - 1
        spread = 1 + more * ((1 - area) / (2 - area) + area / (1 + area))
        return area * (1 - area) * spread / (m * n * samples)

    z = normal_quantile(confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = 2 * m * n / (m + n) * samples
        ratio = variance / supposed(area)
        ratio = np.where((variance > 0) & np.isfinite(ratio), ratio, 1.0)
        ratio = (_PRIOR_EXAMPLES + size * ratio) / (_PRIOR_EXAMPLES + size)
        ends = np.stack([np.zeros(area.shape), np.ones(area.shape)])
        inner = np.stack([area, area])
        for _ in range(60):
            middle = (ends + inner) / 2
            outside = (area - middle) ** 2 > z**2 * ratio * supposed(middle)
            ends = np.where(outside, middle, ends)
            inner = np.where(outside, inner, middle)
    low, high = np.where(np.stack([area == 0, area == 1]), area, inner)
    return low, high


def midranks(values: np.ndarray) -> np.ndarray:
    """Returns ranks from 1, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(
        values, return_inverse=True, return_counts=True
    )
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def labels_and_scores(
    labels: Any, scores: Any, labels_name: str, scores_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns boolean labels and float64 scores, both `[n]`, checked.

    Args:
        labels: Zeros and ones, `[n]` or `[n, 1]`.
        scores: Numbers, `[n]` or `[n, 1]`.
        labels_name: What to call the labels in an error.
        scores_name: What to call the scores in an error.

    Raises:
        ValueError: If there are no rows, lengths differ, labels are not 0 or
            1, or a score is not finite.
    """
    labels = _column(labels, labels_name)
    scores = _column(scores, scores_name)
    if labels.shape != scores.shape:
        raise ValueError(
            f"`{labels_name}` and `{scores_name}` must be equally long. "
            f"Received: {len(labels)} and {len(scores)} rows"
        )
    if not len(labels):
        raise ValueError(f"`{labels_name}` must hold at least one row.")
    other = labels[~np.isin(labels, (0, 1))]
    if len(other):
        raise ValueError(
            f"`{labels_name}` must be zeros and ones. Received: {other[0]:g}"
        )
    return labels == 1, scores


def _column(values: Any, name: str) -> np.ndarray:
    array = one_column(finite_numbers(values, name))
    if array.ndim != 1:
        raise ValueError(
            f"`{name}` must have shape [n] or [n, 1]. "
            f"Received: shape={array.shape}"
        )
    return array
