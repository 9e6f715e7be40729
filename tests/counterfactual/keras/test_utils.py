"""Tests of the helpers under their public names."""

import collections
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.structures import is_alike
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    utils,
)

Dataset = tf.data.Dataset
TEXTS = ["a gay man", "a dog", "the gay cat", "x", "a gay y"]


def labeled():
    labels = [[float(i % 2)] for i in range(len(TEXTS))]
    weights = [float(i) for i in range(len(TEXTS))]
    return Dataset.from_tensor_slices((TEXTS, labels, weights))


@functools.cache
def pairs():
    return utils.build_counterfactual_data(labeled(), ["gay"])


def packed(size=2, **options):
    data = labeled().batch(size) if size else labeled()
    return utils.pack_counterfactual_data(data, pairs(), **options)


def tokenizer():
    vectorize = keras.layers.TextVectorization(output_sequence_length=4)
    vectorize.adapt(TEXTS)
    return vectorize


# --- map_inputs ------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 2])
def test_map_inputs_maps_every_input_and_nothing_else(size):
    tokens, data = tokenizer(), packed(size)
    mapped = utils.map_inputs(data, tokens)
    for before, after in zip(data, mapped, strict=True):
        assert type(after) is utils.CounterfactualPackedInputs
        (x, *rest), (original, counterfactual, weight) = before
        (new_x, *new_rest), (new_original, new_other, new_weight) = after
        for old, new in (
            (x, new_x),
            (original, new_original),
            (counterfactual, new_other),
        ):
            np.testing.assert_array_equal(tokens(old), new)
        unchanged = zip([*rest, weight], [*new_rest, new_weight], strict=True)
        for old, new in unchanged:
            np.testing.assert_array_equal(old, new)
    assert mapped.cardinality() == data.cardinality()


def test_map_inputs_takes_any_structure_and_objectives():
    data = labeled().map(lambda text, *_: ({"text": text}, 1.0)).batch(2)
    pairs = utils.build_counterfactual_data(data, ["gay"])
    both = utils.pack_counterfactual_data(data, {"one": pairs, "two": pairs})
    Ordered = collections.OrderedDict

    def lengths(x):
        return Ordered(text=x["text"], bytes=tf.strings.length(x["text"]))

    mapped = utils.map_inputs(both, lengths)
    (x, _, weight), objectives = next(iter(mapped))
    assert weight is None
    assert list(objectives) == ["one", "two"]
    for pairs in objectives.values():
        for half in pairs[:2]:
            assert is_alike(half, x)
            np.testing.assert_array_equal(
                half["bytes"], tf.strings.length(half["text"])
            )


# --- embed_inputs ----------------------------------------------------------


def backbone():
    """A model of tokens whose statistics must be still while it is frozen."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((4,), dtype="int64"),
            keras.layers.Embedding(20, 3),
            keras.layers.Flatten(),
            keras.layers.BatchNormalization(),
        ]
    )


def head():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(1, "sigmoid")]
    )


def trained(model, data):
    wrapped = CounterfactualModel(model, loss_weight=2.0)
    # Not Adam, which makes steps of the rounding of a gradient of nothing.
    wrapped.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
    return wrapped.fit(data, epochs=3, verbose=0, shuffle=False).history


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.filterwarnings("ignore:Encoding a StructuredValue")
def test_training_on_embeddings_is_training_through_the_backbone(
    tmp_path, on_disk, share
):
    tokens = utils.map_inputs(packed(pairs_per_example=share), tokenizer())
    frozen, directory = backbone(), tmp_path / "embedded"
    frozen.trainable = False
    through, alone = head(), head()
    inputs = keras.Input((4,), dtype="int64")
    whole = keras.Model(inputs, through(frozen(inputs, training=False)))
    expected = trained(whole, tokens)
    embedded = utils.embed_inputs(
        tokens, frozen, directory if on_disk else None, verbose=0
    )
    found = trained(alone, embedded)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-4, abs=1e-7), name
    for a, b in zip(through.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert embedded.cardinality() == tokens.cardinality()
    if on_disk:
        again = Dataset.load(str(directory))
        assert trained(head(), again)["loss"] == pytest.approx(found["loss"])
        assert not [p for p in directory.iterdir() if "tmp" in p.name]


def test_embeddings_keep_everything_together():
    runs = []

    def count(x):
        """A backbone with two outputs that is not a model."""
        runs.append(len(x))
        length = tf.strings.length(x)[:, None]
        return {"length": length, "double": 2 * length}

    embedded = utils.embed_inputs(packed(), count, verbose=0)
    batches = list(packed())
    for _ in range(2):
        for before, after in zip(batches, embedded, strict=True):
            (x, y, w), (original, counterfactual, weight) = after
            for old, new in (
                (before.original_input[0], x),
                (before.counterfactual_data[0], original),
                (before.counterfactual_data[1], counterfactual),
            ):
                length = tf.strings.length(old)[:, None]
                np.testing.assert_array_equal(new["length"], length)
                np.testing.assert_array_equal(new["double"], 2 * length)
            np.testing.assert_array_equal(y, before.original_input[1])
            np.testing.assert_array_equal(w, before.original_input[2])
            np.testing.assert_array_equal(weight, [1.0] * len(w))
    # One pass: for each batch its `x` and two halves.
    assert runs == [2, 2, 2, 2, 2, 2, 1, 1, 1]


def numbers_model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])


def changing_dtype():
    dtypes = iter([tf.float32] * 3 + [tf.float64] * 9)
    return lambda x: tf.ones([len(x), 2], next(dtypes))


def strings_model():
    return keras.Sequential([keras.Input((), dtype="string"), tokenizer()])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda: (labeled(), len), ValueError, "pack_counterfactual_data"),
        (lambda: ([1], len), TypeError, "`packed` must be"),
        (lambda: (packed(), 1), TypeError, "`backbone` must be"),
        (lambda: (packed(), len, 3), TypeError, "`directory` must be a path"),
        (lambda: (packed(None), len), ValueError, r"`packed.batch\(32\)`"),
        (lambda: (packed().repeat(), len), ValueError, "must be finite"),
        (lambda: (packed(), numbers_model()), ValueError, "map_inputs"),
        (
            lambda: (
                utils.map_inputs(packed(), tokenizer()),
                keras.Sequential(
                    [keras.Input((), dtype="string"), tokenizer()]
                ),
            ),
            ValueError,
            "without a tokenizer",
        ),
        (
            lambda: (packed().filter(lambda *_: False), len),
            ValueError,
            "holds no batch",
        ),
        # One row for all would go with every label.
        (
            lambda: (packed(), lambda x: tf.ones([1, 3])),
            ValueError,
            r"a row for each row of its input, here 2.*\(1, 3\)",
        ),
        (lambda: (packed(), lambda x: None), ValueError, "NoneType of shape"),
        (
            lambda: (packed(), changing_dtype()),
            ValueError,
            "the same dtypes.*float32.*then.*float64",
        ),
    ],
)
def test_embed_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        utils.embed_inputs(*arguments(), verbose=0)


@pytest.mark.parametrize("kind", ["functional", "subclass", "function"])
def test_embed_refuses_a_mask_that_it_would_lose(kind):
    embed = keras.layers.Embedding(20, 3, mask_zero=True)
    pool = keras.layers.GlobalAveragePooling1D()

    class Subclass(keras.Model):
        def __init__(self, run):
            super().__init__()
            self.embed, self.pool, self.run = embed, pool, run

        def call(self, inputs):
            return self.run(inputs)

    def backbone(run):
        if kind == "functional":
            inputs = keras.Input((4,), dtype="int64")
            return keras.Model(inputs, run(inputs))
        return Subclass(run) if kind == "subclass" else run

    tokens = utils.map_inputs(packed(), tokenizer())
    with pytest.raises(ValueError, match="Pool inside of the backbone"):
        utils.embed_inputs(
            tokens, backbone(lambda x: {"hidden": embed(x)}), verbose=0
        )
    pooled = utils.embed_inputs(
        tokens, backbone(lambda x: pool(embed(x))), verbose=0
    )
    # Texts are shorter than their four tokens: padding does not count.
    (ids, *_), _ = next(iter(tokens))
    (found, *_), _ = next(iter(pooled))
    table = embed.get_weights()[0]
    for row, wanted in zip(found.numpy(), ids.numpy(), strict=True):
        mean = table[wanted[wanted > 0]].mean(0)
        np.testing.assert_allclose(row, mean, rtol=1e-4, atol=1e-6)


def test_embed_takes_a_backbone_with_a_list_of_outputs():
    """`tf.data` would make one tensor of them, with two rows."""
    x = np.arange(12, dtype="float32").reshape(4, 3)
    data = Dataset.from_tensor_slices((x, [0, 1, 0, 1]))
    pairs = utils.build_counterfactual_data(
        data, custom_counterfactual_function=lambda e: (e[0], -e[0])
    )
    batches = utils.pack_counterfactual_data(data.batch(4), pairs)
    inputs = keras.Input((3,))
    backbone = keras.Model(inputs, [2 * inputs, {"third": [3 * inputs]}])
    embedded = utils.embed_inputs(batches, backbone, verbose=0)
    (twice, thrice), *_ = next(iter(embedded)).original_input
    np.testing.assert_allclose(twice, 2 * x)
    np.testing.assert_allclose(thrice["third"][0], 3 * x)


@pytest.mark.filterwarnings("ignore:Encoding a StructuredValue")
def test_embed_overwrites_nothing(tmp_path):
    mine, done = tmp_path / "mine", tmp_path / "done"
    mine.write_text("precious")
    for taken in (tmp_path, mine):
        with pytest.raises(ValueError, match="no finished dataset"):
            utils.embed_inputs(packed(), len, taken, verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def lengths(x):
        return tf.strings.length(x)[:, None]

    data = packed()
    utils.embed_inputs(data, lengths, done, verbose=0)
    with pytest.raises(ValueError, match="use what is there"):
        utils.embed_inputs(data, lengths, done, verbose=0)


def test_embed_says_that_no_example_holds_a_term():
    nothing = utils.build_counterfactual_data(labeled(), ["absent"])
    empty = utils.pack_counterfactual_data(labeled().batch(2), nothing)
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        utils.embed_inputs(empty, tf.strings.length, verbose=0)
    assert str(error.value).startswith("No example holds a term")


def test_map_errors():
    with pytest.raises(ValueError, match="pack_counterfactual_data"):
        utils.map_inputs(labeled(), len)
    with pytest.raises(TypeError, match="`function` must be"):
        utils.map_inputs(packed(), None)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:1],
        lambda x: tf.strings.split(x)[:1],
        lambda x: (x, tf.strings.length(x)[1:]),
        lambda x: tf.concat([x, x], 0),
    ],
)
def test_map_refuses_other_rows_than_it_was_given(function):
    # A model's loss would repeat a single row without a word.
    mapped = utils.map_inputs(packed(), function)
    with pytest.raises(tf.errors.InvalidArgumentError, match="one row for eac"):
        list(mapped)


def test_map_refuses_a_function_without_a_result():
    with pytest.raises(ValueError, match=r"`function` must return.*None"):
        utils.map_inputs(packed(), lambda x: None)


# --- validate_counterfactual_structure -------------------------------------


def test_valid_structures():
    for struct in (1.0, None, (1, 2), {"a": 1.0, "b": (1,)}):
        utils.validate_counterfactual_structure(struct)
    utils.validate_counterfactual_structure({"a": 1.0}, element_type=float)


@pytest.mark.parametrize(
    ("struct", "element_type", "error"),
    [
        ([1], None, TypeError),
        ("a", float, TypeError),
        ({1: 1.0}, None, ValueError),
        ({"a": {"b": 1.0}}, None, ValueError),
        ({"a": "b"}, float, ValueError),
        (1.0, 1.0, TypeError),
    ],
)
def test_invalid_structures(struct, element_type, error):
    with pytest.raises(error, match=r"weights|element_type"):
        utils.validate_counterfactual_structure(struct, "weights", element_type)
