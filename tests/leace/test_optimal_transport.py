import warnings

import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace import optimal_transport as ot


def covariance(rng, d, spread=1.0, rank=None):
    """Random covariance with eigenvalues within `exp(+-spread)`."""
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    values = np.exp(rng.uniform(-spread, spread, d))
    values[rank:] = 0 if rank is not None else values[rank:]
    return (basis * values) @ basis.T


def covariances(k, d=12, spread=1.0, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([covariance(rng, d, spread, rank) for _ in range(k)])


def close(a, b, tol):
    assert np.abs(a - b).max() <= tol * np.abs(b).max()


def test_map_transports_is_symmetric_and_inverts():
    K1, K2 = covariances(2, spread=3.0)
    T = ot.ot_map(K1, K2)
    close(T @ K1 @ T, K2, 1e-11)
    close(T, T.T, 1e-14)
    assert np.linalg.eigvalsh(T).min() > 0
    close(ot.ot_map(K2, K1) @ T, np.eye(12), 1e-9)


def test_map_broadcasts_over_pairs():
    Ks = covariances(3, d=4)
    maps = ot.ot_map(Ks[:, None], Ks)
    assert maps.shape == (3, 3, 4, 4)
    close(maps[1, 2], ot.ot_map(Ks[1], Ks[2]), 1e-13)
    close(maps[0, 0], np.eye(4), 1e-12)


def test_map_moves_less_than_any_other_linear_map():
    K1, K2 = covariances(2)
    # Every linear transport is sqrt(K2) Q K1^-1/2 with Q orthogonal.
    L1, L2 = np.linalg.cholesky(K1), np.linalg.cholesky(K2)

    def cost(T):
        move = T - np.eye(12)
        return np.trace(move @ K1 @ move.T)

    best = cost(ot.ot_map(K1, K2))
    rng = np.random.default_rng(1)
    for _ in range(20):
        Q = np.linalg.qr(rng.standard_normal((12, 12)))[0]
        assert best < cost(L2 @ Q @ np.linalg.inv(L1))
    np.testing.assert_allclose(ot.ot_distance(K1, K2) ** 2, best, rtol=1e-9)


def test_map_from_a_singular_covariance_reaches_what_it_can():
    K1 = covariances(1, rank=7)[0]
    K2 = covariances(1, seed=1)[0]
    T = ot.ot_map(K1, K2)
    values, basis = np.linalg.eigh(K1)
    onto_range = basis[:, values > 1e-9] @ basis[:, values > 1e-9].T
    close(T @ K1 @ T, onto_range @ K2 @ onto_range, 1e-11)


def test_distance_of_commuting_covariances():
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 1.0])
    distance = ot.ot_distance(np.diag(a), np.diag(b))
    expected = np.sqrt(((np.sqrt(a) - np.sqrt(b)) ** 2).sum())
    np.testing.assert_allclose(distance, expected, rtol=1e-12)
    assert ot.ot_distance(covariances(3), covariances(3)).shape == (3,)


@pytest.mark.parametrize("k", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_barycenter_is_reached_and_is_the_nearest(k, spread):
    Ks = covariances(k, spread=spread)
    weights = np.random.default_rng(2).dirichlet(np.full(k, 3.0))
    center, maps = ot.barycenter_maps(Ks, weights)
    close(maps @ Ks @ maps, np.broadcast_to(center, Ks.shape), 1e-10)
    # First-order optimality: the mean of the maps from it is the identity.
    back = np.tensordot(weights, ot.ot_map(center, Ks), 1)
    close(back, np.eye(12), 1e-7)

    def cost(S):
        return weights @ ot.ot_distance(S, Ks) ** 2

    rng = np.random.default_rng(3)
    for _ in range(3):
        bump = np.eye(12) + 0.05 * rng.standard_normal((12, 12))
        assert cost(center) < cost(bump @ center @ bump.T)


def test_barycenter_of_commuting_covariances():
    # Standard deviations average.
    roots = np.random.default_rng(0).uniform(0.5, 3, (4, 6))
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    center = ot.ot_barycenter(np.stack([np.diag(r**2) for r in roots]), weights)
    close(center, np.diag((weights @ roots / 10) ** 2), 1e-9)


def test_midpoint_agrees_with_the_iteration():
    Ks = covariances(2)
    # Three Gaussians, the last two equal, are two.
    three = np.stack([Ks[0], Ks[1], Ks[1]])
    iterated = ot.ot_barycenter(three, [0.4, 0.3, 0.3])
    close(ot.ot_midpoint(*Ks, 0.4, 0.6), iterated, 1e-9)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_shared_null_space_is_left_alone(k):
    rng = np.random.default_rng(0)
    embed = rng.standard_normal((15, 12))
    Ks = embed @ covariances(k) @ embed.T
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        center, maps = ot.barycenter_maps(Ks)
    assert np.linalg.matrix_rank(center, tol=1e-8) == 12
    close(maps @ Ks @ maps, np.broadcast_to(center, Ks.shape), 1e-10)


@pytest.mark.parametrize("k", [2, 5])
def test_gaussians_flat_in_different_directions_still_become_equal(k):
    Ks = covariances(k, rank=9)
    with pytest.warns(ot.BarycenterWarning, match="only 9 are kept"):
        center, maps = ot.barycenter_maps(Ks)
    assert np.linalg.matrix_rank(center, tol=1e-8) == 9
    close(maps @ Ks @ maps, np.broadcast_to(center, Ks.shape), 1e-8)


def test_nothing_varies():
    center, maps = ot.barycenter_maps(np.zeros((3, 4, 4)))
    assert not center.any() and not maps.any()


def test_too_few_iterations_say_what_was_reached_and_still_equalize():
    Ks = covariances(4, spread=3.0)
    with pytest.warns(ot.BarycenterWarning, match="after max_iter=2"):
        center, maps = ot.barycenter_maps(Ks, max_iter=2)
    close(maps @ Ks @ maps, np.broadcast_to(center, Ks.shape), 1e-10)


def test_complex_numbers_are_refused():
    real, complex_ = np.eye(2), np.eye(2) + 0j
    for call in (
        lambda: ot.ot_map(complex_, real),
        lambda: ot.ot_map(real, complex_),
        lambda: ot.ot_distance(real, complex_),
        lambda: ot.ot_midpoint(complex_, real),
        lambda: ot.ot_midpoint(real, real, 0.5 + 0j, 0.5),
        lambda: ot.ot_barycenter(np.stack([complex_, complex_])),
        lambda: ot.ot_barycenter(np.stack([real, real]), np.ones(2) + 0j),
    ):
        with pytest.raises(ValueError, match=r"must hold real .*complex128"):
            call()


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`K1` must be of shape"):
        ot.ot_map(np.zeros(3), np.eye(3))
    with pytest.raises(ValueError, match="`K2` must be finite"):
        ot.ot_map(np.eye(2), np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="`Ks` must be of shape"):
        ot.ot_barycenter(np.eye(2))
    for weights in ([1.0], [1.0, -1.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="`weights` must be 2 positive"):
            ot.ot_barycenter(covariances(2), weights)
    with pytest.raises(
        ValueError, match="`max_iter` must be an integer of at least 1"
    ):
        ot.ot_barycenter(covariances(2), max_iter=0)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300])
@pytest.mark.parametrize("flat", [False, True])
def test_the_unit_does_not_matter(scale, flat):
    Ks = covariances(3, d=6)
    if flat:
        Ks[:, -1] = Ks[:, :, -1] = 0
    scaled = Ks * scale
    close(ot.ot_map(scaled[0], scaled[1]), ot.ot_map(Ks[0], Ks[1]), 1e-9)
    close(
        ot.ot_distance(scaled[0], scaled[1]) / np.sqrt(scale),
        ot.ot_distance(Ks[0], Ks[1]),
        1e-9,
    )
    for few, some in ((Ks, scaled), (Ks[:2], scaled[:2])):
        center, maps = ot.barycenter_maps(few)
        same, same_maps = ot.barycenter_maps(some)
        close(same / scale, center, 1e-7)
        close(same_maps, maps, 1e-7)


def test_pairs_of_unlike_size_and_weights_beside_one_are_refused():
    for function in (ot.ot_map, ot.ot_distance, ot.ot_midpoint):
        for size in (1, 2):
            with pytest.raises(ValueError, match="must be of the same size"):
                function(np.eye(3), np.eye(size))
    for w1, w2 in ((0.3, 0.3), (1.5, -0.5), (2, 2), (np.nan, 0.5)):
        with pytest.raises(ValueError, match="must be at least 0 and sum to"):
            ot.ot_midpoint(np.eye(2), 4 * np.eye(2), w1, w2)
