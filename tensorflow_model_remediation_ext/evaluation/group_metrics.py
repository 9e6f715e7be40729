"""Quality and decisions by group of people, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    number,
    whole,
)
from tensorflow_model_remediation_ext.evaluation.checks import relative_weights
from tensorflow_model_remediation_ext.evaluation.group_decisions import (
    GroupDecisions,
)
from tensorflow_model_remediation_ext.evaluation.group_errors import (
    GroupErrorReport,
    group_errors,
)
from tensorflow_model_remediation_ext.evaluation.group_report import GroupReport
from tensorflow_model_remediation_ext.evaluation.groups import (
    Groups,
    read_groups,
)
from tensorflow_model_remediation_ext.evaluation.intervals import (
    normal_quantile,
)
from tensorflow_model_remediation_ext.evaluation.predictions import (
    read_amounts,
    read_class_scores,
)


class _Options(TypedDict):
    confidence: float
    n_boot: int
    n_permutations: int
    rng: np.random.Generator


def group_metrics(
    y_true: Any,
    y_pred: Any,
    sensitive_features: Any,
    *,
    threshold: float = 0.5,
    sample_weight: Any = None,
    task: str = "classification",
    classes: Sequence[Any] | None = None,
    membership_threshold: float = 0.5,
    bins: int = 10,
    mean_power: float = -5.0,
    confidence: float = 0.95,
    n_boot: int = 2_000,
    n_permutations: int = 999,
    seed: int = 0,
) -> GroupReport | GroupErrorReport:
    """Measures a model's quality and decisions by group of people.

    Two classes, several classes or amounts; groups that exclude one another or
    overlap; with or without weights. Figures, differences and ratios are those
    of Fairlearn's `MetricFrame` where that has them, between the groups that
    have the figure. Where there is nothing to compare there is no figure: NaN,
    never an equality.

    Rates have Wilson's score intervals, areas those of `auc`, means Student's.
    A difference or ratio joins the intervals of all pairs of groups (MOVER), at
    a level at which they hold together; with more than two groups that errs to
    the wide side. With weights, intervals are for Kish's effective number of
    rows, corrected where weights and errors go together. The interval of the
    calibration error is that of all gaps, in proportion to those found, from
    which such an error is not surprising.

    What the figures do not show: equal figures are not equal treatment, and
    labels may be as unfair as decisions. Demographic parity, equalized odds and
    calibration exclude one another where base rates differ. The difference
    between the extreme groups is never negative: with many or small groups it
    lies well above zero by chance. The p-value asks whether scores of a group
    are distributed otherwise than those of all others, which they are too where
    groups truly differ; of twenty groups one falls below 0.05 by chance, and a
    large one says little in small groups.

    Args:
        y_true: Zeros and ones, `[n]` or `[n, 1]`; class ids or names for
            several classes; amounts for `task="regression"`.
        y_pred: Scores, `[n]` or `[n, 1]`: one greater than `threshold` is a
            positive decision. Or `[n, k]` for `k` classes, of which the largest
            is the decision; with two columns the second is the positive class.
            Or amounts.
        sensitive_features: Labels of groups `[n]`: an array, list or Series; or
            several, as a DataFrame (pandas or polars) or a dict of them, which
            make a group of each combination. A DataFrame or dict of boolean
            masks, or of shares between 0 and 1 as in Civil Comments, makes
            groups that may overlap, one a column; zeros and ones beside shares
            are shares, too. A row whose share is missing is neither in the
            group nor outside it. Groups without rows, such
            as unused categories of pandas, are rows with `n` 0.
        threshold: Scores must be probabilities if it is strictly between 0
            and 1, and sum to one in a row; give `threshold=0.0` for logits.
        sample_weight: Non-negative weights, `[n]`; a zero leaves a row out.
        task: `"classification"` or `"regression"`.
        classes: Names of the columns of `y_pred` by which `y_true` tells the
            class; by default 0 to `k - 1`.
        membership_threshold: A share of at least this is a membership;
            greater than 0 and at most 1.
        bins: Number of bins of equal width of the calibration.
        mean_power: Power of the generalized means of areas; not 0.
        confidence: Level of the two-sided intervals.
        n_boot: Number of draws for intervals of more than two groups and of
            calibration errors.
        n_permutations: Number of permutations of the test. For many rows
            (rows times groups times permutations above 3 * 10^7) p-values
            are those of the limit distribution of Kolmogorov and Smirnov.
        seed: Seed of both.

    Returns:
        A report with a row for all rows and one for each group, the
        disparities, and the worst group by each figure: a `GroupReport`, or a
        `GroupErrorReport` for `task="regression"`.

    Raises:
        ImportError: If SciPy is missing, which regression and tests of many
            rows need.
        TypeError: If a data frame has no values yet.
        ValueError: If lengths differ, there are no rows, all weights are zero,
            a label is not one of the classes, a score is not finite or not a
            probability where it must be, a group has no name or the name
            `"overall"`, or an option is out of range.

    Examples:
        >>> report = group_metrics(
        ...     [0, 1, 1, 0, 1, 0],
        ...     [0.2, 0.9, 0.7, 0.6, 0.4, 0.1],
        ...     ["a", "a", "a", "b", "b", "b"],
        ... )
        >>> report["a"].accuracy.value
        1.0
        >>> report.disparity("equalized_odds").difference.value
        1.0
        >>> report.least_well_served
        'b'

    References:
        Agarwal et al. 2018, "A reductions approach to fair classification"
        (parity and odds); Borkan et al. 2019, "Nuanced metrics for measuring
        unintended bias with real data for text classification", arXiv
        1903.04561 (areas between groups); Guo et al. 2017, "On calibration of
        modern neural networks", arXiv 1706.04599; Chouldechova 2017, "Fair
        prediction with disparate impact" (what excludes what); Zou and Donner
        2008, "Construction of confidence limits about effect measures".
    """
    normal_quantile(confidence)  # Refuses a bad level before any work.
    number("threshold", threshold)
    if not number("mean_power", mean_power):
        raise ValueError(
            f"`mean_power` must not be 0. Received: mean_power={mean_power!r}"
        )
    if not 0 < number("membership_threshold", membership_threshold) <= 1:
        raise ValueError(
            "`membership_threshold` must be greater than 0 and at most 1. "
            f"Received: membership_threshold={membership_threshold!r}"
        )
    whole("n_boot", n_boot)
    whole("n_permutations", n_permutations)
    whole("bins", bins)
    options: _Options = {
        "confidence": confidence,
        "n_boot": n_boot,
        "n_permutations": n_permutations,
        "rng": np.random.default_rng(checked_seed("seed", seed)),
    }
    if task == "regression":
        errors = read_amounts(y_true, y_pred)
        kept, weights, groups = _rows(
            sensitive_features, sample_weight, len(errors), membership_threshold
        )
        return group_errors(errors[kept], weights, groups, **options)
    if task != "classification":
        raise ValueError(
            '`task` must be "classification" or "regression". '
            f"Received: task={task!r}"
        )
    read = read_class_scores(y_true, y_pred, classes, threshold)
    kept, weights, groups = _rows(
        sensitive_features, sample_weight, len(read.true), membership_threshold
    )
    made = GroupDecisions(read.rows(kept), weights, groups, **options)
    return made.report(bins, mean_power)


def _rows(
    features: Any, sample_weight: Any, n: int, membership_threshold: float
) -> tuple[np.ndarray, np.ndarray, Groups]:
    """Returns the rows that count, their weights and their groups."""
    groups = read_groups(
        features, "sensitive_features", n, membership_threshold
    )
    if sample_weight is None:
        return np.arange(n), np.ones(n), groups
    weights = relative_weights(sample_weight, n)
    if weights.all():
        return np.arange(n), weights, groups
    kept = np.flatnonzero(weights)
    if not len(kept):
        raise ValueError("`sample_weight` must not be zero in every row.")
    return kept, weights[kept], groups.rows(kept)
