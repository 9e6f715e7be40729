"""A Keras model that is fed packed data."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batches import convert_batches
from tensorflow_model_remediation_ext.common.data_errors import (
    in_plain_words,
)
from tensorflow_model_remediation_ext.common.objectives import by_objective


class RemediationInputs(NamedTuple):
    """What the wrapper sees as `x`.

    Attributes:
        x: Input of the wrapped model.
        penalty_inputs: Extra inputs of the penalties, by objective.
    """

    x: Any
    penalty_inputs: dict[str, Any]


class PackedDataModel(keras.Model):
    """A model whose data hold the inputs of penalties with each batch.

    Packed batches become Keras' batches on their way in, with a
    `RemediationInputs` for `x`; the rest is left to Keras.
    """

    #: The function that packs the data.
    packed_by: str

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
        self.open_objectives(penalty_inputs)
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
