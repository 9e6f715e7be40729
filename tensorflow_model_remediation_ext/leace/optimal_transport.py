"""Optimal transport between centered Gaussians, given by their covariances.

Everything here is NumPy in float64: its eigendecomposition and its matrix
products are three times as fast as TensorFlow's on a CPU, and these functions
run once per fit.
"""

import warnings

import numpy as np

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace.arrays import floats
from tensorflow_model_remediation_ext.leace.conditioning import (
    Coordinates,
    carrying,
    deviations,
    pivot_ratio,
    varying,
)

# Ratio of pivots up to which maps are computed in other coordinates, and up to
# which they are mended.
_UNLIKE, _INEXACT = 1e-6, 1e-3


class BarycenterWarning(UserWarning):
    """The barycenter is less exact or of lower rank than expected."""


def ot_map(K1: np.ndarray, K2: np.ndarray) -> np.ndarray:
    """Optimal transport map from `N(0, K1)` to `N(0, K2)`.

    With `K1 = R R^T` it is `T = R^-T (R^T K2 R)^(1/2) R^-1`, for any factor
    `R`. Where `K1` is singular, `T` vanishes outside its range, and
    `T K1 T` is `K2` restricted to that range: no map can give variance to what
    does not vary.

    Where `K1` varies in some direction by less than about 1e-3 of the most, in
    standard deviations, as with features in unlike units, `T` is mended there:
    it carries `K1` to `K2` as exactly, but is symmetric and the least movement
    only to 1e-6 of the variance.

    Args:
        K1: `[..., d, d]` covariances, symmetric positive semidefinite.
        K2: `[..., d, d]` covariances; leading axes broadcast.

    Returns:
        `[..., d, d]` float64 maps `T` of columns such that `T K1 T^T = K2`,
        symmetric positive semidefinite but for what is said above.

    Raises:
        ValueError: If an argument is not a finite square matrix, or their sizes
            differ.

    Examples:
        >>> ot_map([[1.0]], [[4.0]])
        array([[2.]])

    References:
        Dowson and Landau 1982, "The Fréchet distance between multivariate
        normal distributions", and Peyré and Cuturi 2019, "Computational
        Optimal Transport" (arXiv 1803.00567), remark 2.31.
    """
    K1, K2, _ = _pair(K1, K2)
    batch = np.broadcast_shapes(K1.shape[:-2], K2.shape[:-2])
    maps = np.empty((*batch, *K1.shape[-2:]))
    targets = np.broadcast_to(K2, maps.shape)
    # A source that broadcasts over many targets is factored once.
    sources = [_Source(K) for K in K1.reshape(-1, *K1.shape[-2:])]
    numbers = np.arange(len(sources)).reshape(K1.shape[:-2])
    numbers = np.broadcast_to(numbers, batch)
    for index in np.ndindex(*batch):
        maps[index] = sources[numbers[index]].map_to(targets[index])
    return maps


class _Source:
    """A covariance, factored, to be mapped to many others."""

    def __init__(self, K):
        ratio = pivot_ratio(K)
        self._mended, self._coordinates = ratio <= _INEXACT, None
        if ratio > _UNLIKE:
            self._K, self._factor = K, np.linalg.cholesky(K)
            self._inverse = np.linalg.inv(self._factor)
            return
        _, inverse = deviations(K)
        basis = varying(K * inverse * inverse[:, None])
        self._coordinates = Coordinates(K, basis)
        size = self._coordinates.deviations
        self._K, self._factor = np.diag(size**2), np.diag(size)
        self._inverse = np.diag(1 / size)

    def map_to(self, K):
        if self._coordinates is not None:
            K = self._coordinates.covariances(K)
        root, basis = _root(self._factor.T @ K @ self._factor)
        half = (self._inverse.T @ basis) * np.sqrt(root)
        mapping = half @ half.T
        if self._mended:
            mapping = carrying(mapping, self._K, K)
        if self._coordinates is not None:
            mapping = self._coordinates.maps(mapping)
        return mapping


def ot_distance(K1: np.ndarray, K2: np.ndarray) -> np.ndarray:
    """2-Wasserstein distance between `N(0, K1)` and `N(0, K2)`.

    Args:
        K1: `[..., d, d]` covariances.
        K2: `[..., d, d]` covariances; leading axes broadcast.

    Returns:
        `[...]` float64 distances, in the units of the data.

    Raises:
        ValueError: If an argument is not a finite square matrix, or their sizes
            differ.

    Examples:
        >>> float(ot_distance([[1.0]], [[4.0]]))
        1.0
    """
    K1, K2, level = _pair(K1, K2)
    root, basis = _root(K1)
    half = (basis * root[..., None, :]) @ np.swapaxes(basis, -1, -2)
    cross = _root(half @ K2 @ half)[0].sum(-1)
    traces = np.trace(K1, axis1=-2, axis2=-1) + np.trace(K2, axis1=-2, axis2=-1)
    return np.sqrt(np.maximum(traces - 2 * cross, 0.0)) * np.sqrt(level)


def ot_midpoint(
    K1: np.ndarray, K2: np.ndarray, w1: float = 0.5, w2: float = 0.5
) -> np.ndarray:
    """Covariance of the weighted 2-Wasserstein barycenter of two Gaussians.

    It is where the optimal map is after the share `w2` of its way:
    `(w1 I + w2 T) K1 (w1 I + w2 T)`, `T = ot_map(K1, K2)`.

    Args:
        K1: `[..., d, d]` covariances, positive definite on the range of `K2`.
        K2: `[..., d, d]` covariances.
        w1: Weight of the first Gaussian.
        w2: Weight of the second; the two sum to one.

    Returns:
        `[..., d, d]` float64 covariance.

    Raises:
        ValueError: If an argument is not a finite square matrix, their sizes
            differ, or the weights are negative or do not sum to one.

    Examples:
        >>> ot_midpoint([[1.0]], [[9.0]])
        array([[4.]])

    References:
        McCann 1997, "A convexity principle for interacting gases", example 1.7.
    """
    K1 = _covariances(K1=K1)
    w1, w2 = (float(floats(name, w)) for name, w in (("w1", w1), ("w2", w2)))
    if not (w1 >= 0 and w2 >= 0 and abs(w1 + w2 - 1) < 1e-6):
        raise ValueError(
            "`w1` and `w2` must be at least 0 and sum to one. Received: "
            f"w1={w1}, w2={w2}"
        )
    step = w1 * np.eye(K1.shape[-1]) + w2 * ot_map(K1, K2)
    return step @ K1 @ np.swapaxes(step, -1, -2)


def ot_barycenter(
    Ks: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    tol: float = 1e-10,
    max_iter: int = 100,
) -> np.ndarray:
    """Covariance of the 2-Wasserstein barycenter of centered Gaussians.

    See `barycenter_maps`, which returns the maps to it as well.

    Args:
        Ks: `[k, d, d]` covariances.
        weights: `[k]` positive weights, equal by default.
        tol: Relative tolerance of the fixed point.
        max_iter: Most iterations to run.

    Returns:
        `[d, d]` float64 covariance.

    Raises:
        ValueError: On wrong shapes, weights or `max_iter`.

    Examples:
        >>> ot_barycenter([[[1.0]], [[4.0]], [[9.0]]])
        array([[4.]])
    """
    return barycenter_maps(Ks, weights, tol=tol, max_iter=max_iter)[0]


def barycenter_maps(
    Ks: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    tol: float = 1e-10,
    max_iter: int = 100,
) -> tuple[np.ndarray, np.ndarray]:
    """Barycenter of centered Gaussians, and the maps from each of them to it.

    The barycenter `S` is the fixed point of `S = A(S) S A(S)`, `A(S)` the
    weighted mean of the maps from `S` to each Gaussian. The iteration stops
    when `A(S)` is the identity to `tol`, or to what rounding allows. Every
    map carries its Gaussian to `S` exactly, however far the iteration came:
    the tolerance decides only whether this costs the least possible movement.

    Gaussians that are flat in some direction cannot all be carried to a common
    one that is not. The barycenter is taken in the largest subspace found in
    which every one of them varies, after an orthogonal projection onto it.

    Where units are so unlike that some direction varies by less than about 1e-3
    of the most, in standard deviations, the movement is the least to 1e-6 of
    the variance, and maps are not quite symmetric: they act on columns.

    Args:
        Ks: `[k, d, d]` covariances.
        weights: `[k]` positive weights, equal by default.
        tol: Relative tolerance of the fixed point.
        max_iter: Most iterations to run.

    Returns:
        The `[d, d]` barycenter and the `[k, d, d]` maps, float64, such that
        `maps[i] @ Ks[i] @ maps[i].T` is the barycenter for every `i`.

    Raises:
        ValueError: On wrong shapes, weights or `max_iter`.

    Warns:
        BarycenterWarning: If `tol` is not reached in `max_iter` iterations, or
            if the Gaussians vary in different subspaces.

    References:
        Álvarez-Esteban, del Barrio, Cuesta-Albertos and Matrán 2016 (arXiv
        1511.05355), equation 7; accelerated after Anderson 1965, "Iterative
        procedures for nonlinear integral equations".
    """
    Ks = _covariances(Ks=Ks)
    if Ks.ndim != 3 or not len(Ks):
        raise ValueError(
            f"`Ks` must be of shape [k, d, d], k > 0. Received: {Ks.shape}"
        )
    whole("max_iter", max_iter)
    if weights is None:
        weights = np.ones(len(Ks))
    weights = np.asarray(floats("weights", weights), np.float64)
    if weights.shape != (len(Ks),) or not (weights > 0).all():
        raise ValueError(
            f"`weights` must be {len(Ks)} positive numbers, one for each "
            f"Gaussian. Received: weights={weights}"
        )
    weights, level = weights / weights.sum(), _level(Ks)
    Ks = Ks / level
    if all(pivot_ratio(K) > _UNLIKE for K in Ks):
        center, maps = _barycenter(Ks, weights, tol, max_iter)
        return center * level, maps
    pooled = np.tensordot(weights, Ks, 1)
    _, inverse = deviations(pooled)
    basis = _common_basis(Ks * inverse * inverse[:, None], weights)
    if not basis.shape[1]:
        return np.zeros_like(Ks[0]), np.zeros_like(Ks)
    coordinates = Coordinates(pooled, basis)
    center, maps = _barycenter(
        coordinates.covariances(Ks), weights, tol, max_iter
    )
    return coordinates.lift(center) * level, coordinates.maps(maps)


def _barycenter(Ks, weights, tol, max_iter):
    """`barycenter_maps` of positive definite covariances."""
    if len(Ks) == 2:
        center = ot_midpoint(*Ks, *weights)
        return center, ot_map(Ks, center)
    center = np.tensordot(weights, Ks, 1)
    accelerate = _Anderson()
    # BLAS takes half the time for a product of a matrix with its own transpose.
    uppers = [_square_root(K).T for K in Ks]
    for _ in range(max_iter):
        factor = np.linalg.cholesky(center)
        # The map from the center L L^T to K is L^-T (L^T K L)^(1/2) L^-1, that
        # from K to the center L (L^T K L)^(-1/2) L^T: one decomposition.
        products = (upper @ factor for upper in uppers)
        roots = [_root(product.T @ product) for product in products]
        halves = (
            basis * np.sqrt(w * root)
            for w, (root, basis) in zip(weights, roots, strict=True)
        )
        mean = sum(half @ half.T for half in halves)
        gram = factor.T @ factor
        scale = np.linalg.norm(gram)
        residual = np.linalg.norm(mean - gram) / scale
        if residual <= max(tol, _rounding(roots) / scale):
            break
        half = np.linalg.solve(factor.T, mean)
        center = accelerate(center, half @ half.T)
    else:
        warnings.warn(
            f"The barycenter of {len(Ks)} Gaussians is exact to {residual:.1e} "
            f"after max_iter={max_iter} iterations, not to tol={tol:.1e}. "
            "Covariances still become equal, by slightly more movement than "
            "necessary.",
            BarycenterWarning,
            stacklevel=4,
        )
    center, maps = factor @ factor.T, []
    for K, (root, basis) in zip(Ks, roots, strict=True):
        # Smaller roots are not known.
        known = np.maximum(root, np.sqrt(np.finfo(float).eps) * root[-1])
        half = factor @ (basis / np.sqrt(known))
        mapping = half @ half.T
        if root[0] <= _INEXACT * root[-1]:
            mapping = carrying(mapping, K, center)
        maps.append(mapping)
    return center, np.stack(maps)


class _Anderson:
    """Anderson acceleration of a fixed-point iteration over covariances."""

    def __init__(self, depth=6):
        self.depth, self.steps, self.images = depth, [], []

    def __call__(self, point, image):
        """Returns the next point, from a point and its image."""
        self.steps = [*self.steps, image - point][-self.depth - 1 :]
        self.images = [*self.images, image][-self.depth - 1 :]
        if len(self.steps) == 1:
            return image
        changes = np.stack([s - self.steps[-1] for s in self.steps[:-1]])
        flat = changes.reshape(len(changes), -1)
        mix = np.linalg.lstsq(
            flat @ flat.T, -flat @ self.steps[-1].ravel(), rcond=1e-14
        )[0]
        candidate = image + sum(
            m * (past - image)
            for m, past in zip(mix, self.images[:-1], strict=True)
        )
        # The plain step is always a covariance, and never further away.
        return candidate if _is_definite(candidate) else image


def _is_definite(K):
    try:
        np.linalg.cholesky(K)
    except np.linalg.LinAlgError:
        return False
    return True


def _rounding(roots):
    """How exactly the square roots of `_root` are known."""
    worst = max(root[-1] ** 2 / max(root[0], 1e-300) for root, _ in roots)
    return np.finfo(float).eps * worst


def _root(K):
    """Eigenvalues and eigenvectors of the square root of `K`."""
    values, basis = np.linalg.eigh(K)
    return np.sqrt(np.maximum(values, 0.0)), basis


def _square_root(K):
    """`R` with `R R^T = K`, of a `K` that is definite but for rounding."""
    try:
        return np.linalg.cholesky(K)
    except np.linalg.LinAlgError:
        root, basis = _root(K)
        return basis * np.maximum(root, np.finfo(float).eps * root[-1])


def _common_basis(Ks, weights):
    """`[d, r]` orthonormal basis in which all `Ks` are definite.

    A form that is definite on a space is so on each of its subspaces, so one
    pass over the covariances is enough.
    """
    # The pooled covariance comes first: to drop what never varies loses
    # nothing.
    basis = varying(np.tensordot(weights, Ks, 1))
    together = basis.shape[1]
    for K in Ks:
        basis = basis @ varying(basis.T @ K @ basis)
    if basis.shape[1] < together:
        warnings.warn(
            f"The {len(Ks)} Gaussians vary in {together} directions together "
            f"but in different ones each: only {basis.shape[1]} are kept. Give "
            "more samples than features for each class, or use shrinkage.",
            BarycenterWarning,
            stacklevel=4,
        )
    return basis


def _pair(K1, K2):
    """Returns two covariances of one size over their level, and that."""
    K1, K2 = _covariances(K1=K1), _covariances(K2=K2)
    if K1.shape[-1] != K2.shape[-1]:
        raise ValueError(
            "`K1` and `K2` must be of the same size. Received: shapes "
            f"{K1.shape}, {K2.shape}"
        )
    level = _level(K1, K2)
    return K1 / level, K2 / level, level


def _level(*covariances):
    """A power of two near the largest variance: nothing is rounded by it.

    Products of covariances overflow, or are lost, in units in which
    covariances themselves are not.
    """
    largest = max(np.abs(K).max(initial=0.0) for K in covariances)
    return np.ldexp(1.0, np.frexp(largest)[1] - 1)


def _covariances(**named):
    """Returns the one named argument as float64 matrices."""
    ((name, value),) = named.items()
    value = np.asarray(floats(name, value), np.float64)
    if value.ndim < 2 or value.shape[-1] != value.shape[-2]:
        raise ValueError(
            f"`{name}` must be of shape [..., d, d]. Received: {name} of shape "
            f"{value.shape}"
        )
    if not np.isfinite(value).all():
        raise ValueError(f"`{name}` must be finite. It holds NaN or infinity.")
    return value
