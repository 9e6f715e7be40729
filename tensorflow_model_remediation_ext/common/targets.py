"""The targets of a remediation model, by objective."""

from collections.abc import Iterable
from typing import Any

from tensorflow_model_remediation_ext.common.objectives import (
    SINGLE,
    align,
    prefixed,
)
from tensorflow_model_remediation_ext.common.target import (
    AtMost,
    TargetKeeper,
)


class Targets:
    """Keepers of the objectives that have a target instead of a weight.

    A plain object; Keras tracks `keepers`, which hold the variables.

    Args:
        model: The remediation model, asked about losses and metrics.
        loss: Its loss, or losses by objective.
        weight: Its weight or target, or those by objective.

    Raises:
        ValueError: If a target lacks a metric, or one that does not go with
            the loss.
        TypeError: If its metric is not one that a target may be about.
    """

    def __init__(self, model: Any, loss: Any, weight: Any):
        self._penalty_name = model.penalty_name
        self.by_objective: dict[str, TargetKeeper] = {}
        objectives = next(
            (list(each) for each in (loss, weight) if isinstance(each, dict)),
            [SINGLE],
        )
        self._losses = losses = align(loss, objectives, "loss")
        self._check_weight = model.check_weight
        self._weights = align(weight, objectives, "loss_weight")
        for objective, each in self._weights.items():
            if isinstance(each, AtMost):
                self.by_objective[objective] = TargetKeeper(
                    _metric_of(model, losses[objective], each),
                    model.penalty_has_sign(losses[objective]),
                    prefixed(objective, f"{model.penalty_name}_target"),
                )
            else:
                self._check_weight(losses[objective], each)

    @property
    def keepers(self) -> list[TargetKeeper]:
        """What holds the variables."""
        return list(self.by_objective.values())

    def check_objectives(self, objectives: Iterable[str]) -> None:
        """Checks that data are of objectives that were known from the start.

        Raises:
            ValueError: If there is a target, and data of other objectives.
        """
        objectives = list(objectives)
        if self.by_objective and not set(objectives) <= set(self._weights):
            raise ValueError(
                "A target must be given by objective where the data are: "
                "`loss_weight={...}`, so that each has a multiplier of its "
                f"own. Received: data of {sorted(objectives)}"
            )

    def check_change(self, weight: Any) -> None:
        """Checks weights that are to be set in place of those given.

        Raises:
            ValueError: If a number becomes a target or a target a number, or
                a target another metric.
        """
        for objective, new in align(
            weight, self._weights, "loss_weight"
        ).items():
            old = self._weights[objective]
            if not isinstance(new, AtMost):
                self._check_weight(self._losses[objective], new)
            kinds = isinstance(new, AtMost), isinstance(old, AtMost)
            if kinds[0] != kinds[1] or (
                all(kinds) and _config(new) != _config(old)
            ):
                raise ValueError(
                    "`loss_weight` must stay a number, or a target with the "
                    "same metric: wrap the model anew for another. Received: "
                    f"{prefixed(objective, 'loss_weight')}={new!r}, was {old!r}"
                )

    @property
    def progress(self) -> dict[str, Any]:
        """How far training is, by objective, to hand to `warn` later."""
        return {
            objective: keeper.progress
            for objective, keeper in self.by_objective.items()
        }

    def warn(self, weight: Any, before: dict[str, Any]) -> None:
        """Warns of targets that were not met, or that ask for nothing.

        Args:
            weight: The weights or targets as they are now.
            before: The `progress` when training began.
        """
        weights = align(weight, self._weights, "loss_weight")
        for objective, keeper in self.by_objective.items():
            name = prefixed(objective, self._penalty_name)
            keeper.warn_of(weights[objective].target, name, before[objective])


def _metric_of(model, loss, at_most):
    """Returns the metric of a target, checked."""
    kinds = " or ".join(kind.__name__ for kind in model.target_metrics)
    metric = at_most.metric
    if metric is None:
        metric = model.default_target_metric(loss)
    if metric is None:
        raise ValueError(
            f"`AtMost` needs a metric for {type(loss).__name__}: "
            f"AtMost({at_most.target:g}, {kinds}(...)). Received: {at_most!r}"
        )
    if not isinstance(metric, model.target_metrics):
        raise TypeError(
            f"The metric of `AtMost` must be a {kinds} for "
            f"{type(model).__name__}. Received: {metric!r}"
        )
    groups = [getattr(each, "groups", None) for each in (metric, loss)]
    if groups[0] != groups[1] and None not in groups:
        raise ValueError(
            "The metric of `AtMost` and the loss must have as many groups. "
            f"Received: groups={groups[0]} and groups={groups[1]}"
        )
    return metric


def _config(at_most):
    return at_most.get_config()["metric"]
