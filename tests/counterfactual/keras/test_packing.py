"""Tests of packing task data with counterfactual pairs."""

import collections
import itertools
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.structures import is_alike
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
    """What `build_counterfactual_data` makes of the texts."""
    rows = Dataset.from_tensor_slices((BEFORE, AFTER, [1.0] * len(BEFORE)))
    # It does not know how many there are, either.
    return rows.filter(lambda *_: True)


def test_pairs_are_those_of_terms():
    built = build_counterfactual_data(labeled(), TERMS)
    assert list(built.as_numpy_iterator()) == list(pairs().as_numpy_iterator())
    assert built.element_spec == pairs().element_spec
    assert built.cardinality() == pairs().cardinality()


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
@pytest.mark.parametrize("pair_size", [None, 3])
def test_pairs_beyond_the_reach_of_one_epoch_have_their_turn(pair_size, known):
    task = Dataset.from_tensor_slices(np.zeros(7, "int64")).batch(3)
    task = task if known else task.map(lambda x: x).filter(lambda x: True)
    source = Dataset.range(300).map(lambda x: (x, -x, 1.0))
    source = source.batch(pair_size) if pair_size else source
    packed = pack_counterfactual_data(task, source)
    epochs = [
        rows_of(packed.map(lambda e: e.counterfactual_data), 0)
        for _ in range(4)
    ]
    if known:
        assert epochs[0] == [0, 1, 2, 3, 4, 5, 6]
    assert len({rows[0] for rows in epochs}) > 2
    assert all(len(rows) == 7 for rows in epochs)


@pytest.mark.parametrize("size", [None, 2])
def test_pairs_that_an_epoch_reads_through_start_at_the_first(size):
    pairs = Dataset.from_tensor_slices((BEFORE, AFTER))
    source = pairs.batch(size) if size else pairs
    packed = pack_counterfactual_data(labeled().batch(4), source)
    for _ in range(3):
        found = rows_of(packed.map(lambda e: e.counterfactual_data), 0)
        assert found[:4] == BEFORE


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


@pytest.mark.parametrize("label", [0.0, [0.0, 1.0]])
def test_pack_single_images_of_unknown_size_without_weights(label):
    sizes = Dataset.from_tensor_slices([2, 3, 2])
    images = sizes.map(lambda n: (tf.ones((n, n, 1)), tf.constant(label)))
    pairs = images.map(lambda x, _: (x, 2 * x))
    packed = pack_counterfactual_data(images, pairs)
    assert packed.element_spec.counterfactual_data[2].shape == []
    for size, element in zip([2, 3, 2], packed, strict=True):
        original, counterfactual, weight = element.counterfactual_data
        assert original.shape == counterfactual.shape == (size, size, 1)
        assert weight == 1


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
    packed = list(pack_counterfactual_data(data, pairs))
    assert len(packed) == 3
    for element in packed:
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


def sizes(packed, objective=None):
    """The rows of the task and of the pairs in each batch."""
    return [
        (
            len(element.original_input[0]),
            len(
                element.counterfactual_data[objective][0]
                if objective
                else element.counterfactual_data[0]
            ),
        )
        for element in packed
    ]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (1.0, [(3, 3), (3, 3), (1, 1)]),
        (1, [(3, 3), (3, 3), (1, 1)]),
        (0.6, [(3, 2), (3, 2), (1, 1)]),
        (0.01, [(3, 1), (3, 1), (1, 1)]),
        # 4 pairs of 7 texts: .57 of three rows are two.
        ("auto", [(3, 2), (3, 2), (1, 1)]),
    ],
)
def test_fewer_pairs_than_examples(share, expected, known):
    data = labeled().batch(3)
    data = data if known else data.map(lambda *element: element)
    packed = pack_counterfactual_data(data, pairs(), pairs_per_example=share)
    assert sizes(packed) == expected
    texts = rows_of(packed.map(lambda e: e.original_input[:1]), 0)
    assert texts == [text.encode() for text in TEXTS]
    found = rows_of(packed.map(lambda e: e.counterfactual_data), 0)
    assert found[:4] == BEFORE[: len(found)]
    assert packed.cardinality() == data.cardinality()


def test_auto_counts_by_objective_and_stops_at_one():
    everything = labeled().map(lambda x, _: (x, x + "!")).repeat(2)
    sources = {"few": pairs().batch(2), "all": everything}
    packed = pack_counterfactual_data(
        labeled().batch(7), sources, pairs_per_example="auto"
    )
    assert sizes(packed, "few") == [(7, 4)]
    assert sizes(packed, "all") == [(7, 7)]


def test_auto_reads_the_data_once():
    reads = []

    def generate():
        reads.append(1)
        yield from TEXTS

    spec = tf.TensorSpec([], tf.string)
    data = Dataset.from_generator(generate, output_signature=spec)
    pack_counterfactual_data(data.batch(2), pairs(), pairs_per_example="auto")
    assert reads == [1]


def test_auto_without_pairs_fails_at_the_first_element():
    nothing = build_counterfactual_data(labeled(), ["absent"])
    packed = pack_counterfactual_data(
        labeled().batch(2), nothing, pairs_per_example="auto"
    )
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="No example holds"
    ):
        next(iter(packed))


@pytest.mark.parametrize(
    "share", [0, -1.0, 1.5, float("nan"), True, None, "all", [0.5]]
)
def test_impossible_shares_are_refused(share):
    with pytest.raises(ValueError, match="pairs_per_example=") as error:
        pack_counterfactual_data(
            labeled().batch(2), pairs(), pairs_per_example=share
        )
    assert repr(share) in str(error.value)


@pytest.mark.parametrize("kind", ["pairs", "batches", "found"])
def test_auto_does_not_count_without_end(kind):
    endless = {
        "pairs": pairs().repeat(),
        "batches": pairs().batch(2).repeat(),
        "found": build_counterfactual_data(labeled().repeat(), TERMS),
    }[kind]
    with pytest.raises(ValueError, match="`counterfactual_data` is an endless"):
        pack_counterfactual_data(
            labeled().batch(2), endless, pairs_per_example="auto"
        )
    packed = pack_counterfactual_data(labeled().batch(2), endless)
    assert sizes(packed)[0] == (2, 2)


@pytest.mark.parametrize("share", [0.5, "auto"])
def test_fewer_pairs_need_batches_and_an_end(share):
    with pytest.raises(ValueError, match="batch `original_input` first"):
        pack_counterfactual_data(labeled(), pairs(), pairs_per_example=share)
    endless = labeled().batch(2).repeat()
    if share == "auto":
        with pytest.raises(ValueError, match="come to an end"):
            pack_counterfactual_data(endless, pairs(), pairs_per_example=share)
        with pytest.raises(ValueError, match="come to an end"):
            pack_counterfactual_data(
                labeled().batch(2), pairs().repeat(), pairs_per_example=share
            )
    else:
        packed = pack_counterfactual_data(
            endless, pairs(), pairs_per_example=share
        )
        assert sizes(packed.take(5)) == [(2, 1)] * 3 + [(1, 1), (2, 1)]


class Point(NamedTuple):
    """Features by name, not in the order of the alphabet."""

    sex: Any
    age: Any


@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize(
    ("task", "half"),
    [
        (collections.OrderedDict, dict),
        (dict, collections.OrderedDict),
        (lambda f: Point(**f), lambda f: f),
        (lambda f: Point(**f), lambda f: (f["sex"], f["age"])),
        (
            lambda f: {"in": collections.OrderedDict(f), "a": f["age"]},
            lambda f: collections.OrderedDict([("in", f), ("a", f["age"])]),
        ),
    ],
)
def test_everything_has_the_structure_of_the_task(task, half, size):
    sex, age = np.array([1.0, 0.0, 1.0]), np.array([30.0, 40.0, 50.0])
    base = Dataset.from_tensor_slices({"sex": sex, "age": age})
    base = base.batch(size) if size else base
    data = base.map(lambda f: task({"sex": f["sex"], "age": f["age"]}))
    data = data.map(lambda *x: (x if len(x) > 1 else x[0], 0.0))
    if task({"sex": 0, "age": 0}).__class__ is Point:
        data = data.map(lambda x, y: (Point(*x), y))
    # The halves of pairs that come from elsewhere differ from one another too.
    source = base.map(
        lambda f: (
            half({"sex": f["sex"], "age": f["age"]}),
            task({"age": f["age"], "sex": 1 - f["sex"]}),
        )
    )
    packed = pack_counterfactual_data(data, source)
    (x, *_), (original, counterfactual, _) = packed.element_spec
    assert is_alike(original, x)
    assert is_alike(counterfactual, x)
    (x, *_), (original, counterfactual, _) = next(iter(packed))
    flat = [
        [np.ravel(part)[0] for part in keras.tree.flatten(each)]
        for each in (x, original, counterfactual)
    ]
    assert flat[0] == flat[1]
    # `sex` is in one place only, the same in all.
    assert [a != b for a, b in zip(flat[0], flat[2], strict=True)] == [
        part == 1.0 for part in flat[0]
    ]


@pytest.mark.parametrize("data", [labeled(), labeled().batch(2), batches(2, 2)])
def test_pack_of_no_pairs_fails_at_the_first_element(data):
    for size in (None, 2):
        nothing = pairs().filter(lambda *_: False)
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


@pytest.mark.parametrize("pairs_in_batches", [False, True])
@pytest.mark.parametrize("task_in_batches", [False, True])
def test_sequences_of_any_length_without_weights(
    pairs_in_batches, task_in_batches
):
    """Both sides together tell sequences from batches of numbers."""

    def generate():
        for i in range(1, 5):
            yield np.arange(1, i + 1), i

    scalar = tf.TensorSpec([], tf.int64)
    task = Dataset.from_generator(
        generate, output_signature=(tf.TensorSpec([None], tf.int64), scalar)
    )
    pairs = build_counterfactual_data(
        task, custom_counterfactual_function=lambda e: (e[0], e[0] + 1)
    )
    packed = pack_counterfactual_data(
        task.padded_batch(2) if task_in_batches else task,
        pairs.padded_batch(2) if pairs_in_batches else pairs,
    )
    lengths = []
    for (x, y, _), (original, counterfactual, weight) in packed:
        assert weight.shape == y.shape
        assert original.shape.rank == x.shape.rank
        for half, other in zip(
            np.atleast_2d(original), np.atleast_2d(counterfactual), strict=True
        ):
            lengths.append(np.count_nonzero(half))
            count = np.arange(1, lengths[-1] + 1)
            np.testing.assert_array_equal(half[: len(count)], count)
            np.testing.assert_array_equal(other[: len(count)], count + 1)
    assert lengths == [1, 2, 3, 4]
