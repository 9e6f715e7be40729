import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.keras import (
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.evaluation import (
    Report,
    flips,
    flips_of_model,
)
from tensorflow_model_remediation_ext.evaluation.changed_texts import (
    ChangedTexts,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3)).astype("float32")
CHANGED = (X + RNG.normal(0, 0.5, X.shape)).astype("float32")
WEIGHT = RNG.random(90).astype("float32")


class Counting(keras.layers.Layer):
    """Passes its input on and remembers what it was traced with."""

    def build(self, _):
        self.seen = []

    def call(self, inputs):
        self.seen.append(inputs.shape)
        return inputs


def dense_model(columns=1):
    inputs = keras.Input((3,))
    activation = "sigmoid" if columns == 1 else "softmax"
    outputs = keras.layers.Dense(columns, activation)(Counting()(inputs))
    return keras.Model(inputs, outputs)


def batches(*arrays, size=40):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


@pytest.mark.parametrize("columns", [1, 4])
def test_is_predict_then_flips(columns):
    model = dense_model(columns)
    groups = {"a": X[:, 0] > 0, "b": X[:, 1] > 0}
    expected = flips(
        model.predict(X, verbose=0),
        model.predict(CHANGED, verbose=0),
        groups=groups,
        sample_weight=WEIGHT,
        seed=0,
    )
    pairs = batches(X, CHANGED, WEIGHT)
    options = {"seed": 0, "verbose": 0}
    report = flips_of_model(model, pairs, groups=groups, **options)
    in_batches = batches(X, CHANGED, WEIGHT, groups)
    beside = flips_of_model(model, in_batches, **options)
    assert beside == report or columns > 2  # NaN differs from itself.
    for row in expected.rows:
        assert report[row.group].to_dict() | {"group": 0} == pytest.approx(
            row.to_dict() | {"group": 0}, rel=1e-5, nan_ok=True
        )


def test_labels_in_batches_make_groups():
    labels = np.where(X[:, 0] > 0, "ä", "b")
    report = flips_of_model(
        dense_model(), batches(X, CHANGED, WEIGHT, labels), verbose=0
    )
    assert report["ä"].n == (X[:, 0] > 0).sum()


@pytest.mark.parametrize(
    "labels", [["a", "b"] * 45, [b"a", "b"] * 45, tf.constant(["a", "b"] * 45)]
)
def test_labels_of_any_form(labels):
    pairs = [(X, CHANGED, None, labels)]
    report = flips_of_model(dense_model(), pairs, verbose=0)
    assert report["a"].n == report["b"].n == 45


def test_both_halves_of_a_batch_go_through_the_model_at_once():
    model = dense_model()
    counting = model.layers[1]
    counting.seen.clear()
    flips_of_model(model, batches(X, CHANGED, size=7), verbose=0)
    # One trace for the full batches, one for any; none for each batch.
    assert len(counting.seen) <= 2 and counting.seen[0][0] in (14, None)


def test_dicts_and_iterables_of_arrays():
    first, second = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    hidden = keras.layers.Concatenate()([first, second])
    model = keras.Model(
        {"a": first, "b": second}, keras.layers.Dense(1, "sigmoid")(hidden)
    )
    pair = ({"a": X, "b": X}, {"a": X, "b": CHANGED})
    expected = flips(*(model.predict(x, verbose=0) for x in pair), seed=0)
    for pairs in (batches(*pair), [pair]):
        report = flips_of_model(model, pairs, seed=0, verbose=0)
        assert report["overall"].to_dict() | {"group": 0} == pytest.approx(
            expected["overall"].to_dict() | {"group": 0}, rel=1e-5
        )


def test_halves_of_different_lengths_go_one_after_the_other():
    inputs = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(9, 4)(inputs)
    hidden = keras.layers.GlobalAveragePooling1D()(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(hidden))
    long, short = RNG.integers(9, size=(20, 6)), RNG.integers(9, size=(20, 5))
    expected = flips(
        model.predict(long, verbose=0), model.predict(short, verbose=0), seed=0
    )
    report = flips_of_model(model, batches(long, short), seed=0, verbose=0)
    assert report["overall"].flip_rate == expected["overall"].flip_rate


def test_halves_of_different_dtypes_are_what_the_model_takes_them_for():
    model = dense_model()
    reports = [
        flips_of_model(model, batches(X, half), seed=0, verbose=0)
        for half in (CHANGED, CHANGED.astype("float64"))
    ]
    assert reports[0]["overall"].flip_count
    assert reports[0].to_dict() == reports[1].to_dict()


@pytest.mark.parametrize("wider", [0, 1])
def test_two_replicas_count_every_pair_once(wider):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        inputs = keras.Input((None, 3))
        pooled = keras.layers.GlobalMaxPooling1D()(inputs)
        kernel = keras.initializers.Constant([[1.0], [-1.0], [0.5]])
        output = keras.layers.Dense(1, "sigmoid", kernel_initializer=kernel)
        model = keras.Model(inputs, output(pooled))
    texts = X.reshape(30, 3, 3)
    changed = CHANGED.reshape(30, 3, 3)
    # Halves of two shapes go through the model one after the other.
    padded = np.pad(changed, ((0, 0), (0, wider), (0, 0)), mode="edge")
    report = flips_of_model(model, batches(texts, padded, size=8), verbose=0)
    scores = (model.predict(x, verbose=0) for x in (texts, changed))
    assert report["overall"].n == 30
    expected = flips(*scores)["overall"].flip_count
    assert report["overall"].flip_count == expected > 0


def test_takes_what_build_counterfactual_data_makes(capsys):
    texts = np.array(["a gay man", "a man", "gay pride", "an old gay man"])
    vectorize = keras.layers.TextVectorization(
        output_mode="multi_hot", vocabulary=["gay", "man"]
    )
    model = keras.Sequential(
        [
            keras.Input((), dtype="string"),
            vectorize,
            keras.layers.Dense(
                1, "sigmoid", kernel_initializer="ones", bias_initializer="ones"
            ),
        ]
    )
    data = tf.data.Dataset.from_tensor_slices(texts)
    pairs = build_counterfactual_data(data.batch(2), ["gay"])
    row = flips_of_model(model, pairs, verbose=1)["overall"]
    assert (row.n, row.flip_count) == (3, 0)
    assert row.counterfactual_gap.value > 0
    assert "2/Unknown" in capsys.readouterr().out
    packed = pack_counterfactual_data(data.batch(2), pairs)
    with pytest.raises(ValueError, match="not packed"):
        flips_of_model(model, packed, verbose=0)
    with pytest.raises(ValueError, match=r"use `pairs.batch\(n\)`"):
        flips_of_model(
            model, build_counterfactual_data(data, ["gay"]), verbose=0
        )
    with pytest.raises(ValueError, match="`pairs` is empty"):
        flips_of_model(
            model,
            build_counterfactual_data(data.batch(2), ["zebra"]),
            verbose=0,
        )


def test_unbatched_texts_need_no_weight_to_be_told():
    pairs = tf.data.Dataset.from_tensor_slices((["a", "b"], ["c", "d"]))
    with pytest.raises(ValueError, match=r"use `pairs.batch\(n\)`"):
        flips_of_model(dense_model(), pairs, verbose=0)


def test_unbatched_features_need_no_weight_to_be_told():
    model = dense_model()
    row = np.zeros(model.inputs[0].shape[1:], "float32")
    pairs = tf.data.Dataset.from_tensor_slices(([row], [row + 1]))
    with pytest.raises(ValueError, match=r"in batches: use `data.batch"):
        flips_of_model(model, pairs, verbose=0)


HALF = np.arange(10) < 5
PAIR = X[:10], CHANGED[:10]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ((None, {"a": HALF}), "a weight in every batch.*in 1 of 2 batches"),
        ((np.ones(10), None), "groups in every batch.*in 1 of 2 batches"),
        ((np.ones(10), {"b": HALF}), r"same groups.*\['a'\], then \['b'\]"),
        ((np.ones(10), {"a": HALF, "b": HALF}), r"same groups.*\['a', 'b'\]"),
        ((np.ones(10), HALF), "same groups.*None"),
        ((np.ones(9), {"a": HALF}), r"weights.*shape=\[9\] with 10 pairs"),
    ],
)
def test_batches_that_do_not_go_together(second, message):
    pairs = [(*PAIR, np.ones(10), {"a": HALF}), (*PAIR, *second)]
    with pytest.raises(ValueError, match=f"`pairs` must yield.*{message}"):
        flips_of_model(dense_model(), pairs, verbose=0)


@pytest.mark.parametrize(
    ("model", "pairs", "error", "message"),
    [
        (3, [PAIR], TypeError, "`model` must be a keras.Model.*int"),
        (None, batches(*PAIR).repeat(), ValueError, "`pairs` must be finite"),
        (None, 3, TypeError, "`pairs` must be .*iterable.*int"),
        (None, X, TypeError, "`pairs` must be .*iterable.*ndarray"),
    ],
)
def test_what_cannot_be_read(model, pairs, error, message):
    with pytest.raises(error, match=message):
        flips_of_model(model or dense_model(), pairs, verbose=0)


def test_reads_py_datasets():
    class Pairs(keras.utils.PyDataset):
        num_batches = 2

        def __getitem__(self, k):
            return PAIR

    pairs = Pairs()
    assert flips_of_model(dense_model(), pairs, verbose=0)["overall"].n == 20
    Pairs.num_batches = None
    with pytest.raises(ValueError, match="`pairs` must be finite"):
        flips_of_model(dense_model(), pairs, verbose=0)


def two_outputs():
    inputs = keras.Input((3,))
    dense = keras.layers.Dense
    return keras.Model(inputs, [dense(1)(inputs), dense(1)(inputs)])


class Sum(keras.Model):
    def call(self, inputs):
        return keras.ops.sum(inputs, axis=0)


@pytest.mark.parametrize(
    ("make", "data", "options", "message"),
    [
        (dense_model, (X,), {}, "`pairs` must yield"),
        (two_outputs, (X, CHANGED), {}, "one output.*2 outputs"),
        (Sum, (X, CHANGED), {}, "a row for each row.*3 predictions of 80"),
        (
            dense_model,
            (X, CHANGED, WEIGHT, X[:, 0] > 0),
            {"groups": {"a": X[:, 0] > 0}},
            "not both",
        ),
        (dense_model, (X * np.nan, CHANGED), {}, "must be finite"),
        (dense_model, (X, CHANGED), {"groups": ["a"]}, "`groups`"),
    ],
)
def test_errors(make, data, options, message):
    with pytest.raises(ValueError, match=message):
        flips_of_model(make(), batches(*data), verbose=0, **options)


class CountsGay(keras.layers.Layer):
    """Decides for a text that names a term, and little else."""

    def call(self, texts):
        found = tf.strings.regex_full_match(texts, ".*gay.*")
        return tf.where(
            found,
            0.9,
            0.1 + 0.01 * tf.cast(tf.strings.length(texts), tf.float32) / 100,
        )


def text_model():
    text = keras.Input((), dtype="string")
    return keras.Model(text, CountsGay()(text))


TEXTS = ["I am a gay man", "A black woman", "gay and black", "<b> man"]


@functools.cache
def text_pairs(batch=2):
    data = tf.data.Dataset.from_tensor_slices(TEXTS * 5).batch(batch)
    return build_counterfactual_data(data, ["gay", "black", "man"])


def test_where_no_text_differs_there_are_no_terms():
    pairs = [(tf.constant(["a", "b"]), tf.constant(["a", "b"]))]
    terms = flips_of_model(text_model(), pairs, by_term=True, verbose=0).terms
    assert terms.rows == () and terms.to_dict() == {}
    assert terms.to_frame().empty
    assert [*terms.plot().get_yticklabels()] == []


def test_terms_that_flip_most_come_first():
    terms = ["gay", "black", "man", "never there"]
    options = {"verbose": 0, "seed": 0}
    report = flips_of_model(
        text_model(), text_pairs(), by_term=terms, **options
    )
    assert {
        row.group: (row.n, row.flip_count) for row in report.terms.rows
    } == {
        "gay": (10, 10),
        "man": (10, 5),
        "black": (10, 5),
    }
    assert report.terms.rows[0].group == "gay"
    rate = report.terms["gay"].flip_rate
    assert 0.5 < rate.low < rate.value == rate.high == 1
    labels = [t.get_text() for t in report.terms.plot().get_yticklabels()]
    assert labels[0] == "gay (n = 10)"
    others = flips_of_model(
        text_model(), text_pairs(5), by_term=True, **options
    )
    # Without a list, what was removed at one place is one term.
    assert {row.group for row in others.terms.rows} == {
        "gay man",
        "gay",
        "black",
        "man",
    }
    assert others.examples == report.examples
    for wrong in ("gay", [1], 3, None):
        with pytest.raises(TypeError, match="`by_term` must be True"):
            flips_of_model(text_model(), text_pairs(), by_term=wrong, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"by_term": [1]}, TypeError, r"`by_term`.*list of terms.*\[1\]"),
        ({"by_term": 5}, TypeError, "`by_term`.*list of terms.*5"),
        ({"by_term": []}, ValueError, r"`by_term`.*one term or more.*\[\]"),
        ({"by_term": ["gay", ""]}, ValueError, "`by_term`.*none of them empty"),
        ({"threshold": None}, ValueError, "`threshold`.*finite.*None"),
        ({"confidence": "95"}, ValueError, "`confidence`.*'95'"),
        ({"text_key": "text"}, ValueError, r"`text_key`.*\[\].*'text'"),
        ({"text_key": 0}, ValueError, "`text_key`.*Received: text_key=0"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        flips_of_model(text_model(), text_pairs(), verbose=0, **options)


def test_the_text_is_one_of_the_inputs():
    inputs = {"age": np.zeros((2, 1)), "text": np.array(["a man", "a gay man"])}
    names = {
        "age": keras.Input((1,), name="age"),
        "text": keras.Input((), dtype="string", name="text"),
    }
    words = keras.layers.TextVectorization(
        vocabulary=["a", "gay", "man"], output_mode="multi_hot"
    )(names["text"])
    features = keras.layers.Concatenate()([names["age"], words])
    model = keras.Model(names, keras.layers.Dense(1, "sigmoid")(features))
    pairs = tf.data.Dataset.from_tensor_slices((inputs, inputs)).batch(2)
    for key, error in (("texts", ValueError), ("age", TypeError)):
        with pytest.raises(error, match=f"`text_key`.*'{key}'"):
            flips_of_model(model, pairs, text_key=key, verbose=0)
    flips_of_model(model, pairs, text_key="text", verbose=0)


def test_examples_are_the_pairs_that_flip_furthest_or_left_out():
    report = flips_of_model(
        text_model(), text_pairs(), examples=3, seed=0, verbose=0
    )
    assert len(report.examples) == 3
    first = report.examples[0]
    assert first.original in TEXTS and "gay" not in first.counterfactual
    assert first.original_score == pytest.approx(0.9)
    page = Report("A").add("m", "Flips", report).to_html()
    assert first.original in page
    without = Report("A", examples=0).add("m", "Flips", report)
    assert first.original not in without.to_html()
    assert first.original not in str(without.to_dict())
    none = flips_of_model(
        text_model(), text_pairs(), examples=0, seed=0, verbose=0
    )
    assert none.examples == ()
    assert none["overall"] == report["overall"]


@pytest.mark.parametrize(
    ("original", "counterfactual", "terms"),
    [
        ("I am a gay man", "I am a man", ["gay"]),
        ("He is tall. he", "She is tall. she", ["he > she"]),
        ("african american", "", ["african american"]),
        ("gay or not gay", "or not", ["gay"]),
        ("the gay women", "the", ["gay women"]),
        ("a b", "a b", []),
        ("c++ rules", "rules", ["c++"]),
        # Words that were exchanged were not moved.
        (
            "a brother, her sister",
            "a sister, her brother",
            ["brother > sister", "sister > brother"],
        ),
        ("मुसलमान आए", "हिन्दू आए", ["मुसलमान > हिन्दू"]),
        ("señora cruza", "señor cruza", ["señora > señor"]),
        # No spaces between words: what is next to a term is not of it.
        ("他住在北京路是男性", "他住在北京路是", ["男性"]),
        ("เขาเป็นเกย์ที่ดี", "เขาเป็นที่ดี", ["เกย์"]),
    ],
)
def test_terms_are_what_texts_differ_by(original, counterfactual, terms):
    halves = np.array([[0.9]]), np.array([[0.1]])
    texts = ChangedTexts(True, None, 0)
    pair = [np.array([text]) for text in (original, counterfactual)]
    texts.add(*pair, halves, None, 0.5)
    report = texts.by_term(functools.partial(flips, *halves))
    assert {row.group for row in report.rows} == set(terms)


@pytest.mark.parametrize(
    ("texts", "how", "found"),
    [
        # Of a swap, the term that was there: not the one in its place.
        (
            ["he ran", "he sat", "a woman ran"],
            {"terms_to_replace": {"he": "she", "woman": "man"}},
            {"he": 2, "woman": 1},
        ),
        (["他住在北京路是男性"], {"terms_to_remove": ["男性"]}, {"男性": 1}),
        (
            ["女性和男性", "两个女性"],
            {"terms_to_replace": {"女性": "男性", "男性": "女性"}},
            {"女性": 2, "男性": 1},
        ),
        (
            ["मुसलमान आए"],
            {"terms_to_replace": {"मुसलमान": "हिन्दू"}},
            {"मुसलमान": 1},
        ),
        (
            ["womanly", "a manly one", "the one"],
            {"terms_to_remove": ["man", "he"], "whole_words": False},
            {"man": 2, "he": 1},
        ),
    ],
)
def test_given_terms_are_found_in_what_was_changed(texts, how, found):
    how = dict(how)
    terms = how.pop("terms_to_remove", None)
    data = tf.data.Dataset.from_tensor_slices(texts).batch(2)
    pairs = build_counterfactual_data(data, terms, **how)
    swapped = how.get("terms_to_replace", {})
    terms = list({*(terms or []), *swapped, *swapped.values()})
    report = flips_of_model(
        text_model(), pairs, by_term=terms, examples=0, seed=0, verbose=0
    )
    assert {row.group: row.n for row in report.terms.rows} == found


class CountsGayInAny(keras.Model):
    """Decides for an example, one of whose texts names a term."""

    def call(self, texts):
        joined = tf.strings.reduce_join(texts, axis=1)
        found = tf.strings.regex_full_match(joined, ".*gay.*")
        return 0.1 + 0.8 * tf.cast(found, tf.float32)


@pytest.mark.parametrize("ragged", [False, True])
def test_an_example_of_several_texts_is_one_pair(ragged):
    texts = [["Hi", "I am gay"], ["gay", "black men"], ["x", "a black"]]
    data = tf.data.Dataset.from_tensor_slices(texts).batch(2)
    if ragged:
        data = data.map(tf.RaggedTensor.from_tensor)
    model = CountsGayInAny()
    pairs = build_counterfactual_data(data, ["gay", "black"])
    for terms in (True, ["gay", "black"]):
        report = flips_of_model(model, pairs, by_term=terms, verbose=0)
        rows = report.terms.rows
        found = {row.group: (row.n, row.flip_count) for row in rows}
        assert found == {"gay": (2, 2), "black": (2, 1)}
    assert {(e.original, e.counterfactual) for e in report.examples} == {
        ("Hi | I am gay", "Hi | I am"),
        ("gay | black men", " | men"),
    }


def test_texts_of_other_lengths_are_compared_as_one():
    tokens = tf.ragged.constant([["a", "gay", "man"], ["x", "y"]])
    fewer = tf.ragged.constant([["a", "man"], ["x", "y"]])
    pairs = tf.data.Dataset.from_tensors((tokens, fewer))
    report = flips_of_model(
        CountsGayInAny(), pairs, by_term=True, examples=0, verbose=0
    )
    assert [(row.group, row.n) for row in report.terms.rows] == [("gay", 1)]


def test_terms_need_one_text():
    x = np.zeros((4, 2), "float32")
    pairs = tf.data.Dataset.from_tensor_slices((x, x)).batch(2)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(TypeError, match=r"`by_term` needs.*0 inputs"):
        flips_of_model(model, pairs, threshold=0.0, by_term=True, verbose=0)


def test_examples_show_all_texts_where_none_is_named():
    class Length(keras.Model):
        def call(self, inputs):
            length = keras.ops.cast(tf.strings.length(inputs["a"]), "float32")
            return length[:, None] / 10

    pairs = tf.data.Dataset.from_tensor_slices(
        (
            {"a": ["a gay man", "a man"], "b": ["x", "y"]},
            {"a": ["a man", "a man"], "b": ["x", "z"]},
        )
    )
    report = flips_of_model(Length(), pairs.batch(2), threshold=0.6, verbose=0)
    (example,) = report.examples
    assert example.original == "a gay man | x"
    assert example.counterfactual == "a man | x"
