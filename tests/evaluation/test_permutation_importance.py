import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import stats

from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor
from tensorflow_model_remediation_ext.evaluation import (
    auc,
    permutation_importance,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 3)).astype("float32")
Y = X[:, 0] + 0.4 * X[:, 1] + 0.5 * RNG.normal(size=300) > 0
WORDS = ["good", "bad", "gay", "man"]
TEXTS = np.array([" ".join(RNG.choice(WORDS, 3)) for _ in range(300)])
RUDE = np.array(["bad" in text for text in TEXTS])


class Counting(keras.layers.Layer):
    """Passes its input on and counts how often it is traced."""

    traces = 0

    def call(self, inputs):
        self.traces += 1
        return inputs


def dense(*weights, bias=0.0):
    return keras.layers.Dense(
        1,
        "sigmoid",
        kernel_initializer=keras.initializers.Constant(
            np.array(weights)[:, None]
        ),
        bias_initializer=keras.initializers.Constant(bias),
    )


def linear_model():
    inputs = keras.Input((3,))
    return keras.Model(inputs, dense(2.0, 0.8, 0.0)(Counting()(inputs)))


P = linear_model().predict(X, verbose=0)


def text_model():
    text = keras.Input((), dtype="string", name="text")
    age = keras.Input((1,), name="age")
    words = keras.layers.TextVectorization(
        output_mode="multi_hot", vocabulary=WORDS
    )(text)
    joined = keras.layers.Concatenate()([words, age])
    return keras.Model(
        {"text": text, "age": age},
        dense(0.0, 0.0, 3.0, 1.0, 0.0, 0.0, bias=-2.0)(Counting()(joined)),
    )


def test_what_is_used_is_important_and_what_is_not_is_not():
    report = permutation_importance(linear_model(), X, Y)
    first, second, third = (report[k].importance for k in "012")
    assert first.low > second.high and second.low > 0
    assert third.value == 0 and np.isnan(third[1:]).all()
    assert report.baseline == auc(Y, 2 * X[:, 0] + 0.8 * X[:, 1]).value
    assert report["0"].repeats == 5 and 290 < report["0"].changed <= 300


def test_shuffles_are_those_of_the_column_and_give_students_interval():
    model = linear_model()
    report = permutation_importance(model, X, Y, n_repeats=3, seed=7)
    rng = np.random.default_rng(7)
    drops = []
    for _ in range(3):
        shuffled = X.copy()
        shuffled[:, 0] = X[rng.permutation(300), 0]
        alone = auc(Y, model.predict(shuffled, verbose=0))
        drops.append(report.baseline - alone.value)
    row = report["0"]
    half = stats.t.ppf(0.975, 2) * np.std(drops, ddof=1) / np.sqrt(3)
    mean = np.mean(drops)
    assert row.importance == pytest.approx((mean, mean - half, mean + half))
    assert row.spread == pytest.approx(np.std(drops, ddof=1))


def test_names_come_in_an_order():
    with pytest.raises(TypeError, match="`feature_names` must be a list"):
        permutation_importance(
            linear_model(), X, Y, metric="auc", feature_names={"a", "b", "c"}
        )


def test_shuffles_that_agree_have_no_interval():
    # A metric that never moves, and one that moves by the same each time.
    for metric in (lambda y, p: 0.7, lambda y, p: float((p == P).all())):
        report = permutation_importance(
            linear_model(), X, Y, metric=metric, feature_names="abc"
        )
        row = report["a"]
        assert np.isnan(row.importance[1:]).all()
        assert "[no interval]" in repr(report)
    assert row.importance.value == 1
    report.plot().figure.draw_without_rendering()


def test_one_shuffle_has_no_interval():
    row = permutation_importance(linear_model(), X, Y, n_repeats=1)["0"]
    assert row.importance.value > 0
    assert np.isnan([*row.importance[1:], row.spread]).all()


def test_batches_change_nothing_and_are_not_traced_again():
    model = linear_model()
    model.layers[1].traces = 0
    options = {"n_repeats": 2, "seed": 0}
    parts = permutation_importance(model, X, Y, batch_size=128, **options)
    assert model.layers[1].traces <= 2
    whole = permutation_importance(model, X, Y, **options)
    for k in "012":
        assert parts[k].importance == pytest.approx(
            whole[k].importance, nan_ok=True
        )


def test_dicts_with_strings_and_edits():
    def without(term):
        return lambda x: {**x, "text": TermEditor([term])(x["text"])}

    model = text_model()
    x = {"text": TEXTS, "age": RNG.normal(size=(300, 1))}
    edits = {term: without(term) for term in ("bad", "gay", "zebra")}
    report = permutation_importance(
        model, x, RUDE, metric="accuracy", edits=edits
    )
    assert [row.feature for row in report.rows] == [
        "text",
        "age",
        "bad",
        "gay",
        "zebra",
    ]
    assert report["text"].importance.low > 0.2
    age = report["age"].importance
    assert age.value == 0 and np.isnan(age[1:]).all()
    # Without the word nothing seems rude: all of those rows turn wrong.
    drop = report["bad"].importance
    # One edit has no repeats to take an interval from.
    assert np.isnan([drop.low, drop.high]).all()
    assert drop.value == pytest.approx(RUDE.mean())
    assert report["bad"].changed == RUDE.sum() and report["bad"].repeats == 1
    assert report["gay"].importance.value == 0 < report["gay"].changed
    assert report["zebra"].changed == 0


@pytest.mark.parametrize("form", [np.asarray, list, tf.constant])
def test_texts_alone(form):
    model = keras.Sequential(
        [
            keras.Input((), dtype="string"),
            keras.layers.TextVectorization(
                output_mode="multi_hot", vocabulary=WORDS
            ),
            dense(0.0, 0.0, 3.0, 0.0, 0.0, bias=-2.0),
        ]
    )
    report = permutation_importance(
        model,
        form(TEXTS),
        RUDE,
        edits={"bad": TermEditor(["bad"])},
        feature_names=[],
    )
    assert [row.feature for row in report.rows] == ["bad"]
    # Scores of like rows may differ in the last bit, by their place in a batch.
    assert report["bad"].importance.value == pytest.approx(0.5, abs=0.02)


def test_edits_get_a_copy():
    def blind(x):
        x[:, 0] = 0
        return x

    def blind_copy(x):
        return blind(x.copy())

    x = X.copy()
    report = permutation_importance(
        linear_model(),
        x,
        Y,
        feature_names=[],
        edits={"in place": blind, "later": blind_copy},
    )
    assert report["in place"].importance.value > 0.1
    assert report["in place"].importance == report["later"].importance
    assert report["in place"].changed == 300
    assert (x == X).all()


def test_an_unknown_value_has_not_changed():
    inputs = keras.Input((3,))
    known = keras.layers.Lambda(lambda x: keras.ops.nan_to_num(x))(inputs)
    model = keras.Model(inputs, dense(2.0, 0.8, 0.0)(known))
    x = X.copy()
    x[::2, 1] = np.nan

    def first_row(x):
        x[:2, 1] = [0, np.nan]
        return x

    report = permutation_importance(
        model,
        x,
        Y,
        feature_names=[],
        edits={"identity": lambda x: x, "first": first_row},
    )
    assert report["identity"].changed == 0
    assert report["first"].changed == 2


@pytest.mark.parametrize("name", ["x", "feat"])
def test_an_array_in_a_dict_is_one_feature(name):
    inputs = {name: keras.Input((3,), name=name)}
    model = keras.Model(inputs, dense(2.0, 0.8, 0.0)(inputs[name]))
    report = permutation_importance(model, {name: X}, Y, n_repeats=1)
    assert [row.feature for row in report.rows] == [name]


def test_a_frame_names_its_features():
    frame = pd.DataFrame(X, columns=["a", "b", 3])
    report = permutation_importance(linear_model(), frame, Y, n_repeats=1)
    assert [row.feature for row in report.rows] == ["a", "b", "3"]
    assert report["3"].importance.value == 0 < report["a"].importance.value


def frames():
    """Frames whose arrays NumPy alone takes for objects."""
    plain = pd.DataFrame({"a": X[:, 0] > 0, "b": Y.astype(int), "c": X[:, 2]})
    yield plain
    yield plain.convert_dtypes()
    yield plain.assign(a=plain["a"].astype(object))


@pytest.mark.parametrize("frame", [*frames()])
def test_frames_of_any_numbers(frame):
    report = permutation_importance(linear_model(), frame, Y, n_repeats=1)
    array = np.stack([X[:, 0] > 0, Y, X[:, 2]], axis=1)
    same = permutation_importance(
        linear_model(), array, Y, n_repeats=1, feature_names="abc"
    )
    pd.testing.assert_frame_equal(report.to_frame(), same.to_frame())


def test_dummies_with_integers_and_labels_of_a_frame():
    frame = pd.DataFrame({"n": range(300), "s": ["x", "y"] * 150})
    frame = pd.get_dummies(frame)
    y = pd.Series(Y.astype(int), dtype="Int64")
    report = permutation_importance(linear_model(), frame, y, n_repeats=1)
    assert [row.feature for row in report.rows] == ["n", "s_x", "s_y"]


def test_frames_that_are_not_numbers_say_what_to_pass():
    frame = pd.DataFrame({"n": range(300), "s": ["x", "y"] * 150})
    with pytest.raises(TypeError, match=r"numbers only.*dict of arrays.*'s'"):
        permutation_importance(linear_model(), frame, Y)


def test_several_inputs_names_and_a_metric_of_ones_own():
    inputs = [keras.Input((1,)), keras.Input((2, 1))]
    flat = keras.layers.Flatten()(inputs[1])
    joined = keras.layers.Concatenate()([inputs[0], flat])
    model = keras.Model(inputs, dense(2.0, 0.8, 0.0)(joined))

    def closeness(y, predictions):
        return -np.abs(y - predictions[:, 0]).mean()

    x = [X[:, :1], X[:, 1:, None]]
    report = permutation_importance(
        model, x, Y, metric=closeness, feature_names=["first", "others"]
    )
    assert report.metric == "closeness" and report.baseline < 0
    assert report["first"].importance.low > report["others"].importance.high


def test_seed_decides():
    model = linear_model()
    options = {"n_repeats": 2, "feature_names": ["a", "b", "c"]}
    once = permutation_importance(model, X, Y, **options)
    assert once == permutation_importance(model, X, Y, **options)
    assert once != permutation_importance(model, X, Y, seed=1, **options)


def test_report_prints_converts_and_draws():
    report = permutation_importance(linear_model(), X, Y)
    lines = repr(report).splitlines()
    assert lines[0] == f"auc {report.baseline:.4f}" and len(lines) == 6
    figures = json.loads(json.dumps(report.to_dict()))
    assert figures["metric"] == "auc"
    assert figures["features"]["0"]["importance_low"] > 0
    assert report.to_frame().loc["2", "importance"] == 0
    labels = [t.get_text() for t in report.plot().get_yticklabels()]
    assert labels == ["0", "1", "2"]
    assert "shuffles" in report.caveat


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": Y[:-1]}, "equally long.*299 rows of `y`.*'x'"),
        ({"x": X[:0], "y": Y[:0]}, "`y` is empty"),
        ({"metric": "f1"}, "`metric`.*'accuracy', 'auc'.*'f1'"),
        ({"metric": lambda y, p: np.nan}, "`metric`.*NaN"),
        ({"feature_names": ["a"]}, r"`feature_names`.*3 names.*\['a'\]"),
        ({"feature_names": ["a", "a", "b"]}, "names that differ"),
        ({"edits": {"0": lambda x: x}}, "names that differ"),
        ({"edits": {"e": lambda x: x[:, :2]}}, r"`edits\['e'\]` must keep"),
        ({"edits": {"e": lambda x: x[:9]}}, r"`edits\['e'\]`.*\(9, 3\)"),
        ({"edits": {"e": lambda x: {"x": x, "y": x}}}, r"`edits\['e'\]`.*'y'"),
        ({"n_repeats": 0}, "`n_repeats`"),
        ({"n_repeats": 2.5}, "`n_repeats` must be an integer.*2.5"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"confidence": 2}, "`confidence`"),
    ],
)
def test_errors(changes, message):
    arguments = {"x": X, "y": Y, "n_repeats": 1, **changes}
    with pytest.raises(ValueError, match=message):
        permutation_importance(linear_model(), **arguments)


def test_refuses_what_is_no_model():
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model.*int"):
        permutation_importance(3, X, Y)


def test_refuses_several_outputs():
    inputs = keras.Input((3,))
    two = [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)]
    with pytest.raises(ValueError, match=r"one output.*2 outputs"):
        permutation_importance(keras.Model(inputs, two), X, Y)
