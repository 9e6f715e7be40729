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
from tensorflow_model_remediation_ext.leace.variation import inverted

# Variance that each class is given in addition, as a share of the mean one, so
# that what hardly varies is not blown up.
_FLOOR = 0.01
# Of the barycenter, to which maps lead exactly in any case: only whether the
# way is the shortest depends on it.
_TOLERANCE = 1e-3
# A correlation that is rounding error, and none to erase.
_NOTHING = 1e-11
# A share of the variance of a task that is rounding error.
_NO_TASK = 1e-12
# Where more than half of all dimensions are erased.
_WAY_OUT = (
    "LEACE, before and after transport, takes one for each class but one, both "
    "times: LEACE alone takes half as many."
)


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
    inverse = inverted(scale)
    sigma, cross_z, task = _standard(total, inverse, k)
    first = _remove(sigma, cross_z, n)

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
    last, lost = _remove(sigma, now_z, n), 0
    # Either takes out directions that the other leaves.
    rank = round(2 * sizes.x_dim - np.trace(first) - np.trace(last))
    if now_y is not None:
        deviations = np.sqrt(total.squares_z[k - 1 :] / n)
        last, lost = _restore(last, sigma, now_y, task, deviations)
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
            *leftovers.task_too_dear(lost),
            *leftovers.most_erased(rank, sizes.x_dim, _WAY_OUT),
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


def _remove(sigma, cross_z, n):
    """The matrix of LEACE."""
    left, right = shrunk_projections(sigma, cross_z, n, _NOTHING)
    return np.eye(len(sigma)) - left @ right


def _restore(last, sigma, now_y, wanted, deviations):
    """Also gives back the covariance with the task, as far as it can be.

    What `last` leaves has no covariance with the concept, so that nothing that
    is linear in it has any. Where little of the task is left in it, as the
    concept is most of the task, a covariance is a lot of variance: directions
    of the task are given back, the cheapest first, as long as they add less
    than all features have. Returns the number of the others, too.
    """
    inverse = inverted(deviations)
    kept = last @ now_y * inverse
    missing = wanted * inverse - kept
    features = np.count_nonzero(sigma.diagonal())
    ridge = 1e-6 * np.trace(sigma) / len(sigma)
    weighted = np.linalg.solve(sigma + ridge * np.eye(len(sigma)), kept)
    # Its eigenvalues are the shares of the task that are left to be read.
    left, vectors = np.linalg.eigh(kept.T @ weighted)
    read = left > _NO_TASK
    lost = np.linalg.matrix_rank(
        missing @ vectors[:, ~read], tol=np.sqrt(_NO_TASK)
    )
    directions = vectors[:, read] / np.sqrt(left[read])
    _, roots, vt = np.linalg.svd(missing @ directions, full_matrices=False)
    # They come by size: cheap, from the last one on.
    affordable = np.cumsum(roots[::-1] ** 2)[::-1] <= features
    directions = directions @ vt[affordable].T
    back = missing @ directions @ directions.T @ weighted.T
    return last + back @ last, int(lost + np.sum(~affordable))


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
