"""CounterfactualModel against the wrapped model trained by hand."""

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

ROWS, COLUMNS, BATCH = 24, 4, 8


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, COLUMNS)).astype("float32")
    y = (x[:, :1] + x[:, 1:2] > 0).astype("float32")
    weight = rng.uniform(0.5, 2, ROWS).astype("float32")
    counterfactual = x.copy()
    counterfactual[:, 0] = -1.0
    pair_weight = rng.uniform(0.5, 2, ROWS).astype("float32")
    return (x, y, weight), (x[::-1], counterfactual[::-1], pair_weight)


def pack(original, pairs, batch=BATCH):
    data = tf.data.Dataset.from_tensor_slices(
        CounterfactualPackedInputs(original, pairs)
    )
    return data.batch(batch)


@pytest.fixture(scope="module")
def packed(arrays):
    return pack(*arrays)


@keras.saving.register_keras_serializable("test_models")
class Penalized(keras.layers.Layer):
    """Adds a loss that depends on its input."""

    def call(self, inputs):
        self.add_loss(0.01 * keras.ops.mean(keras.ops.square(inputs)))
        return inputs


def plain_model(extra_loss=True):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((COLUMNS,)),
            keras.layers.Dense(5, "tanh", kernel_regularizer="l2"),
            *([Penalized()] if extra_loss else []),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )


def noisy_model():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((COLUMNS,)),
            keras.layers.Dense(5, "tanh", kernel_regularizer="l2"),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Dropout(0.5, seed=3),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )


def assert_same_weights(a, b, rtol=1e-5, atol=1e-6):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol)


def train_by_hand(model, packed, optimizer, loss_weight):
    """One epoch; returns the weights and the mean of each loss."""
    task_loss = keras.losses.BinaryCrossentropy()
    logs = []
    for (x, y, weight), (original_x, counterfactual_x, pair_weight) in packed:
        with tf.GradientTape() as tape:
            task = task_loss(y, model(x, training=True), weight)
            task += sum(model.losses)
            difference = model(original_x) - model(counterfactual_x)
            pairs = tf.reduce_mean(
                pair_weight * tf.reduce_mean(difference**2, axis=-1)
            )
            total = task + loss_weight * pairs
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        logs.append([total, task, pairs])
    return np.mean(logs, axis=0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"jit_compile": True},
        {"run_eagerly": True},
        {"steps_per_execution": 2},
    ],
    ids=str,
)
def test_trains_as_by_hand(packed, options):
    reference = plain_model()
    logs = train_by_hand(reference, packed, keras.optimizers.Adam(0.05), 3.0)

    wrapped = plain_model()
    model = CounterfactualModel(wrapped, loss_weight=3.0)
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy", **options)
    history = model.fit(packed, verbose=0, shuffle=False).history

    assert_same_weights(wrapped, reference)
    names = ["loss", "original_loss", "counterfactual_loss"]
    assert sorted(history) == sorted(names)
    np.testing.assert_allclose(
        [history[name][0] for name in names], logs, rtol=1e-5
    )


def test_weight_zero_trains_as_the_wrapped_model_does(arrays):
    """Dropout, batch statistics, regularization, weights: all as before."""
    (x, y, _), pairs = arrays
    original = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    packed = pack((x, y), pairs)
    options = {
        "class_weight": {0: 1.0, 1: 3.0},
        "epochs": 2,
        "shuffle": False,
        "verbose": 0,
    }
    alone = noisy_model()
    alone.compile("adam", "binary_crossentropy")
    alone_logs = alone.fit(original, **options).history

    wrapped = noisy_model()
    model = CounterfactualModel(wrapped, loss_weight=0.0)
    model.compile("adam", "binary_crossentropy")
    logs = model.fit(packed, **options).history

    assert_same_weights(wrapped, alone)
    np.testing.assert_allclose(logs["loss"], alone_logs["loss"], rtol=1e-5)
    assert min(logs["counterfactual_loss"]) > 0  # reported all the same


def test_pairs_leave_the_state_of_the_model_alone(arrays, packed):
    """With a penalty too, batch statistics come from the data alone."""
    wrapped = noisy_model()
    norm = wrapped.layers[1]
    model = CounterfactualModel(wrapped, loss_weight=5.0)
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    model.fit(packed, verbose=0, shuffle=False)

    expected = np.zeros(5)
    for start in range(0, ROWS, BATCH):
        batch = wrapped.layers[0](arrays[0][0][start : start + BATCH])
        expected = 0.5 * expected + 0.5 * np.mean(batch, axis=0)
    np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-4)


@keras.saving.register_keras_serializable("test_models")
class TrainingFlag(keras.layers.Layer):
    """Outputs 1 in training and 0 elsewhere, times its input's first row."""

    def call(self, inputs, training=None):
        return inputs * 0.0 + (1.0 if training else 0.0)


def test_training_flag_reaches_both_halves(arrays, packed):
    inputs = keras.Input((COLUMNS,))
    flag = TrainingFlag()(inputs)
    # The halves differ by `x[:, 0]` in training only.
    output = keras.layers.Dense(1, "sigmoid")(inputs * flag)
    model = CounterfactualModel(keras.Model(inputs, output))
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    logs = model.fit(
        packed, validation_data=packed, verbose=0, shuffle=False
    ).history
    assert logs["counterfactual_loss"][0] > 0
    assert logs["val_counterfactual_loss"][0] == 0


def test_halves_see_the_same_dropout(arrays):
    x = arrays[0][0]
    same = pack(arrays[0], (x, x, np.ones(ROWS, "float32")))
    model = CounterfactualModel(noisy_model(), loss_weight=1.0)
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    logs = model.fit(same, verbose=0, shuffle=False).history
    assert logs["counterfactual_loss"][0] == 0


def test_evaluation_is_in_inference_mode(arrays, packed):
    (x, y, weight), (original_x, counterfactual_x, pair_weight) = arrays
    wrapped = noisy_model()
    model = CounterfactualModel(wrapped, loss_weight=2.0)
    model.compile(
        "adam",
        "binary_crossentropy",
        metrics=["accuracy"],
        counterfactual_metrics=[
            metrics.FlipRate(),
            metrics.CounterfactualGap(),
        ],
    )
    logs = model.evaluate(packed, return_dict=True, verbose=0)

    task = keras.losses.BinaryCrossentropy()(y, wrapped(x), weight)
    task = float(task + sum(wrapped.losses))
    a, b = np.array(wrapped(original_x)), np.array(wrapped(counterfactual_x))
    gap = np.average(np.abs(a - b)[:, 0], weights=pair_weight)
    flips = np.average((a > 0.5)[:, 0] != (b > 0.5)[:, 0], weights=pair_weight)
    pairs = np.mean((a - b)[:, 0] ** 2 * pair_weight)
    expected = {
        "loss": task + 2 * pairs,
        "original_loss": task,
        "counterfactual_loss": pairs,
        "accuracy": np.mean((np.array(wrapped(x)) > 0.5) == (y > 0.5)),
        "flip_rate": flips,
        "counterfactual_gap": gap,
    }
    assert set(logs) == set(expected)
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_plain_data_report_no_counterfactual_figures(arrays, packed):
    (x, y, weight), _ = arrays
    model = CounterfactualModel(plain_model())
    model.compile(
        "adam",
        "binary_crossentropy",
        counterfactual_metrics=[metrics.FlipRate()],
    )
    logs = model.fit(
        packed, validation_data=(x, y, weight), verbose=0, shuffle=False
    ).history
    validation = {name for name in logs if name.startswith("val_")}
    assert validation == {"val_loss", "val_original_loss"}
    assert {"flip_rate", "counterfactual_loss"} <= set(logs)
    plain = model.evaluate(x, y, return_dict=True, verbose=0)
    assert set(plain) == {"loss", "original_loss"}
    # Coming back to packed data brings the figures back.
    again = model.evaluate(packed, return_dict=True, verbose=0)
    assert {"flip_rate", "counterfactual_loss"} <= set(again)
    np.testing.assert_allclose(
        model.predict(packed, verbose=0), model.predict(x, verbose=0)
    )


def test_gradient_accumulation_equals_a_larger_batch(arrays):
    trained = []
    for batch, steps in ((4, 2), (8, None)):
        wrapped = plain_model()
        model = CounterfactualModel(wrapped, loss_weight=3.0)
        optimizer = keras.optimizers.SGD(0.5, gradient_accumulation_steps=steps)
        model.compile(optimizer, "binary_crossentropy")
        model.fit(pack(*arrays, batch), verbose=0, shuffle=False)
        trained.append(wrapped)
    # The added loss is a mean over the batch too, so all parts agree.
    assert_same_weights(*trained)


def test_mixed_precision_scales_the_loss(arrays, packed):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        wrapped = plain_model(extra_loss=False)
    finally:
        keras.config.set_dtype_policy("float32")
    # Gradients of this size are zero in float16 unless the loss is scaled.
    # The regularizer does not reach the last layer, so only pairs move it.
    small = 1e-8
    # Without a compiled loss `outputs` must say what is paired.
    model = CounterfactualModel(wrapped, loss_weight=small, outputs=0)
    model.compile(keras.optimizers.SGD(1.0 / small))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    before = wrapped.layers[-1].kernel.numpy()
    model.fit(packed.take(1), verbose=0, shuffle=False)
    # One step in float32 says how far it should have moved.
    reference = plain_model(extra_loss=False)
    (_, (original_x, counterfactual_x, pair_weight)) = next(iter(packed))
    with tf.GradientTape() as tape:
        difference = reference(original_x) - reference(counterfactual_x)
        pairs = tf.reduce_mean(pair_weight * difference[:, 0] ** 2)
    moved = -tape.gradient(pairs, reference.layers[-1].kernel.value)
    np.testing.assert_allclose(
        wrapped.layers[-1].kernel.numpy() - before, moved, atol=2e-3
    )
    assert np.abs(moved).max() > 0.02


def test_on_batch_methods(arrays):
    original, pairs = arrays
    batch = CounterfactualPackedInputs(original, pairs)
    reference = plain_model()
    data = tf.data.Dataset.from_tensors(batch)
    logs = train_by_hand(reference, data, keras.optimizers.SGD(0.5), 1.0)

    wrapped = plain_model()
    model = CounterfactualModel(wrapped)
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
    before = model.test_on_batch(batch, return_dict=True)
    result = model.train_on_batch(batch, return_dict=True)
    assert_same_weights(wrapped, reference)
    assert before["loss"] == pytest.approx(logs[0], rel=1e-5)
    assert result["counterfactual_loss"] == pytest.approx(logs[2], rel=1e-5)
    plain = model.test_on_batch(*original, return_dict=True)
    assert set(plain) == {"loss", "original_loss"}
    np.testing.assert_array_equal(
        model.predict_on_batch(batch), model.predict_on_batch(original[0])
    )
    with pytest.raises(ValueError, match="pack_counterfactual_data"):
        model.train_on_batch(*original)
    unpacked = tf.data.Dataset.from_tensors(original)
    with pytest.raises(ValueError, match=r"a dataset of \(TensorSpec"):
        model.fit(unpacked, verbose=0)
    with pytest.raises(ValueError, match="`y`"):
        model.train_on_batch(batch, original[1])


class Batches(keras.utils.PyDataset):
    def __init__(self, arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return ROWS // BATCH

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return keras.tree.map_structure(lambda a: a[rows], self.arrays)


def test_pydatasets_and_generators(arrays, packed):
    trained = []
    batches = Batches(CounterfactualPackedInputs(*arrays))
    for data in (
        packed,
        batches,
        (batches[i] for i in range(len(batches))),
    ):
        wrapped = plain_model()
        model = CounterfactualModel(wrapped, loss_weight=3.0)
        model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
        logs = model.fit(
            data, steps_per_epoch=ROWS // BATCH, verbose=0, shuffle=False
        ).history
        assert logs["counterfactual_loss"][0] > 0
        trained.append(wrapped)
    assert_same_weights(trained[0], trained[1])
    assert_same_weights(trained[0], trained[2])
    plain = Batches(arrays[0])
    assert set(model.evaluate(plain, return_dict=True, verbose=0)) == {
        "loss",
        "original_loss",
    }
    with pytest.raises(ValueError, match="pack_counterfactual_data"):
        model.fit(plain, verbose=0, shuffle=False)
    with pytest.raises(ValueError, match="pack_counterfactual_data"):
        model.fit((batch for batch in [arrays[0]]), verbose=0, shuffle=False)


def test_objectives(arrays):
    original, (original_x, counterfactual_x, weight) = arrays
    other_x = original_x.copy()
    other_x[:, 1] = 2.0
    data = pack(
        original,
        {
            "gender": (original_x, counterfactual_x, weight),
            "age": (original_x, other_x, weight),
        },
        ROWS,
    )
    wrapped = plain_model()
    model = CounterfactualModel(
        wrapped,
        loss={
            "gender": "pairwise_mse_loss",
            "age": losses.PairwiseAbsoluteDifferenceLoss(),
        },
        loss_weight={"gender": 2.0, "age": 0.5},
    )
    model.compile(
        keras.optimizers.SGD(0.0),
        "binary_crossentropy",
        counterfactual_metrics=[metrics.FlipRate()],
    )
    logs = model.fit(data, verbose=0, shuffle=False).history
    logs = {name: value[0] for name, value in logs.items()}
    halves = [
        np.array(wrapped(x)) for x in (original_x, counterfactual_x, other_x)
    ]
    gender = np.mean(weight * (halves[0] - halves[1])[:, 0] ** 2)
    age = np.mean(weight * np.abs(halves[0] - halves[2])[:, 0])
    assert logs["gender_counterfactual_loss"] == pytest.approx(gender, 1e-4)
    assert logs["age_counterfactual_loss"] == pytest.approx(age, 1e-4)
    assert logs["loss"] == pytest.approx(
        logs["original_loss"] + 2.0 * gender + 0.5 * age, 1e-5
    )
    flips = (halves[0] > 0.5) != (halves[2] > 0.5)
    assert logs["age_flip_rate"] == pytest.approx(
        np.average(flips[:, 0], weights=weight), 1e-4
    )
    with pytest.raises(ValueError, match=r"`loss`.*gender.*age|age.*gender"):
        model.fit(pack(*arrays), verbose=0, shuffle=False)


def test_objectives_known_from_the_data_alone(arrays):
    original, pairs = arrays
    model = CounterfactualModel(plain_model())
    model.compile("sgd", "binary_crossentropy")
    data = pack(original, {"gender": pairs, "age": pairs})
    logs = model.fit(data, verbose=0, shuffle=False).history
    assert {"gender_counterfactual_loss", "age_counterfactual_loss"} < set(logs)
    # Only the objectives of the data at hand are reported.
    one = pack(original, {"age": pairs})
    logs = model.evaluate(one, return_dict=True, verbose=0)
    assert set(logs) == {"loss", "original_loss", "age_counterfactual_loss"}


def test_output_structures(arrays):
    """The penalty is the sum over outputs."""
    (x, y, _), pairs = arrays
    inputs = keras.Input((COLUMNS,))
    hidden = keras.layers.Dense(5, "tanh")(inputs)
    label = keras.layers.Dense(1, "sigmoid", name="label")(hidden)
    kind = keras.layers.Dense(3, "softmax", name="kind")(hidden)
    y_kind = np.arange(ROWS) % 3
    for outputs, targets in (
        ([label, kind], (y, y_kind)),
        ({"label": label, "kind": kind}, {"label": y, "kind": y_kind}),
    ):
        wrapped = keras.Model(inputs, outputs)
        model = CounterfactualModel(wrapped)
        model.compile(
            keras.optimizers.SGD(0.0),
            loss={
                "label": "binary_crossentropy",
                "kind": "sparse_categorical_crossentropy",
            },
            metrics={"kind": ["accuracy"]},
        )
        packed = pack((x, targets, None), pairs, ROWS)
        logs = model.fit(packed, verbose=0, shuffle=False).history
        a, b = (
            [np.array(o) for o in keras.tree.flatten(wrapped(half))]
            for half in pairs[:2]
        )
        expected = sum(
            np.mean(pairs[2] * np.mean((p - q) ** 2, axis=-1))
            for p, q in zip(a, b, strict=True)
        )
        assert logs["counterfactual_loss"][0] == pytest.approx(expected, 1e-4)
        assert "kind_accuracy" in logs
        assert logs["loss"][0] == pytest.approx(
            logs["original_loss"][0] + expected, 1e-5
        )
