"""A Keras model that adds a penalty to the loss of the model it wraps.

The penalty is computed from extra inputs that ride along with each batch.
Training itself is left to Keras: `PackedDataModel` turns the packed data into
plain Keras data whose `x` is a `RemediationInputs`, `call` runs the wrapped
model on the part of it that is the input proper, and `compute_loss` adds the
penalties. So loss scaling, regularization, gradient accumulation,
distribution, compilation and class weights are Keras' own.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from tensorflow_model_remediation_ext.common import replicas
from tensorflow_model_remediation_ext.common.configs import (
    constructor_config,
    serialized_loss,
)
from tensorflow_model_remediation_ext.common.layers import (
    acts_otherwise_in_training,
    sublayers,
)
from tensorflow_model_remediation_ext.common.objectives import (
    align,
    by_objective,
)
from tensorflow_model_remediation_ext.common.outputs import (
    checked_outputs,
    select_outputs,
)
from tensorflow_model_remediation_ext.common.overrides import (
    refuse_overrides,
    warn_of_lost_overrides,
)
from tensorflow_model_remediation_ext.common.packed_data import PackedDataModel
from tensorflow_model_remediation_ext.common.remediation_inputs import (
    RemediationInputs,
)
from tensorflow_model_remediation_ext.common.target import AtMost
from tensorflow_model_remediation_ext.common.targets import Targets
from tensorflow_model_remediation_ext.common.trackers import (
    PenaltyLedger,
    logged_names,
    own_metrics,
    refuse_penalty_metrics,
)
from tensorflow_model_remediation_ext.common.weighting import (
    checked_weights,
    weigh,
)
from tensorflow_model_remediation_ext.common.wrapping_model import (
    WrappingModel,
)


class Penalty(NamedTuple):
    """The penalty of one objective on one batch.

    Attributes:
        value: A scalar, scaled as Keras losses are.
        rows: How many rows it is a mean over: its weight in the log of the
            epoch.
        updates: For each `update_state` of the penalty's metrics, its
            positional arguments.
        signed: Where a target may pull the penalty either way: its values
            with their signs, `[figures]`, scaled alike.
    """

    value: Any
    rows: Any
    updates: list[tuple]
    signed: Any = None


class RemediationModel(WrappingModel):
    """Base of the models that add a penalty to the loss of another model.

    Subclasses set `penalty_name` and `packed_by`, and implement `unpack` and
    `compute_penalty`.

    Args:
        original_model: The model to wrap, trained in place.
        loss: A loss, or a dict of losses by objective.
        loss_weight: Weight of the penalty, finite and not negative, an
            `AtMost`, or a dict of either by objective.
        outputs: Names or positions of the outputs that the penalty is about.
            Default: those that have a loss in `compile`.
        **kwargs: Passed to `keras.Model`.

    Raises:
        TypeError: If `original_model` is not a `keras.Model`, is or holds a
            remediation model, or a subclass overrides what is never called.
        ValueError: If a weight is negative or not finite, if `loss` and
            `loss_weight` are dicts with different objectives, or if `outputs`
            holds something else than names and positions.
    """

    #: Name of the penalty in logs.
    penalty_name: str
    #: The metrics that a target may be about.
    target_metrics: ClassVar[tuple[type, ...]] = ()
    #: Methods of the predecessor that have no part here, and what to override.
    replaced_methods: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        original_model: keras.Model,
        loss: Any,
        loss_weight: Any = 1.0,
        *,
        outputs: str | int | Iterable[str | int] | None = None,
        **kwargs: Any,
    ):
        refuse_overrides(type(self), PackedDataModel, self.replaced_methods)
        super().__init__(original_model, **kwargs)
        _refuse_another_penalty(original_model)
        warn_of_lost_overrides(type(original_model), type(self))
        self.penalty_loss = loss
        self._outputs = checked_outputs(outputs)
        self._ledger = PenaltyLedger(self.penalty_name, [])
        self._loss_weight = checked_weights(loss_weight)
        if isinstance(loss, dict) and isinstance(loss_weight, dict):
            align(loss_weight, loss, "loss_weight")
        self._targets = Targets(self, loss, self._loss_weight)
        # Where Keras finds their variables, to train and to save.
        self._target_keepers = self._targets.keepers
        self._in_training = False

    @property
    def loss_weight(self) -> Any:
        """The weight or target, or a read-only dict of them by objective.

        It may be set at any time, as by a callback between epochs; what Keras
        has compiled is then compiled anew. A number cannot become a target,
        nor a target a number.
        """
        if isinstance(self._loss_weight, dict):
            return MappingProxyType(self._loss_weight)
        return self._loss_weight

    @loss_weight.setter
    def loss_weight(self, value: Any) -> None:
        checked = checked_weights(value)
        if isinstance(checked, dict) or isinstance(self._loss_weight, dict):
            align(
                checked,
                by_objective(self._loss_weight, "loss_weight"),
                "loss_weight",
            )
        self._targets.check_change(checked)
        self._loss_weight = checked
        if self.compiled:  # The weight is part of what was traced.
            self.make_train_function(force=True)
            self.make_test_function(force=True)

    # What a technique says of itself.

    def compute_penalty(
        self, inputs: Any, loss: Any, training: bool
    ) -> Penalty:
        """Computes the penalty of one objective.

        Args:
            inputs: Its inputs, as `unpack` gave them.
            loss: Its loss.
            training: Whether the model is being trained.

        Returns:
            The penalty, before it is weighted.
        """
        raise NotImplementedError

    def weigh_penalty(self, objective: str, penalty: Penalty) -> Any:
        """Returns what a penalty adds to the loss, or `None` for nothing.

        Args:
            objective: The objective of the penalty.
            penalty: What `compute_penalty` returned.
        """
        weight = self._weight_of(objective)
        if not isinstance(weight, AtMost):
            return weigh(weight, penalty.value)
        keeper = self._targets.by_objective[objective]
        return keeper.weigh(penalty.value, penalty.signed)

    def follow_target(self, objective: str, penalty: Penalty) -> None:
        """Lets a target see the decisions of a step of training.

        Args:
            objective: The objective of the penalty, which has a target.
            penalty: What `compute_penalty` returned.
        """
        target = self._weight_of(objective).target
        keeper = self._targets.by_objective[objective]
        figures = keeper.update(penalty.updates, target)
        for tracker, figure in zip(
            self._ledger.targets[objective], figures, strict=True
        ):
            tracker.update_state(figure)

    def _weight_of(self, objective):
        weight = self._loss_weight
        return weight[objective] if isinstance(weight, dict) else weight

    def default_target_metric(self, loss: Any) -> Any:
        """Returns the metric of a target without one, or `None`.

        Args:
            loss: The loss of its objective.
        """
        return None

    def check_weight(self, loss: Any, weight: float) -> None:
        """Raises `ValueError` for a number that a loss cannot be given.

        Args:
            loss: The loss of an objective.
            weight: Its weight.
        """

    def look_back(self, history: dict[str, list]) -> None:
        """Warns of what training has shown, if anything.

        Args:
            history: The logs of its epochs.
        """

    def penalty_has_sign(self, loss: Any) -> bool:
        """Whether `compute_penalty` returns signed values for a loss.

        Args:
            loss: The loss of an objective.
        """
        return False

    def predict_for_penalty(self, x: Any, training: bool) -> dict[str, Any]:
        """Runs the wrapped model on inputs of a penalty.

        The model's state stays as it was: batch statistics are those of the
        training data alone, and the seeds of dropout start anew at each call
        within a step, so that halves of a pair see the same dropout mask and
        differ by what is different in them. So a penalty of weight 0 leaves
        training as it was.

        Args:
            x: Input of the wrapped model.
            training: Whether the model is being trained.

        Returns:
            The outputs that the penalty is about, by name.
        """
        return select_outputs(
            self.run_for_penalty(x, training),
            getattr(self, "output_names", None),
            getattr(self, "loss", None),
            self._outputs,
        )

    # What Keras asks of a model.

    def compile(
        self, *args: Any, penalty_metrics: Any = None, **kwargs: Any
    ) -> None:
        """Configures training, as `keras.Model.compile`.

        Args:
            *args: As in `keras.Model.compile`.
            penalty_metrics: Metrics of the penalty: one, a list, or a dict of
                lists by objective.
            **kwargs: As in `keras.Model.compile`.

        Raises:
            TypeError: If `penalty_metrics` holds another thing than metrics,
                or one for another penalty.
            ValueError: If `metrics` holds one that belongs to the penalty.
        """
        argument = f"{self.penalty_name}_metrics"
        refuse_penalty_metrics((args, kwargs), argument)
        ledger = PenaltyLedger(self.penalty_name, penalty_metrics)
        super().compile(*args, **kwargs)
        self._ledger = ledger
        known = [self.penalty_loss, self._loss_weight, self._ledger.given]
        for objectives in known:
            if isinstance(objectives, dict):
                self.open_objectives(objectives)

    def open_objectives(self, objectives: Iterable[str]) -> None:
        """Checks the objectives and creates the trackers they still lack."""
        align(self.penalty_loss, objectives, "loss")
        align(self._loss_weight, objectives, "loss_weight")
        self._targets.check_objectives(objectives)
        if keras.backend.backend() == "tensorflow":
            with self.distribute_strategy.scope():
                self._ledger.open(objectives, self._targets.by_objective)
        else:
            self._ledger.open(objectives, self._targets.by_objective)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Returns the task's loss plus the weighted penalties."""
        if self.unpack(x) is not None:  # In data that are not looked into.
            raise self._not_packed(x)
        self._in_training = training
        total = super().compute_loss(x, y, y_pred, sample_weight)
        self._ledger.original_loss.update_state(
            _unscaled(total), sample_weight=_batch_size(y_pred)
        )
        if not isinstance(x, RemediationInputs):
            return total
        for objective in x.penalty_inputs:
            penalty = self._penalty(x, objective, training)
            if training and objective in self._targets.by_objective:
                decided = penalty
                if acts_otherwise_in_training(self.original_model):
                    # The decisions that the model will make.
                    decided = self._penalty(x, objective, training=False)
                self.follow_target(objective, decided)
            weighted = self.weigh_penalty(objective, penalty)
            if weighted is not None:
                # Not `+`: the types may differ under mixed precision.
                total = ops.add(total, weighted)
            self._ledger.losses[objective].update_state(
                _unscaled(penalty.value),
                sample_weight=_seen(penalty.rows, penalty.value),
            )
            for metric in self._ledger.metrics[objective]:
                for update in penalty.updates:
                    metric.update_state(*update)
        return total

    def _penalty(self, x, objective, training):
        """Returns the penalty of one objective of packed inputs."""
        losses = align(self.penalty_loss, x.penalty_inputs, "loss")
        penalty = self.compute_penalty(
            x.penalty_inputs[objective], losses[objective], training
        )
        if objective in x.shares:
            penalty = _counted_once(penalty, x.shares[objective])
        return penalty

    @property
    def metrics(self) -> list[keras.Metric]:
        """The total loss, its parts, the compiled and the pairs' metrics."""
        metrics = super().metrics
        metrics += own_metrics(self.original_model, metrics)
        if not self.compiled:
            return metrics
        trackers = self._ledger.trackers(self._ledger.losses)
        losses = len(self._ledger.losses)
        return [
            *(metric for metric in metrics if metric.name == "loss"),
            self._ledger.original_loss,
            *trackers[:losses],
            *(metric for metric in metrics if metric.name != "loss"),
            *trackers[losses:],
        ]

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Returns all results but those of penalties without data in `x`.

        Those of targets come with training alone.
        """
        with self._ledger.showing_all():
            results = super().compute_metrics(x, y, y_pred, sample_weight)
        self._ledger.check_names(self.metrics)
        present = x.penalty_inputs if isinstance(x, RemediationInputs) else ()
        absent = set(self._ledger.losses) - set(present)
        hidden = self._ledger.trackers(absent)
        if not self._in_training:
            for objective in present:
                hidden += self._ledger.targets[objective]
        for tracker in hidden:
            for name in logged_names(tracker):
                results.pop(name, None)
        self._ledger.shown[self._in_training] = set(results)
        return results

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns the results that `compute_metrics` returned last.

        Of training or, within `evaluate`, of testing. With the same names
        Keras takes these for its logs, and otherwise those of a last step,
        which on replicas is a mean over them.
        """
        results = super().get_metrics_result()
        shown = self._ledger.shown_now
        return {
            name: result
            for name, result in results.items()
            if shown is None or name in shown
        }

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates on packed or plain data, as `keras.Model.evaluate`."""
        with self._ledger.testing():
            return super().evaluate(*args, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Trains on packed data, as `keras.Model.fit`.

        Warns at the end of a target that was not met, or asks for nothing.

        Args:
            *args: As in `keras.Model.fit`; `x` is a dataset, `PyDataset` or
                generator of packed batches.
            **kwargs: As in `keras.Model.fit`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: If the data were not packed, or hold other objectives
                than `loss` and `loss_weight`.
        """
        before = self._targets.progress
        history = super().fit(*args, **kwargs)
        self._targets.warn(self._loss_weight, before)
        self.look_back(history.history)
        return history

    # Saving.

    def get_config(self) -> dict:
        """Returns the serialized arguments of the constructor.

        Raises:
            ValueError: If a subclass takes an argument that it does not save.
        """
        config = super().get_config() | self._arguments_by_name()
        return constructor_config(self, config, RemediationModel)

    def _arguments_by_name(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        outputs = self._outputs
        return {
            "loss": serialized_loss(_plain(self.penalty_loss)),
            "loss_weight": serialize(_plain(self._loss_weight)),
            "outputs": None if outputs is None else list(outputs),
        }

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> "RemediationModel":
        """Makes the model that `get_config` described."""
        config = dict(config)
        for key in {"original_model", "loss", "loss_weight"} & set(config):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return cls(**config)

    def get_compile_config(self) -> dict | None:
        """Returns Keras' compile configuration and the penalty's metrics."""
        config = super().get_compile_config()
        if config:
            config[f"{self.penalty_name}_metrics"] = (
                keras.saving.serialize_keras_object(self._ledger.given)
            )
        return config


def _refuse_another_penalty(model: keras.Model) -> None:
    """Raises where a wrapper would silently lose the penalty of another."""
    for layer in (model, *sublayers(model).values()):
        if isinstance(layer, RemediationModel):
            raise TypeError(
                "`original_model` must not be or hold a remediation model, "
                "whose penalty would be lost: wrap its `original_model`. "
                "Several objectives of one kind go into one wrapper, as dicts. "
                f"Received: {type(layer).__name__} {layer.name!r} in "
                f"original_model={model!r}"
            )


def _counted_once(penalty: Penalty, shares: Any) -> Penalty:
    """Returns a penalty whose figures count copies of rows as one.

    Its value is a mean, which copies on all devices leave as it is.

    Args:
        penalty: What `compute_penalty` returned.
        shares: How much each row counts, `[rows]`.
    """

    def weigh(weight: Any) -> Any:
        if weight is None:
            return shares
        weight = ops.convert_to_tensor(weight)
        inner = (1,) * (len(weight.shape) - 1)
        return weight * ops.cast(
            ops.reshape(shares, (-1, *inner)), weight.dtype
        )

    return penalty._replace(
        rows=ops.sum(shares),
        updates=[(*parts, weigh(weight)) for *parts, weight in penalty.updates],
    )


def _batch_size(predictions: Any) -> Any:
    outputs = keras.tree.flatten(predictions)  # Some may be None.
    return ops.shape(next(each for each in outputs if each is not None))[0]


def _seen(rows: Any, loss: Any) -> Any:
    """Returns a number of rows that waits for the loss on them.

    Where data are of unknown length, Keras on TensorFlow begins a last step
    without a batch. It fails, but a number that is known from the shape would
    have been counted before.
    """
    if keras.backend.backend() != "tensorflow":
        return rows
    with tf.control_dependencies([loss]):
        return tf.identity(ops.cast(rows, "float32"))


def _unscaled(loss: Any) -> Any:
    """Undoes the division by the number of replicas of Keras losses."""
    replicas_in_sync = replicas.in_sync()
    return loss if replicas_in_sync == 1 else loss * replicas_in_sync


def _plain(value: Any) -> Any:
    """Returns a plain dict for the tracked one that Keras makes of it."""
    return dict(value) if isinstance(value, dict) else value
