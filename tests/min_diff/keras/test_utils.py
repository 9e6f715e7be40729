"""Datasets of rows of groups, and packed ones."""

import collections
import time

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.min_diff.keras import (
    MinDiffPackedInputs,
    build_min_diff_dataset,
    pack_min_diff_data,
)
from tensorflow_model_remediation_ext.min_diff.keras.utils import (
    embed_inputs,
    map_inputs,
    unpack_min_diff_data,
    unpack_original_inputs,
    validate_min_diff_structure,
)

ROWS = 40
RNG = np.random.default_rng(0)
AGE = np.arange(ROWS, dtype="float32")
SEX = np.where(np.arange(ROWS) % 4 == 0, "f", "m")
RACE = np.array(["a", "b", "c", "a", "b"] * 8)
LABEL = (np.arange(ROWS) % 3 == 0).astype("float32")
WEIGHT = RNG.uniform(0.5, 2, ROWS).astype("float32")


def people(*more, **features):
    x = {"age": AGE, "sex": SEX, "race": RACE, **features}
    return tf.data.Dataset.from_tensor_slices((x, LABEL, *more))


def first(dataset, count=1):
    """The first batches, as arrays, one after the other."""
    batches = list(dataset.take(count))
    return tf.nest.map_structure(
        lambda *tensors: tf.concat(tensors, 0).numpy(), *batches
    )


def numbers(values, batch=2):
    x = np.array(values, "float32")[:, None]
    return tf.data.Dataset.from_tensor_slices((x, x)).batch(batch)


# Two datasets.


def test_two_datasets_as_in_the_predecessor():
    built = build_min_diff_dataset(numbers([1, 2, 3]), numbers([7, 8], 1))
    batches = list(built.take(4))
    found = [b[0].numpy().ravel().tolist() for b in batches]
    # Each begins anew when it ends, whatever the other does.
    assert found == [[1, 2, 7], [3, 8], [1, 2, 7], [3, 8]]
    _, membership, weight = batches[0]
    assert membership.numpy().tolist() == [[1], [1], [0]]
    assert membership.dtype == weight.dtype == tf.float32
    assert weight.numpy().tolist() == [[1], [1], [1]]


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_weights_of_one_side_are_kept(shape):
    x = np.ones((3, 1), "float32")
    weight = np.reshape([2.0, 3.0, 4.0], shape).astype("float32")
    weighted = tf.data.Dataset.from_tensors((x, x, weight))
    plain = tf.data.Dataset.from_tensors((x, x))
    _, _, found = first(build_min_diff_dataset(weighted, plain))
    assert found.ravel().tolist() == [2, 3, 4, 1, 1, 1]
    _, _, found = first(build_min_diff_dataset(plain, weighted))
    assert found.ravel().tolist() == [1, 1, 1, 2, 3, 4]
    column = tf.data.Dataset.from_tensors((x, x, np.full((3, 1), 5.0)))
    _, _, found = first(build_min_diff_dataset(column, weighted))
    assert found.tolist() == [[5], [5], [5], [2], [3], [4]]


def test_every_kind_of_feature():
    def make(values):
        return tf.data.Dataset.from_tensor_slices(
            collections.OrderedDict(
                text=[str(v) for v in values],
                ragged=tf.ragged.range(values),
                sparse=tf.sparse.eye(len(values), max(values)),
            )
        ).batch(2)

    x, membership, _ = next(
        iter(build_min_diff_dataset(make([1, 2]), make([3, 4])))
    )
    assert x["text"].numpy().tolist() == [b"1", b"2", b"3", b"4"]
    assert x["ragged"].to_list() == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert tf.sparse.to_dense(x["sparse"]).shape == (4, 4)
    assert isinstance(x, dict) and list(x) == ["text", "ragged", "sparse"]
    assert membership.numpy().ravel().tolist() == [1, 1, 0, 0]


def test_batch_size_and_objectives():
    one, other = numbers([1, 2, 3, 4], 1), numbers([7, 8, 9])
    x, *_ = first(build_min_diff_dataset(one, other, batch_size=5))
    assert x.ravel().tolist() == [1, 2, 3, 7, 8]
    # Rows alone will do as well.
    rows = one.unbatch()
    x, *_ = first(build_min_diff_dataset(rows, rows, batch_size=4))
    assert x.ravel().tolist() == [1, 2, 1, 2]
    both = build_min_diff_dataset(
        {"a": one, "b": other}, {"a": other, "b": one}
    )
    assert set(both.element_spec) == {"a", "b"}


def test_objectives_of_two_dicts_of_datasets_are_packed():
    task, one, other = numbers([5, 6]), numbers([1, 2]), numbers([3, 4])
    pair = {"a": one, "b": other}, {"a": other, "b": one}
    rows = build_min_diff_dataset(*pair)
    # Memberships alone will do, as in the predecessor.
    two = rows.map(lambda e: {key: each[:2] for key, each in e.items()})
    wanted = {"a": [1, 2, 3, 4], "b": [3, 4, 1, 2]}
    for packed in (
        pack_min_diff_data(task, *pair),
        pack_min_diff_data(task, min_diff_dataset=rows),
        pack_min_diff_data(task, min_diff_dataset=two),
    ):
        inputs, _ = next(iter(packed))
        assert set(inputs.min_diff_data) == {"a", "b"}
        for objective, (x, membership, weight) in inputs.min_diff_data.items():
            assert x.numpy().ravel().tolist() == wanted[objective]
            assert membership.numpy().ravel().tolist() == [1, 1, 0, 0]
            assert weight.shape == (4, 1)
    with pytest.raises(ValueError, match=r"min_diff_dataset\['c'\]"):
        pack_min_diff_data(task, min_diff_dataset={"c": rows})


# Groups out of one dataset.


@pytest.mark.parametrize("batched", [False, True])
def test_groups_are_stratified_shuffled_and_endless(batched):
    data = people(WEIGHT)
    data = data.batch(16) if batched else data
    built = build_min_diff_dataset(
        data, group="sex", groups=["m", "f"], batch_size=8, seed=1
    )
    assert built.cardinality() == tf.data.INFINITE_CARDINALITY
    x, membership, weight = first(built, 30)
    assert set(x) == {"age", "race"}
    members = membership.reshape(30, 8)
    assert (members.sum(axis=1) == 4).all()
    rows = x["age"].astype(int)
    assert (SEX[rows] == np.where(membership[:, 0] == 1, "f", "m")).all()
    np.testing.assert_allclose(weight[:, 0], WEIGHT[rows], rtol=1e-6)
    # 120 draws of a group: every row of it, in another order each time.
    for ids in (0, 1):
        drawn = rows[membership[:, 0] == ids]
        size = int(("mf"[ids] == SEX).sum())
        passes = [drawn[k : k + size] for k in range(0, 120 - size + 1, size)]
        assert all(len(set(p)) == size for p in passes)
        assert passes[0].tolist() != passes[1].tolist()
    if not batched:
        again = first(
            build_min_diff_dataset(
                data, group="sex", groups=["m", "f"], batch_size=8, seed=1
            ),
            30,
        )
        assert again[0]["age"].tolist() == x["age"].tolist()


def rows_by_epoch(build, epochs, pause=0.0, number=4000):
    """The ages of the penalty rows of each epoch, of an ordered file."""
    age = np.arange(number, dtype="float32")
    x = {"age": age, "sex": np.arange(number) % 2}
    task = tf.data.Dataset.from_tensor_slices((x, age)).batch(500)
    packed = pack_min_diff_data(task, min_diff_dataset=build(task))
    found = []
    for _ in range(epochs):
        found.append([])
        for inputs, _ in packed:
            found[-1] += inputs.min_diff_data[0]["age"].numpy().tolist()
            time.sleep(pause)
    return found


def drawn(seed, **options):
    options = {"group": "sex", "shuffle_buffer": 20, **options}
    return lambda data: build_min_diff_dataset(
        data, batch_size=8, seed=seed, **options
    )


def far(data):
    """The length is not known, but the groups are looked for."""
    return drawn(0)(data.filter(lambda *_: True))


@pytest.mark.parametrize(
    "build",
    [
        drawn(0),
        drawn(None),
        drawn(0, groups=[0, 1]),
        drawn(0, group=lambda e: e[0]["sex"] == 1),
        far,
    ],
    ids=["found", "no seed", "given", "booleans", "filtered"],
)
def test_rows_beyond_the_reach_of_one_epoch_have_their_turn(build):
    found = rows_by_epoch(build, 8)
    # Of eight places, all lie in one half of the file once in 128 times.
    assert min(map(min, found)) < 2000 < max(map(max, found))
    assert len({age for rows in found for age in rows}) > 150


def test_a_seed_gives_the_same_rows_in_the_same_epochs():
    # Small groups are read through many times in an epoch.
    for number, options in ((4000, {}), (40, {"shuffle_buffer": 100})):
        found = [
            rows_by_epoch(drawn(3, **options), 3, pause, number)
            for pause in (0.0, 0.02)
        ]
        assert found[0] == found[1]
        assert found[0][0] != found[0][1]
    other = rows_by_epoch(drawn(4, **options), 3, 0.0, number)
    assert other != found[0]


@pytest.mark.parametrize(
    ("dtype", "groups"),
    [
        ("float32", [0, 1]),
        ("float32", [False, True]),
        ("float64", [0.0, 1.0]),
        ("int32", [0, 1]),
        ("int32", [0.0, 1.0]),
        ("bool", [0, 1]),
        ("bool", [False, True]),
    ],
)
def test_groups_are_equal_values_of_any_dtype(dtype, groups):
    x = {"age": AGE, "sex": (SEX == "f").astype(dtype)}
    built = build_min_diff_dataset(
        tf.data.Dataset.from_tensor_slices((x, AGE)),
        group="sex",
        groups=groups,
        batch_size=4,
    )
    x, membership, _ = first(built, 3)
    expected = SEX[x["age"].astype(int)] == "f"
    np.testing.assert_array_equal(membership[:, 0] == 1, expected)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("sex", SEX == "m"),  # Sorted: "m" is the second one.
        (lambda element: element[0]["sex"] == "f", SEX == "f"),
        (lambda element: tf.cast(element[0]["age"] > 9, tf.int32), AGE > 9),
        (lambda element: element[1], LABEL == 1),
    ],
    ids=["name", "booleans", "ids", "label"],
)
@pytest.mark.parametrize("batch", [None, 7])
def test_what_tells_the_group(group, expected, batch):
    data = people()
    if batch:
        data = data.batch(batch)
    if callable(group):
        integers = data.map(lambda x, y: (x, tf.cast(y, tf.int64)))
        built = build_min_diff_dataset(integers, group=group, batch_size=10)
    else:
        built = build_min_diff_dataset(
            data, group=group, batch_size=10, keep_group=True
        )
    x, membership, _ = first(built, 4)
    assert ("sex" in x) is True
    assert (membership[:, 0] == expected[x["age"].astype(int)]).all()


def test_several_columns_and_groups_weigh_what_they_do_in_the_data():
    built = build_min_diff_dataset(people().batch(8), group=["sex", "race"])
    x, membership, weight = first(built, 6)
    assert set(x) == {"age"}
    names = sorted({*zip(SEX, RACE, strict=True)})
    rows = x["age"].astype(int)
    for row, member in zip(rows, membership[:, 0], strict=True):
        assert (SEX[row], RACE[row]) == names[int(member)]
    ids = np.array([names.index(p) for p in zip(SEX, RACE, strict=True)])
    counts = np.bincount(ids)
    shares = np.bincount(membership[:, 0].astype(int), weight[:, 0])
    np.testing.assert_allclose(shares / shares.sum(), counts / ROWS, rtol=1e-5)


def test_given_groups_weigh_what_they_do_in_the_data_in_any_order():
    shares = []
    for names in (None, ["a", "b"], ["b", "a", "c"], ["c", "b", "a"]):
        built = build_min_diff_dataset(
            people().batch(8),
            group="race",
            groups=names,
            batch_size=30,
            keep_group=True,
        )
        x, _, weight = first(built, 4)
        found = {
            name.decode(): weight[x["race"] == name].mean()
            for name in np.unique(x["race"])
        }
        shares.append(found)
    expected = {name: (name == RACE).mean() * 3 for name in "abc"}
    assert shares[0] == pytest.approx(expected)
    assert shares[2] == pytest.approx(expected)
    assert shares[3] == pytest.approx(expected)
    # Two groups weigh the same; the third is left out.
    assert shares[1] == {"a": 1, "b": 1}


@pytest.mark.parametrize("pairs", [list, tuple, np.array])
def test_several_columns_given(pairs):
    groups = [["f", "a"], ["m", "c"]]
    built = build(
        group=["sex", "race"],
        groups=pairs(groups) if pairs is np.array else [*map(pairs, groups)],
        keep_group=True,
    )
    x, membership, _ = first(built, 4)
    found = {*zip(x["sex"], x["race"], membership[:, 0], strict=True)}
    assert found == {(b"f", b"a", 0), (b"m", b"c", 1)}


@pytest.mark.parametrize(
    "values",
    [
        [
            *(0.1, 0.123456789, 2e-8, 1e-8, 12345678.7, 12345678.2),
            *(2.0**60, 2.0**60 + 4096, np.inf, -np.inf),
        ],
        [2**40 + 1, 2**40],
        [b"f\xe9m", b"f\xe8m", "señora".encode(), "señor".encode()],
    ],
    ids=["floats", "integers", "bytes"],
)
@pytest.mark.parametrize("given", [False, True])
def test_values_that_are_hard_to_tell_apart(values, given):
    built = build(
        people(value=np.resize(values, ROWS)),
        group="value",
        groups=values if given else None,
        batch_size=20,
    )
    x, membership, _ = first(built, 4)
    order = values if given else sorted(values)
    expected = [
        order.index(values[row % len(values)]) for row in x["age"].astype(int)
    ]
    assert set(expected) == set(range(len(values)))
    np.testing.assert_array_equal(membership[:, 0], expected)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_given_values_are_those_that_the_column_can_hold(dtype):
    value = np.where(SEX == "f", 0.1, 0.3).astype(dtype)
    built = build(people(value=value), group="value", groups=[0.3, 0.1])
    x, membership, _ = first(built, 4)
    assert (membership[:, 0] == (SEX[x["age"].astype(int)] == "f")).all()


def test_missing_groups():
    value = np.where(SEX == "f", 1.0, 0.0).astype("float32")
    value[::8] = np.nan
    for data in (people(value=value), people(value=value).batch(7)):
        with pytest.raises(ValueError, match=r"`group`.*NaN.*'value'.* 5 m"):
            build(data, group="value")
        # Rows that are not asked for do no harm.
        built = build(data, group="value", groups=[0.0, 1.0])
        x, membership, _ = first(built, 4)
        rows = x["age"].astype(int)
        assert (value[rows] == membership[:, 0]).all()
        kept = build(
            data,
            group="value",
            condition=lambda e: tf.equal(e[0]["value"], e[0]["value"]),
        )
        assert np.isfinite(first(kept)[0]["age"]).all()


LABELS = np.arange(ROWS) // 4 % 2


@pytest.mark.parametrize(
    ("condition", "groups"), [("positives", None), ("negatives", ["f", "m"])]
)
@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (LABELS + 1, "2"),
        (np.arange(ROWS) % 4, "2"),
        (LABELS * 0.4, "0.4"),
        (LABELS * 2 - 1, "-1"),
        (np.where(LABELS, np.nan, 1.0), "nan"),
    ],
    ids=["1/2", "classes", "soft", "signs", "nan"],
)
def test_labels_of_other_kinds_are_refused(condition, labels, told, groups):
    x = {"age": AGE, "sex": SEX}
    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(ROWS)
    message = rf"needs labels of 0 and 1; .*function.*[\[ ]{told}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        next(iter(build(data, group="sex", condition=condition, groups=groups)))


@pytest.mark.parametrize("dtype", ["bool", "int64", "float16"])
def test_labels_of_any_dtype(dtype):
    x = {"age": AGE, "sex": SEX}
    data = tf.data.Dataset.from_tensor_slices((x, LABELS.astype(dtype)))
    built = build(data, group="sex", condition="positives")
    assert (LABELS[first(built, 4)[0]["age"].astype(int)] == 1).all()


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("negatives", LABEL == 0),
        ("positives", LABEL == 1),
        (lambda element: element[0]["age"] > 20, AGE > 20),
    ],
    ids=["negatives", "positives", "function"],
)
@pytest.mark.parametrize("column", [False, True])
def test_conditions(condition, kept, column):
    data = people()
    if column:
        data = data.map(lambda x, y: (x, y[None])).batch(8)
    built = build_min_diff_dataset(
        data, group="sex", condition=condition, batch_size=16
    )
    x, *_ = first(built, 5)
    assert set(x["age"].astype(int)) == set(np.flatnonzero(kept))


def test_rows_of_columns_of_one_value_are_no_batches():
    x = {"age": AGE[:, None], "sex": SEX[:, None]}
    data = tf.data.Dataset.from_tensor_slices((x, LABEL[:, None]))
    for options, size in (({}, 128), ({"batch_size": 10}, 10)):
        built = build_min_diff_dataset(data, group="sex", **options)
        x, membership, _ = first(built)
        assert x["age"].shape == membership.shape == (size, 1)
        rows = x["age"][:, 0].astype(int)
        assert ((SEX[rows] == "m") == membership[:, 0]).all()
    # Batches of one have no room for two groups; features are no batch size.
    batches = people().batch(1, drop_remainder=True)
    assert len(first(build_min_diff_dataset(batches, group="sex"))[1]) == 128
    wide = tf.data.Dataset.from_tensor_slices((np.ones((9, 3)), np.arange(9)))
    built = build_min_diff_dataset(wide, group=lambda e: e[1] > 4)
    assert len(first(built)[1]) == 128


def test_ragged_and_padded_rows():
    ragged = tf.data.Dataset.from_tensor_slices(
        {"g": [0, 1, 0, 1], "x": tf.ragged.constant([[1], [2, 2], [], [3]])}
    )
    for data in (ragged, ragged.batch(3)):
        x, membership, _ = next(
            iter(build_min_diff_dataset(data, group="g", batch_size=4))
        )
        assert isinstance(x["x"], tf.RaggedTensor)
        lengths = {0: {0, 1}, 1: {1, 2}}
        for row, member in zip(x["x"], membership.numpy()[:, 0], strict=True):
            assert len(row) in lengths[int(member)]

    def rows():
        for k in range(4):
            yield k % 2, np.full(k + 1, k, "int32")

    spec = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int32)
    data = tf.data.Dataset.from_generator(rows, output_signature=spec)
    data = data.map(lambda g, x: {"g": g, "x": x})
    x, *_ = first(build_min_diff_dataset(data, group="g", batch_size=4))
    assert x["x"].shape == (4, 4)


# Packing.


def test_packing_keeps_the_epoch_and_the_form():
    task = numbers(range(10), 3)
    packed = pack_min_diff_data(task, numbers([1]), numbers([2, 3], 1))
    assert packed.cardinality() == 4
    elements = list(packed)
    original = [e[0].original_inputs.numpy().ravel().tolist() for e in elements]
    assert np.concatenate(original).tolist() == list(range(10))
    data = [e[0].min_diff_data[0].numpy().ravel().tolist() for e in elements]
    assert data == [[1, 2], [1, 3], [1, 2], [1, 3]]
    inputs, y = elements[0]
    assert isinstance(inputs, MinDiffPackedInputs)
    assert y.shape == (3, 1)
    assert unpack_original_inputs(inputs) is inputs.original_inputs
    assert unpack_min_diff_data(inputs) is inputs.min_diff_data
    assert unpack_original_inputs(y) is y and unpack_min_diff_data(y) is None
    # `x` alone stays alone.
    alone = task.map(lambda x, y: x)
    element = next(iter(pack_min_diff_data(alone, task, task)))
    assert isinstance(element, MinDiffPackedInputs)


def test_packing_objectives_and_rows_of_ones_own():
    task = numbers(range(4))
    rows = task.map(lambda x, y: (x, tf.cast(x > 1, tf.int32)[:, 0]))
    packed = pack_min_diff_data(task, min_diff_dataset={"a": rows, "b": rows})
    inputs, _ = next(iter(packed))
    x, membership, weight = inputs.min_diff_data["a"]
    assert membership.shape == weight.shape == (2,)
    doubled = map_inputs(packed, lambda x: 2 * x)
    again, _ = next(iter(doubled))
    np.testing.assert_array_equal(again.original_inputs, [[0], [2]])
    np.testing.assert_array_equal(again.min_diff_data["b"][0], 2 * x)
    embedded = embed_inputs(packed, lambda x: tf.concat([x, -x], 1), verbose=0)
    again, _ = next(iter(embedded))
    np.testing.assert_array_equal(again.original_inputs, [[0, 0], [1, -1]])
    rows, *others = again.min_diff_data["b"]
    np.testing.assert_array_equal(rows, np.concatenate([x, -x], 1))
    for found, wanted in zip(
        others, inputs.min_diff_data["b"][1:], strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_the_group_may_be_missing_from_the_rows():
    data = people().batch(8)
    rows = build_min_diff_dataset(data, group="sex")
    packed = pack_min_diff_data(data, min_diff_dataset=rows)
    inputs, _ = next(iter(packed))
    assert "sex" in inputs.original_inputs
    assert "sex" not in inputs.min_diff_data[0]


def test_two_long_datasets_have_their_turn():
    rows = numbers(range(1000)).unbatch().batch(2)
    told = rows.apply(tf.data.experimental.assert_cardinality(500))
    for sensitive, starts in ((told, 4), (rows, 1), (told.take(16), 1)):
        packed = pack_min_diff_data(numbers(range(8)), sensitive, rows)
        epochs = [
            [e[0].min_diff_data[0][:, 0].numpy().tolist() for e in packed]
            for _ in range(4)
        ]
        assert epochs[0] == [[k, k + 1, k, k + 1] for k in (0, 2, 4, 6)]
        assert len({epoch[0][0] for epoch in epochs}) == starts
        assert {epoch[0][2] for epoch in epochs} == {0}


def test_rows_of_ones_own_have_their_turn():
    task = numbers(range(8))
    rows = numbers(range(100)).map(lambda x, y: (x, x > 50))
    packed = pack_min_diff_data(task, min_diff_dataset=rows)
    epochs = [
        [int(e[0].min_diff_data[0][0, 0]) for e in packed] for _ in range(4)
    ]
    assert epochs[0] == [0, 2, 4, 6]
    assert len({rows[0] for rows in epochs}) > 2
    # What an epoch reads to its end needs no other place.
    packed = pack_min_diff_data(task, min_diff_dataset=rows.take(4))
    for _ in range(3):
        assert [int(e[0].min_diff_data[0][0, 0]) for e in packed] == epochs[0]


def once(dataset):
    """A dataset that can be read only once."""
    batches = iter(list(dataset))
    return tf.data.Dataset.from_generator(
        lambda: batches, output_signature=dataset.element_spec
    )


def test_rows_that_run_out_are_an_error_and_not_a_hang():
    task = numbers(range(10), 1)
    empty = numbers([1]).filter(lambda x, y: False)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"sensitive.*empty"
    ):
        list(pack_min_diff_data(task, empty, task))
    rows = build_min_diff_dataset(task, task).take(2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"min_diff.*once"):
        list(pack_min_diff_data(task, min_diff_dataset=once(rows)))


# Bad input.


def build(data=None, **options):
    data = people() if data is None else data
    return build_min_diff_dataset(data, **{"batch_size": 8, **options})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: build(4, group="sex"), TypeError, "`sensitive.*4.*int"),
        (lambda: build(), ValueError, "nonsensitive.*`group`"),
        (lambda: build(group="gender"), ValueError, "`group`.*age.*'gender'"),
        (lambda: build(group=["sex", "x"]), ValueError, "`group`.*'x'"),
        (lambda: build(numbers([1]), group="sex"), ValueError, "a function of"),
        (lambda: build(group="age"), ValueError, "`batch_size`.*40"),
        (
            lambda: build(people(one=np.ones(ROWS, int)), group="one"),
            ValueError,
            "`group`.*two groups.*'one'.*1",
        ),
        (
            lambda: build(group=lambda e: tf.cast(e[0]["age"], tf.int32) * 2),
            ValueError,
            "no row of the group 1 ",
        ),
        (
            lambda: build(group=lambda e: tf.cast(e[0]["age"], tf.int32) - 9),
            ValueError,
            "class ids from 0",
        ),
        (
            lambda: build(group=lambda x, y: x["sex"] == "m"),
            TypeError,
            "`group`.*one argument.*element.*Received",
        ),
        (
            lambda: build(group="sex", condition=lambda x, y: y == 0),
            TypeError,
            "`condition`.*one argument.*element.*Received",
        ),
        (
            lambda: build(group=lambda e: e[0]["age"]),
            ValueError,
            "booleans, class ids",
        ),
        (
            lambda: build(
                people().filter(lambda x, y: (x["sex"] == "m") | (y > 0.5)),
                group="sex",
                condition="negatives",
            ),
            ValueError,
            "no row of the group 'f'.*label 0",
        ),
        (
            lambda: build(group="sex", condition="both"),
            ValueError,
            "`condition`.*'both'",
        ),
        (
            lambda: build(
                people().map(lambda x, y: x), group="sex", condition="positives"
            ),
            ValueError,
            "`condition='positives'`.*labels",
        ),
        (
            lambda: build(
                people().map(lambda x, y: (x, tf.one_hot(0, 2))),
                group="sex",
                condition="positives",
            ),
            ValueError,
            "`y`.*one value a row",
        ),
        (lambda: build(group="sex", groups=["m"]), ValueError, "`groups`.*m"),
        (
            lambda: build(group=["sex", "race"], groups=["m", "f"]),
            ValueError,
            "`groups`.*tuple",
        ),
        (lambda: build(group="sex", groups=2), ValueError, "a list.*groups=2"),
        (lambda: build(group="sex", groups="mf"), ValueError, "a list.*'mf'"),
        # A set has no order, and ids are by order.
        (lambda: build(group="sex", groups={"m", "f"}), ValueError, "a list"),
        (lambda: build(group={"sex"}), ValueError, "`group`.*age.*{'sex'}"),
        (lambda: build(group="sex", seed="a"), ValueError, "`seed`.*'a'"),
        (lambda: build(group="sex", seed=1.5), ValueError, "`seed`.*1.5"),
        (
            lambda: build_min_diff_dataset(numbers([1]), numbers([1]), seed=0),
            ValueError,
            "no meaning without `group`.*'seed': 0",
        ),
        (lambda: build(group="sex", groups=["m", 1]), ValueError, "one kind"),
        (lambda: build(group="sex", groups=[["m"], 1]), ValueError, "one kind"),
        (
            lambda: build(group="race", groups=["a", "b", "z"]),
            ValueError,
            "no row of the group 'z'",
        ),
        (lambda: build(group="race", batch_size=2), ValueError, "`batch_size`"),
        (lambda: build(group="sex", batch_size=1), ValueError, "`batch_size`"),
        (lambda: build(people().repeat(), group="sex"), ValueError, "repeat"),
        (
            lambda: build_min_diff_dataset(
                people(), people(), group="sex"
            ),
            ValueError,
            "`nonsensitive_group_dataset`.*`group`",
        ),
        (
            lambda: build_min_diff_dataset(
                people(), people(), condition="negatives"
            ),
            ValueError,
            "`condition`.*`group`",
        ),
        (
            lambda: build_min_diff_dataset(people(), people()),
            ValueError,
            "`sensitive_group_dataset` must be batched",
        ),
        (
            lambda: build_min_diff_dataset({"a": numbers([1])}, numbers([1])),
            ValueError,
            "same keys",
        ),
        (
            lambda: build_min_diff_dataset(
                numbers([1]), numbers([1]).map(lambda x, y: (x[..., None], y))
            ),
            ValueError,
            "same names, dtypes",
        ),
        (lambda: pack_min_diff_data([1]), TypeError, "`original_dataset`"),
        (
            lambda: pack_min_diff_data(people(), people(), people()),
            ValueError,
            "`original_dataset` must be batched",
        ),
        (
            lambda: pack_min_diff_data(numbers([1]), numbers([1])),
            ValueError,
            "either `min_diff_dataset`, or both",
        ),
        (
            lambda: pack_min_diff_data(
                numbers([1]), min_diff_dataset=numbers([1]).unbatch()
            ),
            ValueError,
            "names, dtypes and shapes|membership",
        ),
        (
            lambda: pack_min_diff_data(
                numbers([1]),
                *[numbers([1]).map(lambda x, y: tf.cast(x, "int32"))] * 2,
            ),
            ValueError,
            "names, dtypes and shapes",
        ),
        (
            lambda: pack_min_diff_data(
                numbers([1]),
                min_diff_dataset=numbers([1]).map(
                    lambda x, y: (x, tf.strings.as_string(y))
                ),
            ),
            ValueError,
            "membership of numbers or booleans.*string",
        ),
        (lambda: map_inputs(numbers([1]), abs), ValueError, "`packed`"),
        (lambda: map_inputs(3, abs), TypeError, "`packed`"),
        (lambda: embed_inputs(numbers([1]), abs), ValueError, "`packed`"),
    ],
)  # fmt: skip
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_group_that_turns_out_to_be_absent_is_named():
    for group, options, message in (
        (lambda e: e[0]["age"] > 99, {}, "no row of the group True"),
        ("sex", {"groups": ["f", "x"]}, r"no row of the group .*x"),
        (
            lambda e: e[0]["sex"] == "f",
            {"condition": lambda e: e[0]["sex"] == "m"},
            "no row of the group True.*`condition` keeps",
        ),
    ):
        rows = build(group=group, **options)
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            next(iter(rows))


def test_too_many_values_are_no_groups():
    data = tf.data.Dataset.from_tensor_slices({"a": np.arange(200)})
    with pytest.raises(ValueError, match=r"`group`.*at most 64.*'a'"):
        build(data, group="a")


def test_validate_structure():
    validate_min_diff_structure((1, 2))
    validate_min_diff_structure({"a": 1.0}, element_type=float)
    with pytest.raises(TypeError, match=r"`loss`.*float"):
        validate_min_diff_structure([1], "loss", float)
    with pytest.raises(ValueError, match=r"keys.*1"):
        validate_min_diff_structure({1: 2})
    with pytest.raises(ValueError, match="Each value"):
        validate_min_diff_structure({"a": {"b": 1}})
