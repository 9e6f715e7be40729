"""Saving, loading, exporting and resuming CounterfactualModel."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import losses
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    CounterfactualPackedInputs,
    metrics,
)

ROWS = 16
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 4)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
OTHER = X * np.array([-1, 1, 1, 1], "float32")


def packed():
    return tf.data.Dataset.from_tensor_slices(
        CounterfactualPackedInputs((X, Y), (X, OTHER, np.ones(ROWS, "float32")))
    ).batch(8)


def make_wrapped():
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, "tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )


def make_model(loss=None):
    keras.utils.set_random_seed(2)
    wrapped = make_wrapped()
    loss = losses.PairwiseMSELoss(transform="logit") if loss is None else loss
    model = CounterfactualModel(wrapped, loss, loss_weight=2.0)
    model.compile(
        keras.optimizers.Adam(0.01),
        "binary_crossentropy",
        metrics=["accuracy"],
        counterfactual_metrics=[metrics.FlipRate(threshold=0.4)],
    )
    return model


FIT = {"verbose": 0, "shuffle": False}


def assert_same_weights(a, b):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-7)


def test_keras_file_round_trip(tmp_path):
    model = make_model()
    model.fit(packed(), **FIT)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, CounterfactualModel)
    assert loaded.loss_weight == 2.0
    np.testing.assert_array_equal(
        loaded.predict(X, verbose=0), model.predict(X, verbose=0)
    )
    model.save_original_model(tmp_path / "original.keras")
    original = keras.models.load_model(tmp_path / "original.keras")
    assert not isinstance(original, CounterfactualModel)
    np.testing.assert_array_equal(
        original.predict(X, verbose=0), model.predict(X, verbose=0)
    )
    # Nobody compiled it: whoever loads it does, as they like.
    assert not original.compiled
    # Loss, its transform, metrics and their threshold came along.
    expected = model.evaluate(packed(), return_dict=True, verbose=0)
    found = loaded.evaluate(packed(), return_dict=True, verbose=0)
    assert found == pytest.approx(expected, rel=1e-6)
    # Optimizer state too: training goes on as it would have. (Keras does not
    # save the seeds of dropout, so there is none in this model.)
    model.fit(packed(), **FIT)
    loaded.fit(packed(), **FIT)
    assert_same_weights(model, loaded)


@keras.saving.register_keras_serializable("test_models_saving")
class Subclassed(keras.Model):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, "tanh")
        self.out = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        return self.out(self.hidden(inputs))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_subclassed_models_and_objectives_round_trip(tmp_path):
    original = (X, Y)
    pairs = (X, OTHER, np.ones(ROWS, "float32"))
    data = tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs(original, {"a": pairs, "b": pairs})
    )
    model = CounterfactualModel(
        Subclassed(4),
        {"a": None, "b": "pairwise_absolute_difference_loss"},
        {"a": 1.0, "b": 3.0},
    )
    model.compile("adam", "binary_crossentropy")
    model.fit(data, **FIT)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.original_model.units == 4
    assert loaded.evaluate(data, return_dict=True, verbose=0) == pytest.approx(
        model.evaluate(data, return_dict=True, verbose=0), rel=1e-6
    )


def test_a_loss_of_keras_keeps_its_arguments(tmp_path):
    huber = keras.losses.Huber(delta=0.03, name="near")
    pairs = (X, OTHER, np.ones(ROWS, "float32"))
    for loss, inputs in ((huber, pairs), ({"a": huber}, {"a": pairs})):
        model = make_model(loss)
        data = tf.data.Dataset.from_tensor_slices(
            CounterfactualPackedInputs((X, Y), inputs)
        ).batch(8)
        model.fit(data, **FIT)
        before = model.evaluate(data, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        after = loaded.evaluate(data, verbose=0)
        np.testing.assert_allclose(after, before, rtol=1e-6)


def test_callables_that_are_not_registered_are_not_saved(tmp_path):
    model = make_model(losses.PairwiseMSELoss(transform=lambda x: 2 * x))
    with pytest.raises(ValueError, match="register"):
        model.save(tmp_path / "model.keras")


@pytest.mark.slow
def test_fresh_process_loads_model_and_export(tmp_path):
    """With no import but the package, and in safe mode."""
    model = make_model()
    model.fit(packed(), **FIT)
    model.save(tmp_path / "model.keras")
    model.export(str(tmp_path / "exported"))
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "expected.npy", model.predict(X, verbose=0))
    script = """
import sys, numpy as np, keras, tensorflow as tf
import tensorflow_model_remediation_ext
folder = sys.argv[1]
x = np.load(folder + "/x.npy")
expected = np.load(folder + "/expected.npy")
model = keras.models.load_model(folder + "/model.keras")
np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5)
exported = tf.saved_model.load(folder + "/exported")
np.testing.assert_allclose(exported.serve(x), expected, rtol=1e-5)
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_hdf5_is_for_the_wrapped_model_alone(tmp_path):
    model = make_model()
    with pytest.raises(ValueError, match=r"must end in `.keras`.*m\.h5"):
        model.save(tmp_path / "m.h5")
    model.save_original_model(tmp_path / "m.h5")
    loaded = keras.models.load_model(tmp_path / "m.h5", compile=False)
    np.testing.assert_allclose(loaded(X), model(X), rtol=1e-6)


def test_weights_files_do_not_depend_on_compiling(tmp_path):
    model = make_model()
    model.fit(packed(), **FIT)
    model.save_weights(tmp_path / "m.weights.h5")
    bare = CounterfactualModel(make_wrapped())
    bare.load_weights(tmp_path / "m.weights.h5")
    assert_same_weights(bare, model)


def test_callbacks(tmp_path):
    model = make_model()
    path = tmp_path / "best.keras"
    history = model.fit(
        packed(),
        validation_data=packed(),
        epochs=4,
        callbacks=[
            keras.callbacks.EarlyStopping(
                monitor="val_loss", min_delta=10.0, patience=1
            ),
            keras.callbacks.ModelCheckpoint(
                path,
                monitor="val_counterfactual_loss",
                mode="min",
                save_best_only=True,
            ),
        ],
        **FIT,
    ).history
    # No improvement by 10 ever comes, so patience ends after epoch 2.
    assert len(history["val_loss"]) == 2
    best = keras.models.load_model(path)
    logs = best.evaluate(packed(), return_dict=True, verbose=0)
    assert logs["counterfactual_loss"] == pytest.approx(
        min(history["val_counterfactual_loss"]), rel=1e-5
    )


class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_interrupted_run_resumes_to_the_same_weights(tmp_path):
    whole = make_model()
    whole.fit(packed(), epochs=4, **FIT)

    backup = str(tmp_path / "backup")
    interrupted = make_model()
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(
            packed(),
            epochs=4,
            callbacks=[
                keras.callbacks.BackupAndRestore(backup),
                Interrupt(),
            ],
            **FIT,
        )
    resumed = make_model()
    history = resumed.fit(
        packed(),
        epochs=4,
        callbacks=[keras.callbacks.BackupAndRestore(backup)],
        **FIT,
    )
    assert history.epoch == [2, 3]
    assert_same_weights(resumed, whole)
