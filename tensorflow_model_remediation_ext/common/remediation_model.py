"""A Keras model that adds a penalty to the loss of the model it wraps.

The penalty is computed from extra inputs that ride along with each batch.
Training itself is left to Keras: `fit` and `evaluate` turn the packed data
into plain Keras data whose `x` is a `RemediationInputs`, `call` runs the
wrapped model on the part of it that is the input proper, and `compute_loss`
adds the penalties. So loss scaling, regularization, gradient accumulation,
distribution, compilation and class weights are Keras' own.
"""

import inspect
import math
import numbers
import warnings
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from tensorflow_model_remediation_ext.common.batches import (
    convert_batches,
)
from tensorflow_model_remediation_ext.common.data_errors import (
    in_plain_words,
)
from tensorflow_model_remediation_ext.common.objectives import (
    align,
    by_objective,
    prefixed,
    unwrap,
)
from tensorflow_model_remediation_ext.common.trackers import (
    PenaltyLedger,
    logged_names,
)


class RemediationInputs(NamedTuple):
    """What the wrapper sees as `x`.

    Attributes:
        x: Input of the wrapped model.
        penalty_inputs: Extra inputs of the penalties, by objective.
    """

    x: Any
    penalty_inputs: dict[str, Any]


class RemediationModel(keras.Model):
    """Base of the models that add a penalty to the loss of another model.

    Subclasses set `penalty_name` and implement `unpack` and
    `compute_penalty`.

    Args:
        original_model: The model to wrap, trained in place.
        loss: A loss, or a dict of losses by objective.
        loss_weight: Weight of the penalty, finite and not negative, or a dict
            of weights by objective.
        **kwargs: Passed to `keras.Model`.

    Raises:
        TypeError: If `original_model` is not a `keras.Model`.
        ValueError: If a weight is negative or not finite, or if `loss` and
            `loss_weight` are dicts with different objectives.
    """

    #: Name of the penalty in logs, and of the function that packs its data.
    penalty_name: str
    packed_by: str

    def __init__(
        self,
        original_model: keras.Model,
        loss: Any,
        loss_weight: float | dict[str, float] = 1.0,
        **kwargs: Any,
    ):
        if not isinstance(original_model, keras.Model):
            kind = type(original_model)
            raise TypeError(
                "`original_model` must be a keras.Model (Keras 3). Received: "
                f"an object of type {kind.__module__}.{kind.__qualname__}"
            )
        # The wrapper is transparent: the wrapped model casts the inputs, and
        # its policy decides on loss scaling in `compile`.
        kwargs.setdefault("dtype", original_model.dtype_policy)
        super().__init__(autocast=False, **kwargs)
        _warn_of_overrides(original_model)
        self.original_model = original_model
        self.built = original_model.built
        self._takes_training = (
            "training" in inspect.signature(original_model.call).parameters
        )
        self.penalty_loss = loss
        self._ledger = PenaltyLedger(self.penalty_name, [])
        self._loss_weight = _checked_weight(loss_weight)
        if isinstance(loss, dict) and isinstance(loss_weight, dict):
            # mypy does not tell T from dict[str, T].
            align(loss_weight, loss, "loss_weight")  # type: ignore[arg-type]

    @property
    def loss_weight(self) -> Any:
        """The weight, or a read-only dict of weights by objective.

        It may be set at any time, as by a callback between epochs; what Keras
        has compiled is then compiled anew.
        """
        if isinstance(self._loss_weight, dict):
            return MappingProxyType(self._loss_weight)
        return self._loss_weight

    @loss_weight.setter
    def loss_weight(self, value: Any) -> None:
        checked = _checked_weight(value)
        if isinstance(checked, dict) or isinstance(self._loss_weight, dict):
            align(
                checked,
                by_objective(self._loss_weight, "loss_weight"),
                "loss_weight",
            )
        self._loss_weight = checked
        # The weight is part of what was traced.
        if getattr(self, "train_function", None) is not None:
            self.make_train_function(force=True)
        if getattr(self, "test_function", None) is not None:
            self.make_test_function(force=True)

    # What a technique says of itself.

    def unpack(self, batch: Any) -> tuple[Any, Any] | None:
        """Splits a packed batch.

        Args:
            batch: A batch, or the element spec of a dataset.

        Returns:
            `(x, y, sample_weight)` as Keras takes it, and the inputs of the
            penalty, alone or in a dict by objective; `None` if `batch` is not
            packed.
        """
        raise NotImplementedError

    def compute_penalty(
        self, inputs: Any, loss: Any, training: bool
    ) -> tuple[Any, list[tuple]]:
        """Computes the penalty of one objective.

        Args:
            inputs: Its inputs, as `unpack` gave them.
            loss: Its loss.
            training: Whether the model is being trained.

        Returns:
            The penalty, a scalar scaled as Keras losses are, and for each
            output of the model the arguments for `update_state` of the
            penalty's metrics.
        """
        raise NotImplementedError

    def predict_statelessly(self, x: Any, training: bool) -> Any:
        """Runs the wrapped model and leaves its state as it was.

        Batch statistics are those of the training data alone, and the seeds
        of dropout start anew at each call within a step: halves of a pair see
        the same dropout mask, so that they differ by what is different in
        them. So a penalty of weight 0 leaves training as it was.
        """
        # On JAX the values in force are those of the scope around this one;
        # elsewhere variables are read where they are, which costs nothing.
        on_jax = keras.backend.backend() == "jax"
        variables = self.original_model.variables if on_jax else []
        with keras.StatelessScope([(v, v.value) for v in variables]):
            return self(x, training=training)

    # What Keras asks of a model.

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Runs the wrapped model; packed inputs are looked through."""
        if isinstance(inputs, RemediationInputs):
            inputs = inputs.x
        # Passed on by hand: on JAX there is no call context to learn it from.
        # Keras trains models without the argument in inference mode.
        training = training if self._takes_training else False
        return self.original_model(inputs, training=training)

    @property
    def output_names(self) -> list[str]:
        """Names of the wrapped model's outputs, for losses given by name."""
        return self.original_model.output_names

    def _compile_penalty_metrics(self, metrics: Any) -> None:
        """Starts new trackers; subclasses call it at the end of `compile`."""
        self._ledger = PenaltyLedger(self.penalty_name, metrics)
        known = [self.penalty_loss, self._loss_weight, self._ledger.given]
        for objectives in known:
            if isinstance(objectives, dict):
                self._open_ledger(objectives)

    def _open_ledger(self, objectives: Iterable[str]) -> None:
        """Checks the objectives and creates what trackers they still lack."""
        align(self.penalty_loss, objectives, "loss")
        align(self._loss_weight, objectives, "loss_weight")
        if keras.backend.backend() == "tensorflow":
            with self.distribute_strategy.scope():
                self._ledger.open(objectives)
        else:
            self._ledger.open(objectives)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Returns the task's loss plus the weighted penalties."""
        total = super().compute_loss(x, y, y_pred, sample_weight)
        self._ledger.original_loss.update_state(
            _unscaled(total), sample_weight=_batch_size(y_pred)
        )
        if not isinstance(x, RemediationInputs):
            return total
        losses = align(self.penalty_loss, x.penalty_inputs, "loss")
        weights = align(self._loss_weight, x.penalty_inputs, "loss_weight")
        for objective, inputs in x.penalty_inputs.items():
            penalty, updates = self.compute_penalty(
                inputs, losses[objective], training
            )
            if weights[objective]:
                # Not `+`: the types may differ under mixed precision.
                total = ops.add(total, weights[objective] * penalty)
            self._ledger.losses[objective].update_state(
                _unscaled(penalty), sample_weight=_batch_size(updates[0][0])
            )
            for metric in self._ledger.metrics[objective]:
                for update in updates:
                    metric.update_state(*update)
        return total

    @property
    def metrics(self) -> list[keras.Metric]:
        """The total loss, its parts, the compiled and the pairs' metrics."""
        # Keras looks for those of layers, but not of models, within a model.
        own = self.original_model._metrics
        metrics = [*super().metrics, *own]
        if not self.compiled:
            return metrics
        trackers = self._ledger.trackers(self._ledger.losses)
        losses = len(self._ledger.losses)
        return [
            metrics[0],
            self._ledger.original_loss,
            *trackers[:losses],
            *metrics[1:],
            *trackers[losses:],
        ]

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Returns all results but those of penalties without data in `x`."""
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        self._ledger.check_names(self.metrics)
        present = x.penalty_inputs if isinstance(x, RemediationInputs) else ()
        absent = set(self._ledger.losses) - set(present)
        for tracker in self._ledger.trackers(absent):
            for name in logged_names(tracker):
                del results[name]
        return results

    # Packed data become Keras data on their way in.

    @in_plain_words
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Trains on packed data; otherwise `keras.Model.fit`.

        Args:
            x: A dataset, `PyDataset` or generator of packed batches.
            y: Not used: the packed batches hold the targets.
            batch_size: As in `keras.Model.fit`.
            epochs: As in `keras.Model.fit`.
            verbose: As in `keras.Model.fit`.
            callbacks: As in `keras.Model.fit`.
            validation_split: As in `keras.Model.fit`.
            validation_data: Packed data, or any that `keras.Model.fit` takes.
            **kwargs: As in `keras.Model.fit`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: If the data were not packed, or hold other objectives
                than `loss` and `loss_weight`.
        """
        return super().fit(
            self._keras_data(x, required=True),
            y,
            batch_size,
            epochs,
            verbose,
            callbacks,
            validation_split,
            self._keras_data(validation_data),
            **kwargs,
        )

    @in_plain_words
    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates on packed or plain data, as `keras.Model.evaluate`."""
        return super().evaluate(self._keras_data(x), *args, **kwargs)

    @in_plain_words
    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Predicts for packed or plain data, as `keras.Model.predict`."""
        return super().predict(self._keras_data(x), *args, **kwargs)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Trains on one packed batch, as `keras.Model.train_on_batch`."""
        arguments = self._batch_arguments(x, y, sample_weight, required=True)
        return super().train_on_batch(*arguments, class_weight, return_dict)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Tests on a packed or plain batch, as `keras.Model.test_on_batch`."""
        arguments = self._batch_arguments(x, y, sample_weight)
        return super().test_on_batch(*arguments, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Predicts for a packed or plain batch."""
        return super().predict_on_batch(self._batch_arguments(x)[0])

    def _keras_data(self, data: Any, required: bool = False) -> Any:
        """Returns `data` with every packed batch made a Keras batch."""

        def convert(batch):
            return self._keras_batch(batch, required)

        converted = convert_batches(data, convert)
        if converted is not None:
            return converted
        if required or self.unpack(data) is not None:
            raise self._not_packed(data)
        return data

    def _keras_batch(self, batch: Any, required: bool) -> Any:
        """Returns a packed batch as `(RemediationInputs, y, sample_weight)`.

        Any other batch is returned as it is, unless packed ones are required.
        """
        parts = self.unpack(batch)
        if parts is None:
            if required:
                raise self._not_packed(batch)
            return batch
        original, penalty_inputs = parts
        penalty_inputs = by_objective(penalty_inputs, "data")
        self._open_ledger(penalty_inputs)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(original)
        return keras.utils.pack_x_y_sample_weight(
            RemediationInputs(x, penalty_inputs), y, sample_weight
        )

    def _batch_arguments(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        required: bool = False,
    ) -> tuple[Any, Any, Any]:
        """Returns `x, y, sample_weight` for the `..._on_batch` methods."""
        batch = self._keras_batch(x, required)
        if batch is x:
            return x, y, sample_weight
        if y is not None or sample_weight is not None:
            raise ValueError(
                "`y` and `sample_weight` must be None where `x` is a packed "
                "batch: it holds them."
            )
        return keras.utils.unpack_x_y_sample_weight(batch)

    def _not_packed(self, data: Any) -> ValueError:
        seen = type(data).__name__
        if isinstance(data, tf.data.Dataset):
            seen = f"a dataset of {data.element_spec}"
        return ValueError(
            f"`x` must be a dataset, a PyDataset or a generator of batches "
            f"packed by `{self.packed_by}`, or in `train_on_batch` one of "
            f"them. Received: {seen}"
        )

    # Saving.

    def get_config(self) -> dict:
        """Returns the serialized arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "original_model": serialize(self.original_model),
            "loss": serialize(_plain(self.penalty_loss)),
            "loss_weight": _plain(self._loss_weight),
        }

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> "RemediationModel":
        """Makes the model that `get_config` described."""
        config = dict(config)
        for key in ("original_model", "loss"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return cls(**config)

    def get_build_config(self) -> None:
        """Returns nothing: the wrapped model knows how it was built."""

    def get_compile_config(self) -> dict:
        """Returns Keras' compile configuration and the penalty's metrics."""
        config = super().get_compile_config()
        if config:
            config[f"{self.penalty_name}_metrics"] = (
                keras.saving.serialize_keras_object(self._ledger.given)
            )
        return config

    def compile_from_config(self, config: dict) -> None:
        """Compiles the model as `get_compile_config` described."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def save_original_model(self, *args: Any, **kwargs: Any) -> None:
        """Saves the wrapped model alone, as `keras.Model.save`."""
        self.original_model.save(*args, **kwargs)

    def export(self, filepath: str, *args: Any, **kwargs: Any) -> Any:
        """Exports the wrapped model for serving, as `keras.Model.export`."""
        return self.original_model.export(filepath, *args, **kwargs)


def _warn_of_overrides(model: keras.Model) -> None:
    """Warns of steps of its own, which training the wrapper does not run."""
    names = ("train_step", "test_step", "compute_loss", "compute_metrics")
    lost = [
        name
        for name in names
        if not getattr(type(model), name).__module__.startswith("keras.")
    ]
    if lost:
        warnings.warn(
            f"`original_model`, a {type(model).__name__}, overrides {lost}. "
            "Trained in a wrapper it uses what `keras.Model` has instead: "
            "move what they do into the loss, metrics or layers.",
            stacklevel=4,
        )


def _checked_weight(loss_weight: Any) -> Any:
    """Returns the weight or weights as floats."""
    weights = by_objective(loss_weight, "loss_weight")
    for objective, weight in weights.items():
        number = isinstance(weight, numbers.Real) and not isinstance(
            weight, bool
        )
        if not (number and math.isfinite(weight) and weight >= 0):
            raise ValueError(
                "`loss_weight` must be a finite number, zero or greater. "
                f"Received: {prefixed(objective, 'loss_weight')}={weight!r}"
            )
        weights[objective] = float(weight)
    return unwrap(weights)


def _batch_size(predictions: Any) -> Any:
    return ops.shape(keras.tree.flatten(predictions)[0])[0]


def _unscaled(loss: Any) -> Any:
    """Undoes the division by the number of replicas of Keras losses."""
    if keras.backend.backend() == "tensorflow":
        loss = loss * tf.distribute.get_strategy().num_replicas_in_sync
    return loss


def _plain(value: Any) -> Any:
    """Returns a plain dict for the tracked one that Keras makes of it."""
    return dict(value) if isinstance(value, dict) else value
