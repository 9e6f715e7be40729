"""Optimal linear shrinkage."""

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras import (
    optimal_linear_shrinkage,
)


def sample_covariances(batch, n, p, seed=0):
    rng = np.random.default_rng(seed)
    scales = np.linspace(0.5, 3, p)
    x = rng.normal(size=(*batch, n, p)) * scales
    x -= x.mean(-2, keepdims=True)
    return np.swapaxes(x, -1, -2) @ x / n, np.diag(scales**2)


@pytest.mark.parametrize("n", [5, 20, 200])
def test_comes_closer_to_the_truth_and_keeps_the_trace(n):
    S, truth = sample_covariances((30,), n, 20)
    shrunk = optimal_linear_shrinkage(S, n)
    error = np.linalg.norm(shrunk - truth, axis=(1, 2)).mean()
    assert error < np.linalg.norm(S - truth, axis=(1, 2)).mean()
    np.testing.assert_allclose(
        np.trace(shrunk, axis1=1, axis2=2), np.trace(S, axis1=1, axis2=2)
    )
    assert np.linalg.eigvalsh(shrunk).min() > 0


def test_is_near_the_best_linear_combination():
    # Of all alpha * S + (1 - alpha) * t * I, by search.
    S, truth = sample_covariances((), 400, 200)
    target = np.trace(S) / 200 * np.eye(200)
    errors = [
        np.linalg.norm(a * S + (1 - a) * target - truth)
        for a in np.linspace(0, 1, 101)
    ]
    shrunk = optimal_linear_shrinkage(S, 400)
    assert np.linalg.norm(shrunk - truth) < 1.02 * min(errors)


def test_batches_tensors_and_graphs_agree():
    S, _ = sample_covariances((2, 3), 30, 6)
    n = np.array([[20, 30, 40], [50, 60, 70]])
    whole = optimal_linear_shrinkage(S, n)
    in_graph = tf.function(optimal_linear_shrinkage)(tf.constant(S), n)
    np.testing.assert_allclose(in_graph, whole, rtol=1e-12)
    for index in np.ndindex(2, 3):
        one = optimal_linear_shrinkage(S[index], n[index])
        np.testing.assert_allclose(one, whole[index], rtol=1e-12)
    assert optimal_linear_shrinkage(S.astype("f"), n).dtype == np.float32


@pytest.mark.parametrize(
    "S", [np.zeros((4, 4)), np.eye(4), np.ones((1, 1))], ids=str
)
def test_multiples_of_the_identity_stay(S):
    np.testing.assert_allclose(optimal_linear_shrinkage(S, 10), S)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_half_precision_is_shrunk_as_float32(dtype):
    S = (500 * sample_covariances((), 30, 6)[0]).astype(dtype)
    want = optimal_linear_shrinkage(S.astype("float64"), 30)
    for shrunk in (
        optimal_linear_shrinkage(S, 30),
        optimal_linear_shrinkage(tf.constant(S), 30),
    ):
        assert shrunk.dtype == dtype
        np.testing.assert_allclose(shrunk, want, rtol=2e-3, atol=0.5)


@pytest.mark.parametrize(
    "dtype, scales",
    [("float32", [1e-30, 1e25]), ("float64", [1e-200, 1e-160, 1e160, 1e300])],
)
def test_the_unit_does_not_matter(dtype, scales):
    S = sample_covariances((2,), 30, 6)[0].astype(dtype)
    want = optimal_linear_shrinkage(S, 30)
    assert np.abs(want - S).max() > 0.01
    for scale in np.array(scales, dtype):
        for scaled in (S * scale, tf.constant(S * scale)):
            shrunk = optimal_linear_shrinkage(scaled, 30) / scale
            np.testing.assert_allclose(shrunk, want, rtol=1e-5, atol=1e-5)


def test_integers_become_floats():
    S = np.diag([1, 2, 9])
    want = optimal_linear_shrinkage(S.astype(float), 20)
    np.testing.assert_array_equal(optimal_linear_shrinkage(S, 20), want)
    tensor = optimal_linear_shrinkage(tf.constant(S), 20)
    np.testing.assert_allclose(tensor, want)


@pytest.mark.parametrize("convert", [np.asarray, tf.constant])
def test_complex_numbers_are_refused(convert):
    for S, n in ((np.eye(3) * 1j, 10), (np.eye(3), np.array(10 + 0j))):
        with pytest.raises(ValueError, match=r"must hold real .*complex128"):
            optimal_linear_shrinkage(convert(S), n)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="`S_n` must be of shape"):
        optimal_linear_shrinkage(np.ones((3, 2)), 10)
    with pytest.raises(ValueError, match="`n` must be positive"):
        optimal_linear_shrinkage(np.eye(3), 0)
