"""A Keras model that takes the raw data of the KerasHub task in it."""

from types import GeneratorType
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batches import (
    as_dataset,
    convert_batches,
)
from tensorflow_model_remediation_ext.common.preprocessing import (
    check_kind,
    preprocessed_batch,
    preprocessed_x,
    preprocessor_of,
)


class RawDataModel(keras.Model):
    """A model that applies the preprocessor of the task that it runs.

    Raw strings or images are preprocessed on their way into `fit`, `evaluate`,
    `predict` and `predict_on_batch`, as in the task's own. Where `inner_model`
    has no preprocessor, these are those of `keras.Model`.
    """

    @property
    def inner_model(self) -> keras.Model:
        """The model that this one runs."""
        raise NotImplementedError

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
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Trains as `keras.Model.fit`, on raw data too."""
        if validation_data is not None:
            validation_data = self._validation_data(validation_data, batch_size)
        x, y, sample_weight, batch_size = self._arguments(
            x, y, sample_weight, batch_size
        )
        return super().fit(
            x,
            y,
            batch_size,
            epochs,
            verbose,
            callbacks,
            validation_split,
            validation_data,
            shuffle,
            class_weight,
            sample_weight,
            **kwargs,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Evaluates as `keras.Model.evaluate`, on raw data too."""
        # What `fit` hands on was preprocessed there.
        if not kwargs.get("_use_cached_eval_dataset"):
            x, y, sample_weight, batch_size = self._arguments(
                x, y, sample_weight, batch_size
            )
        return super().evaluate(
            x, y, batch_size, verbose, sample_weight, **kwargs
        )

    def predict(
        self, x: Any, batch_size: int | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Predicts as `keras.Model.predict`, for raw data too."""
        x, _, _, batch_size = self._arguments(x, batch_size=batch_size)
        return super().predict(x, batch_size, *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """Predicts as `keras.Model.predict_on_batch`, for raw data too."""
        return super().predict_on_batch(preprocessed_x(self, x))

    def _validation_data(self, data, batch_size):
        if preprocessor_of(self) is None:
            return data
        if _yields_batches(data):
            return self._arguments(data)[0]
        parts = keras.utils.unpack_x_y_sample_weight(data)
        return self._arguments(*parts, batch_size)[0]

    def _arguments(self, x, y=None, sample_weight=None, batch_size=None):
        """Returns what `keras.Model` is to be given instead."""
        preprocess = preprocessor_of(self)
        if preprocess is None and not _yields_batches(x):
            check_kind(self, x)
        if preprocess is None or x is None:
            return x, y, sample_weight, batch_size

        def convert(batch):
            check_kind(self, keras.utils.unpack_x_y_sample_weight(batch)[0])
            return preprocessed_batch(preprocess, batch)

        if not _yields_batches(x):
            x = as_dataset(x, y, sample_weight, batch_size)
        return convert_batches(x, convert, parallel=True), None, None, None


def _yields_batches(data: Any) -> bool:
    kinds = tf.data.Dataset, keras.utils.PyDataset, GeneratorType
    return isinstance(data, kinds)
