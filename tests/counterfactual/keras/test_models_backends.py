"""Masks, noise, flips and old files: the same on every backend of Keras.

`test_models_processes.py` runs these tests on the other backends too, in its
process for each.
"""

import importlib.util
import itertools
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.keras import (
    AtMost,
    CounterfactualModel,
    CounterfactualPackedInputs,
    metrics,
)
from tensorflow_model_remediation_ext.counterfactual.losses import (
    PairwiseCosineLoss,
    PairwiseMSELoss,
)
from tensorflow_model_remediation_ext.evaluation import flips, flips_of_model

OLD = pathlib.Path(__file__).parents[2] / "data" / "v0.1.0"
ROWS = 8
RNG = np.random.default_rng(0)
FIT = {"verbose": 0, "shuffle": False}


def pack(original, pairs):
    return tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs(original, pairs)
    )


@keras.saving.register_keras_serializable("test_models_backends")
def double(x):
    return 2.0 * x


def test_masks():
    """Positions masked in one half count neither in the loss nor in metrics."""
    steps = 5
    x = RNG.integers(1, 9, (ROWS, steps))
    other = RNG.integers(1, 9, (ROWS, steps))
    x[::2, 3:] = other[:3, 4:] = 0
    y = (x[..., None] > 4).astype("float32")
    weight = RNG.uniform(0.5, 2, ROWS).astype("float32")
    inputs = keras.Input((steps,), dtype="int32")
    hidden = keras.layers.Embedding(9, 3, mask_zero=True)(inputs)
    hidden = keras.layers.LSTM(3, return_sequences=True)(hidden)
    outputs = keras.layers.Dense(1, "sigmoid", kernel_initializer="ones")
    wrapped = keras.Model(inputs, outputs(hidden))
    a, b = (
        keras.ops.convert_to_numpy(wrapped(half))[..., 0] for half in (x, other)
    )
    both = (x != 0) & (other != 0)
    assert 0.3 < both.mean() < 0.9
    w = np.broadcast_to(weight[:, None], both.shape)[both]
    gaps = np.abs(a - b)[both]
    for loss, expected in (
        (None, gaps**2),
        (PairwiseMSELoss(transform=double), 4 * gaps**2),
        (keras.losses.MeanAbsoluteError(), gaps),
        (PairwiseMSELoss(reduction="sum"), gaps**2 * len(gaps)),
    ):
        model = CounterfactualModel(wrapped, loss)
        model.compile(
            "sgd",
            "binary_crossentropy",
            counterfactual_metrics=[
                metrics.CounterfactualGap(),
                metrics.FlipRate(float(np.median(a))),
                metrics.FlipCount(float(np.median(a)), name="count"),
            ],
        )
        data = pack((x, y), (x, other, weight))
        logs = model.evaluate(data, return_dict=True, verbose=0)
        found = logs["counterfactual_loss"]
        np.testing.assert_allclose(found, np.mean(expected * w), rtol=1e-4)
        np.testing.assert_allclose(
            logs["counterfactual_gap"], np.average(gaps, weights=w), rtol=1e-4
        )
        flips = ((a > np.median(a)) != (b > np.median(a)))[both]
        np.testing.assert_allclose(
            [logs["flip_rate"], logs["count"]],
            [np.average(flips, weights=w), np.sum(flips * w)],
            rtol=1e-4,
        )


def test_validation_leaves_the_figures_of_training_alone():
    x = RNG.normal(size=(ROWS, 2)).astype("float32")
    y = (x[:, :1] > 0).astype("float32")
    data = pack((x, y), (x, -x, np.ones(ROWS, "float32")))

    def logged(**options):
        model = keras.Sequential(
            [
                keras.Input((2,)),
                keras.layers.Dense(1, "sigmoid", kernel_initializer="ones"),
            ]
        )
        target = AtMost(0.4, metrics.CounterfactualGap())
        model = CounterfactualModel(model, None, target)
        model.compile(
            "sgd",
            "binary_crossentropy",
            counterfactual_metrics=[metrics.FlipCount(), metrics.FlipRate()],
        )
        return model.fit(data, **FIT, **options).history

    alone = logged()
    assert alone["counterfactual_multiplier"][0] > 0
    # Fewer pairs, so that their figures are others.
    few = pack((x, y), (x[:1], x[:1], np.ones(1, "float32")))
    validated = logged(validation_data=few)
    assert validated["val_flip_count"] == [0]
    for name, values in alone.items():
        np.testing.assert_allclose(
            validated[name], values, rtol=1e-5, err_msg=name
        )


class Unseeded(keras.layers.Layer):
    """Drops with Keras' global seed generator, which JAX cannot trace."""

    def call(self, inputs, training=None):
        if training and keras.backend.backend() != "jax":
            return keras.random.dropout(inputs, 0.3)
        return inputs


def noisy_model():
    inputs = keras.Input((2, 3))
    noise = {"dropout": 0.3, "recurrent_dropout": 0.3, "unroll": True}
    hidden = keras.layers.LSTM(3, return_sequences=True, **noise)(inputs)
    hidden = keras.layers.GRU(3, return_sequences=True, **noise)(hidden)
    attention = keras.layers.MultiHeadAttention(1, 3, dropout=0.3)
    hidden = hidden + attention(hidden, hidden)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.GaussianNoise(0.3)(hidden)
    hidden = Unseeded()(keras.layers.Dropout(0.5)(hidden))
    outputs = keras.layers.Dense(1, "sigmoid")(hidden[:, -1])
    return keras.Model(inputs, outputs)


def test_noise():
    """Halves see the same noise, and weight 0 leaves training as it was."""
    x = RNG.normal(size=(ROWS, 2, 3)).astype("float32")
    y = RNG.integers(0, 2, (ROWS, 1)).astype("float32")

    def train(make, data):
        # Keras 3.10 goes on with its own generator whatever seed is set.
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        model = make(noisy_model())
        model.compile(
            keras.optimizers.SGD(0.5), "binary_crossentropy", metrics=["mse"]
        )
        keras.utils.set_random_seed(2)
        logs = model.fit(data, epochs=2, **FIT).history
        return model.get_weights(), logs

    alone, plain = train(lambda m: m, tf.data.Dataset.from_tensors((x, y)))
    same = pack((x, y), (x, x, np.ones(ROWS, "float32")))
    wrapped, logs = train(lambda m: CounterfactualModel(m, None, 0.0), same)
    assert logs["counterfactual_loss"] == [0.0, 0.0]
    np.testing.assert_allclose(logs["original_loss"], plain["loss"], rtol=1e-6)
    for a, b in zip(wrapped, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert np.ptp(plain["loss"]) > 1e-3


@pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15),
    reason="Keras does not read what a later Keras has written",
)
def test_version_0_1_0():
    """A model, its weights and its optimizer's state, saved by 0.1.0."""
    expected = json.loads((OLD / "counterfactual_model.json").read_text())
    x = (np.arange(24).reshape(8, 3) % 7 / 3 - 1).astype("float32")
    y = (x[:, :1] > 0).astype("float32")
    other = x * np.array([-1, 1, 1], "float32")
    data = tf.data.Dataset.from_tensor_slices(
        CounterfactualPackedInputs(
            (x, y), (x, other, np.linspace(0.5, 2, 8, dtype="float32"))
        )
    ).batch(4)

    def agrees(model, figures, rtol=1e-4):
        logs = model.evaluate(data, return_dict=True, verbose=0)
        assert set(logs) == set(figures["logs"])
        for name, value in figures["logs"].items():
            np.testing.assert_allclose(
                logs[name], value, rtol=rtol, atol=1e-6, err_msg=name
            )
        np.testing.assert_allclose(
            model.predict(x, verbose=0)[:, 0], figures["predictions"], rtol=rtol
        )

    model = keras.models.load_model(OLD / "counterfactual_model.keras")
    agrees(model, expected["saved"])
    model.fit(data, **FIT)
    agrees(model, expected["trained_on"])
    model.load_weights(OLD / "counterfactual_model.weights.h5")
    agrees(model, expected["saved"])


class Masked(keras.Model):
    def __init__(self):
        super().__init__()
        self.lstm = keras.layers.LSTM(2)

    def call(self, inputs, mask=None):
        return self.lstm(inputs, mask=mask)

    def compute_mask(self, inputs, previous_mask):
        return None


def test_masks_are_passed_on():
    """`model(x, mask=...)` is the wrapped model's."""
    wrapped = Masked()
    x = RNG.normal(size=(ROWS, 4, 3)).astype("float32")
    mask = np.arange(4) < np.array([[4], [2]] * (ROWS // 2))
    x, again = map(keras.ops.convert_to_tensor, (x, x.copy()))
    numpy = keras.ops.convert_to_numpy
    without = numpy(wrapped(again))
    found = numpy(CounterfactualModel(wrapped)(x, mask=mask))
    np.testing.assert_allclose(found, numpy(wrapped(x, mask=mask)), rtol=1e-6)
    assert np.abs(found - without)[1::2].min() > 1e-5
    np.testing.assert_allclose(found[::2], without[::2], rtol=1e-5)


def small_model(loss=None):
    inputs = keras.Input((2,))
    model = CounterfactualModel(
        keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(inputs)), loss
    )
    model.compile("adam", "binary_crossentropy")
    return model


def small_data(rows=ROWS, columns=2):
    x = RNG.normal(size=(rows, columns)).astype("float32")
    y = (x[:, :1] > 0).astype("float32")
    return pack((x, y), (x, -x, np.ones(rows, "float32")))


def test_an_error_leaves_the_values_of_variables():
    """Which Keras takes away on JAX, to give them back after an epoch."""
    data = small_data()

    def unreadable(packed):
        packed = packed._asdict()
        x, y = packed.pop("original_input")
        x = tf.debugging.check_numerics(x / 0.0, "unreadable")
        return CounterfactualPackedInputs((x, y), **packed)

    broken = data.map(lambda *packed: unreadable(packed[0]))
    model = small_model(PairwiseCosineLoss())
    before = model.get_weights()
    with pytest.raises(ValueError, match="two columns or more"):
        model.fit(data, **FIT)
    with pytest.raises(ValueError, match="two columns or more"):
        model.evaluate(data, verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    model = small_model()
    for run in (
        lambda: model.fit(broken, **FIT),
        lambda: model.predict(data.concatenate(broken), verbose=0),
        lambda: model.evaluate(data.concatenate(broken), verbose=0),
    ):
        with pytest.raises(Exception, match="unreadable"):
            run()
        logs = model.fit(data, validation_data=data, **FIT).history
        assert np.isfinite(logs["val_loss"]).all()


def test_a_batch_of_the_packed_data():
    """What a dataset yields are tensors of TensorFlow, on any backend."""
    model, data = small_model(), small_data()
    (batch,) = data
    expected = model.evaluate(data, return_dict=True, verbose=0)
    found = model.test_on_batch(batch, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    predictions = model.predict(data, verbose=0)
    x = batch.original_input[0]
    for each in (batch, x, x.numpy()):
        np.testing.assert_allclose(
            model.predict_on_batch(each), predictions, rtol=1e-5
        )
    found = model.train_on_batch(batch, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)


class Counting(keras.layers.Layer):
    """Passes its input on and counts how often it was run or traced."""

    count = 0

    def call(self, inputs):
        self.count += 1
        return inputs


def test_flips_are_compiled_for_few_sizes_of_batches():
    """Pairs come in batches of any size, which JAX compiles one by one."""
    sizes = [1, 2, 3, 5, 6, 7, 9, 10, 11, 12]
    x = RNG.normal(size=(sum(sizes), 2)).astype("float32")
    other = x + RNG.normal(size=x.shape).astype("float32")
    inputs = {
        name: keras.Input((size,), name=name)
        for name, size in (("a", 2), ("b", 1))
    }
    counting = Counting()
    hidden = counting(keras.layers.Concatenate()([*inputs.values()]))
    kernel = keras.initializers.Constant([[1.0], [-1.0], [2.0]])
    output = keras.layers.Dense(1, "sigmoid", kernel_initializer=kernel)
    model = keras.Model(inputs, output(hidden))

    def features(rows):
        return {"a": rows, "b": rows[:, :1]}

    expected = flips(
        *(model.predict(features(half), verbose=0) for half in (x, other)),
        seed=0,
    )
    starts = np.cumsum([0, *sizes])
    pairs = [
        (features(x[i:j]), features(other[i:j]))
        for i, j in itertools.pairwise(starts)
    ]
    counting.count = 0
    found = flips_of_model(model, pairs, seed=0, verbose=0)
    assert found["overall"].to_dict() | {"group": 0} == pytest.approx(
        expected["overall"].to_dict() | {"group": 0}, rel=1e-5
    )
    assert 0 < found["overall"].flip_count < len(x)
    if keras.backend.backend() != "torch":  # Which compiles nothing.
        assert counting.count <= 5


def test_a_task_of_keras_hub():
    """Raw strings train it as tokens do, with pairs of weight 0 or more."""
    if importlib.util.find_spec("keras_hub") is None:
        return  # Skips are told in `test_models_hub.py`.
    import keras_hub

    words = ["a", "b", "c"]
    texts, labels = ["a b c", "b c", "a c", "c"], np.array([1, 0, 1, 0])
    others = ["b c", "b c", "c", "c"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

    def train(make, prepare=lambda task: lambda texts: tf.constant(texts)):
        keras.utils.set_random_seed(0)
        backbone = keras_hub.models.BertBackbone(8, 1, 1, 4, 4, 0.0, 5)
        preprocessor = keras_hub.models.BertTextClassifierPreprocessor(
            keras_hub.models.BertTokenizer([*special, *words]),
            sequence_length=5,
        )
        task = keras_hub.models.BertTextClassifier(
            backbone, num_classes=2, preprocessor=preprocessor, dropout=0.0
        )
        x, other = map(prepare(task), (texts, others))
        model = make(task)
        # Tracing it costs more than a step does; JAX has no other way.
        model.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            run_eagerly=keras.backend.backend() != "jax",
        )
        data = (
            tf.data.Dataset.from_tensors((x, labels))
            if model is task
            else pack((x, labels), (x, other, np.ones(4, "float32")))
        )
        logs = model.fit(data, **FIT).history
        x = np.array(texts)
        np.testing.assert_allclose(
            model.predict(x, verbose=0),
            task.predict(x, verbose=0),
            rtol=1e-4,
            atol=1e-6,
        )
        return task.get_weights(), logs

    def tokens(task):
        def prepare(texts):
            x = task.preprocessor(texts)
            return {
                name: tf.constant(keras.ops.convert_to_numpy(part))
                for name, part in x.items()
            }

        return prepare

    alone, _ = train(lambda task: task)
    zero, _ = train(lambda task: CounterfactualModel(task, None, 0.0))
    raw, logs = train(lambda task: CounterfactualModel(task, None, 9.0))
    by_hand, expected = train(
        lambda task: CounterfactualModel(task, None, 9.0), tokens
    )
    for pairs in (
        zip(alone, zero, strict=True),
        zip(raw, by_hand, strict=True),
    ):
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert logs["counterfactual_loss"][0] > 0
    np.testing.assert_allclose(
        logs["counterfactual_loss"],
        expected["counterfactual_loss"],
        rtol=1e-4,
    )


def test_a_batch_of_the_dataset():
    """Its tensors are TensorFlow's, whatever the backend."""
    x = RNG.normal(size=(ROWS, 3)).astype("float32")
    data = pack((x, x[:, :1]), (x, -x))
    wrapped = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model = CounterfactualModel(wrapped)
    model.compile("sgd", "mse")
    (batch,) = data
    figures = model.evaluate(data, return_dict=True, verbose=0)
    found = model.test_on_batch(batch, return_dict=True)
    assert found == pytest.approx(figures, rel=1e-5)
    found = model.train_on_batch(batch, return_dict=True)
    assert found["loss"] == pytest.approx(figures["loss"], rel=1e-5)
    assert np.shape(model.predict_on_batch(batch)) == (ROWS, 1)


def test_optimizers_are_named_as_every_backend_knows_them():
    wrapped = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    wrapped.compile(keras.optimizers.Adam(0.1), "mse")
    model = CounterfactualModel(wrapped)
    inner = keras.optimizers.Adam(0.2)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    mine = model.get_compile_config()["optimizer"]
    mine = mine["config"]["inner_optimizer"]
    theirs = model.get_config()["original_model"]["compile_config"]["optimizer"]
    assert {mine["module"], theirs["module"]} == {"keras.optimizers"}
    copy = CounterfactualModel.from_config(model.get_config())
    copy.compile_from_config(model.get_compile_config())
    assert type(copy.optimizer.inner_optimizer) is type(inner)
    assert float(copy.optimizer.inner_optimizer.learning_rate) == np.float32(
        0.2
    )
    assert type(copy.original_model.optimizer) is type(wrapped.optimizer)
