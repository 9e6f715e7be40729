"""Subclasses of CounterfactualModel, and models with methods of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    CounterfactualPackedInputs,
)

ROWS = 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 3)).astype("float32")
OTHER = RNG.normal(size=(ROWS, 3)).astype("float32")
Y = RNG.integers(0, 2, (ROWS, 1)).astype("float32")
DATA = tf.data.Dataset.from_tensors(
    CounterfactualPackedInputs((X, Y), (X, OTHER, np.ones(ROWS, "float32")))
)
FIT = {"verbose": 0, "shuffle": False}
register = keras.saving.register_keras_serializable("test_models_subclassing")


def layers():
    return [keras.Input((3,)), keras.layers.Dense(1, "sigmoid")]


@register
class CustomModel(keras.Model):
    def __init__(self, units=1, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(units, "sigmoid")

    def call(self, inputs):
        return self.dense(inputs)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class CustomSequential(keras.Sequential):
    steps = 0

    def train_step(self, data):
        type(self).steps += 1
        return super().train_step(data)


@register
class CounterfactualCustom(CounterfactualModel, CustomModel):
    pass


@register
class CounterfactualSequential(CounterfactualModel, CustomSequential):
    pass


def test_the_config_of_the_other_base_is_kept(tmp_path):
    model = CounterfactualCustom(CustomModel(1), units=1, loss_weight=2.0)
    assert model.get_config()["units"] == 1
    model.compile("adam", "binary_crossentropy")
    model.fit(DATA, **FIT)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert isinstance(loaded, CounterfactualCustom) and loaded.units == 1
    np.testing.assert_allclose(
        loaded.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6
    )


def test_a_sequential_with_a_step_of_its_own(tmp_path, recwarn):
    """As the predecessor's guide has it: the step is run."""
    model = CounterfactualSequential(CustomSequential(layers()))
    assert not recwarn.list
    model.compile("adam", "binary_crossentropy")
    model.fit(DATA, **FIT)
    assert CounterfactualSequential.steps > 0
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.evaluate(DATA, return_dict=True, verbose=0) == pytest.approx(
        model.evaluate(DATA, return_dict=True, verbose=0), rel=1e-6
    )


@register
class FewerArguments(CounterfactualModel):
    def __init__(self, original_model, factor=1.0):
        super().__init__(original_model, loss_weight=2.0 * factor)
        self.factor = factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def test_a_constructor_with_fewer_arguments(tmp_path):
    model = FewerArguments(keras.Sequential(layers()), 3.0)
    model.compile("adam", "binary_crossentropy")
    model.fit(DATA, **FIT)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert (loaded.factor, loaded.loss_weight) == (3.0, 6.0)
    assert loaded.evaluate(DATA, return_dict=True, verbose=0) == pytest.approx(
        model.evaluate(DATA, return_dict=True, verbose=0), rel=1e-6
    )


def test_arguments_that_would_be_lost_are_told(tmp_path):
    class Lossy(CounterfactualModel):
        def __init__(self, original_model, factor=1.0, **kwargs):
            super().__init__(original_model, **kwargs)

    model = Lossy(keras.Sequential(layers()), 3.0)
    with pytest.raises(ValueError, match=r"override `get_config`.*'factor'"):
        model.save(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("compute_counterfactual_loss", "compute_penalty"),
        ("compute_total_loss", "compute_loss"),
        ("update_metrics", "compute_metrics"),
    ],
)
def test_overrides_that_would_have_no_effect_are_refused(name, instead):
    subclass = type(
        "Own", (CounterfactualModel,), {name: lambda self, *args: None}
    )
    with pytest.raises(TypeError, match=f"`{name}`.*never called.*`{instead}`"):
        subclass(keras.Sequential(layers()))


@pytest.mark.parametrize("dtype", [None, "float32", "mixed_bfloat16"])
def test_dtype(dtype):
    model = CounterfactualModel(keras.Sequential(layers()), dtype=dtype)
    assert model.dtype_policy.name == (dtype or "float32")
    model.compile("sgd", "binary_crossentropy")
    assert np.isfinite(model.evaluate(DATA, verbose=0)[0])


def test_compile_compiles_the_wrapped_model_too():
    wrapped = keras.Sequential(layers())
    model = CounterfactualModel(wrapped)
    model.compile(
        keras.optimizers.Adam(0.1), "binary_crossentropy", metrics=["mse"]
    )
    model.fit(DATA, **FIT)
    plain = wrapped.evaluate(X, Y, return_dict=True, verbose=0)
    logs = model.evaluate(X, Y, return_dict=True, verbose=0)
    assert set(plain) == {"loss", "mse"}
    assert float(plain["loss"]) == pytest.approx(
        float(logs["original_loss"]), rel=1e-6
    )
    assert float(plain["mse"]) == pytest.approx(float(logs["mse"]), rel=1e-6)
    # Another time with other metrics; but what the user compiled stays.
    model.compile("sgd", "binary_crossentropy", metrics=["mae"])
    assert "mae" in wrapped.evaluate(X, Y, return_dict=True, verbose=0)
    wrapped.compile("adam", "mse")
    model.compile("sgd", "binary_crossentropy")
    assert wrapped.loss == "mse"
    assert isinstance(wrapped.optimizer, keras.optimizers.Adam)


def test_steps_in_a_loop_of_ones_own():
    """As the predecessor's tests call them."""
    model = CounterfactualModel(keras.Sequential(layers()), loss_weight=2.0)
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    (batch,) = DATA.take(1)
    figures = {k: float(v) for k, v in model.test_step(batch).items()}
    assert figures["loss"] == pytest.approx(
        figures["original_loss"] + 2.0 * figures["counterfactual_loss"]
    )
    assert figures == pytest.approx(
        model.evaluate(DATA.take(1), return_dict=True, verbose=0)
    )
    model.reset_metrics()
    assert set(model.test_step((X, Y))) == {"loss", "original_loss"}
    before = model.get_weights()
    model.reset_metrics()
    logs = model.train_step(batch)
    assert float(logs["loss"]) == pytest.approx(figures["loss"], rel=1e-5)
    after = model.get_weights()
    assert not np.array_equal(before[0], after[0])
    with pytest.raises(ValueError, match="pack_counterfactual_data"):
        model.train_step((X, Y))
