"""Tests of building and packing counterfactual pairs."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.keras import utils

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
    return [(a, b) for a, b, _ in dataset.as_numpy_iterator()]


def rows_of(dataset, part=1):
    """The rows of one part of all elements, in order."""
    return [
        row for element in dataset.as_numpy_iterator() for row in element[part]
    ]


def replace_words(batch):
    """The custom function of the predecessor's guide."""
    original_x, _, weight = keras.utils.unpack_x_y_sample_weight(batch)
    counterfactual_x = tf.strings.regex_replace(original_x, "(?i)gay", "mad")
    return keras.utils.pack_x_y_sample_weight(
        original_x, counterfactual_x, weight
    )


# --- build_counterfactual_data ---------------------------------------------


def test_pairs_of_single_examples():
    data = utils.build_counterfactual_data(labeled(), TERMS)
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
    data = utils.build_counterfactual_data(labeled().map(element), TERMS)
    assert pairs_of(data) == list(zip(BEFORE, AFTER, strict=True))


@pytest.mark.parametrize("size", [1, 2, 3, 16])
def test_batches_are_regrouped_to_their_size(size):
    data = utils.build_counterfactual_data(labeled().batch(size), TERMS)
    elements = list(data.as_numpy_iterator())
    full, rest = divmod(len(BEFORE), size)
    sizes = [size] * full + [rest] * bool(rest)
    assert [len(e[0]) for e in elements] == sizes
    assert rows_of(data, 0) == BEFORE
    assert rows_of(data, 1) == AFTER
    assert all((e[2] == np.ones(len(e[0]), "float32")).all() for e in elements)


def test_batches_of_unknown_size_get_the_size_of_the_first():
    data = utils.build_counterfactual_data(batches(2, 3, 0, 2), TERMS)
    assert [len(e[0]) for e in data.as_numpy_iterator()] == [2, 2]
    assert rows_of(data, 1) == AFTER


def test_texts_of_rank_two():
    data = Dataset.from_tensor_slices(TEXTS).map(lambda x: x[None]).batch(3)
    data = utils.build_counterfactual_data(data, TERMS)
    assert [e[0].shape for e in data.as_numpy_iterator()] == [(3, 1), (1, 1)]
    assert [row[0] for row in rows_of(data)] == AFTER


def test_ragged_text():
    words = tf.ragged.constant([["gay", "x"], ["y"], [], ["z", "gay"]])
    data = Dataset.from_tensor_slices(words).batch(2)
    (element,) = utils.build_counterfactual_data(data, TERMS)
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
    pairs = utils.build_counterfactual_data(data, TERMS, text_key="text")
    pairs = pairs if size else pairs.batch(3)
    for half, texts in ((0, BEFORE), (1, AFTER)):
        elements = [element[half] for element in pairs]
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
        pairs = utils.build_counterfactual_data(data, TERMS, text_key=key)
        assert [b for _, (_, b), _ in pairs.as_numpy_iterator()] == AFTER


def test_batches_whose_sizes_vary_stay_apart():
    data = Dataset.from_tensor_slices(TEXTS).map(
        lambda t: {"text": t, "bytes": tf.strings.bytes_split(t)}
    )
    pairs = utils.build_counterfactual_data(
        data.padded_batch(2), TERMS, text_key="text"
    )
    assert [
        t for a, _, _ in pairs.as_numpy_iterator() for t in a["text"]
    ] == BEFORE


def test_swap_and_case():
    swap = {"gay": "straight", "straight": "gay"}
    data = Dataset.from_tensor_slices(["Gay or straight", "gay", "no"])
    pairs = utils.build_counterfactual_data(data, terms_to_replace=swap)
    assert [b for _, b in pairs_of(pairs)] == [b"Straight or gay", b"straight"]
    pairs = utils.build_counterfactual_data(
        data, terms_to_replace=swap, case_sensitive=True
    )
    assert [b for _, b in pairs_of(pairs)] == [b"Gay or gay", b"straight"]


@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("terms", [None, TERMS])
def test_custom_function_of_the_guide(size, terms):
    data = Dataset.from_tensor_slices((TEXTS, None, None))
    pairs = utils.build_counterfactual_data(
        data.batch(size) if size else data,
        terms,
        custom_counterfactual_function=replace_words,
    )
    if size:
        assert [len(e[0]) for e in pairs.as_numpy_iterator()] == [2, 2]
        pairs = pairs.unbatch()
    expected = [t.lower().replace(b"gay", b"mad") for t in BEFORE]
    assert [b.lower() for _, b in pairs_of(pairs)] == expected
    assert [w for _, _, w in pairs.as_numpy_iterator()] == [1.0] * 4


def test_terms_restrict_a_custom_function():
    def shout(x):
        return x, x + "!", tf.fill(tf.shape(x), 0.5)

    for data in (Dataset.from_tensor_slices(TEXTS), batches(2, 2, 3)):
        pairs = utils.build_counterfactual_data(data, TERMS, shout)
        pairs = pairs.unbatch() if pairs.element_spec[0].shape.rank else pairs
        assert pairs_of(pairs) == [(t, t + b"!") for t in BEFORE]
        assert [w for _, _, w in pairs.as_numpy_iterator()] == [0.5] * 4


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
        pairs = utils.build_counterfactual_data(
            data.batch(3), custom_counterfactual_function=function
        )
        (element,) = pairs
        assert element[0]["vector"].numpy().tolist() == rows
    single = utils.build_counterfactual_data(
        data, custom_counterfactual_function=change
    )
    (element,) = single
    assert element[1]["vector"].numpy().tolist() == [3, 0]


def test_endless_and_one_shot_data():
    endless = utils.build_counterfactual_data(labeled().repeat(), TERMS)
    assert len(list(endless.take(5000))) == 5000
    opened = []

    def generate():
        opened.append(1)
        yield from TEXTS

    once = Dataset.from_generator(
        generate, output_signature=tf.TensorSpec([], tf.string)
    )
    assert len(list(utils.build_counterfactual_data(once, TERMS))) == 4
    assert opened == [1]


def test_the_pipeline_is_plain_tensorflow():
    for arguments in (
        {"sensitive_terms_to_remove": TERMS},
        {"terms_to_replace": {"gay": "x"}},
    ):
        data = utils.build_counterfactual_data(labeled(), **arguments)
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
        utils.build_counterfactual_data(*arguments)


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
        found = utils.build_counterfactual_data(
            data, custom_counterfactual_function=result
        )
        assert [s.shape.rank for s in found.element_spec] == [batched] * 3
        found = found.unbatch() if batched else found
        assert [(a.numpy(), b.numpy()) for a, b, _ in found] == [
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
        utils.build_counterfactual_data(
            data, custom_counterfactual_function=function
        )


def test_scalar_weights_beside_batches_of_numbers():
    numbers = Dataset.from_tensor_slices(np.eye(4, dtype="float32"))

    def function(x):
        return x, 2 * x, 3.0

    pairs = utils.build_counterfactual_data(
        numbers, custom_counterfactual_function=function
    )
    assert [float(weight) for *_, weight in pairs] == [3.0] * 4
    with pytest.raises(ValueError, match=r"weight of shape `\[batch\]`"):
        utils.build_counterfactual_data(
            numbers.batch(2), custom_counterfactual_function=function
        )


def test_text_key_errors():
    with pytest.raises(ValueError, match="no meaning without terms"):
        utils.build_counterfactual_data(
            labeled(),
            custom_counterfactual_function=lambda e: (e[0], e[0]),
            text_key="a",
        )
    data = Dataset.from_tensors({"a": "x", "b": 1})
    for key, error in (("c", ValueError), ("b", TypeError)):
        with pytest.raises(error, match=key):
            utils.build_counterfactual_data(data, TERMS, text_key=key)
    with pytest.raises(ValueError, match="text_key"):
        utils.build_counterfactual_data(labeled(), TERMS, text_key="a")


# --- pack_counterfactual_data ----------------------------------------------


def pairs():
    return utils.build_counterfactual_data(labeled(), TERMS)


@pytest.mark.parametrize("pair_size", [None, 3])
@pytest.mark.parametrize("size", [None, 1, 3, "unknown"])
def test_pack_keeps_the_data_and_fits_the_pairs(size, pair_size):
    data = labeled()
    if size == "unknown":
        data = batches(3, 1, 3)
    elif size:
        data = data.batch(size)
    source = pairs().batch(pair_size) if pair_size else pairs()
    packed = utils.pack_counterfactual_data(data, source)
    elements = list(packed)
    assert all(type(e) is utils.CounterfactualPackedInputs for e in elements)
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
    packed = utils.pack_counterfactual_data(labeled(), pairs())
    packed = packed.map(lambda e: e).shuffle(3, seed=0).batch(2).prefetch(1)
    assert len(list(packed)) == 4
    for element in packed:
        assert type(element) is utils.CounterfactualPackedInputs
        assert element.original_input[2] is None


def test_pack_keeps_the_cardinality():
    data = labeled()
    for source in (data, data.batch(3), data.repeat(), data.batch(2).repeat()):
        packed = utils.pack_counterfactual_data(source, pairs())
        assert packed.cardinality() == source.cardinality()
    packed = utils.pack_counterfactual_data(batches(3), pairs())
    assert packed.cardinality() == tf.data.UNKNOWN_CARDINALITY
    known = batches(3, 4).apply(tf.data.experimental.assert_cardinality(2))
    packed = utils.pack_counterfactual_data(known, pairs())
    assert packed.cardinality() == 2
    assert len(list(packed)) == 2


def test_pack_by_objective():
    other = utils.build_counterfactual_data(labeled(), ["none"]).batch(2)
    packed = utils.pack_counterfactual_data(
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
    source = utils.build_counterfactual_data(data, TERMS, text_key="text")
    packed = utils.pack_counterfactual_data(data, source)
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
    packed = utils.pack_counterfactual_data(task, other)
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

    pairs = utils.build_counterfactual_data(
        data, custom_counterfactual_function=swap
    )
    changing = itertools.cycle([t for t in tokens if 1 in t])
    for element in utils.pack_counterfactual_data(data, pairs):
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
        nothing = utils.build_counterfactual_data(labeled(), ["absent"])
        nothing = nothing.batch(size) if size else nothing
        packed = utils.pack_counterfactual_data(data, nothing)
        with pytest.raises(tf.errors.InvalidArgumentError, match="is empty"):
            next(iter(packed))


def test_pack_skips_batches_of_no_pairs():
    empty = Dataset.from_tensors(tf.zeros([0], tf.string)).repeat(3)
    empty = empty.map(lambda x: (x, x, tf.zeros([0])))
    packed = utils.pack_counterfactual_data(
        labeled().batch(2), pairs().batch(2).concatenate(empty)
    )
    element = next(iter(packed))
    assert element.counterfactual_data[1].numpy().tolist() == AFTER[:2]
    packed = utils.pack_counterfactual_data(labeled().batch(2), empty)
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
        utils.pack_counterfactual_data(data, source)


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
