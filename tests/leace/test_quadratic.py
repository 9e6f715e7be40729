import numpy as np
import pytest
import tensorflow as tf
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

from tensorflow_model_remediation_ext.leace.quadratic import (
    QuadraticEditor,
    QuadraticEraser,
    QuadraticFitter,
)

D = 8


def classes(k, n=None, d=D, seed=0):
    """Rows of `k` classes with different means, covariances and sizes."""
    rng = np.random.default_rng(seed)
    n = n or 60 * k
    z = np.concatenate([np.repeat(np.arange(k), 4 * d), rng.integers(0, k, n)])
    rng.shuffle(z)
    mixes = np.linalg.qr(rng.standard_normal((k, d, d)))[0]
    mixes *= np.exp(rng.uniform(-1, 1, (k, 1, d)))
    means = 3 * rng.standard_normal((k, d))
    noise = rng.standard_normal((len(z), d))
    return np.einsum("ni,nij->nj", noise, mixes[z]) + means[z], z


def moments(x, z):
    x, ids = np.asarray(x), np.unique(z)
    means = np.stack([x[z == i].mean(0) for i in ids])
    return means, np.stack([np.cov(x[z == i].T) for i in ids])


def assert_equal_classes(x, z, tol=1e-8):
    means, covs = moments(x, z)
    assert np.abs(means - means[0]).max() <= tol * np.abs(x).max()
    assert np.abs(covs - covs[0]).max() <= tol * np.abs(covs).max()


def state(fitter):
    return [v.numpy() for v in fitter.variables]


def assert_same_state(a, b):
    for one, other in zip(state(a), state(b), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("k", [2, 3, 5, 10, 20])
def test_classes_become_indistinguishable_for_quadratic_readers(k):
    x, z = classes(k)
    qda = QuadraticDiscriminantAnalysis()
    prior = np.bincount(z).max() / len(z)
    assert qda.fit(x, z).score(x, z) > prior + 0.2

    erased = QuadraticEraser.fit(x, z)(x, z).numpy()
    assert_equal_classes(erased, z)
    np.testing.assert_allclose(erased.mean(0), x.mean(0), atol=1e-12)
    # Newer versions of scikit-learn divide a class' covariance by its size, we
    # by its size less one: the posterior is the prior but for that.
    assert np.linalg.matrix_rank(np.cov(erased.T)) == D
    posterior = qda.fit(erased, z).predict_proba(erased)
    np.testing.assert_allclose(posterior - qda.priors_, 0, atol=5e-3)


@pytest.mark.parametrize("k", [2, 4])
def test_singular_class_covariances(k):
    x, z = classes(k)
    wide = np.column_stack([x, x[:, 0], np.ones(len(x)), x @ np.ones(D)])
    erased = QuadraticEraser.fit(wide, z)(wide, z).numpy()
    assert_equal_classes(erased, z)
    np.testing.assert_allclose(erased[:, D], erased[:, 0], atol=1e-8)
    np.testing.assert_allclose(erased[:, D + 1], 1, atol=1e-8)


def test_fewer_samples_than_features_warns_and_still_equalizes():
    rng = np.random.default_rng(0)
    z = np.repeat(np.arange(3), 10)
    x = rng.standard_normal((30, 14)) + z[:, None]
    with pytest.warns(UserWarning, match="different ones each"):
        erased = QuadraticEraser.fit(x, z)(x, z).numpy()
    assert_equal_classes(erased, z)


def test_shrinkage_makes_few_samples_definite():
    rng = np.random.default_rng(0)
    z = np.repeat(np.arange(3), 10)
    x = rng.standard_normal((30, 14)) + z[:, None]
    fitter = QuadraticFitter.fit(x, z, shrinkage=True)
    assert np.linalg.eigvalsh(fitter.sigma_xx).min() > 0.01
    means, _ = moments(fitter.eraser(x, z), z)
    np.testing.assert_allclose(means, means[[0, 0, 0]], atol=1e-10)


def test_moves_gaussians_less_than_whitening_does():
    x, z = classes(3)
    erased = QuadraticEraser.fit(x, z)(x, z).numpy()
    means, covs = moments(x, z)
    target = np.linalg.cholesky(moments(erased, z)[1][0])
    other = np.empty_like(x)
    for i in range(3):
        whiten = np.linalg.inv(np.linalg.cholesky(covs[i]))
        other[z == i] = (x[z == i] - means[i]) @ (target @ whiten).T
    other += x.mean(0)
    assert_equal_classes(other, z)
    assert np.square(erased - x).sum() < np.square(other - x).sum()


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("scale", [[0.1, 1, 1e5], [1, 1e-7, 1], [1, 1e20, 1]])
def test_features_in_unlike_units_become_equal_and_stay_themselves(k, scale):
    x, z = classes(k, d=3)
    fitter = QuadraticFitter.fit(x * scale, z)
    erased = fitter.eraser(x * scale, z).numpy() / scale
    assert_equal_classes(erased, z)
    edited = fitter.editor()(x * scale, z, 1).numpy() / scale
    means, covs = moments(x, z)
    for mean, cov in zip(*moments(edited, z), strict=True):
        np.testing.assert_allclose(mean, means[1], atol=1e-8)
        np.testing.assert_allclose(cov, covs[1], atol=1e-8)
    same = [
        np.corrcoef(x[z == c, j], erased[z == c, j])[0, 1]
        for c in range(k)
        for j in range(3)
    ]
    assert min(same) > 0.4


def test_editor_moves_between_all_pairs():
    x, z = classes(3)
    editor = QuadraticFitter.fit(x, z).editor()
    assert isinstance(editor, QuadraticEditor)
    means, covs = moments(x, z)
    for target in range(3):
        edited = editor(x, z, target).numpy()
        for mean, cov in zip(*moments(edited, z), strict=True):
            np.testing.assert_allclose(mean, means[target], atol=1e-10)
            np.testing.assert_allclose(cov, covs[target], atol=1e-9)
    np.testing.assert_allclose(editor(x, z, z), x, atol=1e-9)
    by_row = editor(x, z, (z + 1) % 3)
    back = editor(by_row, (z + 1) % 3, z)
    np.testing.assert_allclose(back, x, atol=1e-8)


def test_shapes_dtypes_and_graph_mode():
    x, z = classes(3)
    eraser = QuadraticEraser.fit(x, z)
    expected = eraser(x, z).numpy()
    for dtype, tol in (("float32", 1e-4), ("float16", 5e-2)):
        erased = eraser(tf.cast(x, dtype), z)
        assert erased.dtype == dtype and erased.shape == x.shape
        np.testing.assert_allclose(erased, expected, atol=tol, rtol=tol)
    stacked, ids = x[:24].reshape(2, 3, 4, D), z[:24].reshape(2, 3, 4)
    in_graph = tf.function(eraser)(stacked, ids)
    np.testing.assert_array_equal(
        tf.reshape(in_graph, [24, D]), eraser(x[:24], z[:24])
    )
    assert eraser(x[:0], z[:0]).shape == (0, D)


def test_one_row():
    x, z = classes(3)
    fitter = QuadraticFitter.fit(x, z)
    eraser, editor = fitter.eraser, fitter.editor()
    np.testing.assert_allclose(eraser(x[4], z[4]), eraser(x, z)[4], atol=1e-12)
    np.testing.assert_allclose(
        editor(x[4], z[4], 1), editor(x, z, 1)[4], atol=1e-12
    )


def test_saved_model(tmp_path):
    x, z = classes(3)
    fitter = QuadraticFitter.fit(x, z)
    for name, module, ids in (
        ("eraser", fitter.eraser, [z]),
        ("editor", fitter.editor(), [z, (z + 1) % 3]),
    ):
        spec = tf.TensorSpec([None], tf.int64)
        module.serve = tf.function(
            module.__call__,
            input_signature=[tf.TensorSpec([None, D], tf.float64)]
            + [spec] * len(ids),
        )
        tf.saved_model.save(module, str(tmp_path / name))
        loaded = tf.saved_model.load(str(tmp_path / name))
        ids = [tf.constant(i, tf.int64) for i in ids]
        served = loaded.serve(tf.constant(x), *ids)
        np.testing.assert_array_equal(served, module(x, *ids))


def test_no_rows_after_features_of_several_widths():
    # After a few of them TensorFlow no longer knows the width.
    x, z = classes(2)
    for d in (2, 3, 4, 5):
        eraser = QuadraticEraser.fit(x[:, :d], z)
        assert eraser(x[:, :d], z).shape == (len(x), d)
        assert eraser(x[:0, :d], z[:0]).shape == (0, d)


def test_streaming_merging_and_checkpoints_agree_with_one_pass(tmp_path):
    x, z = classes(3)
    whole = QuadraticFitter.fit(x, z)
    means, covs = moments(x, z)
    np.testing.assert_allclose(whole.mean_x, means, rtol=1e-12)
    np.testing.assert_allclose(whole.sigma_xx, covs, rtol=1e-10)
    np.testing.assert_array_equal(whole.n, np.bincount(z))

    cuts = np.array_split(np.arange(len(x)), 5)
    streamed, graph = QuadraticFitter(D, 3), QuadraticFitter(D, 3)
    update = tf.function(lambda a, b: graph.update(a, b) and None)
    merged = [QuadraticFitter.fit(x[i], z[i]) for i in cuts]
    restored = QuadraticFitter(D, 3)
    for step, i in enumerate(cuts):
        streamed.update(x[i], z[i])
        update(tf.constant(x[i]), tf.constant(z[i]))
        if step == 2:
            path = tf.train.Checkpoint(f=streamed).write(str(tmp_path / "c"))
            checkpoint = tf.train.Checkpoint(f=restored)
            checkpoint.read(path).assert_consumed()
        elif step > 2:
            restored.update(x[i], z[i])
    assert_same_state(restored, streamed)
    total = merged[3].merge(merged[0]).merge(merged[4])
    total.merge(merged[1].merge(merged[2]))
    dataset = tf.data.Dataset.from_tensor_slices((x, z)).batch(50)
    from_dataset = QuadraticFitter(D, 3).fit_dataset(dataset, verbose=0)
    for fitter in (streamed, graph, total, from_dataset):
        np.testing.assert_allclose(fitter.mean_x, whole.mean_x, rtol=1e-12)
        np.testing.assert_allclose(
            fitter.sigma_xx, whole.sigma_xx, rtol=1e-12, atol=1e-12
        )


def test_weights_count_rows():
    x, z = classes(2)
    weight = np.random.default_rng(1).integers(0, 3, len(x))
    repeated = QuadraticFitter.fit(
        np.repeat(x, weight, 0), np.repeat(z, weight)
    )
    weighted = QuadraticFitter.fit(x, z, sample_weight=weight)
    np.testing.assert_allclose(weighted.n, repeated.n)
    np.testing.assert_allclose(weighted.mean_x, repeated.mean_x, rtol=1e-12)
    np.testing.assert_allclose(weighted.sigma_xx, repeated.sigma_xx, rtol=1e-11)


def test_float32_far_from_the_origin():
    x, z = classes(2)
    x = (x + 1e4).astype("float32")
    covs = moments(x.astype("float64"), z)[1]
    fitter = QuadraticFitter(D, 2)
    for i in np.array_split(np.arange(len(x)), 3):
        fitter.update(x[i], z[i])
    np.testing.assert_allclose(fitter.sigma_xx, covs, rtol=1e-9, atol=1e-9)


def test_eraser_is_cached_until_the_statistics_change():
    x, z = classes(2)
    fitter = QuadraticFitter.fit(x, z)
    first = fitter.eraser
    assert fitter.eraser is first
    # What changes them outside of `update` counts as well.
    other = QuadraticFitter.fit(x[::-1] ** 3, z)
    for mine, theirs in zip(fitter.variables, other.variables, strict=True):
        mine.assign(theirs)
    assert fitter.eraser is not first


def bad_updates():
    x, z = (a[:20] for a in classes(3))
    nan, huge = x.copy(), x.copy()
    nan[-1, 2], huge[-1, 2] = np.nan, 1e200
    return {
        "x_size": ((x[:, 1:], z), "`x` must be of shape"),
        "x_rank": ((x[0], z[0]), "`x` must be of shape"),
        "x_dtype": ((z[:, None] + np.zeros(D, int), z), "`x` must be of a fl"),
        "z_shape": ((x, z[1:]), "`z` must be integer class ids of shape"),
        "z_dtype": ((x, z / 1.0), "`z` must be integer class ids"),
        "z_high": ((x, z + 1), r"outside of \[0, 3\). Received: z from 1 to 3"),
        "z_low": ((x, z - 1), "`z` holds class ids outside"),
        "x_nan": ((nan, z), "`x` holds NaN, infinity"),
        "x_huge": ((huge, z), "`x` holds NaN, infinity"),
        "w_text": ((x, z, ["a"] * 20), "`sample_weight` must hold real numb"),
        "w_shape": ((x, z, z[1:]), "`sample_weight` must be of shape"),
        "w_sign": ((x, z, -1.0 - z), "`sample_weight` must.*: a weight of -"),
        "w_nan": ((x, z, z * np.nan), "`sample_weight` must be finite"),
    }


@pytest.mark.parametrize("case", bad_updates())
def test_bad_updates_leave_the_statistics_alone(case):
    arguments, message = bad_updates()[case]
    x, z = classes(3)
    fitter, untouched = QuadraticFitter.fit(x, z), QuadraticFitter.fit(x, z)
    with pytest.raises(ValueError, match=message):
        fitter.update(*arguments)
    assert_same_state(fitter, untouched)


def test_booleans_are_classes():
    x, z = classes(2)
    want = QuadraticEraser.fit(x, z)(x, z)
    eraser = QuadraticEraser.fit(x, z.astype(bool))
    np.testing.assert_array_equal(eraser(x, z.astype(bool)), want)


def test_statistics_that_do_not_match_are_refused():
    means, mean, maps = np.ones((3, 2)), np.ones(2), np.ones((3, 2, 2))
    for arguments in (
        (means[0], mean, maps),
        (means, np.ones(3), maps),
        (means, mean, maps[:2]),
    ):
        with pytest.raises(ValueError, match="`ot_maps` must be of shapes"):
            QuadraticEraser(*arguments)
    with pytest.raises(ValueError, match="`ot_maps` must be of shapes"):
        QuadraticEditor(means, maps)


@pytest.mark.parametrize("case", ["z_high", "x_nan", "w_nan"])
def test_bad_values_in_graph_mode(case):
    arguments, message = bad_updates()[case]
    x, z = classes(3)
    fitter, untouched = QuadraticFitter.fit(x, z), QuadraticFitter.fit(x, z)
    update = tf.function(lambda *a: fitter.update(*a) and None)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=message.split(" Received")[0]
    ):
        update(*map(tf.constant, arguments))
    assert_same_state(fitter, untouched)


def test_bad_input_at_inference():
    x, z = classes(3)
    fitter = QuadraticFitter.fit(x, z)
    with pytest.raises(ValueError, match="`z` holds class ids outside"):
        fitter.eraser(x, z + 1)
    with pytest.raises(ValueError, match="`x` must be of shape"):
        fitter.eraser(x[:, 1:], z)
    with pytest.raises(ValueError, match="`source_z` must be integer class"):
        fitter.editor()(x[0], z, 1)
    with pytest.raises(ValueError, match="`target_z` holds class ids"):
        fitter.editor()(x, z, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`z` holds"):
        tf.function(fitter.eraser)(x, z + 1)


def test_classes_without_enough_samples_are_named():
    x, z = classes(3)
    fitter = QuadraticFitter(D, 5).update(x, z)
    fitter.update(x[:1], [3])
    with pytest.raises(ValueError, match=r"3 \(1\), 4 \(0\)"):
        _ = fitter.eraser
    with pytest.raises(ValueError, match="Every class needs at least two"):
        fitter.editor()


def test_constructor_and_merge_check_their_arguments():
    with pytest.raises(ValueError, match="`num_classes` must be"):
        QuadraticFitter(D, 1)
    with pytest.raises(ValueError, match="`x_dim` must be"):
        QuadraticFitter(0, 2)
    with pytest.raises(ValueError, match="same x_dim and num_classes"):
        QuadraticFitter(D, 2).merge(QuadraticFitter(D, 3))
    with pytest.raises(TypeError, match="`other` must be a QuadraticFitter"):
        QuadraticFitter(D, 2).merge("fitter")
    with pytest.raises(ValueError, match="`dataset` must yield"):
        QuadraticFitter(D, 2).fit_dataset([np.ones((2, D))], verbose=0)


def test_two_replicas_hold_the_statistics_of_one():
    x, z = classes(2, n=64)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        fitter = QuadraticFitter(D, 2)
    data = tf.data.Dataset.from_tensor_slices((x, z)).batch(32)

    @tf.function
    def step(a, b):
        strategy.run(lambda a, b: fitter.update(a, b) and None, (a, b))

    for a, b in strategy.experimental_distribute_dataset(data):
        step(a, b)
    whole = QuadraticFitter.fit(x, z)
    np.testing.assert_allclose(fitter.mean_x, whole.mean_x, rtol=1e-12)
    np.testing.assert_allclose(fitter.sigma_xx, whole.sigma_xx, rtol=1e-10)


def test_values_too_large_for_sums_in_float32_leave_no_trace():
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(60, 2)), np.arange(60) % 2
    fitter = QuadraticFitter(2, 2, dtype="float32").update(x, z)
    before = fitter.get_state()
    # Class 1 alone: class 0 is added first.
    with pytest.raises(ValueError, match=r"`x` holds .* beyond 1e\+11"):
        fitter.update(np.where(z[:, None] == 1, x * 1e20, x), z)
    for a, b in zip(before, fitter.get_state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_shrinkage_is_a_flag():
    with pytest.raises(ValueError, match="`shrinkage` must be True or False"):
        QuadraticFitter(3, 2, shrinkage=0.1)


@pytest.mark.parametrize("scale", [1e-100, 1e95])
def test_rows_of_any_scale_are_moved_alike(scale):
    rng = np.random.default_rng(0)
    z = np.arange(120) % 3
    x = rng.normal(size=(120, 4)) * (1 + z[:, None]) + z[:, None]
    one, other = QuadraticFitter.fit(x, z), QuadraticFitter.fit(x * scale, z)
    for a, b in ((one.eraser, other.eraser), (one.editor(), other.editor())):
        np.testing.assert_allclose(b.ot_maps, a.ot_maps, atol=1e-6)
