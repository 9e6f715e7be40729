"""Quality and decisions by group of people, and how far they are apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.evaluation.checks import (
    require_probabilities,
)
from tensorflow_model_remediation_ext.evaluation.group_bootstrap import (
    resampled_disparities,
)
from tensorflow_model_remediation_ext.evaluation.groups import read_labels
from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
    normal_quantile,
    rate_estimate,
)
from tensorflow_model_remediation_ext.evaluation.performance import (
    auc,
    labels_and_scores,
)
from tensorflow_model_remediation_ext.evaluation.tables import (
    Row,
    Table,
    extra,
    frame,
    text_table,
)


@dataclasses.dataclass(frozen=True)
class GroupRow(Row):
    """The figures of one group of people; NaN where it has no such example.

    Args:
        group: Name of the group.
        n: Number of examples.
        positives: Number of those whose label is positive.
        accuracy: Share of right decisions.
        auc: Area under the ROC curve.
        selection_rate: Share of positive decisions.
        true_positive_rate: Share of positive decisions among the positives.
        false_positive_rate: Share of positive decisions among the negatives.
        p_value: Of the permutation test that scores of the group are
            distributed as those of all others; NaN for `"overall"`.
    """

    group: str
    n: int
    positives: int
    accuracy: Estimate
    auc: Estimate
    selection_rate: Estimate
    true_positive_rate: Estimate
    false_positive_rate: Estimate
    p_value: float


@dataclasses.dataclass(frozen=True)
class DisparityRow(Row):
    """How far groups are apart in one figure.

    Args:
        metric: A figure of `GroupRow`, `"demographic_parity"` or
            `"equalized_odds"`.
        difference: Largest minus smallest value of a group.
        ratio: Smallest divided by largest value of a group.
    """

    metric: str
    difference: Estimate
    ratio: Estimate


@dataclasses.dataclass(frozen=True, repr=False)
class GroupReport(Table[GroupRow]):
    """The figures of all groups, and how far they are apart.

    `report["group"]` is the row of a group, `report.disparity("metric")` that
    of a metric.

    Args:
        rows: One `GroupRow` for all examples, `"overall"`, then one for each
            group.
        confidence: Level of the intervals.
        disparities: A `DisparityRow` for each metric.
    """

    disparities: tuple[DisparityRow, ...]

    measures: ClassVar[str] = (
        "Quality and decisions for each group of people, and how far the "
        "extreme groups are apart. The p-value is of a permutation test that "
        "a group's scores are distributed as all others'."
    )
    caveat: ClassVar[str] = (
        "Equal figures are not equal treatment, and these criteria exclude "
        "one another where base rates differ. The difference of the extreme "
        "groups is never negative: with small groups it is large by chance."
    )
    _columns: ClassVar[tuple[str, ...]] = (
        "group",
        "n",
        "positives",
        "accuracy",
        "auc",
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "p_value",
    )
    _plotted: ClassVar[dict[str, str]] = {
        "auc": "AUC",
        "selection_rate": "selection rate",
        "true_positive_rate": "true positive rate",
        "false_positive_rate": "false positive rate",
    }
    _axis_label: ClassVar[str] = "by group"

    def disparity(self, metric: str) -> DisparityRow:
        """Returns the difference and ratio of one metric.

        Raises:
            KeyError: If there is none of that name.
        """
        for row in self.disparities:
            if row.metric == metric:
                return row
        raise KeyError(metric)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers: `{"groups": ..., "disparities": ...}`."""
        return {
            "groups": super().to_dict(),
            "disparities": {r.metric: r.to_dict() for r in self.disparities},
        }

    def disparities_to_frame(self) -> Any:
        """Returns a pandas DataFrame of the disparities, by metric.

        Raises:
            ImportError: If pandas is missing.
        """
        return frame(self.disparities)

    def __repr__(self) -> str:
        disparities = text_table(
            self.disparities, ("metric", "difference", "ratio")
        )
        return f"{disparities}\n\n{super().__repr__()}"


_OVERALL = "overall"


def group_metrics(
    y_true: Any,
    y_pred: Any,
    sensitive_features: Any,
    *,
    threshold: float = 0.5,
    confidence: float = 0.95,
    n_boot: int = 1_000,
    n_permutations: int = 999,
    seed: int = 0,
) -> GroupReport:
    """Measures a model's quality and decisions by group of people.

    Figures, differences and ratios are those of Fairlearn's `MetricFrame`.
    Rates have Wilson's score intervals and areas DeLong's, as everywhere in
    this package: the bootstrap of a rate of zero has no width. Differences and
    ratios have intervals of the percentile bootstrap over all examples; for
    rates, resampling examples is resampling the counts of a multinomial
    distribution, which is what runs, since Fairlearn's own bootstrap, the same
    in distribution, takes a second for a resample of 20,000 rows.

    What the figures do not show: equal figures are not equal treatment, and
    labels may be as unfair as decisions. Demographic parity, equalized odds and
    calibration exclude one another where base rates differ. The difference
    between the extreme groups is never negative: with many or small groups it
    lies well above zero by chance, and its interval, for which chance comes in
    twice, above that. The p-value asks
    whether scores of a group are distributed otherwise than those of all
    others, which they are too where groups truly differ; of twenty groups one
    falls below 0.05 by chance, and a large one says little in small groups.

    Args:
        y_true: Zeros and ones, `[n]` or `[n, 1]`.
        y_pred: Scores, `[n]` or `[n, 1]`. One greater than `threshold` is a
            positive decision.
        sensitive_features: Labels of groups `[n]`: an array, list or pandas
            Series; or several, as a pandas DataFrame or a dict of them, which
            make a group of each combination. Categories of pandas that no
            example has, and such combinations, are rows with `n` 0. Groups
            that overlap are not for this function: call it for each.
        threshold: Scores must be probabilities if it is strictly between 0
            and 1; give `threshold=0.0` for logits.
        confidence: Level of the two-sided intervals.
        n_boot: Number of resamples.
        n_permutations: Number of permutations of the test.
        seed: Seed of both.

    Returns:
        A report with a row for all examples and one for each group, and the
        disparities. Each is between the groups that have the figure: where
        fewer than two have it there is no disparity, which is NaN.

    Raises:
        ImportError: If Fairlearn, pandas or SciPy is missing.
        ValueError: If lengths differ, there are no rows, labels are not 0 or
            1, a score is not finite or no probability where it must be, a
            group has no name or the name `"overall"`, or an option is out of
            range.

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

    References:
        Agarwal et al. 2018, "A reductions approach to fair classification"
        (parity and odds); Chouldechova 2017, "Fair prediction with disparate
        impact" (what excludes what); Efron and Tibshirani 1993, "An
        introduction to the bootstrap", chapters 13 and 15.
    """
    normal_quantile(confidence)  # Refuses a bad level before any work.
    whole("n_boot", n_boot)
    whole("n_permutations", n_permutations)
    positive, scores = labels_and_scores(y_true, y_pred, "y_true", "y_pred")
    require_probabilities(scores, "y_pred", threshold)
    names, codes = _groups(sensitive_features, len(scores))
    decided = scores > threshold
    rng = np.random.default_rng(seed)
    p_values = _p_values(scores, codes, len(names), n_permutations, rng)

    def row(name, mask, p_value):
        p, s, d = positive[mask], scores[mask], decided[mask]
        return GroupRow(
            group=name,
            n=len(p),
            positives=int(p.sum()),
            accuracy=rate_estimate(d == p, None, confidence),
            auc=(
                auc(p, s, confidence=confidence)
                if 2 <= p.sum() <= len(p) - 2
                else UNKNOWN
            ),
            selection_rate=rate_estimate(d, None, confidence),
            true_positive_rate=rate_estimate(d[p], None, confidence),
            false_positive_rate=rate_estimate(d[~p], None, confidence),
            p_value=p_value,
        )

    rows = [row(_OVERALL, np.ones(len(scores), bool), float("nan"))]
    rows += [row(name, codes == k, p_values[k]) for k, name in enumerate(names)]
    resampled = resampled_disparities(
        positive, scores, decided, codes, len(names), n_boot, rng
    )
    disparities = tuple(
        DisparityRow(
            metric,
            *(
                _estimate(value, resamples, confidence)
                for value, resamples in zip(
                    values, resampled[metric], strict=True
                )
            ),
        )
        for metric, values in _disparities(
            positive, scores, decided, codes
        ).items()
    )
    return GroupReport(tuple(rows), confidence, disparities)


def _groups(features: Any, n: int) -> tuple[list[str], np.ndarray]:
    """Returns the groups' names, and which of them each row is of."""
    if isinstance(features, Mapping) or hasattr(features, "columns"):
        columns = {str(name): features[name] for name in features}
    else:
        columns = {"": features}
    if not columns:
        raise ValueError(
            "`sensitive_features` must hold labels of groups. "
            f"Received: {type(features).__name__} without columns"
        )
    names, codes = [""], np.zeros(n, np.int64)
    for column, labels in columns.items():
        values, rows = _labels(labels, n)
        prefix = f"{column}=" if column else ""
        codes = codes * len(values) + rows
        names = [
            f"{name}, {prefix}{value}" if name else f"{prefix}{value}"
            for name in names
            for value in values
        ]
    if _OVERALL in names or "" in names or len(set(names)) < len(names):
        raise ValueError(
            f"`sensitive_features` must name groups, none {_OVERALL!r}, by "
            f"names that differ as text. Received: {names}"
        )
    return names, codes


def _labels(labels: Any, n: int) -> tuple[list[Any], np.ndarray]:
    """Returns all labels, in pandas' order or sorted, and codes of the rows."""
    found, rows = read_labels(labels, "sensitive_features", n)
    categories = getattr(getattr(labels, "cat", labels), "categories", None)
    if categories is not None:
        values, _ = read_labels(categories, "categories", len(categories))
    else:
        try:
            values = sorted(found)
        except TypeError:  # Of different types.
            values = found
    place = {value: k for k, value in enumerate(values)}
    return values, np.array([place[value] for value in found])[rows]


def _disparities(
    positive, scores, decided, codes
) -> dict[str, tuple[float, float]]:
    """Returns Fairlearn's difference and ratio of each metric."""
    fairness = extra("fairlearn.metrics", "Group metrics")
    quality = extra("sklearn.metrics", "Group metrics")
    # Fairlearn does not take an array of one row.
    groups = extra("pandas", "Group metrics").Series(codes)

    def where(label: int, rate: Callable) -> Callable:
        # Fairlearn calls a rate among no examples zero.
        return lambda y, d: rate(y, d) if (y == label).any() else np.nan

    def area(y, s):
        return quality.roc_auc_score(y, s) if 0 < y.sum() < len(y) else np.nan

    y, d = positive.astype(int), decided.astype(int)
    rates = {
        "accuracy": quality.accuracy_score,
        "selection_rate": fairness.selection_rate,
        "true_positive_rate": where(1, fairness.true_positive_rate),
        "false_positive_rate": where(0, fairness.false_positive_rate),
    }
    figures: dict[str, Any] = {}
    for metrics, predictions in (({"auc": area}, scores), (rates, d)):
        frame = fairness.MetricFrame(
            metrics=metrics,
            y_true=y,
            y_pred=predictions,
            sensitive_features=groups,
        )
        difference, ratio = frame.difference(), frame.ratio()
        # One group alone is apart from nothing.
        compared = frame.by_group.count() > 1
        figures |= {
            name: (
                (difference[name], ratio[name])
                if compared[name]
                else (np.nan, np.nan)
            )
            for name in metrics
        }
    figures["demographic_parity"] = figures["selection_rate"]
    odds = [
        figures[name] for name in ("true_positive_rate", "false_positive_rate")
    ]
    figures["equalized_odds"] = (
        float(np.fmax(odds[0][0], odds[1][0])),
        float(np.fmin(odds[0][1], odds[1][1])),
    )
    return figures


def _estimate(value, resamples, confidence) -> Estimate:
    resamples = resamples[~np.isnan(resamples)]
    if np.isnan(value) or not len(resamples):
        return Estimate(float(value), np.nan, np.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resamples, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


def _p_values(scores, codes, n_groups, n_permutations, rng) -> list[float]:
    """Tests the scores of each group against those of all others.

    The statistic is that of Kolmogorov and Smirnov, which its permutations
    make exact for scores with ties, too. All groups share the permutations.
    """
    stats = extra("scipy.stats", "A permutation test")
    n = len(codes)
    sizes = np.bincount(codes, minlength=n_groups)
    starts = np.cumsum(sizes) - sizes
    codes = codes[np.argsort(scores)].astype(np.min_scalar_type(n_groups))
    scores = np.sort(scores)
    # Of each example, how many score less, and how many no more.
    below = np.searchsorted(scores, scores, "left")
    upto = np.searchsorted(scores, scores, "right")
    # Of each example, group by group, those of its group before it.
    size, before = np.repeat(sizes, sizes), n * np.arange(n)
    before -= n * np.repeat(starts, sizes)

    def distances(codes):
        # By how much the distribution of a group and that of all differ,
        # times `n` and the group's size: whole numbers, so that equal
        # distances are equal. At all but the first and last of tied examples
        # these differences are too small, which does not change the largest.
        members = np.argsort(codes, kind="stable")
        above = before + n - size * upto[members]
        under = size * below[members] - before
        return np.maximum.reduceat(np.maximum(above, under), starts[sizes > 0])

    def statistic(codes, axis):
        if codes.ndim == 1:
            return distances(codes)
        return np.stack([distances(each) for each in codes])

    p_values = np.full(n_groups, np.nan)
    if n > 1:
        p_values[sizes > 0] = stats.permutation_test(
            (codes,),
            statistic,
            permutation_type="pairings",
            vectorized=True,
            n_resamples=n_permutations,
            batch=max(1, 10**6 // n),
            alternative="greater",
            random_state=rng,
        ).pvalue
    p_values[(sizes < 2) | (sizes > n - 2)] = np.nan
    return p_values.tolist()
