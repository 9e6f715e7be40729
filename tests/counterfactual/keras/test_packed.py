"""Tests of recognizing packed inputs, as a model does."""

import collections
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.structures import is_alike
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    CounterfactualPackedInputs,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.keras.metrics import (
    CounterfactualGap,
)
from tensorflow_model_remediation_ext.counterfactual.keras.packed import (
    as_packed,
)

Dataset = tf.data.Dataset
ROWS = 6


def features():
    """Features in another order than the alphabet's."""
    rng = np.random.default_rng(0)
    return collections.OrderedDict(
        sex=(np.arange(ROWS)[:, None] % 2).astype("float32"),
        age=rng.normal(size=(ROWS, 1)).astype("float32"),
    )


def swapped(x):
    return {**x, "sex": 1.0 - x["sex"]}


def data():
    return Dataset.from_tensor_slices((features(), np.ones([ROWS, 1]))).batch(4)


def packed():
    pairs = build_counterfactual_data(
        data(), custom_counterfactual_function=lambda e: (e[0], swapped(e[0]))
    )
    return pack_counterfactual_data(data(), pairs)


def model(blind_to=0):
    """A model of `sex`, `age` in this order, blind to one of them."""
    inputs = collections.OrderedDict(
        (name, keras.Input((1,), name=name)) for name in ("sex", "age")
    )
    seen = list(inputs.values())[1 - blind_to]
    hidden = list(inputs.values())[blind_to]
    outputs = keras.layers.Dense(1, "sigmoid", kernel_initializer="ones")(
        seen + 0.0 * hidden
    )
    wrapped = CounterfactualModel(keras.Model(inputs, outputs))
    wrapped.compile("sgd", "binary_crossentropy")
    return wrapped


def by_hand():
    x = features()
    return CounterfactualPackedInputs(
        (x, np.ones([ROWS, 1])), (dict(x), swapped(x), np.ones(ROWS))
    )


@pytest.mark.parametrize("kind", ["packed", "batch", "generator"])
def test_a_blind_model_has_no_gap(kind):
    for blind_to, seen in ((0, False), (1, True)):
        if kind == "packed":
            logs = model(blind_to).evaluate(
                packed(), return_dict=True, verbose=0
            )
        elif kind == "batch":
            logs = model(blind_to).test_on_batch(by_hand(), return_dict=True)
        else:
            logs = model(blind_to).evaluate(
                (by_hand() for _ in range(9)),
                steps=1,
                return_dict=True,
                verbose=0,
            )
        assert (logs["counterfactual_loss"] > 1e-3) == seen


@pytest.mark.filterwarnings("ignore:Encoding a StructuredValue")
def test_saved_data_are_packed_data(tmp_path):
    path = str(tmp_path / "packed")
    text = Dataset.from_tensor_slices((["a gay man", "b"], [[1.0], [0.0]]))
    text = text.batch(2)
    saved = pack_counterfactual_data(
        text, build_counterfactual_data(text, ["gay"])
    )
    saved.save(path)
    loaded = Dataset.load(path)
    assert type(next(iter(loaded))) is not CounterfactualPackedInputs
    vectorize = keras.layers.TextVectorization(output_sequence_length=3)
    vectorize.adapt(["a gay man", "b"])
    outputs = [
        keras.layers.Embedding(9, 2, embeddings_initializer="ones"),
        keras.layers.Flatten(),
        keras.layers.Dense(1, "sigmoid", kernel_initializer="ones"),
    ]
    wrapped = CounterfactualModel(
        keras.Sequential([keras.Input((), dtype="string"), vectorize, *outputs])
    )
    wrapped.compile("sgd", "binary_crossentropy")
    before, after = (
        wrapped.evaluate(each, return_dict=True, verbose=0)
        for each in (saved, loaded)
    )
    assert "counterfactual_loss" in after
    assert before == pytest.approx(after)
    history = wrapped.fit(loaded, verbose=0, shuffle=False).history
    assert "counterfactual_loss" in history


def test_other_things_are_not_packed():
    other = collections.namedtuple("Other", ["x", "y"])
    for each in (None, 1, (1, 2), other(1, 2), {"original_input": 1}):
        assert as_packed(each) is None


def test_what_is_packed_comes_in_full():
    loaded = collections.namedtuple(
        "Loaded", ["original_input", "counterfactual_data"]
    )
    for pairs in ((2, 3), (2, 3, 0.5)):
        found = as_packed(loaded((1,), pairs))
        assert type(found) is CounterfactualPackedInputs
        assert found == ((1, None, None), pairs)
        found = as_packed(loaded(1, {"a": pairs}))
        assert found == ((1, None, None), {"a": pairs})
    found = as_packed(by_hand())
    assert is_alike(found.counterfactual_data[1], features())


@pytest.mark.parametrize("pairs", [(1,), 1, (1, 2, 3, 4), {"a": 1}, ({}, {})])
def test_what_are_not_pairs_is_refused(pairs):
    with pytest.raises(ValueError, match=r"pair|names|x, counterfactual_x"):
        as_packed(CounterfactualPackedInputs((1, 1), pairs))


def test_single_examples_hint_to_batch():
    single = pack_counterfactual_data(
        data().unbatch(),
        build_counterfactual_data(
            data(),
            custom_counterfactual_function=lambda e: (e[0], swapped(e[0])),
        ),
    )
    wrapped = model()
    for method in (wrapped.fit, wrapped.evaluate, wrapped.predict):
        with pytest.raises(ValueError, match=r"`data.batch\(32\)`"):
            method(single, verbose=0)
    with pytest.raises(ValueError, match="come in batches"):
        wrapped.fit(packed(), validation_data=single, verbose=0, shuffle=False)
    (x, _, _), pair = next(iter(single))
    with pytest.raises(ValueError, match="come in batches"):
        wrapped.train_on_batch(
            CounterfactualPackedInputs((x, np.ones([])), pair)
        )
    # One weight for all pairs of a batch is fine.
    (x, y, _), (a, b, _) = next(iter(packed()))
    wrapped.test_on_batch(
        CounterfactualPackedInputs((x, y), (a, b, np.float32(0.5)))
    )


def test_no_term_is_the_last_line_of_the_error():
    text = Dataset.from_tensor_slices((features(), np.ones([ROWS, 1])))
    nothing = build_counterfactual_data(
        text, custom_counterfactual_function=lambda e: (e[0], e[0])
    )
    empty = pack_counterfactual_data(text.batch(2), nothing)
    wrapped = model()
    fit = functools.partial(wrapped.fit, shuffle=False)
    for method in (fit, wrapped.evaluate, wrapped.predict):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            method(empty, verbose=0)
        assert str(error.value).splitlines() == [
            "No example holds a term: `counterfactual_data` is empty, or it "
            "can be read only once and has been."
        ]


def test_features_mean_the_inputs_of_their_names():
    # Keras alone reads an OrderedDict by position: `sex` as `age`.
    inputs = {name: keras.Input((1,), name=name) for name in ("sex", "age")}
    # Keras 3.10 wants every input in use.
    hidden = keras.layers.Dense(1)(inputs["age"] + 0.0 * inputs["sex"])
    blind = keras.Model(inputs, keras.layers.Activation("sigmoid")(hidden))
    rng = np.random.default_rng(0)
    x = collections.OrderedDict(
        sex=rng.integers(0, 2, (8, 1)).astype("float32"),
        age=rng.normal(size=(8, 1)).astype("float32"),
    )
    data = tf.data.Dataset.from_tensor_slices((x, np.zeros([8, 1]))).batch(4)

    def swap(element):
        return element[0], {**element[0], "sex": 1 - element[0]["sex"]}

    packed = pack_counterfactual_data(
        data,
        build_counterfactual_data(data, custom_counterfactual_function=swap),
    )
    wrapped = CounterfactualModel(blind)
    wrapped.compile(
        loss="binary_crossentropy",
        counterfactual_metrics=[CounterfactualGap()],
    )
    figures = wrapped.evaluate(packed, verbose=0, return_dict=True)
    assert figures["counterfactual_gap"] == 0
    expected = blind.predict(dict(x), verbose=0)
    found = wrapped.predict(data, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
