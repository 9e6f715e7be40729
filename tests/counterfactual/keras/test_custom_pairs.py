"""Tests of building counterfactual pairs by a function."""

import collections
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.data_errors import in_plain_words
from tensorflow_model_remediation_ext.common.structures import is_alike
from tensorflow_model_remediation_ext.counterfactual.keras.pairs import (
    build_counterfactual_data,
)

Dataset = tf.data.Dataset
TEXTS = ["a gay man", "none", "GAY", "x", "y gay", "z", "gay\nz"]
BEFORE = [b"a gay man", b"GAY", b"y gay", b"gay\nz"]
AFTER = [b"a man", b"", b"y", b"\nz"]
TERMS = ["gay"]


def batches(*sizes):
    """Batches of the given sizes of TEXTS, from a generator."""

    def generate():
        texts = iter(TEXTS)
        for size in sizes:
            yield list(itertools.islice(texts, size))

    spec = tf.TensorSpec([None], tf.string)
    return Dataset.from_generator(generate, output_signature=spec)


def pairs_of(dataset):
    return [element[:2] for element in dataset.as_numpy_iterator()]


def replace_words(batch):
    """The custom function of the predecessor's guide."""
    original_x, _, weight = keras.utils.unpack_x_y_sample_weight(batch)
    counterfactual_x = tf.strings.regex_replace(original_x, "(?i)gay", "mad")
    return keras.utils.pack_x_y_sample_weight(
        original_x, counterfactual_x, weight
    )


@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("terms", [None, TERMS])
def test_custom_function_of_the_guide(size, terms):
    data = Dataset.from_tensor_slices((TEXTS, None, None))
    pairs = build_counterfactual_data(
        data.batch(size) if size else data,
        terms,
        custom_counterfactual_function=replace_words,
    )
    if size:
        assert [len(e[0]) for e in pairs.as_numpy_iterator()] == [2, 2]
        pairs = pairs.unbatch()
    expected = [t.lower().replace(b"gay", b"mad") for t in BEFORE]
    assert [b.lower() for _, b in pairs_of(pairs)] == expected


@pytest.mark.parametrize("size", [None, 2])
def test_what_the_function_returns_is_what_comes_out(size):
    data = Dataset.from_tensor_slices(TEXTS)
    data = data.batch(size) if size else data

    def pair(x):
        return x, tf.strings.regex_replace(x, "gay", "")

    for original, counterfactual in build_counterfactual_data(
        data, custom_counterfactual_function=pair
    ).take(1):
        assert (
            original.shape == counterfactual.shape == ([size] if size else [])
        )
    triples = build_counterfactual_data(
        data, custom_counterfactual_function=lambda x: (*pair(x), None)
    )
    for original, _, weight in triples.take(1):
        assert original.shape.rank == bool(size)
        assert weight is None
    # A list is as good as a tuple.
    listed = build_counterfactual_data(
        data, custom_counterfactual_function=lambda x: list(pair(x))
    )
    assert len(listed.element_spec) == 2


def test_terms_restrict_a_custom_function():
    def shout(x):
        return x, x + "!", tf.fill(tf.shape(x), 0.5)

    for data in (Dataset.from_tensor_slices(TEXTS), batches(2, 2, 3)):
        pairs = build_counterfactual_data(data, TERMS, shout)
        pairs = pairs.unbatch() if pairs.element_spec[0].shape.rank else pairs
        assert list(pairs.as_numpy_iterator()) == [
            (text, text + b"!", 0.5) for text in BEFORE
        ]


def test_unchanged_rows_of_any_type_are_dropped():
    x = {
        "nan": [np.nan, np.nan, 1.0],
        "vector": [[1, 2], [3, 4], [5, 6]],
        "ragged": tf.ragged.constant([[1], [], [2, 3]]),
        "sparse": tf.sparse.from_dense([[0, 1], [0, 0], [2, 0]]),
    }

    def change(x):
        return x, {**x, "vector": tf.where(x["vector"] == 4, 0, x["vector"])}

    def append(x):
        ragged = tf.concat([x["ragged"], tf.ones_like(x["ragged"][:, :1])], 1)
        return x, {**x, "ragged": ragged}

    data = Dataset.from_tensor_slices(x)
    for function, rows in ((change, [[3, 4]]), (append, [[1, 2], [5, 6]])):
        pairs = build_counterfactual_data(
            data.batch(3), custom_counterfactual_function=function
        )
        (element,) = pairs
        assert element[0]["vector"].numpy().tolist() == rows
    single = build_counterfactual_data(
        data, custom_counterfactual_function=change
    )
    (element,) = single
    assert element[1]["vector"].numpy().tolist() == [3, 0]


def numpy_remove(text):
    def remove(text):
        text = np.asarray(text, "S")
        return np.char.replace(text, b" x", b"").astype(object)

    return tf.numpy_function(remove, [text], tf.string)


@pytest.mark.parametrize("batched", [False, True])
def test_custom_functions_that_lose_shapes(batched):
    data = Dataset.from_tensor_slices(["a x", "b", "c x"])
    data = data.batch(2) if batched else data
    weight = tf.numpy_function(lambda: np.float32(2), [], tf.float32)
    for result in (
        lambda x: (x, numpy_remove(x)),
        lambda x: (x, numpy_remove(x), 2 * tf.ones_like(x == "", "float32")),
        lambda x: (x, numpy_remove(x), tf.fill(tf.shape(x), weight)),
    ):
        found = build_counterfactual_data(
            data, custom_counterfactual_function=result
        )
        ranks = [spec.shape.rank for spec in found.element_spec]
        assert ranks in ([batched] * 2, [batched] * 3)
        found = found.unbatch() if batched else found
        assert [(a.numpy(), b.numpy()) for a, b, *_ in found] == [
            (b"a x", b"a"),
            (b"c x", b"c"),
        ]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: (x, x + "b", 1.0), r"weight of shape `\[batch\]`"),
        (lambda x: (x, tf.constant("b")), "known and equal ranks"),
        (lambda x: (numpy_remove(x), numpy_remove(x)), "ensure_shape"),
    ],
)
def test_batches_are_not_taken_for_examples(function, message):
    data = Dataset.from_tensor_slices(["a x", "b"]).batch(2)
    with pytest.raises(ValueError, match=message):
        build_counterfactual_data(data, custom_counterfactual_function=function)


def test_scalar_weights_beside_batches_of_numbers():
    numbers = Dataset.from_tensor_slices(np.eye(4, dtype="float32"))

    def function(x):
        return x, 2 * x, 3.0

    pairs = build_counterfactual_data(
        numbers, custom_counterfactual_function=function
    )
    assert [float(weight) for *_, weight in pairs] == [3.0] * 4
    with pytest.raises(ValueError, match=r"weight of shape `\[batch\]`"):
        build_counterfactual_data(
            numbers.batch(2), custom_counterfactual_function=function
        )


@pytest.mark.parametrize("size", [None, 2])
def test_halves_have_the_structure_of_the_example(size):
    x = collections.OrderedDict(sex=[0.0, 1.0, 1.0], age=[30.0, 40.0, 50.0])
    data = Dataset.from_tensor_slices((x, [0, 1, 1]))
    data = data.batch(size) if size else data

    def swap(element):
        x, _ = element
        return dict(x), {**x, "sex": 1.0 - x["sex"]}

    pairs = build_counterfactual_data(data, custom_counterfactual_function=swap)
    wanted = data.element_spec[0]
    assert all(is_alike(half, wanted) for half in pairs.element_spec)
    for original, counterfactual in pairs:
        assert list(original) == list(counterfactual) == ["sex", "age"]
        np.testing.assert_array_equal(original["age"], counterfactual["age"])


def test_a_function_may_choose_its_features():
    data = Dataset.from_tensors({"text": "a gay man", "id": 1})
    pairs = build_counterfactual_data(
        data,
        custom_counterfactual_function=lambda x: (x["text"], x["text"] + "!"),
    )
    assert pairs_of(pairs) == [(b"a gay man", b"a gay man!")]


def test_halves_of_other_names_are_refused():
    data = Dataset.from_tensors({"text": "a", "id": 1})
    with pytest.raises(ValueError, match="`counterfactual_x` must have the"):
        build_counterfactual_data(
            data,
            custom_counterfactual_function=lambda x: (x, {"text": x["text"]}),
        )


def test_batches_of_a_size_that_a_map_hides_lose_unchanged_rows():
    x = np.arange(16, dtype="float32").reshape(8, 2)
    data = Dataset.from_tensor_slices((x, np.zeros(8)))
    data = data.batch(4, drop_remainder=True).map(lambda x, y: (x, y))
    pairs = build_counterfactual_data(
        data,
        custom_counterfactual_function=lambda e: (
            e[0],
            tf.where(e[0] > 11, e[0] + 1, e[0]),
        ),
    )
    np.testing.assert_array_equal(
        np.concatenate([original for original, _ in pairs]), x[6:]
    )


def twice(x):
    """More rows than there were: two for each, one after the other."""
    return tf.repeat(x, 2, axis=0)


@pytest.mark.parametrize(
    ("function", "received"),
    [
        (lambda x: ({"x": x}, {"x": twice(x + 1)}), ([2], [4])),
        (lambda x: ({"x": x}, {"x": x[:1] + 1}), ([2], [1])),
        (lambda x: (x, x + 1, twice(x[:, 0])), ([2], [2], [4])),
        (
            lambda x: ({"a": x, "b": x}, {"a": x, "b": twice(x + 1)}),
            ([2, 2], [2, 4]),
        ),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_rows_that_do_not_belong_together_are_not_paired(
    function, received, known
):
    data = Dataset.from_tensor_slices(np.arange(8.0).reshape(4, 2))
    data = data.batch(2, drop_remainder=known)

    @in_plain_words
    def read():
        pairs = build_counterfactual_data(
            data, custom_counterfactual_function=function
        )
        return list(pairs)

    error = ValueError if known else tf.errors.InvalidArgumentError
    with pytest.raises(error) as raised:
        read()
    message = str(raised.value)
    assert message.startswith("`custom_counterfactual_function` must return")
    if known:
        assert "(2, 2)" in message
        return
    names = "`original_x`", "`counterfactual_x`", "the weight"
    for name, rows in zip(names, received, strict=False):
        rows = " ".join(map(str, rows))
        assert f"{name} with rows [{rows}]" in message


def test_a_function_may_give_several_pairs_for_an_example():
    data = Dataset.from_tensor_slices(TEXTS).batch(2)
    pairs = build_counterfactual_data(
        data,
        custom_counterfactual_function=lambda x: (
            twice(x),
            tf.reshape(tf.stack([x + "a", x + "b"], 1), [-1]),
        ),
    )
    assert pairs_of(pairs.unbatch()) == [
        (text.encode(), (text + end).encode()) for text in TEXTS for end in "ab"
    ]


def test_a_function_of_the_parts_of_an_element_is_refused():
    data = Dataset.from_tensor_slices((TEXTS, [0] * len(TEXTS)))
    with pytest.raises(TypeError, match=r"one argument.*`\(x, y\)`.*Received"):
        build_counterfactual_data(
            data, custom_counterfactual_function=lambda x, y: (x, x + "!")
        )


def test_long_data_that_are_no_dataset_are_cut_in_the_error():
    with pytest.raises(TypeError, match="of type list") as raised:
        build_counterfactual_data(["some text"] * 1000, ["text"])
    assert len(str(raised.value)) < 300
