"""Tests of packing task data with counterfactual pairs."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.keras.packed import (
    CounterfactualPackedInputs,
)
from tensorflow_model_remediation_ext.counterfactual.keras.packing import (
    pack_counterfactual_data,
)
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


def rows_of(dataset, part=1):
    """The rows of one part of all elements, in order."""
    return [
        row for element in dataset.as_numpy_iterator() for row in element[part]
    ]


def features(rows):
    return {
        "text": tf.constant(TEXTS),
        "number": tf.range(rows),
        "ragged": tf.ragged.range(tf.range(rows)),
        "sparse": tf.sparse.from_dense(tf.eye(rows, dtype=tf.int32)),
    }


def pairs():
    return build_counterfactual_data(labeled(), TERMS)


@pytest.mark.parametrize("pair_size", [None, 3])
@pytest.mark.parametrize("size", [None, 1, 3, "unknown"])
def test_pack_keeps_the_data_and_fits_the_pairs(size, pair_size):
    data = labeled()
    if size == "unknown":
        data = batches(3, 1, 3)
    elif size:
        data = data.batch(size)
    source = pairs().batch(pair_size) if pair_size else pairs()
    packed = pack_counterfactual_data(data, source)
    elements = list(packed)
    assert all(type(e) is CounterfactualPackedInputs for e in elements)
    if size is None:
        elements = list(packed.batch(1))
    texts = [t for e in elements for t in e.original_input[0].numpy()]
    assert texts == [t.encode() for t in TEXTS]
    stream = itertools.cycle(zip(BEFORE, AFTER, strict=True))
    for element in elements:
        assert element.original_input[2] is None
        original, counterfactual, weight = element.counterfactual_data
        rows = len(element.original_input[0])
        assert len(original) == len(counterfactual) == len(weight) == rows
        if size != 3 or rows == 3:
            expected = list(itertools.islice(stream, rows))
            found = zip(original.numpy(), counterfactual.numpy(), strict=True)
            assert list(found) == expected


def test_pack_survives_transformations():
    packed = pack_counterfactual_data(labeled(), pairs())
    packed = packed.map(lambda e: e).shuffle(3, seed=0).batch(2).prefetch(1)
    assert len(list(packed)) == 4
    for element in packed:
        assert type(element) is CounterfactualPackedInputs
        assert element.original_input[2] is None


def test_pack_keeps_the_cardinality():
    data = labeled()
    for source in (data, data.batch(3), data.repeat(), data.batch(2).repeat()):
        packed = pack_counterfactual_data(source, pairs())
        assert packed.cardinality() == source.cardinality()
    packed = pack_counterfactual_data(batches(3), pairs())
    assert packed.cardinality() == tf.data.UNKNOWN_CARDINALITY
    known = batches(3, 4).apply(tf.data.experimental.assert_cardinality(2))
    packed = pack_counterfactual_data(known, pairs())
    assert packed.cardinality() == 2
    assert len(list(packed)) == 2


def test_pack_by_objective():
    other = build_counterfactual_data(labeled(), ["none"]).batch(2)
    packed = pack_counterfactual_data(
        labeled().batch(3), {"one": pairs(), "two": other}
    )
    element = next(iter(packed))
    assert sorted(element.counterfactual_data) == ["one", "two"]
    assert element.counterfactual_data["one"][1].numpy().tolist() == AFTER[:3]
    two = element.counterfactual_data["two"]
    assert two[0].numpy().tolist() == [b"none"] * 3


@pytest.mark.parametrize("known", [True, False])
def test_pack_ragged_and_sparse_features(known):
    x = features(len(TEXTS))
    data = Dataset.from_tensor_slices((x, [0] * len(TEXTS))).batch(3)
    if not known:
        data = data.filter(lambda *_: True).map(
            lambda x, y: ({**x, "text": tf.strings.lower(x["text"])}, y)
        )
    source = build_counterfactual_data(data, TERMS, text_key="text")
    packed = pack_counterfactual_data(data, source)
    numbers = []
    for element in packed:
        task = element.original_input[0]
        numbers += task["number"].numpy().tolist()
        assert task["ragged"].row_lengths().numpy().tolist() == list(
            task["number"].numpy()
        )
        pair = element.counterfactual_data[1]
        rows = pair["number"].numpy()
        assert len(rows) == len(task["number"])
        assert pair["ragged"].row_lengths().numpy().tolist() == rows.tolist()
        np.testing.assert_array_equal(
            tf.sparse.to_dense(pair["sparse"]), np.eye(len(TEXTS))[rows]
        )
    assert numbers == list(range(len(TEXTS)))


def test_pack_pairs_without_weights_and_static_shapes():
    task = Dataset.from_tensor_slices(np.zeros((6, 4), "float32"))
    task = task.batch(2, drop_remainder=True)
    other = Dataset.from_tensor_slices((np.eye(4), np.ones((4, 4)))).map(
        lambda a, b: (tf.cast(a, tf.float32), tf.cast(b, tf.float32))
    )
    packed = pack_counterfactual_data(task, other)
    spec = packed.element_spec.counterfactual_data
    assert [s.shape.as_list() for s in spec] == [[2, 4], [2, 4], [2]]
    assert rows_of(packed.map(lambda e: e.counterfactual_data), 2) == [1.0] * 6


@pytest.mark.parametrize("known", [True, False])
def test_pack_pads_pairs_of_varying_sizes(known):
    tokens = [[1, 2], [3], [1, 5, 6, 7], [1], [8, 1, 9]]
    data = Dataset.from_generator(
        lambda: iter(tokens), output_signature=tf.TensorSpec([None], tf.int64)
    ).padded_batch(2)
    if not known:
        data = data.filter(lambda _: True).map(lambda x: x)

    def swap(x):
        return x, tf.where(x == 1, tf.constant(4, tf.int64), x)

    pairs = build_counterfactual_data(data, custom_counterfactual_function=swap)
    changing = itertools.cycle([t for t in tokens if 1 in t])
    for element in pack_counterfactual_data(data, pairs):
        original, counterfactual, _ = element.counterfactual_data
        rows = len(element.original_input[0])
        assert (
            original.shape == counterfactual.shape == (rows, original.shape[1])
        )
        if rows == 2:
            found = [[t for t in row if t] for row in original.numpy().tolist()]
            assert found == [next(changing) for _ in range(rows)]
            np.testing.assert_array_equal(
                np.where(original == 1, 4, original), counterfactual
            )


@pytest.mark.parametrize("data", [labeled(), labeled().batch(2), batches(2, 2)])
def test_pack_of_no_pairs_fails_at_the_first_element(data):
    for size in (None, 2):
        nothing = build_counterfactual_data(labeled(), ["absent"])
        nothing = nothing.batch(size) if size else nothing
        packed = pack_counterfactual_data(data, nothing)
        with pytest.raises(tf.errors.InvalidArgumentError, match="is empty"):
            next(iter(packed))


def test_pack_skips_batches_of_no_pairs():
    empty = Dataset.from_tensors(tf.zeros([0], tf.string)).repeat(3)
    empty = empty.map(lambda x: (x, x, tf.zeros([0])))
    packed = pack_counterfactual_data(
        labeled().batch(2), pairs().batch(2).concatenate(empty)
    )
    element = next(iter(packed))
    assert element.counterfactual_data[1].numpy().tolist() == AFTER[:2]
    packed = pack_counterfactual_data(labeled().batch(2), empty)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is empty"):
        next(iter(packed))


@pytest.mark.parametrize(
    ("data", "source", "error", "message"),
    [
        ([1], pairs(), TypeError, "original_input"),
        (labeled(), [1], TypeError, "counterfactual_data"),
        (labeled(), {"a": 1}, TypeError, r"counterfactual_data\['a'\]"),
        (labeled().take(0), pairs(), ValueError, "original_input"),
        (labeled(), labeled().take(0), ValueError, "is empty"),
        (labeled(), Dataset.from_tensors("a"), ValueError, "must yield"),
        (labeled(), Dataset.from_tensors(("a", 1)), ValueError, "dtypes"),
        (labeled(), Dataset.from_tensors((1, 1)), ValueError, "dtypes"),
        (
            labeled().map(lambda x, y: ({"t": x}, y)),
            pairs(),
            ValueError,
            "same names",
        ),
        (
            Dataset.from_tensors([[1.0, 2.0]]),
            Dataset.from_tensors(([1.0], [1.0], 1.0)),
            ValueError,
            "shapes",
        ),
    ],
)
def test_pack_errors(data, source, error, message):
    with pytest.raises(error, match=message):
        pack_counterfactual_data(data, source)
