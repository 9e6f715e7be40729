import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LinearRegression

from tensorflow_model_remediation_ext.leace.oracle import (
    OracleEraser,
    OracleFitter,
)

N, D = 300, 6


def data(k, kind="ids", seed=0):
    """Features that depend on a concept, linearly and in their variance."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.arange(k), rng.integers(0, k, N - k)])
    z = {
        "ids": ids,
        "one_hot": np.eye(k)[ids],
        "real": rng.standard_normal((N, k)) * 10.0 ** np.arange(k),
    }[kind]
    columns = np.eye(k)[ids] if kind == "ids" else z / z.std(0)
    x = rng.standard_normal((N, D)) + columns @ rng.standard_normal((k, D))
    return x + 5, z


def columns(z):
    return np.eye(z.max() + 1)[z] if z.ndim == 1 else z


def cross(x, z):
    x, z = np.asarray(x), columns(np.asarray(z))
    return (x - x.mean(0)).T @ (z - z.mean(0)) / len(x)


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("kind", ["ids", "one_hot", "real"])
def test_erases_exactly_and_is_the_residual_of_least_squares(k, kind):
    k = min(k, 4) if kind == "real" else k
    x, z = data(k, kind)
    erased = OracleEraser.fit(x, z)(x, z).numpy()
    before, after = np.abs(cross(x, z)), np.abs(cross(erased, z))
    assert (after.max(0) <= 1e-12 * before.max(0)).all()
    np.testing.assert_allclose(erased.mean(0), x.mean(0), rtol=1e-12)
    fitted = LinearRegression().fit(columns(z), x).predict(columns(z))
    np.testing.assert_allclose(erased, x - fitted + x.mean(0), atol=1e-8)


def test_erasing_twice_changes_nothing_more():
    x, z = data(3)
    erased = OracleEraser.fit(x, z)(x, z).numpy()
    again = OracleEraser.fit(erased, z)(erased, z)
    np.testing.assert_allclose(again, erased, atol=1e-12)


def test_redundant_and_constant_concept_columns():
    x, z = data(3, "real")
    redundant = np.column_stack([z, z[:, 0] * 1e-6, np.ones(N), z.sum(1)])
    erased = OracleEraser.fit(x, redundant)(x, redundant)
    np.testing.assert_allclose(erased, OracleEraser.fit(x, z)(x, z), atol=1e-7)


def test_a_rare_concept_is_erased_as_well():
    x = data(2, "real")[0]
    rare = (np.arange(N) < 2).astype(float)
    x[:, 0] += 30 * rare
    eraser = OracleEraser.fit(x, rare)
    assert eraser.coef.shape == (D, 1)
    assert np.abs(cross(eraser(x, rare), rare[:, None])).max() < 1e-13


def test_a_concept_that_never_varies_leaves_x_alone():
    x, _ = data(2)
    z = np.ones((N, 2))
    with pytest.warns(UserWarning, match="the eraser changes nothing"):
        eraser = OracleEraser.fit(x, z)
    np.testing.assert_array_equal(eraser(x, z), x)


def test_booleans_are_classes():
    x, z = data(2)
    want = OracleEraser.fit(x, z)(x, z)
    np.testing.assert_array_equal(
        OracleEraser.fit(x, z.astype(bool))(x, z.astype(bool)), want
    )


def test_shapes_dtypes_graph_mode_and_saved_model(tmp_path):
    x, z = data(3)
    eraser = OracleEraser.fit(x, z)
    expected = eraser(x, z).numpy()
    np.testing.assert_allclose(eraser(x, columns(z)), expected, rtol=1e-12)
    half = eraser(tf.cast(x, "float16"), z)
    assert half.dtype == "float16"
    np.testing.assert_allclose(half, expected, atol=2e-2)
    stacked = tf.function(eraser)(x.reshape(5, -1, D), z.reshape(5, -1))
    np.testing.assert_array_equal(tf.reshape(stacked, [N, D]), expected)

    eraser.serve = tf.function(
        eraser.__call__,
        input_signature=[
            tf.TensorSpec([None, D], tf.float64),
            tf.TensorSpec([None], tf.int64),
        ],
    )
    tf.saved_model.save(eraser, str(tmp_path / "eraser"))
    loaded = tf.saved_model.load(str(tmp_path / "eraser"))
    np.testing.assert_array_equal(loaded.serve(x, z), expected)


def test_one_row():
    x, z = data(3)
    eraser = OracleEraser.fit(x, z)
    want = eraser(x, z)[5]
    np.testing.assert_allclose(eraser(x[5], z[5]), want, atol=1e-12)
    np.testing.assert_allclose(eraser(x[5], columns(z)[5]), want, atol=1e-12)


def test_streaming_merging_and_checkpoints_agree_with_one_pass(tmp_path):
    x, z = data(3)
    whole = OracleFitter.fit(x, z)
    np.testing.assert_allclose(
        whole.sigma_xz, cross(x, z) * N / (N - 1), rtol=1e-10, atol=1e-13
    )
    np.testing.assert_allclose(whole.sigma_zz, np.cov(columns(z).T), atol=1e-13)
    np.testing.assert_allclose(whole.mean_z, columns(z).mean(0))
    np.testing.assert_allclose(whole.mean_x, x.mean(0))

    cuts = np.array_split(np.arange(N), 4)
    parts = [OracleFitter(D, 3).update(x[i], z[i]) for i in cuts]
    merged = parts[2].merge(parts[0]).merge(parts[3].merge(parts[1]))
    streamed, restored = OracleFitter(D, 3), OracleFitter(D, 3)
    for step, i in enumerate(cuts):
        streamed.update(x[i], z[i])
        if step == 1:
            path = tf.train.Checkpoint(f=streamed).write(str(tmp_path / "c"))
            checkpoint = tf.train.Checkpoint(f=restored)
            checkpoint.read(path).assert_consumed()
        elif step > 1:
            restored.update(x[i], z[i])
    np.testing.assert_array_equal(restored.eraser.coef, streamed.eraser.coef)
    batches = tf.data.Dataset.from_tensor_slices((x, z)).batch(64)
    dataset = OracleFitter(D, 3).fit_dataset(batches, verbose=0)
    for fitter in (merged, streamed, dataset):
        assert fitter.n == N
        np.testing.assert_allclose(
            fitter.eraser.coef, whole.eraser.coef, rtol=1e-10, atol=1e-12
        )


def test_weights_count_rows():
    x, z = data(3)
    weight = np.random.default_rng(1).integers(0, 3, N)
    weighted = OracleFitter.fit(x, z, sample_weight=weight)
    repeated = OracleFitter.fit(np.repeat(x, weight, 0), np.repeat(z, weight))
    assert weighted.n == repeated.n
    np.testing.assert_allclose(
        weighted.sigma_xz, repeated.sigma_xz, rtol=1e-10, atol=1e-12
    )


def test_shrinkage_spares_a_part_of_the_concept():
    x, z = data(3)
    erased = OracleEraser.fit(x, z, shrinkage=True)(x, z)
    before, after = (np.abs(cross(a, z)).max() for a in (x, erased))
    assert 0 < after < before / 2


def test_eraser_is_cached_until_the_statistics_change():
    x, z = data(3)
    fitter = OracleFitter.fit(x, z)
    first = fitter.eraser
    assert fitter.eraser is first
    fitter.update(x, z)
    assert fitter.eraser is not first


def test_bad_arguments():
    x, z = data(3)
    fitter = OracleFitter.fit(x, z)
    before = [v.numpy() for v in fitter.variables]
    nan = x.copy()
    nan[3, 2] = np.nan
    for arguments in ((x[:, 1:], z), (x, z + 1), (x, z[1:]), (nan, z)):
        with pytest.raises(ValueError, match=r"`[xz]`"):
            fitter.update(*arguments)
    for one, other in zip(before, fitter.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="`z` holds class ids outside"):
        fitter.eraser(x, z + 1)
    with pytest.raises(ValueError, match="of integer class ids, as x"):
        fitter.eraser(x, z / 2.0)
    with pytest.raises(ValueError, match="`x` must be of shape"):
        fitter.eraser(x[:, 1:], z)
    with pytest.raises(ValueError, match="At least two samples"):
        _ = OracleFitter(D, 3).update(x[:1], z[:1]).eraser
    for svd_tol in (0, "a"):
        with pytest.raises(ValueError, match="`svd_tol` must be a positive"):
            OracleFitter(D, 3, svd_tol=svd_tol)
    with pytest.raises(ValueError, match="`z_dim` must be an integer of at"):
        OracleFitter(D, 0)
    with pytest.raises(TypeError, match="`other` must be an OracleFitter"):
        fitter.merge(x)
    with pytest.raises(ValueError, match="`coef` must be of shape"):
        OracleEraser(np.ones((2, 3)), np.ones(2))


@pytest.mark.parametrize("constant", [0.3, 1 / 3, 1e6 + 0.1])
def test_a_constant_that_floats_do_not_hold_is_none_of_the_concept(constant):
    x, z = data(1, "real")
    never = np.full(N, constant)
    with pytest.warns(UserWarning, match="does not vary"):
        eraser = OracleEraser.fit(x, never)
    np.testing.assert_array_equal(eraser(x, never + 0.1), x)
    beside = OracleEraser.fit(x, np.stack([never, z[:, 0]], axis=1))
    assert not beside.coef.numpy()[:, 0].any()
    np.testing.assert_allclose(
        beside.coef[:, 1:], OracleEraser.fit(x, z).coef, rtol=1e-9
    )


def test_shrinkage_is_a_flag():
    with pytest.raises(ValueError, match="`shrinkage` must be True or False"):
        OracleFitter(3, 2, shrinkage=0.1)
