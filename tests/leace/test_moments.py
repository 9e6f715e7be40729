"""Streamed moments against their definitions."""

import itertools
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorflow_model_remediation_ext.leace import sums
from tensorflow_model_remediation_ext.leace.moments import Moments

D, K, N = 7, 3, 60


@pytest.fixture
def data(rng):
    ids = rng.integers(0, K, N)
    x = rng.normal(size=(N, D)) * 3 + rng.normal(size=(K, D))[ids] + 2
    return x, ids


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def expected(x, z, w=None):
    """n, means and scatter matrices by definition, in float64."""
    x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
    w = np.ones(len(x)) if w is None else np.asarray(w, np.float64)
    dx, dz = x - np.average(x, 0, w), z - np.average(z, 0, w)
    return {
        "n": w.sum(),
        "mean_x": np.average(x, 0, w),
        "mean_z": np.average(z, 0, w),
        "scatter_xx": (dx * w[:, None]).T @ dx,
        "scatter_xz": (dx * w[:, None]).T @ dz,
        "scatter_zz": (dz * w[:, None]).T @ dz,
    }


def assert_state(moments, want, tolerance):
    for name, value in want.items():
        np.testing.assert_allclose(
            getattr(moments, name),
            value,
            rtol=tolerance,
            atol=tolerance * np.abs(value).max(),
            err_msg=name,
        )


def streamed(x, z, w=None, batch=16, z_dim=K):
    moments = Moments(x.shape[-1], z_dim)
    for i in range(0, len(x), batch):
        rows = slice(i, i + batch)
        moments.update(x[rows], z[rows], None if w is None else w[rows])
    return moments


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    dtype=st.sampled_from(["float64", "float32"]),
    batch=st.integers(1, N),
    weighted=st.booleans(),
    as_ids=st.booleans(),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_any_batching_equals_the_definition(
    dtype, batch, weighted, as_ids, scale
):
    rng = np.random.default_rng(batch)
    ids = rng.integers(0, K, N)
    one_hot = np.eye(K)[ids]
    x = (scale * (rng.normal(size=(N, D)) + one_hot[:, :1])).astype(dtype)
    w = rng.integers(0, 3, N).astype(np.float64) if weighted else None
    moments = streamed(x, ids if as_ids else one_hot, w, batch)
    tolerance = 1e-12 if dtype == "float64" else 3e-6
    assert_state(moments, expected(x, one_hot, w), tolerance)


@pytest.mark.parametrize("size", [1, 256, 257, 600])
def test_blocks_cover_the_matrix_at_any_size(rng, size):
    x = rng.normal(size=(40, size)) + 1
    moments = Moments(size)
    for part in np.split(x, 2):
        moments.update(part)
    in_graph = Moments(size)
    tf.function(in_graph.update)(tf.constant(x))
    want = expected(x, np.zeros((40, 0)))["scatter_xx"]
    np.testing.assert_allclose(moments.scatter_xx, want, atol=1e-11)
    np.testing.assert_allclose(in_graph.scatter_xx, want, atol=1e-11)


@pytest.mark.parametrize("weighted", [False, True])
def test_far_from_the_origin_float32_stays_exact(rng, weighted):
    x = (rng.normal(size=(4000, 20)) + 1e4).astype(np.float32)
    z = rng.normal(size=(4000, 1)).astype(np.float32) + 1e4
    w = rng.uniform(0.5, 2, 4000) if weighted else None
    for moments in (
        streamed(x, z, w, 256, z_dim=1),
        streamed(x, z, w, 4000, z_dim=1),
    ):
        want = expected(x, z, w)
        error = np.abs(moments.scatter_xx - want["scatter_xx"]).max()
        assert error <= 1e-5 * want["scatter_xx"].diagonal().min()
        error = np.abs(moments.scatter_xz - want["scatter_xz"]).max()
        assert error <= 1e-5 * want["scatter_xx"].diagonal().min()


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("xx", [False, True])
@pytest.mark.parametrize("name", ["x", "z"])
def test_what_overflows_the_sums_leaves_no_trace(data, in_graph, xx, name):
    x = data[0] - data[0].mean(0)
    z = x[:, :K]
    moments = Moments(D, K, xx=xx, dtype="float32")
    update = tf.function(moments.update) if in_graph else moments.update

    def scaled(scale):
        return (x * scale, z) if name == "x" else (x, z * scale)

    def refused(batch):
        before = moments.get_state()
        with pytest.raises(
            (ValueError, tf.errors.InvalidArgumentError),
            match=f"`{name}` holds NaN, .* overflow",
        ):
            update(*batch)
        for a, b in zip(before, moments.get_state(), strict=True):
            np.testing.assert_array_equal(a, b)

    refused(scaled(1e20))
    update(*scaled(1.0))
    refused(scaled(1e20))
    # Squares of this fit once, and not twice.
    spread = max(x.var(0)) if name == "x" else max(z.var(0))
    fits = scaled(float(np.sqrt(2e38 / (N * spread))))
    update(*fits)
    refused(fits)
    assert np.isfinite(moments.squares_x).all()


def test_merging_what_overflows_leaves_no_trace(data):
    x, ids = data
    moments = Moments(D, K, dtype="float32")
    moments.update(x, ids)
    before = moments.get_state()
    other = Moments(D, K)
    other.update(x * 1e20, ids)
    with pytest.raises(ValueError, match="`other` has sums that overflow fl"):
        moments.merge(other)
    for a, b in zip(before, moments.get_state(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("in_graph", [False, True])
def test_means_beyond_float32(data, in_graph):
    x, ids = data
    scale = 1e60
    moments = Moments(D, K)
    update = tf.function(moments.update) if in_graph else moments.update
    for rows in (slice(20), slice(20, N)):
        update(tf.constant(x[rows] * scale), tf.constant(ids[rows]))
    want = expected(x, np.eye(K)[ids])
    np.testing.assert_allclose(moments.mean_x / scale, want["mean_x"])
    found = moments.scatter_xx / scale**2
    np.testing.assert_allclose(found, want["scatter_xx"], atol=1e-11)


@pytest.mark.parametrize("offset", [1e6, 1e9, 1.7e9, 1e11, 1e12])
@pytest.mark.parametrize("in_graph", [False, True])
def test_far_from_the_origin_float64_stays_exact(rng, offset, in_graph):
    x, z = rng.normal(size=(2, 2000, K)) + offset
    moments = Moments(K, K)
    update = tf.function(moments.update) if in_graph else moments.update
    for i in range(0, 2000, 250):
        update(tf.constant(x[i : i + 250]), tf.constant(z[i : i + 250]))
    # The center is 6e-8 of the offset off, and float64 sees 2e-16 of that.
    tolerance = 1e-11 + 1e-30 * offset**2
    want = expected(x - offset, z - offset)
    for name in ("scatter_xx", "scatter_xz", "scatter_zz"):
        found = getattr(moments, name)
        np.testing.assert_allclose(
            found / 2000, want[name] / 2000, atol=tolerance
        )
    assert not moments.lost_x.any() and not moments.lost_z.any()


CONSTANTS = np.array([0.1, 1 / 3, 1e9 + 0.1, -1.7e9 / 3, 1e12 / 7, 1e-30, 0.0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sums_in", ["float32", "float64"])
@pytest.mark.parametrize(("batch", "n"), [(1, 60), (7, 200), (400, 400)])
def test_constants_are_constant(rng, dtype, weighted, sums_in, batch, n):
    values = CONSTANTS[:2] if dtype == "float16" else CONSTANTS
    x = np.tile(values, (n, 1)).astype(dtype)
    d = len(values)
    for xx in (True, False):
        moments = Moments(d, d, xx=xx, dtype=sums_in)
        for i in range(0, n, batch):
            rows = x[i : i + batch]
            w = rng.uniform(0.01, 2, len(rows)) if weighted else None
            moments.update(rows, rows, w)
        for name in ("x", "z"):
            assert not getattr(moments, f"squares_{name}").any()
            assert not getattr(moments, f"lost_{name}").any()
        assert not moments.scatter_xz.any()


def test_what_is_hardly_seen_beside_an_offset_is_no_constant_for_certain(rng):
    x = 0.6 * rng.normal(size=(20_000, 2))
    moments = Moments(2, 2)
    moments.update(x + [1e14, 0], x + [0, 1e14])
    np.testing.assert_array_equal(moments.lost_x, [True, False])
    np.testing.assert_array_equal(moments.lost_z, [False, True])
    np.testing.assert_array_equal(moments.squares_x > 0, [False, True])
    np.testing.assert_array_equal(moments.squares_z > 0, [True, False])


@pytest.mark.parametrize("in_graph", [False, True])
def test_a_bad_first_batch_is_recovered_from(rng, in_graph):
    x = (rng.normal(size=(6000, 4)) + 1e4).astype(np.float32)
    x[0] = 0  # Such as padding.
    moments = Moments(4)
    update = tf.function(moments.update) if in_graph else moments.update
    for rows in np.split(x, [1, 5, 1000, 3000]):
        update(tf.constant(rows))
    # Float32 products err by parts in 10^7 of the squared distance to the
    # center; were it not moved, all rows would be 10^4 from it.
    want = expected(x, np.zeros((6000, 0)))["scatter_xx"]
    assert np.abs(moments.scatter_xx - want).max() / want.max() < 2e-4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(data, dtype):
    x, ids = data
    half = tf.cast(x, dtype)
    want = expected(tf.cast(half, tf.float64).numpy(), np.eye(K)[ids])
    assert_state(streamed(half, ids), want, 1e-6)


def test_weights_count_rows(rng, data):
    x, ids = data
    w = rng.integers(0, 4, N)
    repeated = streamed(np.repeat(x, w, 0), np.repeat(ids, w))
    weighted = streamed(x, ids, w)
    assert weighted.n == w.sum()
    assert_state(
        weighted,
        expected(np.repeat(x, w, 0), np.eye(K)[np.repeat(ids, w)]),
        1e-12,
    )
    assert_state(repeated, expected(x, np.eye(K)[ids], w), 1e-12)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("dtype, tol", [("float64", 1e-12), ("float32", 1e-4)])
def test_a_batch_without_weight_changes_nothing(data, dtype, tol, graph):
    x, ids = data
    moments = Moments(D, K, dtype=dtype)
    update = tf.function(moments.update) if graph else moments.update
    assert not moments.mean_x.any() and not moments.mean_z.any()
    update(x + 1e6, ids, np.zeros(N))
    assert moments.n == 0
    assert not moments.mean_x.any() and not moments.mean_z.any()
    assert not moments.scatter_xz.any() and not moments.scatter_xx.any()
    update(x, ids, np.ones(N))
    assert_state(moments, expected(x, np.eye(K)[ids]), tol)


def test_leading_axes_are_rows(data):
    x, ids = data
    moments = Moments(D, K)
    moments.update(x.reshape(4, -1, D), ids.reshape(4, -1), np.ones((4, 15)))
    assert_state(moments, expected(x, np.eye(K)[ids]), 1e-12)


def test_merging_in_any_order_and_grouping_equals_one_pass(rng, data):
    x, ids = data
    one_hot = np.eye(K)[ids]
    parts = [slice(0, 5), slice(5, 40), slice(40, N)]
    for order in itertools.permutations(range(3)):
        a, b, c = (streamed(x[parts[i]], one_hot[parts[i]]) for i in order)
        a.merge(b)
        a.merge(c)
        assert_state(a, expected(x, one_hot), 1e-12)
        a, b, c = (streamed(x[parts[i]], ids[parts[i]]) for i in order)
        b.merge(c)
        a.merge(b)
        empty = Moments(D, K)
        a.merge(empty)
        empty.merge(a)
        assert_state(empty, expected(x, one_hot), 1e-12)


def test_merge_refuses_what_does_not_fit():
    moments = Moments(D, K)
    with pytest.raises(TypeError, match="`other` must be a Moments"):
        moments.merge({"n": 1})
    with pytest.raises(ValueError, match="must track the same moments"):
        moments.merge(Moments(D, K, xx=False))


def test_a_killed_stream_restores_bit_for_bit(tmp_path, data):
    x, ids = data
    whole, killed = Moments(D, K), Moments(D, K)
    for moments in (whole, killed):
        moments.update(x[:20], ids[:20])
        moments.update(x[20:30], ids[20:30])
    path = tf.train.Checkpoint(moments=killed).write(str(tmp_path / "ckpt"))
    restored = Moments(D, K)
    tf.train.Checkpoint(moments=restored).read(path).assert_consumed()
    for moments in (whole, restored):
        moments.update(x[30:], ids[30:])
    for a, b in zip(whole.get_state(), restored.get_state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_of_other_sizes_is_refused_as_a_whole(data):
    moments, other = streamed(*data), Moments(D, K + 1)
    before = moments.get_state()
    for state in (other.get_state(), before[:-1]):
        with pytest.raises(ValueError, match="`state` must be that of a mod"):
            moments.set_state(state)
        for a, b in zip(before, moments.get_state(), strict=True):
            np.testing.assert_array_equal(a, b)
    moments.set_state(streamed(data[0] + 1, data[1]).get_state())
    assert_state(moments, expected(data[0] + 1, np.eye(K)[data[1]]), 1e-12)


@pytest.mark.parametrize("xx", [False, True])
def test_squares_are_tracked_in_any_case(rng, data, xx):
    x, ids = data
    x[:, 2] = 0.1
    w = rng.uniform(0.5, 2, N)
    parts = [Moments(D, K, xx=xx) for _ in range(2)]
    for part, rows in zip(parts, (slice(20), slice(20, N)), strict=True):
        part.update(x[rows], ids[rows], w[rows])
    graph = Moments(D, K, xx=xx)
    tf.function(graph.update)(x, ids, w)
    parts[0].merge(parts[1])
    want = expected(x, np.eye(K)[ids], w)
    for moments in (parts[0], graph):
        for name in ("x", "z"):
            squares = getattr(moments, f"squares_{name}")
            scatter = want[f"scatter_{name}{name}"].diagonal()
            np.testing.assert_allclose(squares, scatter, rtol=1e-9, atol=1e-20)
        assert moments.squares_x[2] == 0


def test_batch_sizes_share_one_trace(data):
    x, ids = data
    streamed(x, ids, batch=16)
    misses = sums.compiled_batch_sums.cache_info().misses
    for batch in (1, 7, 13, 60):
        streamed(x, ids, batch=batch)
    assert sums.compiled_batch_sums.cache_info().misses == misses


def test_works_in_the_users_own_function(rng, data):
    x, ids = data
    moments = Moments(D, K)

    @tf.function
    def run(dataset):
        for rows, labels, weight in dataset:
            moments.update(rows, labels, weight)

    w = rng.uniform(0.5, 2, N)
    run(tf.data.Dataset.from_tensor_slices((x, ids, w)).batch(16))
    assert_state(moments, expected(x, np.eye(K)[ids], w), 1e-12)


BAD = {
    "x of rank 1": ({"x": np.zeros(D)}, "`x` must be of shape"),
    "x of another size": ({"x": np.zeros((N, 3))}, "`x` must be of shape"),
    "x of integers": ({"x": np.zeros((N, D), int)}, "floating"),
    "x of text": ({"x": np.full((N, D), "a")}, "`x` must hold real numbers"),
    "x ragged": ({"x": [[1.0], [1.0, 2.0]]}, "`x` must be a dense array"),
    "z missing": ({"z": None}, "`z` must be a dense array"),
    "z of another size": ({"z": np.zeros((N, 4))}, "`z` must be of shape"),
    "z of another length": ({"z": np.zeros(4, int)}, "`z` must be of shape"),
    "ids that are floats": ({"z": np.zeros(N)}, "`z` must be of shape"),
    "weights of another length": (
        {"sample_weight": np.ones(4)},
        "`sample_weight` must be of shape",
    ),
    "id too high": (
        {"z": np.full(N, K)},
        r"`z` holds class ids outside of \[0, 3\). Received: z from 3 to 3",
    ),
    "id negative": ({"z": np.full(N, -1)}, r"`z` holds class ids outside"),
    "x with NaN": ({"x": np.full((N, D), np.nan)}, "`x` holds NaN"),
    "x with infinity": ({"x": np.full((N, D), np.inf)}, "`x` holds NaN"),
    "x too large": (
        {"x": np.linspace(-1e30, 1e30, N * D, dtype="f").reshape(N, D)},
        "`x` holds NaN",
    ),
    "z with NaN": ({"z": np.full((N, K), np.nan)}, "`z` holds NaN"),
    "z with infinity": ({"z": np.full((N, K), np.inf)}, "`z` holds NaN"),
    "weight negative": (
        {"sample_weight": np.full(N, -1.0)},
        "`sample_weight` must be finite",
    ),
    "weight NaN": (
        {"sample_weight": np.full(N, np.nan)},
        "`sample_weight` must be finite",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_bad_input_is_named_and_leaves_no_trace(data, case):
    x, ids = data
    bad, message = BAD[case]
    for seen in (False, True):
        moments = Moments(D, K)
        if seen:
            moments.update(x, ids)
        before = moments.get_state()
        with pytest.raises(ValueError, match=message):
            moments.update(**{"x": x, "z": ids, **bad})
        for a, b in zip(before, moments.get_state(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "case", ["id too high", "x with NaN", "z with NaN", "weight negative"]
)
def test_bad_values_in_a_graph_leave_no_trace(data, case):
    x, ids = data
    bad, message = BAD[case]
    moments = Moments(D, K)
    moments.update(x, ids)
    before = moments.get_state()
    values = {"x": x, "z": ids, "sample_weight": np.ones(N), **bad}
    step = tf.function(moments.update)
    message = message.split(" Received")[0]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        step(**{name: tf.constant(v) for name, v in values.items()})
    for a, b in zip(before, moments.get_state(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "options",
    [
        {"x_dim": 0},
        {"x_dim": 2.0},
        {"x_dim": 2, "z_dim": -1},
        {"x_dim": 2, "dtype": "float16"},
    ],
)
def test_constructor_names_what_is_wrong(options):
    name = list(options)[-1]
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        Moments(**options)


def test_a_strategy_of_one_replica():
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=(60, 5)) + 100, rng.integers(0, 3, 60)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        graph, eager = Moments(5, 3), Moments(5, 3)
    step = tf.function(lambda *b: strategy.run(graph.update, b))
    for i in range(0, 60, 20):
        step(x[i : i + 20], ids[i : i + 20])
        strategy.run(eager.update, (x[i : i + 20], ids[i : i + 20]))
    plain = Moments(5, 3)
    plain.update(x, ids)
    for moments in (graph, eager):
        np.testing.assert_allclose(moments.scatter_xx, plain.scatter_xx)
        np.testing.assert_allclose(moments.scatter_xz, plain.scatter_xz)


@pytest.mark.slow
def test_two_replicas_see_what_one_sees():
    # In a process of its own: after an error in one replica TensorFlow refuses
    # every further reduction until the program is restarted.
    program = """
        import numpy as np
        import tensorflow as tf
        from tensorflow_model_remediation_ext.leace.moments import Moments

        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(60, 5)) + 100
        ids = rng.integers(0, 3, 60)
        one = Moments(5, 3)
        for i in range(0, 60, 20):
            one.update(x[i:i + 20], ids[i:i + 20])
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            both = Moments(5, 3)
        data = tf.data.Dataset.from_tensor_slices((x, ids)).batch(20)
        data = strategy.experimental_distribute_dataset(data)
        step = tf.function(lambda *b: strategy.run(both.update, b))
        for batch in data:
            step(*batch)
        for name in ("n", "mean_x", "mean_z", "scatter_xx", "scatter_xz"):
            np.testing.assert_allclose(
                getattr(both, name), getattr(one, name), rtol=1e-12, atol=1e-10
            )
        for variable in both.variables:
            one, two = variable.values
            np.testing.assert_array_equal(one, two)
        outside = Moments(5, 3)
        run = lambda *b: strategy.run(outside.update, b)
        for update in (run, tf.function(run)):
            try:
                update(x[:4], ids[:4])
            except ValueError as error:
                assert "within `strategy.scope()`" in str(error)
            else:
                raise AssertionError("no error")
        assert outside.n == 0
        with strategy.scope():  # All rows at once, on no replica.
            outside.update(x, ids)
        assert outside.n == 60
        before = both.get_state()
        try:
            step(x[:4], np.full(4, 3))
        except tf.errors.InvalidArgumentError as error:
            assert "class ids" in str(error)
        else:
            raise AssertionError("no error")
        for a, b in zip(before, both.get_state()):
            np.testing.assert_array_equal(a, b)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        check=True,
        cwd=pathlib.Path(__file__).parents[3],
    )


def test_products_are_the_same_with_and_without_scipy(rng, monkeypatch):
    # More columns than a strip, and than a square of NumPy.
    rows = rng.integers(-8, 8, (5, sums.SQUARE + sums.STRIP + 3))
    rows = rows.astype("float64")
    want = rows.T @ rows  # Of small integers, without any rounding.
    found = [sums.assemble(sums._gram_in_numpy(rows))]
    monkeypatch.setattr(sums, "_scipy_blas", lambda: None)
    found.append(sums.assemble(sums._gram_in_numpy(rows)))
    for each in found:
        np.testing.assert_array_equal(each, want)


@pytest.mark.parametrize("classes", [2, sums.FEW_CLASSES + 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_class_ids_are_the_same_as_one_hot_columns(rng, classes, dtype):
    x = rng.integers(-8, 8, (90, D)).astype(dtype)  # Nothing to round.
    ids, weight = rng.integers(0, classes, 90), rng.integers(0, 3, 90) * 1.0
    ids[weight == 0] = classes + 5  # Left out with its row.
    by_id, by_column = (Moments(D, classes) for _ in range(2))
    by_id.update(x, ids, weight)
    by_column.update(x, np.eye(classes + 6)[ids][:, :classes], weight)
    np.testing.assert_allclose(
        by_id.scatter_xz, by_column.scatter_xz, atol=1e-5
    )
    np.testing.assert_allclose(
        by_id.scatter_zz, by_column.scatter_zz, atol=1e-9
    )
