"""The projections of LEACE, computed from covariances in NumPy."""

import numpy as np

from tensorflow_model_remediation_ext.leace.shrinkage import (
    optimal_linear_shrinkage,
)
from tensorflow_model_remediation_ext.leace.sums import assemble, spans
from tensorflow_model_remediation_ext.leace.variation import inverted

# Columns that the Cholesky factorization takes at a time within a strip, whose
# width makes products that BLAS multiplies fast: narrow ones keep what else
# there is to do small.
_NARROW = 64
# Below this share of a feature's variance unexplained by the features before
# it, the covariance is treated as singular.
_UNEXPLAINED = 1e-9
# Correlations up to this are rounding: float32 leaves 1e-7 where there is none.
_UNCORRELATED = 1e-6


def _cholesky(sigma: list[np.ndarray], columns: np.ndarray) -> np.ndarray:
    """Returns `[U, U^-T columns]` with `sigma = U^T U`.

    `U` is in the upper triangle; what is below it has no meaning. The work goes
    by strips, so that nearly all of it is one wide product for each: two to
    three times as fast as NumPy's own factorization, with the same BLAS.

    Raises:
        numpy.linalg.LinAlgError: If `sigma` is not positive definite.
    """
    size, width = columns.shape
    factor = np.empty((size, size + width))
    factor[:, size:] = columns
    for strip, (a, b) in zip(sigma, spans(size), strict=True):
        factor[a:b, a:size] = strip
        factor[a:b, a:] -= factor[:a, a:b].T @ factor[:a, a:]
        for i in range(a, b, _NARROW):
            j = min(i + _NARROW, b)
            factor[i:j, i:] -= factor[a:i, i:j].T @ factor[a:i, i:]
            block = np.linalg.cholesky(factor[i:j, i:j].T)
            factor[i:j, i:j] = block.T
            factor[i:j, j:] = np.linalg.inv(block) @ factor[i:j, j:]
    return factor


def _solve(factor: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`U^-1 columns`, for `U` in the upper triangle of `factor`."""
    size = len(factor)
    solved = columns.copy()
    for a, b in reversed(spans(size)):
        solved[a:b] -= factor[a:b, b:size] @ solved[b:]
        for i in reversed(range(a, b, _NARROW)):
            j = min(i + _NARROW, b)
            solved[i:j] -= factor[i:j, j:b] @ solved[j:b]
            solved[i:j] = np.linalg.solve(
                np.triu(factor[i:j, i:j]), solved[i:j]
            )
    return solved


def _whiten(sigma: list[np.ndarray], columns: np.ndarray):
    """`Y` and `back` with `Y^T Y = C^T sigma^+ C` and `back(Y) = sigma^+ C`.

    Cholesky where `sigma` is positive definite; where its factor shows it to be
    numerically singular, or does not exist, an eigendecomposition of the
    correlations with the usual threshold of a pseudo-inverse. Neither minds the
    scale of a feature.
    """
    size = len(columns)
    variance = np.concatenate([np.diagonal(strip) for strip in sigma])
    try:
        factor = _cholesky(sigma, columns)
        left = np.diagonal(factor) ** 2
        singular = (left <= _UNEXPLAINED * variance).any()
    except np.linalg.LinAlgError:
        singular = True
    if not singular:
        return factor[:, size:], lambda whitened: _solve(factor, whitened)
    scale = np.sqrt(variance)
    inverse = inverted(scale)
    values, vectors = np.linalg.eigh(
        assemble(sigma) * inverse * inverse[:, None]
    )
    keep = values > max(values[-1], 0.0) * size * np.finfo(np.float64).eps
    root = inverse[:, None] * vectors[:, keep] / np.sqrt(values[keep])
    null = vectors[:, ~keep]
    basis, _ = np.linalg.qr(scale[:, None] * vectors[:, keep])

    def back(whitened):
        # A pseudo-inverse ends in the range of sigma, as `root` does not.
        solved = root @ whitened
        outside = solved - basis @ (basis.T @ solved)
        # Of `outside`, only what no row varies in: the rest is rounding of the
        # features of small unit, which is much in the units of the others.
        outside = null @ (null.T @ (scale[:, None] * outside))
        return solved - inverse[:, None] * outside

    return root.T @ columns, back


def _deflate(concept: np.ndarray, task: np.ndarray, svd_tol: float):
    """The whitened concept without its part in the span of the whitened task.

    A direction of the concept that is wholly in that span cannot be both erased
    and kept: it is taken out of what is kept. Returns their number, too.
    """
    u, s, _ = np.linalg.svd(task, full_matrices=False)
    kept = u[:, s > s.max(initial=0.0) * 1e-10]
    rest = concept - kept @ (kept.T @ concept)
    _, s, vt = np.linalg.svd(rest, full_matrices=True)
    lost = concept @ vt[np.count_nonzero(s > svd_tol) :].T
    u, s, _ = np.linalg.svd(lost, full_matrices=False)
    conflict = u[:, s > svd_tol]
    if not conflict.shape[1]:
        return rest, 0
    # Orthonormal columns lose length only along the conflict: drop what is
    # left of those inside it.
    u, s, _ = np.linalg.svd(
        kept - conflict @ (conflict.T @ kept), full_matrices=False
    )
    kept = u[:, s > 1e-6]
    return concept - kept @ (kept.T @ concept), conflict.shape[1]


def without_rounding(
    cross: np.ndarray, squares_x: np.ndarray, squares_z: np.ndarray
) -> np.ndarray:
    """Covariances with labels, free of what float32 rows leave of nothing.

    Columns for all classes add up to a constant. Its covariances, which should
    be zero, are rounding errors; as a direction of their own they would be
    erased, or kept at the cost of others.

    Args:
        cross: `[x_dim, z_dim]` sums of products of deviations from the mean.
        squares_x: `[x_dim]` sums of squares of these, zero for constants.
        squares_z: `[z_dim]`, likewise.
    """
    x, z = np.sqrt(squares_x), np.sqrt(squares_z)
    inverse_z = inverted(z)
    correlations = inverted(x)[:, None] * cross * inverse_z
    _, s, vt = np.linalg.svd(correlations, full_matrices=False)
    kept = vt[s > _UNCORRELATED]
    return cross * inverse_z @ kept.T @ kept * z


def projections(
    sigma: list[np.ndarray] | None,
    sigma_xz: np.ndarray,
    sigma_xy: np.ndarray | None,
    svd_tol: float,
    max_rank: int | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """`proj_left` and `proj_right`, with `P = I - proj_left proj_right`.

    Args:
        sigma: Covariance of `x` in strips (`Sums.xx`), `None` for the
            identity.
        sigma_xz: `[x_dim, z_dim]` covariance with the concept.
        sigma_xy: `[x_dim, m]` covariance with the task to keep, or `None`.
        svd_tol: Singular values up to this are not erased.
        max_rank: Most directions to erase, those of the largest singular
            values; `None` for all.

    Returns:
        `[x_dim, r]` and `[r, x_dim]`; `r` may be zero. And the number of
        directions of the task that are not kept, as the concept has them too.
    """
    columns = sigma_xz
    if sigma_xy is not None:
        columns = np.concatenate([sigma_xz, sigma_xy], axis=1)
    if sigma is None:
        whitened, back = columns, lambda whitened: whitened
    else:
        whitened, back = _whiten(sigma, columns)
    z_dim = sigma_xz.shape[1]
    concept, shared = whitened[:, :z_dim], 0
    # With svd_tol=0, rounding is still no direction of its own.
    svd_tol = max(svd_tol, 1e-12 * float(np.linalg.norm(concept)))
    if sigma_xy is not None:
        concept, shared = _deflate(concept, whitened[:, z_dim:], svd_tol)
    u, s, vt = np.linalg.svd(concept, full_matrices=False)
    keep = s > svd_tol
    if max_rank is not None:
        keep[max_rank:] = False  # They come by size.
    proj_left = sigma_xz @ (vt[keep].T / s[keep])
    proj_right = back(u[:, keep]).T
    # Their product is the identity except for rounding, which an
    # ill-conditioned `sigma` magnifies, and which would leave as much of the
    # concept.
    proj_right = np.linalg.solve(proj_right @ proj_left, proj_right)
    return proj_left, proj_right, shared


def shrunk_projections(
    sigma: np.ndarray, sigma_xz: np.ndarray, n: float, svd_tol: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `proj_left` and `proj_right` for a covariance, shrunk first.

    Args:
        sigma: `[x_dim, x_dim]` covariance of `x`.
        sigma_xz: As in `projections`.
        n: Number of rows.
        svd_tol: As in `projections`.
    """
    shrunk = optimal_linear_shrinkage(sigma, n)
    strips = [shrunk[i:j, i:] for i, j in spans(len(shrunk))]
    return projections(strips, sigma_xz, None, svd_tol)[:2]
