"""LEACE, its orthogonal variant and SPLINCE against their theorems."""

import itertools
import logging
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    LeaceFitter,
    optimal_linear_shrinkage,
)
from tensorflow_model_remediation_ext.leace.oracle import OracleEraser

N, D = 600, 40
EXACT = {"svd_tol": 1e-8}


def make_data(k, seed=0, n=N, d=D):
    """Features whose mean depends on one of `max(k, 2)` classes."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.arange(max(k, 2)), rng.integers(0, max(k, 2), n)])
    ids = ids[:n]
    mixing = rng.normal(size=(d, d)) / np.sqrt(d)
    x = rng.normal(size=(n, d)) + 2 * rng.normal(size=(max(k, 2), d))[ids]
    return x @ mixing + 1, ids, np.eye(k)[ids] if k > 1 else ids[:, None] * 1.0


def covariance(a, b):
    return (a - a.mean(0)).T @ (b - b.mean(0)) / (len(a) - 1)


def by_the_paper(fitter, svd_tol=1e-8):
    """P of theorem 4.3, by eigendecomposition."""
    values, vectors = np.linalg.eigh(fitter.sigma_xx)
    keep = values > values[-1] * len(values) * np.finfo(float).eps
    v, root = vectors[:, keep], np.sqrt(values[keep])
    whiten, unwhiten = (v / root) @ v.T, (v * root) @ v.T
    u, s, _ = np.linalg.svd(whiten @ fitter.sigma_xz, full_matrices=False)
    u = u[:, s > svd_tol]
    return np.eye(len(values)) - unwhiten @ u @ u.T @ whiten


@pytest.mark.parametrize("shrinkage", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("method", ["leace", "orth"])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 10, 20])
def test_no_linear_trace_is_left(k, method, affine, shrinkage):
    x, ids, z = make_data(k)
    options = {"method": method, "affine": affine, "shrinkage": shrinkage}
    eraser = LeaceEraser.fit(x, z, **options, **EXACT)
    erased = eraser(x).numpy()

    before, after = covariance(x, z), covariance(erased, z)
    assert np.abs(after).max() <= 1e-12 * np.abs(before).max()
    means = np.stack([erased[ids == i].mean(0) for i in np.unique(ids)])
    assert np.abs(means - means[0]).max() <= 1e-9 * np.abs(x).max()
    if affine:
        np.testing.assert_allclose(erased.mean(0), x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(eraser(erased), erased, atol=1e-10)
    P = eraser.P.numpy()
    np.testing.assert_allclose(P @ P, P, atol=1e-10)
    rank = max(k - 1, 1)
    assert np.linalg.matrix_rank(erased - x - (erased - x).mean(0)) == rank
    assert eraser.proj_left.shape == (D, rank)


@pytest.mark.parametrize("method", ["leace", "orth"])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_linear_classifiers_learn_nothing(k, method):
    x, ids, z = make_data(k)
    erased = LeaceEraser.fit(x, z, method=method, **EXACT)(x).numpy()
    erased -= erased.mean(0)
    # C so large that it is no penalty; the optimum is at zero.
    regression = LogisticRegression(C=1e12).fit(erased, ids)
    assert np.abs(regression.coef_).max() < 4e-9
    machine = LinearSVC(dual=False).fit(erased, ids)
    assert np.abs(machine.coef_).max() < 4e-9
    # They would have, before.
    assert np.abs(LinearSVC(dual=False).fit(x, ids).coef_).max() > 1e-2


def test_a_probe_of_held_out_rows_does_no_better_than_guessing():
    x, ids, _ = make_data(2, n=8000, d=10)
    x[:, 0] += ids
    train, test = slice(0, 4000), slice(4000, None)
    eraser = LeaceEraser.fit(x[train], ids[train])
    erased = eraser(x).numpy()
    probe = LogisticRegression().fit(erased[train], ids[train])
    majority = np.bincount(ids[test]).max() / 4000
    accuracy = probe.score(erased[test], ids[test])
    assert accuracy <= majority + 3 * np.sqrt(majority * (1 - majority) / 4000)
    probe = LogisticRegression().fit(x[train], ids[train])
    assert probe.score(x[test], ids[test]) > majority + 0.2


@pytest.mark.parametrize("k", [1, 3, 10])
def test_no_eraser_of_the_same_kernel_moves_the_data_less(k):
    x, _, z = make_data(k)
    P = LeaceEraser.fit(x, z, shrinkage=False, **EXACT).P.numpy()
    centered, C = x - x.mean(0), covariance(x, z)
    rng = np.random.default_rng(1)
    # Of any eraser that has the concept in its kernel, P + A (I - C C^+).
    others = np.eye(D) - C @ np.linalg.pinv(C)
    inner = rng.normal(size=(D, D))
    inner = inner @ inner.T

    def moved(projection):
        delta = centered @ (projection - np.eye(D)).T
        return np.einsum("ni,ij,nj->", delta, inner, delta)

    least = moved(P)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(5):
            A = size * rng.normal(size=(D, D))
            assert moved(P + A @ others) > least * (1 - 1e-12)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_never_moves_the_data_less_than_the_oracle(k):
    x, _, z = make_data(k)
    ours = LeaceEraser.fit(x, z, shrinkage=False, **EXACT)(x)
    oracle = OracleEraser.fit(x, z)(x, z)
    assert np.linalg.norm(ours - x) >= np.linalg.norm(oracle - x)


SINGULAR = {
    "regular": lambda x: x,
    "constant": lambda x: np.column_stack([x, np.full(len(x), 0.1)]),
    "duplicated": lambda x: np.column_stack([x, x[:, :2]]),
    "dependent": lambda x: np.column_stack([x, x @ np.ones(D), 2 * x[:, 0]]),
    "fewer rows than columns": lambda x: x[: D - 4],
}


@pytest.mark.parametrize("shrinkage", [False, True])
@pytest.mark.parametrize("case", SINGULAR)
@pytest.mark.parametrize("k", [1, 3])
def test_equals_the_papers_formula(case, k, shrinkage):
    x, _, z = make_data(k)
    x = SINGULAR[case](x)
    z = z[: len(x)]
    fitter = LeaceFitter.fit(x, z, shrinkage=shrinkage, **EXACT)
    P = fitter.eraser.P.numpy()
    np.testing.assert_allclose(P, by_the_paper(fitter), atol=1e-10)
    erased = fitter.eraser(x).numpy()
    assert np.abs(covariance(erased, z)).max() <= 1e-12 * max(
        1, np.abs(covariance(x, z)).max()
    )


@pytest.mark.parametrize("d", [257, 600])
def test_covariances_of_several_strips(d):
    x, _, z = make_data(3, n=2 * d, d=d)
    fitter = LeaceFitter.fit(x, z, **EXACT)
    shrunk = optimal_linear_shrinkage(np.cov(x.T, bias=True), len(x))
    np.testing.assert_allclose(fitter.sigma_xx, shrunk, atol=1e-12)
    P = fitter.eraser.P.numpy()
    np.testing.assert_allclose(P, by_the_paper(fitter), atol=1e-10)


@pytest.mark.parametrize("ends", [(-3, 3), (-8, 8), (8, -4)])
def test_features_of_any_scale_are_erased(ends):
    x, _, z = make_data(3)
    scale = 10.0 ** np.linspace(*ends, D)
    scaled = LeaceEraser.fit(x * scale, z, shrinkage=False)
    plain = LeaceEraser.fit(x, z, shrinkage=False)
    np.testing.assert_allclose(
        scaled(x * scale) / scale, plain(x), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("method", ["leace", "orth"])
@pytest.mark.parametrize("scale", [1e-20, 1e-22, 1e-33])
def test_units_of_nearly_nothing_are_erased_in_float32(scale, method):
    # As in MiniLM: their squares are zero in float32, their means are not.
    x, ids, _ = make_data(2)
    x[:, :2] *= scale
    x[:, 2] = 0.1
    x = x.astype("float32")
    fitter = LeaceFitter(D, 2, method=method)
    for rows in np.array_split(np.arange(N), 7):
        fitter.update(x[rows], ids[rows])
    for eraser in (fitter.eraser, LeaceEraser.fit(x, ids, method=method)):
        erased = np.asarray(eraser(x), np.float64)
        gap = erased[ids == 1].mean(0) - erased[ids == 0].mean(0)
        assert (np.abs(gap) <= 1e-5 * erased.std(0)).all()
        np.testing.assert_array_equal(erased[:, 2], x[:, 2])


@pytest.mark.parametrize("scale", [(1e5, 1e-4, 1), (1e8, 1, 1), (1, 1, 1e-9)])
def test_dependent_features_of_any_scale_are_erased(scale):
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, (N, 2))
    x = rng.normal(size=(N, 3)) + np.pad(z, ((0, 0), (0, 1)))
    x = np.column_stack([x * scale, x * scale, x.sum(1)])
    erased = LeaceEraser.fit(x, z, shrinkage=False)(x).numpy()
    spread = np.outer(x.std(0), z.std(0))
    assert np.abs(covariance(erased, z) / spread).max() < 1e-6
    np.testing.assert_allclose(erased[:, 3:6], erased[:, :3])


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e7])
@pytest.mark.parametrize("keep", [False, True])
def test_dependent_features_are_moved_alike_in_any_unit(scale, keep):
    # Units that differ by `scale` squared, of which a bank's table has many.
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, N)
    x = rng.normal(size=(N, 4)) @ rng.normal(size=(4, 4)) + z[:, None]
    x = np.column_stack([x, x[:, 0], x[:, 1] - x[:, 2], np.ones(N)])
    units = scale ** np.array([1, -1, 0, 0.5, -0.5, 1, -1])
    options = {"preserve": x[:, 3] + rng.normal(size=N)} if keep else {}
    same, other = (
        LeaceEraser.fit(rows, z, shrinkage=False, **options)(rows).numpy()
        for rows in (x, x * units)
    )
    np.testing.assert_allclose(other / units, same, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_features_take_no_part(dtype):
    x, _, z = make_data(2, n=8000)
    constant = np.array([0.1, 1 / 3, 10000.1, -7.7, 0.0])
    x = np.column_stack([x, np.tile(constant, (len(x), 1))]).astype(dtype)
    eraser = LeaceEraser.fit(x, z, shrinkage=False)
    assert not eraser.proj_right.numpy()[:, D:].any()
    np.testing.assert_allclose(eraser(x)[:, D:], x[:, D:])


@pytest.mark.parametrize("offset", [1e6, 1e9, 1.7e9, 1e12])
def test_offsets_of_features_and_concept_change_nothing(offset):
    x, ids, _ = make_data(3)
    z = ids.astype(float)
    want = LeaceEraser.fit(x, z)
    # Erasing rows at an offset rounds as the rows themselves do.
    tolerance = 1e-11 + 1e-14 * offset
    for dx, dz in ((0, offset), (offset, 0), (offset, offset)):
        eraser = LeaceEraser.fit(x + dx, z + dz)
        np.testing.assert_allclose(eraser.P, want.P, atol=tolerance)


def test_what_an_offset_hides_is_said():
    x, ids, _ = make_data(3, n=20_000)
    z = ids.astype(float)
    # Float64 holds it, and float32 the center only to 400,000.
    x[:, 1] = 0.6 * np.random.default_rng(0).normal(size=len(x))
    far = np.where(np.arange(D) == 1, 1e14, 0)
    with pytest.warns(UserWarning, match=r"columns \[1\] of `x` vary too lit"):
        LeaceEraser.fit(x + far, z)
    for moved in ((x, z + 1e17), (x + 1e17, z)):
        with pytest.warns(UserWarning, match="does not vary, or too little"):
            LeaceEraser.fit(*moved)


def rare(rng, n=50_000):
    z = rng.choice(3, n, p=[0.5, 0.499, 0.001])
    x = rng.normal(size=(n, 8))
    x[:, 0] += z == 2
    x[:, 1] += z == 1
    return x, z, {}


def one_large(rng, n=500):
    z = rng.integers(0, 2, (n, 3))
    x = (rng.normal(size=(n, 3)) + z) * [1e3, 1, 1e3]
    return np.column_stack([x, rng.normal(size=(n, 4))]), z[:, [0, 2, 1]], {}


def one_small(rng, n=500):
    z = rng.integers(0, 2, (n, 3))
    x = (rng.normal(size=(n, 3)) + z) * [1, 0.01, 1]
    x = np.column_stack([x, 1e-3 * rng.normal(size=(n, 4))])
    return x, z[:, [0, 2, 1]], {"method": "orth"}


@pytest.mark.parametrize("make", [rare, one_large, one_small])
def test_what_svd_tol_leaves_is_said(make):
    x, z, options = make(np.random.default_rng(0))
    columns = np.eye(3)[z] if z.ndim == 1 else z
    before = covariance(x, columns) / np.outer(x.std(0), columns.std(0))
    with pytest.warns(UserWarning) as caught:
        eraser = LeaceEraser.fit(x, z, **options)
    after = covariance(eraser(x).numpy(), columns)
    after = np.abs(after / np.outer(x.std(0), columns.std(0)))
    (message,) = [str(w.message) for w in caught if w.category is UserWarning]
    assert (
        "svd_tol=0.01 leaves some of the concept: column (class) 2" in message
    )
    assert f"correlation of {after.max():.2g}, " in message
    assert after.max() > 0.8 * np.abs(before[:, 2]).max()
    again = LeaceFitter.fit(x, z, svd_tol=0.0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        erased = again.eraser(x).numpy()
    assert np.abs(covariance(erased, columns)).max() < 1e-9


@pytest.mark.parametrize("method", ["leace", "orth"])
def test_chance_below_svd_tol_is_not_said(method):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 10, 300_000)
    x = rng.normal(size=(len(ids), 8))
    x[:, 0] += ids == 1
    fitter = LeaceFitter.fit(x, ids, method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitter.eraser.proj_left.shape[1] == 1


@pytest.mark.parametrize("columns", [False, True])
def test_booleans_are_classes(columns):
    x, ids, _ = make_data(2)
    z = np.eye(2)[ids] if columns else ids
    want = LeaceFitter(D, 2).update(x, z).eraser.P
    got = LeaceFitter(D, 2).update(x, z.astype(bool)).eraser.P
    np.testing.assert_array_equal(got, want)
    inferred = LeaceEraser.fit(x, z.astype(bool)).P
    np.testing.assert_allclose(inferred, LeaceEraser.fit(x, z).P)


def test_erasers_of_many_sizes_share_a_trace():
    messages = []
    handler = logging.Handler()
    handler.emit = messages.append
    tf.get_logger().addHandler(handler)
    rng = np.random.default_rng(0)
    try:
        for d, dtype, affine in itertools.product(
            (3, 5, 8), ("float16", "float32", "float64"), (False, True)
        ):
            basis = rng.normal(size=(d, 2))
            bias = np.zeros(d) if affine else None
            eraser = LeaceEraser(basis, basis.T, bias)
            for n in (1, 7):
                eraser(np.ones((n, d), dtype))
    finally:
        tf.get_logger().removeHandler(handler)
    assert not messages


def test_dependent_concept_columns_change_nothing():
    x, ids, z = make_data(3)
    plain = LeaceEraser.fit(x, z[:, :2], **EXACT)
    for redundant in (
        z,  # One-hot columns sum to one.
        ids,
        np.column_stack([z[:, :2], z[:, 0]]),
        np.column_stack([z[:, :2], np.ones(N)]),
    ):
        eraser = LeaceEraser.fit(x, redundant, **EXACT)
        assert eraser.proj_left.shape == (D, 2)
        np.testing.assert_allclose(eraser.P, plain.P, atol=1e-10)


def test_weak_directions_are_left_and_svd_tol_says_which():
    x, _, z = make_data(2)
    P = {t: LeaceEraser.fit(x, z, svd_tol=t).P for t in (0.0, 0.01)}
    np.testing.assert_allclose(P[0.0], P[0.01], atol=1e-10)
    with pytest.warns(UserWarning, match="the eraser changes nothing"):
        eraser = LeaceEraser.fit(x, z, svd_tol=10.0)
    np.testing.assert_array_equal(eraser(x), x)


def test_a_concept_that_never_varies():
    x, _, _ = make_data(2)
    with pytest.warns(UserWarning, match="the eraser changes nothing"):
        eraser = LeaceEraser.fit(x, np.ones(N))
    np.testing.assert_array_equal(eraser(x), x)


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_samples(rows):
    fitter = LeaceFitter(D, 1).update(np.zeros((rows, D)), np.zeros(rows))
    for name in ("eraser", "sigma_xx", "sigma_xz"):
        with pytest.raises(ValueError, match="At least two samples"):
            getattr(fitter, name)


def test_moments_are_what_their_names_say():
    x, ids, z = make_data(3)
    fitter = LeaceFitter(D, 3, shrinkage=False)
    dataset = tf.data.Dataset.from_tensor_slices((x, ids)).batch(100)
    assert fitter.fit_dataset(dataset, verbose=0) is fitter
    assert fitter.n == N
    np.testing.assert_allclose(fitter.mean_x, x.mean(0))
    np.testing.assert_allclose(fitter.mean_z, z.mean(0))
    np.testing.assert_allclose(fitter.sigma_xx, covariance(x, x), atol=1e-12)
    np.testing.assert_allclose(fitter.sigma_xz, covariance(x, z), atol=1e-12)
    orth = LeaceFitter.fit(x, z, method="orth")
    with pytest.raises(ValueError, match="only with method='leace'"):
        _ = orth.sigma_xx


def test_shards_merge_into_the_same_eraser():
    x, ids, _ = make_data(3)
    whole = LeaceFitter.fit(x, ids)
    shards = [LeaceFitter(D, 3).update(x[i::3], ids[i::3]) for i in range(3)]
    merged = shards[2].merge(shards[0]).merge(shards[1])
    np.testing.assert_allclose(merged.eraser.P, whole.eraser.P, atol=1e-12)
    with pytest.raises(ValueError, match="`other` must have the same"):
        merged.merge(LeaceFitter(D, 3, method="orth"))
    with pytest.raises(TypeError, match="`other` must be a LeaceFitter"):
        merged.merge(whole.eraser)


def test_eraser_is_computed_once_and_follows_every_change(tmp_path):
    x, ids, _ = make_data(3)
    fitter = LeaceFitter(D, 3).update(x[:300], ids[:300])
    path = tf.train.Checkpoint(fitter=fitter).write(str(tmp_path / "ckpt"))
    first = fitter.eraser
    assert fitter.eraser is first
    update = tf.function(lambda a, b: fitter.update(a, b) and None)
    update(tf.constant(x[300:]), tf.constant(ids[300:]))
    whole = LeaceFitter(D, 3).update(x[:300], ids[:300])
    whole.update(x[300:], ids[300:])
    np.testing.assert_allclose(fitter.eraser.P, whole.eraser.P, atol=1e-12)
    tf.train.Checkpoint(fitter=fitter).read(path).assert_consumed()
    np.testing.assert_array_equal(fitter.eraser.P, first.P)


@pytest.mark.parametrize("preserve_ids", [False, True])
def test_splince_keeps_the_task_and_erases_the_concept(preserve_ids):
    x, ids, z = make_data(3)
    task = (x[:, 0] + x[:, 1] + ids > np.median(x[:, 0] + x[:, 1])).astype(int)
    task = task + (x[:, 2] > 1) if preserve_ids else task[:, None] * 1.0
    columns = np.eye(3)[task] if preserve_ids else task
    fitter = LeaceFitter.fit(x, ids, preserve=task, **EXACT)
    erased = fitter.eraser(x).numpy()
    before = covariance(x, columns)
    np.testing.assert_allclose(covariance(erased, columns), before, atol=1e-10)
    assert np.abs(covariance(erased, z)).max() < 1e-10
    P = fitter.eraser.P.numpy()
    np.testing.assert_allclose(P @ P, P, atol=1e-10)
    assert fitter.eraser.proj_left.shape == (D, 2)
    ratio = erased.var(0).sum() / x.var(0).sum()
    np.testing.assert_allclose(fitter.trace_ratio, ratio)
    leace = LeaceEraser.fit(x, ids)(x).numpy()
    assert np.abs(covariance(leace, columns) - before).max() > 1e-2
    # As batches, with weights.
    batches = [
        (x[i::2], (z[i::2], columns[i::2]), np.ones(300)) for i in (0, 1)
    ]
    streamed = LeaceFitter(
        D, 3, preserve_dim=columns.shape[1], **EXACT
    ).fit_dataset(batches, verbose=0)
    np.testing.assert_allclose(streamed.eraser.P, P, atol=1e-10)


@pytest.mark.parametrize("svd_tol", [EXACT["svd_tol"], 0.0])
def test_splince_erases_what_it_cannot_keep(svd_tol):
    x, _, z = make_data(3)
    other = x[:, :1]
    task = np.column_stack([z[:, 0], other])
    options = {**EXACT, "svd_tol": svd_tol}
    with pytest.warns(UserWarning, match=r"share 1 direction"):
        erased = LeaceEraser.fit(x, z, preserve=task, **options)(x).numpy()
    assert np.abs(covariance(erased, z)).max() < 1e-10


def test_unlike_leace_splince_can_grow_the_variance():
    x, ids, _ = make_data(2)
    assert LeaceFitter.fit(x, ids, **EXACT).trace_ratio <= 1
    nearly = ids + 0.1 * x[:, 0]
    assert LeaceFitter.fit(x, ids, preserve=nearly, **EXACT).trace_ratio > 1


@pytest.mark.parametrize("method", ["leace", "orth"])
def test_rounding_of_float32_rows_is_no_direction(method):
    # One-hot columns add up to a constant, whose products are rounded.
    rng = np.random.default_rng(0)
    z, y = np.eye(3)[rng.integers(3, size=200)], np.eye(2)[np.arange(200) % 2]
    x = rng.normal(5, 1, [200, 4]) + z @ rng.normal(size=(3, 4)) + y[:, :1]
    x, weight = x.astype("float32"), rng.uniform(1, 3, 200)
    found = [
        LeaceEraser.fit(
            rows,
            z,
            preserve=y,
            sample_weight=weight,
            method=method,
            svd_tol=0,
            shrinkage=False,
        )
        for rows in (x, x.astype("float64"))
    ]
    assert found[0].proj_left.shape == (4, 2)
    np.testing.assert_allclose(found[0].P, found[1].P, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preserve", [False, True])
def test_the_trace_ratio_is_that_of_the_rows_with_shrinkage_too(preserve):
    x, ids, _ = make_data(2)
    x, ids = x[:40], ids[:40]
    task = {"preserve": ids + x[:, 0]} if preserve else {}
    fitter = LeaceFitter.fit(x, ids, **task)
    ratio = fitter.eraser(x).numpy().var(0).sum() / x.var(0).sum()
    np.testing.assert_allclose(fitter.trace_ratio, ratio)


def test_the_trace_ratio_of_constants_is_one():
    fitter = LeaceFitter.fit(np.ones((9, 3)), np.arange(9) % 2)
    with pytest.warns(UserWarning, match="`x` does not vary"):
        assert fitter.trace_ratio == 1


@pytest.mark.parametrize("scale", [1e-170, 1e-90, 1e90, 1e150])
def test_rows_of_any_scale_are_shrunk_alike(scale):
    x, ids, _ = make_data(3)
    if scale < 1e-150:  # Squares are lost: nothing varies, and this is said.
        with pytest.warns(UserWarning, match="`x` does not vary"):
            assert LeaceEraser.fit(x * scale, ids).proj_left.shape[1] == 0
        return
    wanted = LeaceEraser.fit(x, ids).P
    np.testing.assert_allclose(
        LeaceEraser.fit(x * scale, ids).P, wanted, atol=1e-10
    )


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_folding_into_a_dense_layer_is_exact(affine, use_bias):
    x, ids, _ = make_data(3)
    eraser = LeaceEraser.fit(x, ids, affine=affine)
    dense = keras.layers.Dense(
        5,
        "tanh",
        use_bias=use_bias,
        dtype="float64",
        bias_initializer="random_normal",
    )
    want = dense(eraser(x))
    kernel = np.array(dense.kernel)
    folded = eraser.fold_into(dense)
    assert folded is not dense and folded.use_bias == (use_bias or affine)
    np.testing.assert_allclose(folded(x), want, atol=1e-13)
    np.testing.assert_array_equal(dense.kernel, kernel)


def test_folding_refuses_what_it_cannot_fold_into():
    eraser = LeaceEraser(np.ones((4, 1)), np.ones((1, 4)))
    with pytest.raises(TypeError, match="`dense` must be a keras"):
        eraser.fold_into(keras.layers.Dropout(0.5))
    for name, adapt in (
        ("quantized", lambda dense: dense.quantize("int8")),
        ("with LoRA", lambda dense: dense.enable_lora(1)),
    ):
        dense = keras.layers.Dense(2, name="head")
        dense.build((None, 4))
        adapt(dense)
        with pytest.raises(TypeError, match=f"layer 'head', {name}"):
            eraser.fold_into(dense)
    dense = keras.layers.Dense(2)
    with pytest.raises(ValueError, match="built with 4 inputs"):
        eraser.fold_into(dense)
    dense.build((None, 5))
    with pytest.raises(ValueError, match="built with 4 inputs"):
        eraser.fold_into(dense)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_erasers_keep_shape_and_dtype(dtype):
    x, ids, _ = make_data(2)
    eraser = LeaceEraser.fit(x, ids)
    inputs = tf.cast(x.reshape(2, 3, 100, D), dtype)
    erased = eraser(inputs)
    assert erased.dtype == inputs.dtype and erased.shape == inputs.shape
    erased = tf.reshape(tf.cast(erased, tf.float64), [N, D]).numpy()
    resolution = np.abs(x).max() * float(
        {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-7, "float64": 1e-15}[
            dtype
        ]
    )
    np.testing.assert_allclose(erased, eraser(x), atol=4 * resolution)


def test_erasers_take_one_row_and_refuse_other_inputs():
    x, ids, _ = make_data(2)
    eraser = LeaceEraser.fit(x, ids)
    many = eraser(x).numpy()
    for row in (x[0], tf.constant(x[0])):
        assert eraser(row).shape == (D,)
        np.testing.assert_allclose(eraser(row), many[0], atol=1e-12)
    np.testing.assert_allclose(tf.function(eraser)(x[0]), many[0], atol=1e-12)
    for bad in (np.zeros((3, 5)), np.zeros(5), np.float64(1)):
        with pytest.raises(ValueError, match="`x` must be of shape"):
            eraser(bad)
    with pytest.raises(ValueError, match=r"floating dtype.*of dtype int64"):
        eraser(np.zeros((3, D), np.int64))
    with pytest.raises(ValueError, match=r"`x` must hold real .* complex128"):
        eraser(np.zeros((3, D), complex))


def test_erasers_export(tmp_path):
    x, ids, _ = make_data(2)
    eraser = LeaceEraser.fit(x, ids)
    spec = tf.TensorSpec([None, D], tf.float32)
    tf.saved_model.save(
        eraser,
        str(tmp_path / "eraser"),
        signatures=tf.function(eraser).get_concrete_function(spec),
    )
    inputs = tf.constant(x, tf.float32)
    loaded = tf.saved_model.load(str(tmp_path / "eraser"))
    outputs = loaded.signatures["serving_default"](inputs)
    np.testing.assert_array_equal(outputs["output_0"], eraser(inputs))


def test_eraser_checks_its_matrices():
    with pytest.raises(ValueError, match="`proj_left` and `proj_right` must"):
        LeaceEraser(np.ones((4, 1)), np.ones((4, 1)))
    with pytest.raises(ValueError, match="`bias` must be of shape"):
        LeaceEraser(np.ones((4, 1)), np.ones((1, 4)), np.ones(3))


def test_erasing_more_than_half_of_all_dimensions_is_said():
    x, ids, _ = make_data(9, d=10)
    fitter = LeaceFitter.fit(x, ids)
    with pytest.warns(UserWarning, match="removes 8 of the 10 dimensions"):
        _ = fitter.eraser
    x, ids, _ = make_data(6, d=10)
    assert LeaceFitter.fit(x, ids).eraser.proj_left.shape == (10, 5)


@pytest.mark.parametrize("method", ["leace", "orth"])
def test_max_rank_erases_the_largest_directions_and_says_what_stays(method):
    x, _, z = make_data(4)
    options = {"method": method, "svd_tol": 1e-8}
    fitter = LeaceFitter.fit(x, z, max_rank=1, **options)
    with pytest.warns(UserWarning, match="max_rank=1 leaves some .* higher"):
        eraser = fitter.eraser
    assert eraser.proj_left.shape == (D, 1)
    whiten = np.eye(D)
    if method == "leace":
        values, vectors = np.linalg.eigh(fitter.sigma_xx)
        whiten = vectors / np.sqrt(values) @ vectors.T

    def sizes(rows):
        return np.linalg.svd(whiten @ covariance(rows, z))[1]

    before, after = sizes(x), sizes(eraser(x).numpy())
    np.testing.assert_allclose(after[:2], before[1:3], rtol=1e-9)
    assert after[2] < 1e-9 * before[0]
    # All that there are.
    full = LeaceEraser.fit(x, z, **options)
    for enough in (3, 100):
        same = LeaceEraser.fit(x, z, max_rank=enough, **options)
        np.testing.assert_array_equal(same.P, full.P)
    with pytest.warns(UserWarning, match="max_rank=0 leaves all"):
        nothing = LeaceEraser.fit(x, z, max_rank=0, **options)
    np.testing.assert_array_equal(nothing.P, np.eye(D))


@pytest.mark.filterwarnings("ignore:max_rank=1 leaves")
def test_max_rank_keeps_the_task_merges_and_is_restored(tmp_path):
    x, _, z = make_data(4)
    y = x[:, :1] + np.random.default_rng(1).normal(size=(N, 1))
    options = {"svd_tol": 1e-8, "max_rank": 1}
    fitter = LeaceFitter(D, 4, preserve_dim=1, **options).update(x, z, y)
    kept = fitter.eraser(x).numpy()
    np.testing.assert_allclose(covariance(kept, y), covariance(x, y))
    assert np.linalg.matrix_rank(kept - x, tol=1e-6) == 1
    whole = LeaceFitter(D, 4, **options).update(x, z)
    shards = [
        LeaceFitter(D, 4, **options).update(x[i::2], z[i::2]) for i in (0, 1)
    ]
    merged = shards[0].merge(shards[1])
    np.testing.assert_allclose(merged.eraser.P, whole.eraser.P, atol=1e-9)
    # The statistics are those of any rank.
    path = tf.train.Checkpoint(fitter=whole).save(str(tmp_path / "fitter"))
    for max_rank in (1, None):
        other = LeaceFitter(D, 4, svd_tol=1e-8, max_rank=max_rank)
        tf.train.Checkpoint(fitter=other).restore(path).assert_consumed()
        assert other.eraser.proj_left.shape[1] == (max_rank or 3)


def test_leftovers_are_values():
    x, ids, z = make_data(3)
    kinds = {}
    for name, fitter in {
        "clean": LeaceFitter.fit(x, ids),
        "nothing": LeaceFitter.fit(x, np.ones(N)),
        "partial": LeaceFitter.fit(x, ids, svd_tol=10.0),
        "shared": LeaceFitter.fit(x, z, preserve=z[:, :1]),
        "most": LeaceFitter.fit(x[:, :3], ids),
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            eraser, found = fitter.eraser_and_leftovers()
        assert isinstance(eraser, LeaceEraser)
        kinds[name] = [leftover.kind for leftover in found]
        for leftover in found:
            with pytest.warns(UserWarning) as caught:
                _ = fitter.eraser
            assert leftover.text in [str(w.message) for w in caught]
    assert kinds == {name: [] if name == "clean" else [name] for name in kinds}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "inlp"}, "`method` must be one of"),
        ({"svd_tol": -1.0}, "`svd_tol` must be a number .*=-1.0"),
        ({"svd_tol": "a"}, "`svd_tol` must be a number .*='a'"),
        ({"x_dim": 2.0}, "`x_dim` must be an integer of at least 1.*=2.0"),
        ({"z_dim": 0}, "`z_dim` must be an integer of at least 1.*=0"),
        ({"z_dim": "2"}, "`z_dim` must be an integer of at least 1.*='2'"),
        ({"z_dim": None}, "`z_dim` must be an integer of at least 1.*=None"),
        ({"preserve_dim": -1}, "`preserve_dim` must be an integer of at lea"),
        ({"preserve_dim": 1.5}, "`preserve_dim` must be an integer .*=1.5"),
        ({"affine": None}, "`affine` must be True or False.*affine=None"),
        ({"shrinkage": 0.1}, "`shrinkage` must be True or False.*=0.1"),
        ({"dtype": float}, "`dtype` must be float32 or float64"),
        ({"dtype": "float16"}, "`dtype` must be float32 or float64"),
        ({"dtype": "foo"}, "`dtype` must be float32 or float64.*='foo'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        LeaceFitter(**{"x_dim": 3, "z_dim": 2, **options})


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_dtypes_of_tensors_and_arrays_are_taken(name):
    x = np.zeros([2, 3], name)
    dtypes = [name, x.dtype, x.dtype.type, tf.constant(x).dtype]
    fitters = [LeaceFitter(3, 2, dtype=dtype) for dtype in dtypes]
    for fitter in fitters:
        assert name in [variable.dtype.name for variable in fitter.variables]
    for dtype in (None, float):  # Of no one size.
        with pytest.raises(ValueError, match="`dtype` must be float32 or"):
            LeaceFitter(3, 2, dtype=dtype)


def test_preserve_is_checked():
    x, ids, _ = make_data(3)
    fitter = LeaceFitter(D, 3, preserve_dim=3)
    before = fitter.get_state()
    for preserve, message in (
        (None, "`preserve` must be given exactly if"),
        (ids + 1, "`preserve` holds class ids outside"),
        (ids[:5], "`preserve` must be of shape"),
        (np.full((N, 3), np.nan), "`z` or `preserve` holds NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            fitter.update(x, ids, preserve)
    for a, b in zip(before, fitter.get_state(), strict=True):
        np.testing.assert_array_equal(a, b)
    message = "`preserve` must be given exactly if .* of type ndarray with"
    with pytest.raises(ValueError, match=message):
        LeaceFitter(D, 3).update(x, ids, x)


def test_erasing_needs_no_warning():
    x, ids, _ = make_data(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LeaceEraser.fit(x.astype("float32"), ids)
