"""Figures of decisions for two or more classes, by group of people."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from tensorflow_model_remediation_ext.evaluation.areas import (
    RankedRows,
    area_figure,
)
from tensorflow_model_remediation_ext.evaluation.calibration import calibration
from tensorflow_model_remediation_ext.evaluation.class_rows import (
    ClassReport,
    ClassRow,
)
from tensorflow_model_remediation_ext.evaluation.disparities import (
    DisparityRow,
    disparity,
)
from tensorflow_model_remediation_ext.evaluation.figures import (
    Decisions,
    Figure,
    Share,
)
from tensorflow_model_remediation_ext.evaluation.group_report import (
    GroupReport,
    GroupRow,
)
from tensorflow_model_remediation_ext.evaluation.group_test import p_values
from tensorflow_model_remediation_ext.evaluation.groups import Groups
from tensorflow_model_remediation_ext.evaluation.intervals import UNKNOWN
from tensorflow_model_remediation_ext.evaluation.predictions import ClassScores
from tensorflow_model_remediation_ext.evaluation.subgroups import subgroup_areas
from tensorflow_model_remediation_ext.evaluation.worst import worst_rows


class GroupDecisions:
    """The figures of decisions for all groups.

    Args:
        scores: Scores of classes, and what was decided.
        weights: Positive weights, `[n]`.
        groups: The groups.
        confidence: Level of the intervals.
        n_boot: Number of draws.
        n_permutations: Number of permutations.
        rng: Source of both.
    """

    def __init__(
        self,
        scores: ClassScores,
        weights: np.ndarray,
        groups: Groups,
        *,
        confidence: float,
        n_boot: int,
        n_permutations: int,
        rng: np.random.Generator,
    ):
        self.scores, self.weights, self.groups = scores, weights, groups
        self.confidence, self.n_boot, self.rng = confidence, n_boot, rng
        self.n_permutations = n_permutations
        self.members = groups.with_everybody()
        self.names = ["overall", *groups.names]
        count = len(scores.names)
        # Of two classes the second is the one that is decided for.
        self.counted = [1] if count == 2 else list(range(count))
        self.decisions = Decisions.read(
            scores.true, scores.decided, count, weights, self.members
        )

    def report(self, bins: int, mean_power: float) -> GroupReport:
        """Returns all figures.

        Args:
            bins: Number of bins of the calibration.
            mean_power: Power of the generalized means of areas.
        """
        binary = len(self.counted) == 1
        areas, areas_by_class = self._areas()
        tests = {k: self._p_values(k) for k in self.counted}
        figures = {
            "accuracy": self.decisions.figure([self._accuracy()]),
            "auc": areas,
            **{name: self._rates(name, self.counted) for name in _RATES},
        }
        rows = self._group_rows(figures, tests, binary)
        return GroupReport(
            rows,
            self.confidence,
            self._disparities(figures, binary),
            worst_rows(
                rows[1:],
                ("false_positive_rate",),
                ("accuracy", "auc", "true_positive_rate"),
            ),
            subgroup_areas(
                self.scores.true == 1,
                self._ranked(1),
                self.groups,
                areas.without_first(),
                mean_power,
                self.confidence,
            )
            if binary
            else None,
            calibration(
                *self.scores.certainty(),
                self.weights,
                self.names,
                self.members,
                bins=bins,
                confidence=self.confidence,
                n_boot=self.n_boot,
                rng=self.rng,
            )
            if self.scores.probabilities
            else None,
            None if binary else self._class_report(tests, areas_by_class),
        )

    def _accuracy(self) -> Share:
        everything = np.ones(len(self.decisions.true), bool)
        return self.decisions.share(
            self.decisions.true == self.decisions.decided, everything
        )

    def _rates(self, name: str, counted: Sequence[int]) -> Figure:
        true, decided = self.decisions.true, self.decisions.decided
        base = _RATES[name]
        return self.decisions.figure(
            [self.decisions.share(decided == k, base(true, k)) for k in counted]
        )

    @functools.cached_property
    def _orders(self) -> dict[int, np.ndarray]:
        return {k: np.argsort(self.scores.columns[:, k]) for k in self.counted}

    def _ranked(self, k: int) -> RankedRows:
        return RankedRows(
            self.scores.true == k,
            self.scores.columns[:, k],
            self.weights,
            self._orders[k],
        )

    def _areas(self) -> tuple[Figure, dict[int, Figure]]:
        """Returns the mean areas, and those of each of several classes."""
        each = {}

        def parts():
            # One class at a time: each takes a number for each row and group.
            for k in self.counted:
                areas = self._ranked(k).areas(self.members, self.members)
                if len(self.counted) > 1:
                    each[k] = area_figure([areas])
                yield areas

        return area_figure(parts()), each

    def _p_values(self, k: int) -> np.ndarray:
        return p_values(
            self.scores.columns[:, k],
            self._orders[k],
            self.weights,
            self.groups.members,
            self.groups.others,
            self.n_permutations,
            self.rng,
        )

    def _group_rows(self, figures, tests, binary) -> tuple[GroupRow, ...]:
        estimates = {
            name: figure.estimates(self.confidence)
            for name, figure in figures.items()
        }
        if not binary:
            # Classes share all decisions: the mean share says nothing.
            estimates["selection_rate"] = [UNKNOWN] * len(self.names)
        tested = np.minimum(len(tests) * np.min([*tests.values()], axis=0), 1)
        counts, sizes = self.decisions.counts, self.decisions.sizes()
        positives = counts[self.decisions.true == 1].sum(axis=0)
        return tuple(
            GroupRow(
                group=name,
                n=int(counts[:, k].sum()),
                effective_n=float(sizes[k]),
                positives=int(positives[k]) if binary else None,
                **{metric: each[k] for metric, each in estimates.items()},
                p_value=float(tested[k - 1]) if k else float("nan"),
            )
            for k, name in enumerate(self.names)
        )

    def _disparities(self, figures, binary) -> tuple[DisparityRow, ...]:
        compared = {name: [figure] for name, figure in figures.items()}
        each = {
            name: [self._rates(name, [k]) for k in self.counted]
            for name in _RATES
        }
        if not binary:
            del compared["selection_rate"]
        compared["demographic_parity"] = each["selection_rate"]
        compared["equalized_odds"] = (
            each["true_positive_rate"] + each["false_positive_rate"]
        )
        return tuple(
            disparity(
                name,
                [figure.without_first() for figure in parts],
                self.groups.names,
                self.confidence,
                self.n_boot,
                self.rng,
            )
            for name, parts in compared.items()
        )

    def _class_report(self, tests, areas) -> ClassReport:
        rows = []
        for k in self.counted:
            name = self.scores.names[k]
            positives = self.decisions.counts[self.decisions.true == k]
            estimates = {
                metric: self._rates(metric, [k]).estimates(self.confidence)
                for metric in _RATES
            }
            estimates["auc"] = areas[k].estimates(self.confidence)
            rows += [
                ClassRow(
                    name=f"{name}, {group}",
                    class_name=str(name),
                    group=group,
                    n=int(self.decisions.counts[:, g].sum()),
                    positives=int(positives[:, g].sum()),
                    **{metric: each[g] for metric, each in estimates.items()},
                    p_value=float(tests[k][g - 1]) if g else float("nan"),
                )
                for g, group in enumerate(self.names)
            ]
        return ClassReport(tuple(rows), self.confidence)


# Which cells of the confusion matrix each rate of a class is a share of.
_RATES = {
    "selection_rate": lambda true, k: np.ones(len(true), bool),
    "true_positive_rate": lambda true, k: true == k,
    "false_positive_rate": lambda true, k: true != k,
}
