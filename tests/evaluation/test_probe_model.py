import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.evaluation import (
    linear_probe,
    probe_model,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(130, 4)).astype("float32")
Z = (X[:, 0] > 0).astype("int32")
TOKENS = RNG.integers(1, 9, size=(60, 5))
# Padding, which is all that would tell the two halves apart.
TOKENS[:30, 3:] = 0


def batches(*arrays, size=50):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


def functional():
    inputs = keras.Input((4,))
    block = keras.Sequential(
        [
            keras.layers.Dense(6, "relu", name="inner"),
            keras.layers.Dense(3, name="last"),
        ],
        name="block",
    )
    hidden = block(keras.layers.Dense(5, "tanh", name="first")(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, name="head")(hidden))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(5, "tanh", name="first")
        self.drop = keras.layers.Dropout(0.5, name="drop")
        self.head = keras.layers.Dense(1, name="head")

    def call(self, x, training=False):
        return self.head(self.drop(self.first(x), training=training))


def sequential():
    return keras.Sequential(
        [
            keras.layers.Dense(5, "tanh", name="first"),
            keras.layers.Dense(1, name="head"),
        ]
    )


@pytest.mark.parametrize("make", [functional, Subclassed, sequential])
def test_reads_the_layer_of_any_model(make):
    model = make()
    report = probe_model(model, "first", batches(X, Z), verbose=0)
    layer = next(x for x in model.layers if x.name == "first")
    # Whatever the random weights are, these are its activations.
    expected = linear_probe(layer(X), Z)["linear"].auc
    assert report["linear"].auc == pytest.approx(expected, rel=1e-2)
    assert "call" not in vars(layer)


def test_finds_layers_inside_of_layers_by_name_path_and_object():
    model = functional()
    block = model.get_layer("block")
    inner = block.get_layer("inner")
    hidden = model.get_layer("first")(X)
    expected = linear_probe(inner(hidden), Z)["linear"].auc
    for layer in ("inner", inner.path, inner):
        report = probe_model(model, layer, batches(X, Z), verbose=0)
        assert report["linear"].auc == pytest.approx(expected, rel=1e-2)


def test_a_path_means_its_layer_where_others_have_that_name():
    first = keras.layers.Dense(4, name="a")
    second = keras.layers.Dense(4, name="a")
    inputs = keras.Input((X.shape[1],))
    block = keras.Sequential([second], name="block")
    model = keras.Model(inputs, block(first(inputs)))
    found = [
        probe_model(model, path, batches(X, Z), verbose=0)["linear"].auc
        for path in ("a", "block/a")
    ]
    expected = linear_probe(first(X), Z)["linear"].auc
    assert found[0] == pytest.approx(expected, rel=1e-2)
    expected = linear_probe(second(first(X)), Z)["linear"].auc
    assert found[1] == pytest.approx(expected, rel=1e-2)


def test_activations_are_those_of_inference():
    report = probe_model(Subclassed(), "drop", batches(X, Z), verbose=0)
    assert report["linear"].auc.low > 0.6


def embedding_model(**options):
    inputs = keras.Input((None,), dtype="int32")
    embed = keras.layers.Embedding(9, 9, name="embed", **options)
    hidden = keras.layers.GlobalAveragePooling1D()(embed(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))


def test_tokens_are_rows_that_stay_with_their_example():
    data = batches(TOKENS, TOKENS % 2, (TOKENS > 0).astype("float32"))
    row = probe_model(embedding_model(), "embed", data, verbose=0)["linear"]
    assert row.n == 300 - 60
    by_example = batches(TOKENS, np.arange(60) % 2)
    row = probe_model(embedding_model(), "embed", by_example, verbose=0)[
        "linear"
    ]
    assert row.n == 300 and row.effective_n < 300


def test_padding_that_the_layer_masks_is_no_row():
    halves = batches(TOKENS, np.arange(60) < 30)
    told = probe_model(embedding_model(), "embed", halves, verbose=0)["linear"]
    blind = probe_model(
        embedding_model(mask_zero=True), "embed", halves, verbose=0
    )["linear"]
    assert (told.n, blind.n) == (300, 240)
    # Two of five tokens of one half are padding, which tells that half.
    assert told.auc.value > 0.6 and blind.auc.low < 0.5


def test_weights_of_zero_leave_rows_out_and_groups_hold_together():
    weight = np.arange(130) % 2
    # Twenty groups of rows that are all alike.
    groups = np.arange(130) % 40
    data = batches(X[groups], Z[groups], weight, groups)
    row = probe_model(functional(), "first", data, cv=3, verbose=0)["linear"]
    assert row.n == 65 and row.effective_n < 65 / 2.5


def test_keeps_a_uniform_sample_of_bounded_size():
    n = 3_000
    x = np.arange(n, dtype="float32")[:, None]
    seen = []

    class Identity(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    model = keras.Sequential([Identity(name="same")])
    # The concept is the half of the data that a row is of.
    data = batches(x, np.arange(n) >= n / 2, size=64)
    for seed in range(3):
        row = probe_model(
            model, "same", data, max_rows=200, seed=seed, verbose=0
        )["linear"]
        assert row.n == 200
        seen.append(row.majority_rate)
    assert max(seen) < 0.62


def test_traces_once_whatever_the_sizes_of_batches():
    traces = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            traces.append(1)
            return inputs

    model = keras.Sequential([keras.Input((4,)), Counting(name="count")])
    traces.clear()
    probe_model(model, "count", batches(X, Z, size=7), verbose=0)
    assert len(traces) == 1


def test_takes_iterables_of_arrays():
    model = functional()
    parts = [(X[:70], Z[:70]), (X[70:], Z[70:])]
    rows = [
        probe_model(model, "first", data, verbose=0)["linear"]
        for data in (parts, batches(X, Z))
    ]
    assert rows[0].auc == pytest.approx(rows[1].auc)


def test_shows_progress(capsys):
    probe_model(functional(), "first", batches(X, Z), verbose=1)
    assert "3/3" in capsys.readouterr().out


def shared():
    inputs = keras.Input((4,))
    twice = keras.layers.Dense(4, name="twice")
    return keras.Model(inputs, twice(twice(inputs)))


def same_names():
    def block(name):
        layer = keras.layers.Dense(4, name="a")
        return keras.Sequential([layer], name=name)

    inputs = keras.Input((4,))
    return keras.Model(inputs, block("two")(block("one")(inputs)))


@pytest.mark.parametrize(
    ("make", "layer", "data", "message"),
    [
        (functional, "iner", (X, Z), r"Received: 'iner'. Near it: \['inner'"),
        (functional, "zzz", (X, Z), r"Received: 'zzz'. There are: .*'block'"),
        (functional, keras.layers.ReLU(), (X, Z), "must be a layer of"),
        (shared, "twice", (X, Z), "'twice'.*runs it 2 times"),
        (same_names, "a", (X, Z), "2 layers named 'a'.*one/a.*two/a"),
        (functional, "first", (X,), "must yield"),
        (functional, "first", (X, Z, 0 * Z), "every row has weight zero"),
        (functional, "first", (X, X), "`z` must have shape"),
        (functional, "first", (X[:0], Z[:0]), "it is empty"),
        (functional, "first", (X, 0 * Z), "one class only"),
    ],
)
def test_errors(make, layer, data, message):
    with pytest.raises(ValueError, match=message):
        probe_model(make(), layer, batches(*data), verbose=0)


@pytest.mark.parametrize("max_rows", [0, 1.5])
def test_refuses_to_keep_nothing(max_rows):
    with pytest.raises(ValueError, match="`max_rows`"):
        probe_model(functional(), "first", batches(X, Z), max_rows=max_rows)


@pytest.mark.parametrize(
    ("model", "data", "error", "message"),
    [
        (3, batches(X, Z), TypeError, "`model` must be a keras.Model.*int"),
        (None, batches(X, Z).repeat(), ValueError, "`dataset` must be finite"),
        (None, 3, TypeError, "`dataset` must be .*iterable.*int"),
        (None, [(X, [None, "a"] * 65)], ValueError, "`z`.*None in row 0"),
        (None, [(X, [np.nan, "a"] * 65)], ValueError, "`z`.*nan in row 0"),
        (
            None,
            [(X, Z, None, ["a", np.nan] * 65)],
            ValueError,
            "`groups`.*nan in row 1",
        ),
    ],
)
def test_what_cannot_be_read(model, data, error, message):
    with pytest.raises(error, match=message):
        probe_model(model or functional(), "first", data, verbose=0)


@pytest.mark.parametrize("shape", [(), (4,), (7, 4)])
def test_single_examples_are_refused(shape):
    inputs = keras.Input(shape or (1,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
    data = tf.data.Dataset.from_tensor_slices((np.ones((9, *shape)), [0] * 9))
    with pytest.raises(ValueError, match=r"in batches: use `data.batch"):
        probe_model(model, "dense", data, verbose=0)
