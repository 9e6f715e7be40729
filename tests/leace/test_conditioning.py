import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace import conditioning
from tensorflow_model_remediation_ext.leace import optimal_transport as ot

SCALES = [
    [0.1, 1, 1e5],
    [1, 1e-7],
    [1e-2, 1, 1e2, 1e4],
    [1e-20, 1e-6, 1, 1e3, 1e8, 1],
    np.geomspace(1e-6, 1e6, 40),
]


def correlated(k, d, seed=0):
    """Covariances of features with like units."""
    factors = np.random.default_rng(seed).normal(size=(k, d, 2 * d))
    return factors @ np.swapaxes(factors, 1, 2) / (2 * d)


def assert_same(Ks, want, tol=1e-10):
    """Relative to the variance of each feature."""
    roots = np.sqrt(np.diagonal(want, axis1=-2, axis2=-1))
    scale = roots[..., None] * roots[..., None, :]
    np.testing.assert_allclose(Ks / scale, want / scale, atol=tol)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_maps_are_exact_for_features_of_any_unit(k, scale):
    scale = np.array(scale)
    Ks = correlated(k, len(scale)) * scale * scale[:, None]
    center, maps = ot.barycenter_maps(Ks)
    carried = maps @ Ks @ np.swapaxes(maps, 1, 2)
    assert_same(carried, np.broadcast_to(center, Ks.shape))
    # Nothing of a feature is given up.
    roots = np.sqrt(np.diagonal(Ks, axis1=1, axis2=2))
    assert (np.sqrt(center.diagonal()) > 0.5 * roots.min(0)).all()
    pairs = ot.ot_map(Ks[:, None], Ks)
    edited = pairs @ Ks[:, None] @ np.swapaxes(pairs, -1, -2)
    assert_same(edited, np.broadcast_to(Ks, pairs.shape))


@pytest.mark.parametrize("k", [2, 3])
def test_standard_deviations_of_any_unit_average(k):
    # The barycenter of independent features, in closed form.
    roots = np.random.default_rng(0).uniform(0.5, 3, (k, 4))
    roots *= [1e-5, 1, 1e3, 1e6]
    center, maps = ot.barycenter_maps(np.stack([np.diag(r**2) for r in roots]))
    assert_same(center, np.diag(roots.mean(0) ** 2), 1e-6)
    assert_same(
        maps @ maps, np.stack([np.diag(1 / r**2) for r in roots]) @ center, 1e-6
    )


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("ratio", [1e2, 1e4, 1e6])
def test_unlike_units_move_hardly_more_than_the_least(k, ratio):
    # The distance to the barycenter is a lower bound of what maps move.
    scale = np.geomspace(1 / ratio, 1, 6)
    Ks = correlated(k, 6) * scale * scale[:, None]
    _, maps = ot.barycenter_maps(Ks)
    moves = maps - np.eye(6)
    moved = np.trace(moves @ Ks @ np.swapaxes(moves, 1, 2), axis1=1, axis2=2)
    # Pairwise distances bound what all of them need, from below.
    pairs = ot.ot_distance(Ks[:, None], Ks) ** 2
    assert moved.mean() <= pairs.sum() / (2 * k**2) * 1.1
    if k == 2:
        least = pairs[0, 1] / 4
        np.testing.assert_allclose(moved.mean(), least, rtol=1e-4)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("noise", [1e-3, 1e-4, 1e-5, 1e-9])
def test_features_that_are_nearly_equal(k, noise):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(k, 200, 4)) * rng.uniform(0.5, 2, (k, 1, 4))
    twins = rows[..., :2] + noise * rng.normal(size=(k, 200, 2))
    Ks = np.stack([np.cov(x.T) for x in np.concatenate([rows, twins], -1)])
    center, maps = ot.barycenter_maps(Ks)
    carried = maps @ Ks @ np.swapaxes(maps, 1, 2)
    assert_same(carried, np.broadcast_to(center, Ks.shape))


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_coordinates_are_well_conditioned_and_lead_back(scale):
    scale = np.array(scale)
    K = correlated(1, len(scale))[0] * scale * scale[:, None]
    _, inverse = conditioning.deviations(K)
    basis = conditioning.varying(K * inverse * inverse[:, None])
    coordinates = conditioning.Coordinates(K, basis)
    in_y = coordinates.covariances(K)
    assert_same(in_y, np.diag(coordinates.deviations**2))
    assert np.linalg.cond(in_y) < 1.1e6
    assert_same(coordinates.lift(in_y), K)


def test_a_map_of_no_use_becomes_one():
    K, target = correlated(2, 5)
    for start in (np.eye(5), np.zeros((5, 5)), np.full((5, 5), 1e-3)):
        T = conditioning.carrying(start, K, target)
        assert_same(T @ K @ T.T, target)
    np.testing.assert_array_equal(
        conditioning.carrying(np.eye(5), K, np.zeros((5, 5))), np.eye(5)
    )
