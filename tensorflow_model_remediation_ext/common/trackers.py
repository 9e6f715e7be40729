"""The trackers of a remediation model: losses and metrics by objective."""

import contextlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common.objectives import (
    SINGLE,
    align,
    by_objective,
    prefixed,
)
from tensorflow_model_remediation_ext.common.penalty_metric import (
    PenaltyMetric,
)


class Latest(keras.metrics.Metric):
    """The value of the last step, as a metric.

    Keras' JAX trainer lets logs read variables of metrics, and no others.
    """

    def __init__(self, name: str):
        super().__init__(name=name, dtype="float32")
        # All replicas compute the same.
        self._value = self.add_variable(
            (), "zeros", aggregation="only_first_replica", name="value"
        )

    def update_state(self, value: Any) -> None:
        """Takes the value, a scalar, in place of the one before."""
        self._value.assign(value)

    def result(self) -> Any:
        """Returns the value, a scalar."""
        # A copy: on PyTorch the variable would change what was logged.
        return ops.copy(self._value)


class PenaltyLedger:
    """Trackers of one compiled model.

    A plain object, which Keras neither saves nor loads: weights files do not
    depend on what was logged.

    Attributes:
        original_loss: The loss of the task alone.
        losses: Of penalties, by objective.
        metrics: Of the user, by objective.
        targets: The weight that a target has found and the figure it is
            about, by objective; nothing for those without a target.
        shown: Names of the results of the last step that was traced, by
            whether it was one of training.
    """

    def __init__(self, penalty_name: str, metrics: Any):
        self._penalty_name = penalty_name
        self._argument = f"{penalty_name}_metrics"
        self.given = self._listed(metrics)
        self._checked = False
        self.original_loss = keras.metrics.Mean(name="original_loss")
        self.losses: dict[str, keras.metrics.Mean] = {}
        self.metrics: dict[str, list[keras.metrics.Metric]] = {}
        self.targets: dict[str, list[Latest]] = {}
        self.shown: dict[bool, set[str]] = {}
        self._testing = self._all = False

    @property
    def shown_now(self) -> set[str] | None:
        """Names of the results that are shown; `None` for all."""
        return None if self._all else self.shown.get(not self._testing)

    @contextlib.contextmanager
    def testing(self) -> Iterator[None]:
        """Shows the results of testing for a while."""
        before, self._testing = self._testing, True
        try:
            yield
        finally:
            self._testing = before

    @contextlib.contextmanager
    def showing_all(self) -> Iterator[None]:
        """Shows all results for a while."""
        self._all = True
        try:
            yield
        finally:
            self._all = False

    def _listed(self, metrics: Any) -> Any:
        """A list of metrics, or a dict of lists by objective."""
        if isinstance(metrics, dict):
            return {
                objective: self._listed(each)
                for objective, each in by_objective(
                    metrics, self._argument
                ).items()
            }
        if metrics is None:
            metrics = []
        elif not isinstance(metrics, (list, tuple)):
            metrics = [metrics]
        for metric in metrics:
            if not isinstance(metric, keras.metrics.Metric):
                raise TypeError(
                    f"`{self._argument}` must hold metrics such as "
                    f"`FlipRate()`. Received: {metric!r}"
                )
            wanted = getattr(metric, "penalty_name", None)
            if wanted not in (None, self._penalty_name):
                raise TypeError(
                    f"`{self._argument}` must hold metrics that take what the "
                    f"penalty does. {type(metric).__name__} is one for "
                    f"`{wanted}_metrics`. Received: {metric!r}"
                )
        return list(metrics)

    def open(
        self, objectives: Iterable[str], with_target: Container[str]
    ) -> None:
        """Creates the trackers of objectives that are new.

        Args:
            objectives: All objectives.
            with_target: Those that have a target.

        Raises:
            ValueError: If metrics were given for other objectives.
        """
        objectives = list(objectives)
        given = self.given
        if not isinstance(given, dict):
            given = dict.fromkeys(objectives, given)
        elif not set(given) <= set(objectives):
            align(given, objectives, self._argument)
        for objective in objectives:
            if objective in self.losses:
                continue
            self._checked = False
            self.metrics[objective] = [
                _named(metric, objective) for metric in given.get(objective, [])
            ]
            name = prefixed(objective, self._penalty_name)
            self.losses[objective] = keras.metrics.Mean(name=f"{name}_loss")
            self.targets[objective] = [
                Latest(name=f"{name}_{figure}")
                for figure in ("multiplier", "running")
                if objective in with_target
            ]

    def check_names(self, metrics: Iterable[keras.Metric]) -> None:
        """Checks, once, that no figure hides another in the logs.

        Args:
            metrics: All metrics of the model, with those of the ledger.

        Raises:
            ValueError: If a name of the ledger's figures, or that of the total
                loss, is taken.
        """
        if self._checked:
            return
        names = Counter(n for metric in metrics for n in logged_names(metric))
        ours = [self.original_loss, *self.trackers(self.losses)]
        taken = {"loss", *(n for metric in ours for n in logged_names(metric))}
        hidden = sorted(name for name in taken if names[name] > 1)
        if hidden:
            raise ValueError(
                f"Metrics, those of `metrics` and `{self._argument}` alike, "
                "must have names that nothing else in the logs has, or they "
                f"hide one another. Received: {hidden} more than once"
            )
        self._checked = True

    def trackers(self, objectives: Iterable[str]) -> list[keras.Metric]:
        """Returns the trackers of `objectives`, losses first."""
        objectives = list(objectives)
        losses = [self.losses[objective] for objective in objectives]
        others = [
            tracker
            for kind in (self.metrics, self.targets)
            for objective in objectives
            for tracker in kind[objective]
        ]
        return losses + others


def _named(metric: keras.Metric, objective: str) -> keras.Metric:
    """Returns the metric itself, or a copy that is named after `objective`."""
    if objective == SINGLE:
        return metric
    name = prefixed(objective, metric.name)
    return type(metric).from_config({**metric.get_config(), "name": name})


def logged_names(metric: keras.Metric) -> list[str]:
    """Returns the names that a metric has in the logs."""
    result = metric.result()
    return list(result) if isinstance(result, dict) else [metric.name]


def own_metrics(
    model: keras.Model, known: Iterable[keras.Metric]
) -> list[keras.Metric]:
    """Returns the metrics that a model holds itself, compiled or not.

    Keras looks for those of layers, but not of models, within a model.

    Args:
        model: A model within another.
        known: Metrics to leave out.
    """
    # As a layer it has no compiled metrics, but models within it do.
    held = keras.layers.Layer.metrics.fget(model)
    known = {id(metric) for metric in known}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            known |= {id(metric) for metric in layer.metrics}
    return [metric for metric in held if id(metric) not in known]


def refuse_penalty_metrics(arguments: Any, argument: str) -> None:
    """Raises for a metric of the penalty among the arguments of `compile`.

    Args:
        arguments: Arguments of `keras.Model.compile`, in any structure.
        argument: The argument that takes such metrics.

    Raises:
        ValueError: If there is one.
    """
    for each in keras.tree.flatten(arguments):
        if isinstance(each, PenaltyMetric):
            raise ValueError(
                f"`metrics` must not hold {type(each).__name__}, which Keras "
                "would give labels and predictions: pass it as "
                f"`{argument}=[...]`. Received: {each!r}"
            )
