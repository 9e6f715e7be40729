"""CounterfactualModel with every kind of model and input, and bad input."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import losses
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    CounterfactualPackedInputs,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.keras.metrics import (
    FlipRate,
)

TEXTS = ["i am gay", "i am", "you are gay", "you are", "gay", "all are here"]
CHANGED = ["i am", "i am old", "you are", "you", "", "all are"]
LABELS = np.array([[1], [0], [1], [0], [1], [0]], "float32")


def pack(original_x, counterfactual_x, x=None):
    rows = len(LABELS)
    x = original_x if x is None else x
    return tf.data.Dataset.from_tensor_slices(
        CounterfactualPackedInputs(
            (x, LABELS), (original_x, counterfactual_x, tf.ones(rows))
        )
    ).batch(3)


def numbers(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(LABELS), 4)).astype("float32")


def vectorizer():
    layer = keras.layers.TextVectorization(output_sequence_length=3)
    layer.adapt(TEXTS)
    return layer


def text_model():
    """A functional model on strings, with a nested Sequential."""
    inputs = keras.Input((), dtype="string")
    tower = keras.Sequential(
        [
            keras.layers.Embedding(20, 3),
            keras.layers.GlobalAveragePooling1D(),
        ]
    )
    hidden = tower(vectorizer()(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(hidden))


def dict_model():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,))}
    inputs = {name: keras.Input((4,), name=name) for name in inputs}
    hidden = keras.layers.Concatenate()([inputs["a"], inputs["b"]])
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(hidden))


def tuple_model():
    inputs = (keras.Input((4,)), keras.Input((4,)))
    hidden = keras.layers.Concatenate()(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(hidden))


class Ragged(keras.Model):
    """Takes what only TensorFlow layers take: ragged rows."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        return self.dense(tf.reduce_mean(inputs, axis=1, keepdims=True))


class WithoutTraining(keras.Model):
    """A subclassed model, unbuilt, whose call takes no `training`."""

    def __init__(self):
        super().__init__()
        self.dropout = keras.layers.Dropout(0.5)
        self.dense = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        return self.dense(self.dropout(inputs))


def sparse_model():
    inputs = keras.Input((4,), sparse=True)
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(inputs))


def ragged(seed):
    lengths = [1, 2, 1, 3, 2, 1]
    values = np.random.default_rng(seed).normal(size=sum(lengths))
    return tf.RaggedTensor.from_row_lengths(values.astype("float32"), lengths)


CASES = {
    "strings": lambda: (text_model(), tf.constant(TEXTS), tf.constant(CHANGED)),
    "dict": lambda: (
        dict_model(),
        {"a": numbers(0), "b": numbers(1)},
        {"a": numbers(2), "b": numbers(1)},
    ),
    "tuple": lambda: (
        tuple_model(),
        (numbers(0), numbers(1)),
        (numbers(2), numbers(1)),
    ),
    "ragged": lambda: (Ragged(), ragged(0), ragged(1)),
    "sparse": lambda: (
        sparse_model(),
        tf.sparse.from_dense(numbers(0)),
        tf.sparse.from_dense(numbers(1)),
    ),
    "unbuilt": lambda: (WithoutTraining(), numbers(0), numbers(1)),
}


@pytest.mark.parametrize("case", CASES)
def test_inputs_of_every_kind(case):
    wrapped, x, counterfactual_x = CASES[case]()
    packed = pack(x, counterfactual_x)
    model = CounterfactualModel(wrapped, loss_weight=1.0)
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    logs = model.fit(packed, verbose=0, shuffle=False).history
    difference = 0.0
    for batch in packed:
        original, counterfactual, _ = batch.counterfactual_data
        difference += np.mean(
            (wrapped(original) - wrapped(counterfactual)) ** 2
        )
    # Rate 0: the weights did not move, so by hand it is the same.
    assert logs["counterfactual_loss"][0] == pytest.approx(
        difference / 2, rel=1e-4
    )
    assert difference > 0
    np.testing.assert_allclose(
        model.predict(packed, verbose=0),
        np.concatenate([wrapped(b.original_input[0]) for b in packed]),
        rtol=1e-5,
    )


def test_training_makes_predictions_equal():
    wrapped = text_model()
    packed = pack(tf.constant(TEXTS), tf.constant(CHANGED))
    model = CounterfactualModel(
        wrapped, losses.PairwiseMSELoss(transform="logit"), loss_weight=10.0
    )
    # Wrapping a model that was compiled and trained already.
    wrapped.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    wrapped.fit(tf.constant(TEXTS), LABELS, epochs=20, verbose=0)
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    before = model.evaluate(packed, return_dict=True, verbose=0)
    model.fit(packed.repeat(15), verbose=0, shuffle=False)
    after = model.evaluate(packed, return_dict=True, verbose=0)
    assert after["counterfactual_loss"] < 0.1 * before["counterfactual_loss"]
    # In place: the wrapped model itself predicts the same now.
    np.testing.assert_array_equal(
        model(tf.constant(TEXTS)), wrapped(tf.constant(TEXTS))
    )


class Signed(keras.losses.Loss):
    def call(self, a, b):
        return keras.ops.mean(a - b, axis=-1)


def dense():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("not a model",), TypeError, "original_model.*str"),
        ((None,), TypeError, "original_model.*NoneType"),
        ((dense(), "no_such_loss"), ValueError, "no_such_loss"),
        ((dense(), 3), TypeError, "`loss`.*int"),
        ((dense(), lambda a, b: 0.0), TypeError, "`loss`.*function"),
        (
            (dense(), keras.losses.BinaryCrossentropy()),
            ValueError,
            "0 for identical",
        ),
        ((dense(), "CosineSimilarity"), ValueError, "0 for identical"),
        (
            (dense(), keras.losses.Huber(reduction="none")),
            ValueError,
            "reduce to a scalar.*'none'",
        ),
        (
            (dense(), losses.PairwiseMSELoss(reduction=None)),
            ValueError,
            "reduce to a scalar.*None",
        ),
        ((dense(), Signed()), ValueError, "must not be negative.*signed"),
        (
            (dense(), "SparseCategoricalCrossentropy"),
            ValueError,
            "`loss` must take two arrays of predictions",
        ),
        ((dense(), None, -1.0), ValueError, "loss_weight.*-1.0"),
        ((dense(), None, float("nan")), ValueError, "loss_weight.*nan"),
        ((dense(), None, float("inf")), ValueError, "loss_weight.*inf"),
        ((dense(), None, "1"), ValueError, "loss_weight.*'1'"),
        ((dense(), None, True), ValueError, "loss_weight.*True"),
        ((dense(), {}), ValueError, "`loss`.*objectives"),
        (
            (dense(), {"a": None}, {"b": 1.0}),
            ValueError,
            "`loss_weight`.*'a'.*'b'",
        ),
        ((dense(), None, {"a": -2.0}), ValueError, "a_loss_weight=-2.0"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        CounterfactualModel(*arguments)


def test_losses_that_make_sense_are_accepted():
    for loss in (
        "pairwise_mse_loss",
        "pairwise_cosine_loss",
        "MeanSquaredError",
        keras.losses.Huber(),
        {"a": None, "b": "pairwise_absolute_difference_loss"},
    ):
        CounterfactualModel(dense(), loss)


def test_unpacked_data():
    model = CounterfactualModel(dense())
    model.compile("sgd", "mse")
    x = numbers()
    dataset = tf.data.Dataset.from_tensor_slices((x, LABELS)).batch(3)
    packed_arrays = CounterfactualPackedInputs(
        (x, LABELS), (x, x, np.ones(len(x)))
    )
    for data in (dataset, x, None, packed_arrays):
        with pytest.raises(ValueError, match="pack_counterfactual_data"):
            model.fit(data, verbose=0, shuffle=False)


def test_labels_of_the_wrong_length():
    x = numbers()
    packed = tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs((x, LABELS[:3]), (x, x, np.ones(len(x))))
    )
    model = CounterfactualModel(dense())
    model.compile("sgd", "mse")
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        model.fit(packed, verbose=0, shuffle=False)


def test_nan_losses_are_seen():
    x = numbers()
    x[0, 0] = np.nan
    model = CounterfactualModel(dense())
    model.compile("sgd", "mse")
    stopper = keras.callbacks.TerminateOnNaN()
    # The callback says what it saw on standard output.
    history = model.fit(
        pack(x, x), epochs=5, callbacks=[stopper], verbose=0, shuffle=False
    )
    assert len(history.epoch) == 1
    assert np.isnan(history.history["loss"][0])


def test_fit_before_compile():
    model = CounterfactualModel(dense())
    with pytest.raises(ValueError, match="compile"):
        model.fit(pack(numbers(), numbers(1)), verbose=0, shuffle=False)


def test_divergences_need_distributions():
    x = numbers()
    model = CounterfactualModel(dense(), "KLDivergence")
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="one column it is negative"):
        model.fit(pack(x, numbers(1)), verbose=0, shuffle=False)
    softmax = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(2, "softmax")]
    )
    model = CounterfactualModel(softmax, "KLDivergence", 0.0)
    model.compile("sgd", "mse")
    y = keras.ops.one_hot(LABELS, 2)
    packed = tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs((x, y), (x, numbers(1), np.ones(len(x))))
    )
    assert (
        model.evaluate(packed, return_dict=True, verbose=0)[
            "counterfactual_loss"
        ]
        > 0
    )


def test_sequences_have_a_weight_a_pair():
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(2, 4, 3, 4)).astype("float32")
    weight = np.array([1.0, 0.0, 2.0, 0.5], "float32")
    packed = tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs((x, x[..., :1]), (x, other, weight))
    )
    wrapped = keras.Sequential([keras.Input((3, 4)), keras.layers.Dense(1)])
    gaps = np.square(wrapped(x) - wrapped(other))[..., 0].mean(1)
    for loss in (None, "MeanSquaredError"):
        model = CounterfactualModel(wrapped, loss)
        model.compile("sgd", "mse", counterfactual_metrics=FlipRate(0.0))
        logs = model.evaluate(packed, return_dict=True, verbose=0)
        np.testing.assert_allclose(
            logs["counterfactual_loss"], np.mean(gaps * weight), rtol=1e-5
        )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_weight_may_be_set_while_training(jit_compile):
    x, other = numbers(), numbers(1)
    packed, weights = pack(x, other), [0.0, 3.0, 10.0]

    def trained(fit):
        keras.utils.set_random_seed(0)
        model = CounterfactualModel(dense(), loss_weight=weights[0])
        model.compile(
            keras.optimizers.SGD(0.01), "mse", jit_compile=jit_compile
        )
        fit(model)
        return model.get_weights()

    def in_one_run(model):
        def set_weight(epoch, logs):
            model.loss_weight = weights[epoch]

        callback = keras.callbacks.LambdaCallback(on_epoch_begin=set_weight)
        model.fit(
            packed, epochs=3, callbacks=[callback], verbose=0, shuffle=False
        )

    def one_by_one(model):
        for weight in weights:
            model.loss_weight = weight
            model.fit(packed, verbose=0, shuffle=False)

    def without(model):
        model.fit(packed, epochs=3, verbose=0, shuffle=False)

    first, second = trained(in_one_run), trained(one_by_one)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert np.abs(first[0] - trained(without)[0]).max() > 1e-3


def test_bad_weights_set_later():
    model = CounterfactualModel(dense(), None, {"a": 1.0, "b": 2.0})
    for wrong, message in (
        ({"a": 1.0, "b": -1.0}, "b_loss_weight=-1.0"),
        ({"a": 1.0}, "`loss_weight` must hold the objectives"),
    ):
        with pytest.raises(ValueError, match=message):
            model.loss_weight = wrong
    with pytest.raises(TypeError):
        model.loss_weight["a"] = 5.0
    assert model.loss_weight == {"a": 1.0, "b": 2.0}


def test_lost_overrides_are_told():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.seen = keras.metrics.Sum(name="seen")

        def call(self, x):
            self.seen.update_state(keras.ops.ones(()))
            return self.dense(x)

    class OwnStep(Own):
        def train_step(self, data):
            raise NotImplementedError

    with pytest.warns(
        UserWarning, match=r"OwnStep, overrides \['train_step'\]"
    ):
        CounterfactualModel(OwnStep())
    model = CounterfactualModel(Own())
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensors((numbers(), LABELS)).repeat(3)
    for _ in range(2):  # The wrapped model's metric starts anew each time.
        logs = model.evaluate(data, return_dict=True, verbose=0)
        assert logs["seen"] == 3


class Extremes(keras.metrics.Metric):
    def update_state(self, original, counterfactual, sample_weight=None):
        pass

    def result(self):
        return {"least": 0.0, "most": 1.0}


def test_metrics_with_several_results():
    x = numbers()
    model = CounterfactualModel(dense())
    model.compile("sgd", "mse", counterfactual_metrics=Extremes())
    logs = model.evaluate(pack(x, x), return_dict=True, verbose=0)
    assert {"least", "most"} < set(logs)
    plain = tf.data.Dataset.from_tensors((x, LABELS))
    assert set(model.evaluate(plain, return_dict=True, verbose=0)) == {
        "loss",
        "original_loss",
    }


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        (["flip_rate"], TypeError, "must hold metrics.*'flip_rate'"),
        ({"a": [FlipRate]}, TypeError, "must hold metrics.*class"),
        ({}, ValueError, "must map names of objectives"),
        ([FlipRate(name="mse")], ValueError, r"\['mse'\]"),
        ([FlipRate(name="loss")], ValueError, r"\['loss'\]"),
        ({"a": FlipRate()}, ValueError, "one unnamed objective"),
    ],
)
def test_bad_metrics(metrics, error, message):
    model = CounterfactualModel(dense())
    with pytest.raises(error, match=message):
        model.compile(
            "sgd", "mse", metrics=["mse"], counterfactual_metrics=metrics
        )
        model.fit(pack(numbers(), numbers(1)), verbose=0, shuffle=False)


def test_metrics_with_one_name():
    model = CounterfactualModel(dense())
    model.compile(
        "sgd", "mse", counterfactual_metrics=[FlipRate(0.5), FlipRate(0.7)]
    )
    with pytest.raises(ValueError, match="flip_rate"):
        model.fit(pack(numbers(), numbers(1)), verbose=0, shuffle=False)


def test_metrics_by_objective_must_be_known():
    model = CounterfactualModel(dense(), {"a": None, "b": None})
    with pytest.raises(ValueError, match="'c'"):
        model.compile(counterfactual_metrics={"c": []})


def fit(model):
    return functools.partial(model.fit, shuffle=False)


@pytest.mark.parametrize("targets", [LABELS, LABELS[:, 0]])
def test_unbatched_data_get_a_hint(targets):
    x = numbers()
    packed = tf.data.Dataset.from_tensor_slices(
        CounterfactualPackedInputs((x, targets), (x, x))
    )
    model = CounterfactualModel(dense())
    model.compile("sgd", "mse")
    for run in (fit(model), model.evaluate, model.predict):
        with pytest.raises(
            ValueError, match=r"must come in batches.*batch\(32\)"
        ):
            run(packed, verbose=0)
    with pytest.raises(ValueError, match=r"must come in batches.*batch\(32\)"):
        model.evaluate(tf.data.Dataset.from_tensor_slices((x, targets)))


def test_that_no_example_holds_a_term_is_the_last_line():
    texts = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(3)
    pairs = build_counterfactual_data(texts, ["nowhere"])
    data = pack_counterfactual_data(texts, pairs)
    model = CounterfactualModel(text_model())
    model.compile("sgd", "mse")
    for run in (fit(model), model.evaluate, model.predict):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            run(data, verbose=0)
        (line,) = str(caught.value).splitlines()
        assert line.startswith("No example holds a term")
        assert caught.value.__context__ is None


def test_text_where_numbers_are_taken():
    texts = tf.constant(TEXTS)
    model = CounterfactualModel(dense())
    model.compile("sgd", "mse")
    for run in (fit(model), model.evaluate):
        with pytest.raises(ValueError, match=r"map_inputs\(packed, tokenizer"):
            run(pack(texts, texts), verbose=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_weights_of_pairs_that_cannot_be_used_are_refused(value):
    x = numbers()
    weight = np.array([1, 1, 1, 1, value, 1], "float32")
    batch = CounterfactualPackedInputs((x, LABELS), (x, -x, weight))
    task, pairs = map(
        tf.data.Dataset.from_tensor_slices, ((x, LABELS), (x, -x, weight))
    )
    packed = pack_counterfactual_data(task.batch(3), {"a": pairs})
    message = "weights must be finite, zero or greater. Received: "
    model = CounterfactualModel(dense())
    model.compile("sgd", "mse")
    for run in (model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=rf"_data`: {message}\["):
            run(batch)
    for run in (fit(model), model.evaluate):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=rf"\['a'\]`: {message}"
        ):
            run(packed, verbose=0)


def test_a_penalty_of_nan_is_not_logged_as_zero():
    x = numbers()
    model = CounterfactualModel(dense())
    model.compile("sgd", "mse")
    logs = model.evaluate(pack(x, x * np.nan), verbose=0, return_dict=True)
    assert np.isnan(logs["counterfactual_loss"])
    assert np.isfinite(logs["original_loss"])
