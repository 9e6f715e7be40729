"""An affine eraser that also removes what covariances show."""

from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.common.checks import share
from tensorflow_model_remediation_ext.leace.after_leace import (
    AfterLeace,
    warned,
)
from tensorflow_model_remediation_ext.leace.leace import LeaceEraser
from tensorflow_model_remediation_ext.leace.quadratic import QuadraticFitter


def covariance_eraser(
    x: Any,
    z: Any,
    rank: int,
    *,
    sample_weight: Any = None,
    shrinkage: float = 0.1,
) -> LeaceEraser:
    """Removes the directions in which the classes' covariances differ most.

    LEACE comes first. Of what it leaves, whitened, those `rank` directions are
    taken out in which the variances of the classes are furthest apart. This is
    closed form, and like LEACE it moves the data least in the sense of their
    own covariance. The result is an affine eraser: it needs no label, folds
    into a Dense layer, and goes into a `LeaceLayer`.

    Class means agree on the data it was fitted to, so that linear readers are
    blind there. Covariances agree only as far as `rank` directions go, and
    nonlinear readers still find something: measure it with
    `evaluation.leakage`.

    Args:
        x: `[..., x_dim]`, any floating dtype.
        z: `[...]` integer class ids.
        rank: Number of directions to remove, after those of LEACE.
        sample_weight: `[...]` or `None`.
        shrinkage: Share by which the covariance that whitens is moved towards
            a multiple of the identity, in standardized features.

    Returns:
        The eraser, of a rank of up to `rank` and the number of classes less
        one.

    Raises:
        ValueError: On wrong shapes or class ids, NaN or infinity, a class of
            fewer than two rows, or options out of range.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> z = np.arange(400) % 2
        >>> x = rng.normal(size=(400, 8))
        >>> x[:, 0] *= 1 + 3 * z
        >>> erased = covariance_eraser(x, z, rank=1)(x).numpy()
        >>> ratio = erased[z == 1].std(0) / erased[z == 0].std(0)
        >>> bool(ratio.max() < 1.5)
        True

    References:
        The directions are those of Fukunaga and Koontz 1970, "Application of
        the Karhunen-Loève expansion to feature selection and ordering".
    """
    classes = QuadraticFitter.fit(x, z, sample_weight)
    return warned(covariance_eraser_of(classes, rank, shrinkage=shrinkage))


def covariance_eraser_of(
    classes: QuadraticFitter, rank: int, *, shrinkage: float = 0.1
) -> LeaceEraser:
    """Returns the `covariance_eraser` for what a fitter has seen.

    Args:
        classes: The means and covariances of the classes.
        rank: As in `covariance_eraser`.
        shrinkage: As in `covariance_eraser`.

    Raises:
        ValueError: If a class has fewer than two rows, or options are out of
            range.
    """
    if share("shrinkage", shrinkage) == 0:
        raise ValueError(
            "`shrinkage` must be above 0 and at most 1. Received: "
            f"shrinkage={shrinkage!r}"
        )
    after = AfterLeace(classes, rank)
    pooled = np.tensordot(after.shares, after.sigmas, 1)
    identity = np.eye(len(pooled))
    level = np.trace(pooled) / len(pooled)
    factor = np.linalg.cholesky(
        (1 - shrinkage) * pooled + shrinkage * max(level, 1e-300) * identity
    )
    inverse = np.linalg.inv(factor)
    basis = after.directions(inverse @ after.sigmas @ inverse.T)
    return after.eraser(factor @ basis, basis.T @ inverse)
