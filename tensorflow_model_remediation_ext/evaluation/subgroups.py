"""Areas under the ROC curve within groups and against their background."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from tensorflow_model_remediation_ext.evaluation.areas import (
    RankedRows,
    area_figure,
)
from tensorflow_model_remediation_ext.evaluation.disparities import correlation
from tensorflow_model_remediation_ext.evaluation.figures import Figure
from tensorflow_model_remediation_ext.evaluation.groups import Groups
from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
    normal_quantile,
    without_interval,
)
from tensorflow_model_remediation_ext.evaluation.tables import Row, Table


@dataclasses.dataclass(frozen=True)
class SubgroupRow(Row):
    """The areas under the ROC curve of one group.

    Args:
        group: Name of the group.
        positives: Number of its positive rows.
        negatives: Number of its negative rows.
        background_positives: Number of positive rows outside it.
        background_negatives: Number of negative rows outside it.
        subgroup_auc: Area within the group.
        bpsn_auc: Area of the background's positives against the group's
            negatives: low where these score too high, such as harmless
            comments that mention the group.
        bnsp_auc: Area of the group's positives against the background's
            negatives: low where these positives score too low.
    """

    group: str
    positives: int
    negatives: int
    background_positives: int
    background_negatives: int
    subgroup_auc: Estimate
    bpsn_auc: Estimate
    bnsp_auc: Estimate


@dataclasses.dataclass(frozen=True)
class GeneralizedMeanRow(Row):
    """One figure of all groups as one number that the worst ones dominate.

    Args:
        figure: `"subgroup_auc"`, `"bpsn_auc"` or `"bnsp_auc"`.
        generalized_mean: The mean, of the groups that have the figure.
        groups: Number of these groups.
    """

    figure: str
    generalized_mean: Estimate
    groups: int


@dataclasses.dataclass(frozen=True, repr=False)
class SubgroupReport(Table[SubgroupRow]):
    """Areas of all groups; the `repr` is a table.

    Args:
        rows: One `SubgroupRow` for each group.
        confidence: Level of the intervals.
        power: Power of the generalized means.
        generalized_means: A `GeneralizedMeanRow` for each figure.
    """

    power: float
    generalized_means: tuple[GeneralizedMeanRow, ...]

    measures: ClassVar[str] = (
        "How well scores tell positives from negatives within a group, and "
        "across it and everybody else: background positives against the "
        "group's negatives (BPSN), and the group's positives against "
        "background negatives (BNSP)."
    )
    caveat: ClassVar[str] = (
        "Areas depend on the order of scores alone: they do not show that one "
        "threshold treats groups alike. A generalized mean hides which group "
        "is served badly, and groups without a figure are not in it."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "group",
        "positives",
        "negatives",
        "subgroup_auc",
        "bpsn_auc",
        "bnsp_auc",
    )
    plotted: ClassVar[dict[str, str]] = {
        "subgroup_auc": "subgroup AUC",
        "bpsn_auc": "BPSN AUC",
        "bnsp_auc": "BNSP AUC",
    }
    axis_label: ClassVar[str] = "AUC"

    def generalized_mean(self, figure: str) -> Estimate:
        """Returns the generalized mean of a figure over groups.

        Raises:
            KeyError: If there is none of that name.
        """
        for row in self.generalized_means:
            if row.figure == figure:
                return row.generalized_mean
        raise KeyError(figure)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers: `groups`, `power` and `generalized_means`."""
        return {
            "groups": super().to_dict(),
            "power": self.power,
            "generalized_means": {
                row.figure: row.to_dict() for row in self.generalized_means
            },
        }


def subgroup_areas(
    positive: np.ndarray,
    ranked: RankedRows,
    groups: Groups,
    within: Figure,
    power: float,
    confidence: float,
) -> SubgroupReport:
    """Measures the areas of Borkan et al. for every group.

    Args:
        positive: Boolean labels, `[n]`.
        ranked: The rows in the order of their scores.
        groups: The groups.
        within: The areas within the groups.
        power: Power of the generalized means.
        confidence: Level of the intervals.
    """
    members, others = groups.members, groups.others
    figures = {
        "subgroup_auc": within,
        "bpsn_auc": area_figure([ranked.areas(others, members)]),
        "bnsp_auc": area_figure([ranked.areas(members, others)]),
    }
    counts = {
        "positives": _count(members, positive),
        "negatives": _count(members, ~positive),
        "background_positives": _count(others, positive),
        "background_negatives": _count(others, ~positive),
    }
    estimates = {
        name: figure.estimates(confidence) for name, figure in figures.items()
    }
    rows = tuple(
        SubgroupRow(
            group=name,
            **{key: int(value[k]) for key, value in counts.items()},
            subgroup_auc=estimates["subgroup_auc"][k],
            bpsn_auc=estimates["bpsn_auc"][k],
            bnsp_auc=estimates["bnsp_auc"][k],
        )
        for k, name in enumerate(groups.names)
    )
    means = tuple(
        GeneralizedMeanRow(
            name,
            _generalized_mean(figure, power, confidence),
            int(np.count_nonzero(~np.isnan(figure.values))),
        )
        for name, figure in figures.items()
    )
    return SubgroupReport(rows, confidence, power, means)


def _count(members: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.count_nonzero(members.T & rows, axis=1)


def _generalized_mean(
    figure: Figure, power: float, confidence: float
) -> Estimate:
    """Averages powers; the interval is the delta method's, as for logits."""
    known = ~np.isnan(figure.values)
    values = figure.values[known]
    if not len(values):
        return UNKNOWN
    if values.max() <= 0 or (power < 0 and values.min() <= 0):
        return without_interval(0.0)
    # Against the value that counts most, so that no power overflows.
    most = values.max() if power > 0 else values.min()
    value = float(most * np.mean((values / most) ** power) ** (1 / power))
    if values.min() <= 0 and power < 1:
        return without_interval(value)  # From 0 it rises infinitely fast.
    slopes = (values / value) ** (power - 1) / len(values)
    low, high = figure.limits(confidence)
    z = normal_quantile(confidence)
    # Areas near 1 have intervals where they have no variance.
    scale = slopes * (high - low)[known] / (2 * z)
    together = correlation(figure.covariance)[np.ix_(known, known)]
    deviation = np.sqrt(scale @ together @ scale)
    if not 0 < value < 1:
        return Estimate(value, float(max(value - z * deviation, 0)), value)
    reach = z * deviation / (value * (1 - value))
    odds = value / (1 - value)
    away = np.exp(np.clip([reach, -reach], -600, 600))
    return Estimate(value, *map(float, odds / (odds + away)))
