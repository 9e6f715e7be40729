"""How often, and how far, predictions move between counterfactual pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    number,
)
from tensorflow_model_remediation_ext.evaluation.checks import (
    finite_numbers,
    relative_weights,
    require_order,
)
from tensorflow_model_remediation_ext.evaluation.flip_report import (
    FlipReport,
    FlipRow,
    FlowRow,
)
from tensorflow_model_remediation_ext.evaluation.groups import group_masks
from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    effective_size,
    mean_estimate,
    normal_quantile,
    rate_estimate,
)
from tensorflow_model_remediation_ext.evaluation.predictions import (
    HALF,
    decisions,
    require_scores,
)

_OVERALL = "overall"


def flips(
    original_predictions: Any,
    counterfactual_predictions: Any,
    *,
    groups: Any = None,
    threshold: float = 0.5,
    sample_weight: Any = None,
    classes: Sequence[Any] | None = None,
    confidence: float = 0.95,
    seed: int | np.random.Generator | None = None,
) -> FlipReport:
    """Measures how a model's decisions change from inputs to counterfactuals.

    A flip rate of zero is not equal treatment. It says that the decisions on
    these pairs do not depend on what was changed in them: nothing about terms
    that were not changed, about other words that correlate with a group, about
    errors that are more frequent for one group than for another, or about
    inputs unlike these. In a small group it says little even of that; its
    interval says how little.

    Intervals of the rates are Wilson's score intervals; with weights, for
    Kish's effective number of pairs, corrected where weights and flips go
    together. Intervals of the gap are those of the bias-corrected and
    accelerated bootstrap, computed beyond 1,000 pairs from its Cornish-Fisher
    expansion. They run somewhat short for a few dozen pairs, and there are
    none for fewer than ten pairs, in effective number, or for gaps that are
    all alike. Both take pairs to be independent and look at one group at a
    time: of many groups, some interval will miss.

    Args:
        original_predictions: Predictions on the original inputs: `[n]` or
            `[n, 1]` for one column, `[n, k]` for `k` classes. Anything that
            `numpy.asarray` takes.
        counterfactual_predictions: Predictions on the counterfactuals, row by
            row, of the same shape.
        groups: `None`; a dict of boolean masks `[n]`, which may overlap; an
            array, list or Series of labels `[n]`; or a DataFrame of pandas or
            polars, each boolean column of which is a mask, and each other
            column makes groups named `column=value`. Unused categories of
            pandas are groups without pairs.
        threshold: A prediction greater than this is a positive decision.
            Predictions must be probabilities if it is strictly between 0 and
            1; give `threshold=0.0` for logits. With several columns the
            decision is the largest column, of probabilities as of logits, and
            with two of them the second is the positive one; another threshold
            than 0.5 or 0 is for that one, of probabilities that sum to one.
        sample_weight: Non-negative weights of the pairs, `[n]`; a zero leaves
            a pair out.
        classes: Names of the columns, for the flows from class to class; by
            default their numbers.
        confidence: Level of the two-sided intervals.
        seed: Seed or generator of the bootstrap in groups of up to 1,000
            pairs.

    Returns:
        A report with a row for all pairs and one for each group. A group
        without pairs has a row with `n` 0 and NaN figures.

    Raises:
        ValueError: If shapes do not match, a prediction or weight is not
            finite, a weight is negative, predictions are not probabilities
            where they must be, `groups` has none of the forms above, or an
            option is out of range.

    Examples:
        >>> report = flips([0.9, 0.2, 0.6], [0.8, 0.3, 0.4], seed=0)
        >>> report["overall"].flip_count
        1

    References:
        Garg et al. 2018, "Counterfactual Fairness in Text Classification
        through Robustness", arXiv 1809.10610, section 3.1. Intervals: Efron
        1987, "Better bootstrap confidence intervals".
    """
    normal_quantile(confidence)  # Refuses a bad level before any work.
    number("threshold", threshold)
    if seed is not None and not isinstance(seed, np.random.Generator):
        checked_seed("seed", seed)
    original = _predictions(
        original_predictions, "original_predictions", threshold
    )
    counterfactual = _predictions(
        counterfactual_predictions, "counterfactual_predictions", threshold
    )
    if original.shape != counterfactual.shape:
        raise ValueError(
            "`original_predictions` and `counterfactual_predictions` must "
            f"have the same shape. Received: {np.shape(original_predictions)} "
            f"and {np.shape(counterfactual_predictions)}"
        )
    n = len(original)
    weights = (
        None if sample_weight is None else relative_weights(sample_weight, n)
    )
    masks = group_masks(groups, n)
    if _OVERALL in masks:
        raise ValueError(
            f"`groups` must not name a group {_OVERALL!r}: that is the row of "
            "all pairs."
        )
    masks = {_OVERALL: np.ones(n, dtype=bool), **masks}
    before = decisions(original, threshold)
    after = decisions(counterfactual, threshold)
    gaps = np.abs(original - counterfactual).mean(axis=1)
    binary = original.shape[1] <= 2
    names = _class_names(classes, original.shape[1])
    rng = np.random.default_rng(seed)
    rows: list[FlipRow] = []
    flows: list[FlowRow] = []
    for group, mask in masks.items():
        w = None
        if weights is not None:
            mask = mask & (weights > 0)
            w = weights[mask]
        b, a = before[mask], after[mask]
        gap = mean_estimate(gaps[mask], w, confidence, rng)
        rows.append(_row(group, b, a, gap, w, binary, confidence))
        if not binary:
            flows += _flows(group, b, a, w, names, confidence)
    return FlipReport(tuple(rows), confidence, tuple(flows))


def _row(group, before, after, gap, weights, binary, confidence) -> FlipRow:
    """Returns the figures of a group from the decisions on its pairs."""

    def rate(hits):
        return rate_estimate(hits, weights, confidence)

    n, flipped = len(before), before != after
    return FlipRow(
        group=group,
        n=n,
        effective_n=float(n) if weights is None else effective_size(weights),
        flip_count=int(np.count_nonzero(flipped)),
        flip_rate=rate(flipped),
        positive_to_negative=rate(before > after) if binary else UNKNOWN,
        negative_to_positive=rate(before < after) if binary else UNKNOWN,
        counterfactual_gap=gap,
    )


def _class_names(classes: Sequence[Any] | None, columns: int) -> list[str]:
    count = max(columns, 2)
    require_order(classes, "classes")
    names = [*map(str, range(count) if classes is None else classes)]
    if len(names) != count or len(set(names)) < count:
        raise ValueError(
            f"`classes` must name {count} classes, each once. "
            f"Received: classes={names}"
        )
    return names


def _flows(group, before, after, weights, names, confidence) -> list[FlowRow]:
    """Returns the flows from class to class that occur in a group."""
    k = len(names)
    counts = np.bincount(before * k + after, minlength=k * k).reshape(k, k)
    rows = []
    for source, target in np.argwhere(counts > 0):
        if source == target:
            continue
        there = before == source
        rows.append(
            FlowRow(
                flow=f"{group}: {names[source]} to {names[target]}",
                group=group,
                source=names[source],
                target=names[target],
                n=int(np.count_nonzero(there)),
                flip_count=int(counts[source, target]),
                flip_rate=rate_estimate(
                    after[there] == target,
                    None if weights is None else weights[there],
                    confidence,
                ),
            )
        )
    return sorted(rows, key=lambda row: -row.flip_count)


def _predictions(values: Any, name: str, threshold: float) -> np.ndarray:
    """Returns predictions as float64 `[n, k]`, or says what is wrong."""
    array = finite_numbers(values, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(
            f"`{name}` must have shape [n], [n, 1] or [n, k]. "
            f"Received: shape={np.shape(values)}"
        )
    if array.shape[1] == 1 or threshold != HALF:
        require_scores(array, name, threshold)
    return array
