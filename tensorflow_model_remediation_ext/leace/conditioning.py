"""Coordinates in which covariances of any units can be computed with.

Transport takes square roots of products of covariances: what varies by less
than 1e-4 of the most, in standard deviations, is rounding error in them. That
is common where features are in unlike units, and where some are nearly equal.
"""

import numpy as np

from tensorflow_model_remediation_ext.leace.variation import inverted

# Variance of standardized features relative to the largest, below which a
# direction counts as constant. A covariance carries rounding errors of 1e-16
# of the variances, times a few for the length of the sum; what is smaller than
# this is mostly error.
RANK_TOL = 1e-12
# Standard deviation relative to the largest, below which a movement counts as
# if it were of so much: all movements that are smaller than this together
# matter less than their square.
_SMALL = 1e-3


def pivot_ratio(K: np.ndarray) -> float:
    """Returns the smallest squared pivot of `K` relative to the largest.

    Zero where `K` is not positive definite. It bounds the ratio of eigenvalues
    only from above, so that doubt has to begin early.
    """
    try:
        pivots = np.diagonal(np.linalg.cholesky(K)) ** 2
    except np.linalg.LinAlgError:
        return 0.0
    return float(pivots.min() / pivots.max())


def deviations(K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations, and their inverses, zero for zero."""
    scale = np.sqrt(np.maximum(K.diagonal(), 0.0))
    return scale, inverted(scale)


def varying(K: np.ndarray) -> np.ndarray:
    """`[d, r]` eigenvectors of `K` whose variance does not count as none."""
    values, vectors = np.linalg.eigh(K)
    return vectors[:, values > RANK_TOL * K.diagonal().max(initial=0.0)]


class Coordinates:
    """Coordinates `y` of a subspace of `x`, in which nothing varies too little.

    Lengths in `y` are those in `x`, except along directions in which `x` varies
    by less than 1e-3 of the most: they are stretched to vary by so much. What
    moves least in `y` so moves least in `x`, to 1e-6 of its variance.

    Args:
        K: `[d, d]` covariance of `x`.
        basis: `[d, r]` orthonormal basis of the subspace, in units of the
            standard deviations of `x`, in which `K` is definite.

    Attributes:
        deviations: `[r]` standard deviations along `y`, the largest first.
    """

    def __init__(self, K: np.ndarray, basis: np.ndarray):
        scale, inverse = deviations(K)
        inner = basis.T @ (K * inverse * inverse[:, None]) @ basis
        factor = np.linalg.cholesky(inner)
        within = scale[:, None] * basis
        _, size, vt = np.linalg.svd(within @ factor, full_matrices=False)
        self.deviations = np.maximum(size, _SMALL * size.max(initial=0.0))
        self._to_x = within @ (factor @ vt.T) / self.deviations
        self._to_y = self.deviations[:, None] * (
            vt @ np.linalg.solve(factor, basis.T * inverse)
        )
        if basis.shape[1] < len(basis):
            # A pseudo-inverse begins with a projection onto the subspace.
            span, _ = np.linalg.qr(within)
            self._to_y = self._to_y @ span @ span.T

    def covariances(self, Ks: np.ndarray) -> np.ndarray:
        """`[..., r, r]` of `y` for `[..., d, d]` of `x`."""
        in_y = self._to_y @ Ks @ self._to_y.T
        # Two triangles with rounding errors of their own are two matrices.
        return (in_y + np.swapaxes(in_y, -1, -2)) / 2

    def maps(self, maps: np.ndarray) -> np.ndarray:
        """`[..., d, d]` of `x` for `[..., r, r]` maps of `y`."""
        return self._to_x @ maps @ self._to_y

    def lift(self, Ks: np.ndarray) -> np.ndarray:
        """`[..., d, d]` of `x` for `[..., r, r]` covariances of `y`."""
        return self._to_x @ Ks @ self._to_x.T


def carrying(T: np.ndarray, K: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns `T` mended to carry `K` to `target`: `T K T^T = target`.

    What `T` misses by is put right by a triangular map, which leaves what comes
    first, so the largest, nearly as it is, and is exact in any units. Where
    `T` is of no use, a triangular map is all there is; where `target` is
    singular, `T` stays as it is.
    """
    for start in (T, np.eye(len(T))):
        try:
            wanted = np.linalg.cholesky(target)
            factor = np.linalg.cholesky(start @ K @ start.T)
        except np.linalg.LinAlgError:
            continue
        return wanted @ np.linalg.solve(factor, start)
    return T
