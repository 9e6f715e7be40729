"""The passes over the data that fit a `SoftQuadraticEraser`.

Everything is in units of the features' standard deviations, so that none
counts for more because its unit is smaller. Matrices act on columns, as in
papers; what the eraser holds acts on rows.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.leace import (
    fitting,
    leftovers,
    logistic,
    mixtures,
    optimal_transport,
)
from tensorflow_model_remediation_ext.leace.moments import Moments
from tensorflow_model_remediation_ext.leace.projections import (
    shrunk_projections,
)
from tensorflow_model_remediation_ext.leace.soft_quadratic_rows import (
    Passes,
    Sizes,
)

# Variance that each class is given in addition, as a share of the mean one, so
# that what hardly varies is not blown up.
_FLOOR = 0.01
# Of the barycenter, to which maps lead exactly in any case: only whether the
# way is the shortest depends on it.
_TOLERANCE = 1e-3
# A correlation that is rounding error, and none to erase.
_NOTHING = 1e-11


class Transport(NamedTuple):
    """What the passes find, in the units of `x`.

    Attributes:
        mean_x: `[d]`.
        kernel: `[d, k]` of the regression of the centered rows.
        bias: `[k]` of it.
        maps: `[k, d, d]`, see `SoftQuadraticEraser`.
        offsets: `[k, d]`.
        scale: `[d]` standard deviations.
        class_means: `[k, d]`, weighted by predicted probabilities.
        class_sigmas: `[k, d, d]`, likewise, in units of `scale`, shrunk.
        found: What to know about erasure.
    """

    mean_x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    maps: np.ndarray
    offsets: np.ndarray
    scale: np.ndarray
    class_means: np.ndarray
    class_sigmas: np.ndarray
    found: list[leftovers.Leftover]


def fit_transport(
    data: Passes,
    sizes: Sizes,
    shrinkage: float,
    regularization: float,
    max_rank: int | None,
) -> Transport:
    """Reads the data `PASSES` times, see `SoftQuadraticFitter`."""
    k = sizes.num_classes
    total = _linear_moments(data.read(), sizes, lambda x: x)
    shares = _shares(total, k)
    n, mean = total.n, total.mean_x
    scale = np.sqrt(total.squares_x / n)
    inverse = np.divide(1.0, scale, where=scale > 0, out=np.zeros_like(scale))
    sigma, cross_z, cross_y = _standard(total, inverse, k)
    first, shared = _remove(sigma, cross_z, cross_y, n)
    rank = round(sizes.x_dim - np.trace(first))

    models = logistic.LogisticModels(
        mean, scale, total.scatter_xx / n, n, k, regularization
    )
    for _ in range(logistic.STEPS):
        for rows, fold in data.read():
            models.add(rows.x, rows.z, rows.weight, fold)
        models.step()

    means, sigmas = _class_statistics(data.read(), models, sizes, inverse)
    erased = [first @ s @ first.T for s in sigmas]
    maps = _barycenter_maps(
        _shrink(np.stack(erased), shares, shrinkage), shares, max_rank
    )
    centers = ((means - mean) * inverse) @ first.T
    # Of the centered, standardized columns: A_c P, and -A_c times the center.
    linear = np.stack([a @ first for a in maps])
    offsets = -np.einsum("kij,kj->ki", maps, centers)

    routed = _in_units(linear, offsets, scale, inverse)
    after = _linear_moments(data.read(), sizes, _Erasing(mean, models, *routed))
    sigma, now_z, now_y = _standard(after, inverse, k)
    last, _ = _remove(sigma, now_z, now_y, n)
    if now_y is not None:
        last = _restore(last, sigma, now_y, cross_y)
    # Whatever the mean of the outputs was, it is that of `x` in the end.
    moved = (mean - after.mean_x) * inverse
    maps, offsets = _in_units(
        np.stack([last @ each for each in linear]),
        (offsets + moved) @ last.T,
        scale,
        inverse,
    )
    return Transport(
        mean,
        models.kernel,
        models.bias,
        maps,
        offsets,
        scale,
        means,
        _shrink(sigmas, shares, shrinkage),
        [
            *leftovers.task_lost(shared),
            *leftovers.most_erased(rank, sizes.x_dim),
        ],
    )


class _Erasing:
    """What the eraser does before its last LEACE, to a batch."""

    def __init__(self, mean, models, maps, offsets):
        self._prediction = mean, models.kernel, models.bias
        self._mixture = maps, offsets

    def __call__(self, x):
        rows = tf.constant(x)
        p, delta = mixtures.predict(rows, *self._prediction)
        return (rows + mixtures.mix(p, delta, *self._mixture)).numpy()


def _linear_moments(batches, sizes, function) -> Moments:
    """Moments of `function(x)` with all classes but the last, and the task."""
    k = sizes.num_classes
    moments = Moments(
        sizes.x_dim,
        k - 1 + sizes.preserve_dim,
        z_names=("z", "preserve") if sizes.preserve_dim else ("z",),
    )
    for rows, _ in batches:
        # All columns together would have a direction of rounding errors.
        columns = np.eye(k)[rows.z][:, :-1]
        if rows.preserve is not None:
            columns = np.concatenate([columns, rows.preserve], axis=1)
        moments.update(function(rows.x), columns, rows.weight)
    return moments


def _shares(total, k):
    """Shares of the classes, checked to be of two rows or more."""
    shares = np.append(total.mean_z[: k - 1], 0.0)
    shares[-1] = 1 - shares.sum()
    missing = np.flatnonzero(~fitting.enough_samples(shares * total.n))
    if missing.size:
        raise ValueError(
            "Every class needs at least two samples. Received: classes "
            f"{missing.tolist()} of weights "
            f"{(shares * total.n)[missing].round(6).tolist()}"
        )
    return shares


def _standard(moments, inverse, k):
    """Covariances of `x`, with classes, and with the task or `None`."""
    sigma = moments.scatter_xx / moments.n * inverse * inverse[:, None]
    cross = moments.scatter_xz / moments.n * inverse[:, None]
    task = cross[:, k - 1 :] if cross.shape[1] > k - 1 else None
    return sigma, cross[:, : k - 1], task


def _remove(sigma, cross_z, cross_y, n):
    """LEACE's matrix, or SPLINCE's, and the directions that it cannot keep."""
    left, right, shared = shrunk_projections(
        sigma, cross_z, cross_y, n, _NOTHING
    )
    return np.eye(len(sigma)) - left @ right, shared


def _restore(last, sigma, now_y, wanted):
    """Also gives back the covariance with the task that transport moved.

    What `last` leaves has no covariance with the concept, so that nothing that
    is linear in it has any.
    """
    kept = last @ now_y
    weighted = np.linalg.solve(
        sigma + 1e-6 * np.trace(sigma) / len(sigma) * np.eye(len(sigma)), kept
    )
    inner = np.linalg.pinv(kept.T @ weighted, rcond=1e-6, hermitian=True)
    return last + (wanted - kept) @ inner @ weighted.T @ last


def _class_statistics(batches, models, sizes, inverse):
    """Means, and covariances in standard units, by predicted class."""
    classes = [Moments(sizes.x_dim) for _ in range(sizes.num_classes)]
    for rows, fold in batches:
        p = models.held_out(rows.x, fold) * rows.weight[:, None]
        for moments, weight in zip(classes, p.T, strict=True):
            moments.update(rows.x, sample_weight=weight)
    means = np.stack([moments.mean_x for moments in classes])
    sigmas = np.stack([m.scatter_xx / m.n for m in classes])
    return means, sigmas * inverse * inverse[:, None]


def _shrink(sigmas, shares, shrinkage):
    pooled = np.tensordot(shares, sigmas, 1)
    floor = _FLOOR * np.trace(pooled) / len(pooled)
    shrunk = (1 - shrinkage) * sigmas + shrinkage * pooled
    return shrunk + floor * np.eye(len(pooled))


def _barycenter_maps(sigmas, shares, max_rank):
    """Maps to the barycenter, the identity in all but `max_rank` directions."""
    if max_rank is None or max_rank >= len(sigmas[0]):
        return optimal_transport.barycenter_maps(
            sigmas, shares, tol=_TOLERANCE
        )[1]
    factor = np.linalg.cholesky(np.tensordot(shares, sigmas, 1))
    inverse = np.linalg.inv(factor)
    white = inverse @ sigmas @ inverse.T
    differences = white - np.eye(len(factor))
    spread = np.tensordot(shares, differences @ differences, 1)
    basis = np.linalg.eigh(spread)[1][:, len(factor) - max_rank :]
    identity = np.eye(len(factor))
    if not max_rank:
        return np.stack([identity] * len(sigmas))
    inner = optimal_transport.barycenter_maps(
        basis.T @ white @ basis, shares, tol=_TOLERANCE
    )[1]
    inner = inner - np.eye(max_rank)
    return identity + (factor @ basis) @ inner @ (basis.T @ inverse)


def _in_units(linear, offsets, scale, inverse):
    """Maps and offsets for rows, of what is added to `x`."""
    change = (linear - np.eye(len(scale))) * inverse * scale[:, None]
    return np.swapaxes(change, 1, 2), offsets * scale
