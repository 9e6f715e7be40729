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


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="`S_n` must be of shape"):
        optimal_linear_shrinkage(np.ones((3, 2)), 10)
    with pytest.raises(ValueError, match="`n` must be positive"):
        optimal_linear_shrinkage(np.eye(3), 0)
