"""Tests of building counterfactual pairs from terms."""

import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.structures import is_alike
from tensorflow_model_remediation_ext.counterfactual.keras.pairs import (
    build_counterfactual_data,
)

Dataset = tf.data.Dataset
TEXTS = ["a gay man", "none", "GAY", "x", "y gay", "z", "gay\nz"]
BEFORE = [b"a gay man", b"GAY", b"y gay", b"gay\nz"]
AFTER = [b"a man", b"", b"y", b"\nz"]
TERMS = ["gay"]


def labeled():
    return Dataset.from_tensor_slices((TEXTS, list(range(len(TEXTS)))))


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


def rows_of(elements, part=1):
    """The rows of one part of all elements, in order."""
    return [row for element in elements for row in element[part]]


def test_pairs_of_single_examples():
    data = build_counterfactual_data(labeled(), TERMS)
    assert pairs_of(data) == list(zip(BEFORE, AFTER, strict=True))
    assert data.element_spec == (
        tf.TensorSpec([], tf.string),
        tf.TensorSpec([], tf.string),
        tf.TensorSpec([], tf.float32),
    )


@pytest.mark.parametrize(
    "element",
    [
        lambda x, y: x,
        lambda x, y: (x,),
        lambda x, y: (x, y),
        lambda x, y: (x, y, 1.0),
        lambda x, y: (x, None, None),
    ],
)
def test_every_form_of_element(element):
    data = build_counterfactual_data(labeled().map(element), TERMS)
    assert pairs_of(data) == list(zip(BEFORE, AFTER, strict=True))


@pytest.mark.parametrize("size", [1, 2, 3, 16])
def test_batches_are_regrouped_to_their_size(size):
    data = build_counterfactual_data(labeled().batch(size), TERMS)
    elements = list(data.as_numpy_iterator())
    full, rest = divmod(len(BEFORE), size)
    sizes = [size] * full + [rest] * bool(rest)
    assert [len(e[0]) for e in elements] == sizes
    assert rows_of(elements, 0) == BEFORE
    assert rows_of(elements, 1) == AFTER
    assert all((e[2] == np.ones(len(e[0]), "float32")).all() for e in elements)


def test_batches_of_unknown_size_get_the_size_of_the_first():
    data = build_counterfactual_data(batches(2, 3, 0, 2), TERMS)
    elements = list(data.as_numpy_iterator())
    assert [len(e[0]) for e in elements] == [2, 2]
    assert rows_of(elements) == AFTER


def test_texts_of_rank_two():
    data = Dataset.from_tensor_slices(TEXTS).map(lambda x: x[None]).batch(3)
    data = build_counterfactual_data(data, TERMS)
    elements = list(data.as_numpy_iterator())
    assert [e[0].shape for e in elements] == [(3, 1), (1, 1)]
    assert [row[0] for row in rows_of(elements)] == AFTER


def test_ragged_text():
    words = tf.ragged.constant([["gay", "x"], ["y"], [], ["z", "gay"]])
    data = Dataset.from_tensor_slices(words).batch(2)
    (element,) = build_counterfactual_data(data, TERMS)
    assert element[0].to_list() == [[b"gay", b"x"], [b"z", b"gay"]]
    assert element[1].to_list() == [[b"", b"x"], [b"z", b""]]


def features(rows):
    return {
        "text": tf.constant(TEXTS),
        "number": tf.range(rows),
        "ragged": tf.ragged.range(tf.range(rows)),
        "sparse": tf.sparse.from_dense(tf.eye(rows, dtype=tf.int32)),
    }


@pytest.mark.parametrize("size", [None, 3])
def test_other_features_pass_through(size):
    data = Dataset.from_tensor_slices((features(len(TEXTS)), [0] * len(TEXTS)))
    data = data.batch(size) if size else data
    pairs = build_counterfactual_data(data, TERMS, text_key="text")
    batches = list(pairs if size else pairs.batch(3))
    for half, texts in ((0, BEFORE), (1, AFTER)):
        elements = [element[half] for element in batches]
        assert [t for e in elements for t in e["text"].numpy()] == texts
        numbers = [n for e in elements for n in e["number"].numpy()]
        assert numbers == [0, 2, 4, 6]
        ragged = [r for e in elements for r in e["ragged"].to_list()]
        assert ragged == [list(range(n)) for n in numbers]
        dense = [tf.sparse.to_dense(e["sparse"]) for e in elements]
        np.testing.assert_array_equal(
            tf.concat(dense, 0), np.eye(len(TEXTS))[numbers]
        )


def test_tuple_features_by_index():
    data = Dataset.from_tensor_slices(
        (((list(range(len(TEXTS)))), TEXTS), [0] * len(TEXTS))
    )
    for key in (None, 1):
        pairs = build_counterfactual_data(data, TERMS, text_key=key)
        assert [b for _, (_, b), _ in pairs.as_numpy_iterator()] == AFTER


@pytest.mark.parametrize("size", [None, 3])
def test_the_structure_of_features_stays(size):
    named = collections.namedtuple("Features", ["text", "rank"])
    for kind in (named, collections.OrderedDict):
        x = kind(text=TEXTS, rank=list(range(len(TEXTS))))
        data = Dataset.from_tensor_slices((x, [0] * len(TEXTS)))
        data = data.batch(size) if size else data
        key = 0 if kind is named else "text"
        pairs = build_counterfactual_data(data, TERMS, text_key=key)
        for half in pairs.element_spec[:2]:
            assert is_alike(half, data.element_spec[0])


def test_batches_whose_sizes_vary_stay_apart():
    data = Dataset.from_tensor_slices(TEXTS).map(
        lambda t: {"text": t, "bytes": tf.strings.bytes_split(t)}
    )
    pairs = build_counterfactual_data(
        data.padded_batch(2), TERMS, text_key="text"
    )
    assert [
        t for a, _, _ in pairs.as_numpy_iterator() for t in a["text"]
    ] == BEFORE


def test_swap_and_case():
    swap = {"gay": "straight", "straight": "gay"}
    data = Dataset.from_tensor_slices(["Gay or straight", "gay", "no"])
    pairs = build_counterfactual_data(data, terms_to_replace=swap)
    assert [b for _, b in pairs_of(pairs)] == [b"Straight or gay", b"straight"]
    pairs = build_counterfactual_data(
        data, terms_to_replace=swap, case_sensitive=True
    )
    assert [b for _, b in pairs_of(pairs)] == [b"Gay or gay", b"straight"]


def test_endless_and_one_shot_data():
    endless = build_counterfactual_data(labeled().repeat(), TERMS)
    assert len(list(endless.take(100))) == 100
    opened = []

    def generate():
        opened.append(1)
        yield from TEXTS

    once = Dataset.from_generator(
        generate, output_signature=tf.TensorSpec([], tf.string)
    )
    assert len(list(build_counterfactual_data(once, TERMS))) == 4
    assert opened == [1]


def test_the_pipeline_is_plain_tensorflow():
    for arguments in (
        {"sensitive_terms_to_remove": TERMS},
        {"terms_to_replace": {"gay": "x"}},
    ):
        data = build_counterfactual_data(labeled(), **arguments)
        graph = tf.raw_ops.DatasetToGraphV2(
            input_dataset=tf.data.experimental.to_variant(data)
        )
        graph = tf.compat.v1.GraphDef.FromString(graph.numpy())
        functions = graph.library.function
        nodes = [n for f in functions for n in f.node_def] + list(graph.node)
        assert any(n.op == "StaticRegexReplace" for n in nodes)
        assert not any("PyFunc" in n.op or "Table" in n.op for n in nodes)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, TERMS), TypeError, "NoneType"),
        ((["a"], TERMS), TypeError, "list"),
        ((Dataset.from_tensors("a"),), ValueError, "terms_to_replace"),
        ((Dataset.from_tensors(1), TERMS), TypeError, "int32"),
        ((Dataset.from_tensors("a"), "gay"), TypeError, "'gay'"),
        ((Dataset.from_tensors("a"), 5), TypeError, "list of terms.*5"),
        ((Dataset.from_tensors({"a": 1}), TERMS), TypeError, "string tensors"),
        ((Dataset.from_tensors("a"), None, 3), TypeError, "callable"),
        ((Dataset.from_tensors({"a": "x", "b": "y"}), TERMS), ValueError, "a"),
        ((Dataset.from_tensors(("a", 1, 1, 1)), TERMS), ValueError, "4 comp"),
        (
            (Dataset.from_tensors("a"), None, lambda x: x),
            ValueError,
            "must return",
        ),
        (
            (Dataset.from_tensors("a"), None, lambda x: (x, 1)),
            ValueError,
            "same types",
        ),
    ],
)
def test_build_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        build_counterfactual_data(*arguments)


def test_text_key_errors():
    with pytest.raises(ValueError, match="no meaning without terms"):
        build_counterfactual_data(
            labeled(),
            custom_counterfactual_function=lambda e: (e[0], e[0]),
            text_key="a",
        )
    data = Dataset.from_tensors({"a": "x", "b": 1})
    for key, error in (("c", ValueError), ("b", TypeError)):
        with pytest.raises(error, match=key):
            build_counterfactual_data(data, TERMS, text_key=key)
    with pytest.raises(ValueError, match="text_key"):
        build_counterfactual_data(labeled(), TERMS, text_key="a")
