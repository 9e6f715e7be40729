"""A Keras model that is fed packed data."""

import types
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batches import (
    as_dataset,
    check_axis,
    check_batched,
    convert_batches,
    of_backend,
)
from tensorflow_model_remediation_ext.common.data_errors import (
    in_plain_words,
)
from tensorflow_model_remediation_ext.common.kept_values import KeptValues
from tensorflow_model_remediation_ext.common.objectives import by_objective
from tensorflow_model_remediation_ext.common.preprocessing import (
    alone,
    check_kind,
    is_spec,
    preprocessed_batch,
    preprocessor_of,
)
from tensorflow_model_remediation_ext.common.remediation_inputs import (
    RemediationInputs,
)
from tensorflow_model_remediation_ext.common.sharing import (
    even_rows,
    nothing_more_to_share,
    own_rows,
    sharing_devices,
)


class PackedDataModel(KeptValues):
    """A model whose data hold the inputs of penalties with each batch.

    Packed batches become Keras' batches on their way in, with a
    `RemediationInputs` for `x`; the rest is left to Keras. Where the wrapped
    model is a KerasHub task, its preprocessor is applied to raw strings or
    images on that way, to every part once.
    """

    original_model: keras.Model
    #: The function that packs the data.
    packed_by: str
    #: How many of the first parts of a penalty's inputs the model is run on.
    parts_to_run = 1

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        # A plain object, since Keras keeps track of datasets.
        self._fitting = types.SimpleNamespace(validation_data=None)

    @property
    def inner_model(self) -> keras.Model:
        """The wrapped model, whose preprocessor is that of this one."""
        return self.original_model

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

    def usable(self, objective: str, inputs: Any) -> Any:
        """Returns the inputs of a penalty, which fail unless usable.

        Args:
            objective: Its objective.
            inputs: Its inputs, or their specs.

        Raises:
            ValueError: If values can be seen that are not usable. In a graph,
                `tf.errors.InvalidArgumentError` is raised as it runs.
        """
        return inputs

    def spread_rows(self, objective: str, inputs: Any, parted: Any) -> Any:
        """Returns the inputs of a penalty, so that each part of rows is fair.

        Args:
            objective: Its objective.
            inputs: Its inputs, of tensors of TensorFlow.
            parted: Whether devices compute the penalty each on a part of the
                rows, or on the first of them only: a boolean scalar tensor.
                Otherwise rows stay in their order.
        """
        return inputs

    def open_objectives(self, objectives: Any) -> None:
        """Prepares for penalties of `objectives`, before data are read."""
        raise NotImplementedError

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
        x = self._keras_data(x, required=True)
        validation_data = self._validation_data(validation_data, batch_size)
        # Keras hands them to `evaluate` after each epoch.
        self._fitting.validation_data = validation_data
        try:
            with nothing_more_to_share(), self._values_given_back():
                return super().fit(
                    x,
                    y,
                    batch_size,
                    epochs,
                    verbose,
                    callbacks,
                    validation_split,
                    validation_data,
                    **kwargs,
                )
        finally:
            self._fitting.validation_data = None

    @in_plain_words
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Evaluates on packed or plain data, as `keras.Model.evaluate`."""
        validating = x is not None and x is self._fitting.validation_data
        data = x if validating else self._keras_data(x)
        plain = data is x and x is not None and not validating
        if plain:
            check_kind(self.original_model, x)
        if plain and preprocessor_of(self.original_model):
            data = self._keras_data(as_dataset(x, y, sample_weight, batch_size))
            y = sample_weight = batch_size = None
        with nothing_more_to_share(), self._values_given_back():
            return super().evaluate(
                data, y, batch_size, verbose, sample_weight, **kwargs
            )

    @in_plain_words
    def predict(
        self, x: Any, batch_size: int | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Predicts for packed or plain data, as `keras.Model.predict`."""
        data = self._keras_data(x)
        if data is x:
            check_kind(self.original_model, x)
        if data is x and preprocessor_of(self.original_model):
            data = self._keras_data(as_dataset(x, None, None, batch_size))
            batch_size = None
        with nothing_more_to_share(), self._values_given_back():
            return super().predict(data, batch_size, *args, **kwargs)

    @in_plain_words
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

    @in_plain_words
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

    @in_plain_words
    def predict_on_batch(self, x: Any) -> Any:
        """Predicts for a packed or plain batch."""
        return super().predict_on_batch(self._batch_arguments(x)[0])

    def train_step(self, *args: Any) -> Any:
        """Runs Keras' step, in a loop of one's own on packed batches too."""
        *state, data = args  # Keras' state comes first on JAX.
        return super().train_step(*state, self._step_data(data, required=True))

    def test_step(self, *args: Any) -> Any:
        """Runs Keras' step, in a loop of one's own on packed batches too."""
        *state, data = args
        return super().test_step(*state, self._step_data(data))

    def _step_data(self, data: Any, required: bool = False) -> Any:
        x, *rest = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(x, RemediationInputs):  # As Keras hands them in.
            if not self._step_checks:
                return data
            return keras.utils.pack_x_y_sample_weight(self._checked(x), *rest)
        if required or self.unpack(data) is not None:
            return self._keras_batch(data, required=True)
        return data

    def _checked(self, inputs: RemediationInputs) -> RemediationInputs:
        """Returns inputs that exist, the task's too, only if usable."""
        usable = self._all_usable(inputs.penalty_inputs)
        parts = tf.nest.flatten(usable, expand_composites=True)
        # Not a context for the whole step: variables that are created in it
        # must not depend on data.
        with tf.control_dependencies([p for p in parts if p is not None]):
            x = tf.nest.map_structure(
                lambda each: None if each is None else tf.identity(each),
                inputs.x,
                expand_composites=True,
            )
        return inputs._replace(x=x, penalty_inputs=usable)

    @property
    def _step_checks(self) -> bool:
        """Whether what is in data from a dataset is checked in the step.

        That takes less time than in the dataset, which then need not run
        anything. XLA knows no checks, and shares are cut of checked rows.
        """
        return (
            keras.backend.backend() == "tensorflow"
            and self.distribute_strategy.num_replicas_in_sync == 1
            and not self.jit_compile
        )

    def _all_usable(self, penalty_inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            objective: self.usable(objective, inputs)
            for objective, inputs in penalty_inputs.items()
        }

    def _validation_data(self, data: Any, batch_size: int | None) -> Any:
        converted = self._keras_data(data)
        if data is None or converted is not data:
            return converted
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        check_kind(self.original_model, x)
        if not preprocessor_of(self.original_model):
            return converted
        return self._keras_data(as_dataset(x, y, sample_weight, batch_size))

    def _keras_data(self, data: Any, required: bool = False) -> Any:
        """Returns `data` with every packed batch made a Keras batch."""
        strategy = getattr(self, "distribute_strategy", None)
        replicas = getattr(strategy, "num_replicas_in_sync", 1)
        of_dataset = isinstance(data, tf.data.Dataset)
        # Asked here, since workers of a `PyDataset` know no distribution.
        devices = sharing_devices(replicas)

        def convert(batch):
            check = not (of_dataset and self._step_checks)
            converted = self._keras_batch(batch, required, check)
            if of_dataset:
                return converted
            return of_backend(even_rows(converted, devices, self.spread_rows))

        preprocessed = preprocessor_of(self.original_model) is not None
        converted = convert_batches(data, convert, preprocessed)
        if of_dataset:
            return own_rows(converted, replicas, self.spread_rows)
        if converted is not None:
            return converted
        if required or self.unpack(data) is not None:
            raise self._not_packed(data)
        return data

    def _keras_batch(
        self, batch: Any, required: bool, check: bool = True
    ) -> Any:
        """Returns a packed batch as `(RemediationInputs, y, sample_weight)`.

        Any other batch is returned as it is, or preprocessed, unless packed
        ones are required. The element spec of a dataset stands for a batch.
        Unless `check`, values are not looked at.
        """
        parts = self.unpack(batch)
        if parts is None and required:
            raise self._not_packed(batch)
        if parts is None:
            return self._plain_batch(batch)
        original, penalty_inputs = parts
        original = keras.utils.unpack_x_y_sample_weight(original)
        check_kind(self.original_model, original[0])
        x, y, _ = original
        check_batched(batch, x, y, self.original_model)
        preprocess = preprocessor_of(self.original_model)
        if preprocess is not None and not is_spec(batch):
            original = preprocess(*original)
            penalty_inputs = self._preprocessed(
                penalty_inputs, alone(preprocess)
            )
        penalty_inputs = by_objective(penalty_inputs, "data")
        self.open_objectives(penalty_inputs)
        if check:
            penalty_inputs = self._all_usable(penalty_inputs)
        x, y, sample_weight = original
        return keras.utils.pack_x_y_sample_weight(
            RemediationInputs(x, penalty_inputs, {}), y, sample_weight
        )

    def _plain_batch(self, batch: Any) -> Any:
        """Returns a batch that was not packed, preprocessed if need be."""
        parts = keras.utils.unpack_x_y_sample_weight(batch)
        check_kind(self.original_model, parts[0])
        x, y, _ = parts
        check_batched(batch, x, y, self.original_model)
        preprocess = preprocessor_of(self.original_model)
        if preprocess is None:
            return batch
        return preprocessed_batch(preprocess, batch)

    def _preprocessed(self, penalty_inputs: Any, preprocess: Callable) -> Any:
        """Returns inputs of penalties with the preprocessor applied."""
        if isinstance(penalty_inputs, dict):
            return {
                objective: self._preprocessed(each, preprocess)
                for objective, each in penalty_inputs.items()
            }
        run = self.parts_to_run
        return (
            *(preprocess(part) for part in penalty_inputs[:run]),
            *penalty_inputs[run:],
        )

    def _batch_arguments(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        required: bool = False,
    ) -> tuple[Any, Any, Any]:
        """Returns `x, y, sample_weight` for the `..._on_batch` methods."""
        if self.unpack(x) is None:
            if required:
                raise self._not_packed(x)
            check_kind(self.original_model, x)
            preprocess = preprocessor_of(self.original_model)
            if preprocess is not None:
                check_axis(x)
            plain = x, y, sample_weight
            return of_backend(preprocess(*plain) if preprocess else plain)
        if y is not None or sample_weight is not None:
            raise ValueError(
                "`y` and `sample_weight` must be None where `x` is a packed "
                "batch: it holds them."
            )
        batch = self._keras_batch(x, required)
        batch = even_rows(batch, sharing_devices(), self.spread_rows)
        return of_backend(keras.utils.unpack_x_y_sample_weight(batch))

    def _not_packed(self, data: Any) -> ValueError:
        seen = type(data).__name__
        if is_spec(data):
            seen = f"a dataset of {data}"
        return ValueError(
            f"`x` must be a dataset, a PyDataset or a generator of batches "
            f"packed by `{self.packed_by}`, or in `train_on_batch` one of "
            f"them. Received: {seen}"
        )
