"""What LEACE leaves of classes, in units of the features' spread."""

import warnings

import numpy as np

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace.conditioning import deviations
from tensorflow_model_remediation_ext.leace.leace import LeaceEraser
from tensorflow_model_remediation_ext.leace.leftovers import (
    Leftover,
    most_erased,
)
from tensorflow_model_remediation_ext.leace.projections import (
    shrunk_projections,
)
from tensorflow_model_remediation_ext.leace.quadratic import QuadraticFitter


def require_rank(rank: int, x_dim: int) -> None:
    """Refuses a number of directions that would leave none.

    Raises:
        ValueError: If it is not between one and `x_dim` less one.
    """
    whole("rank", rank, 1)
    if rank >= x_dim:
        raise ValueError(
            f"`rank` must be below x_dim={x_dim}. Received: rank={rank!r}"
        )


def lost(eraser: LeaceEraser) -> list[Leftover]:
    """Returns what to know of an eraser that goes on after LEACE."""
    x_dim, rank = eraser.proj_left.shape
    return most_erased(
        min(rank, x_dim), x_dim, "With a lower `rank` more of them stay."
    )


def warned(eraser: LeaceEraser) -> LeaceEraser:
    """Returns an eraser, and warns of what it loses."""
    for leftover in lost(eraser):
        warnings.warn(leftover.text, stacklevel=3)
    return eraser


class AfterLeace:
    """Covariances of classes after LEACE, and erasers that go on from there.

    Features are divided by their standard deviations, so that none counts for
    more because its unit is smaller.

    Args:
        classes: Means and covariances of the classes.
        rank: Number of directions to remove, after those of LEACE.

    Attributes:
        shares: `[classes]` shares of the rows.
        sigmas: `[classes, x_dim, x_dim]` covariances of the classes.

    Raises:
        ValueError: If a class has fewer than two rows, or `rank` is not
            between one and the number of features less one.
    """

    def __init__(self, classes: QuadraticFitter, rank: int):
        require_rank(rank, classes.x_dim)
        n, sigmas = classes.n, classes.sigma_xx
        self._rank, self.shares = rank, n / n.sum()
        self._mean = self.shares @ classes.mean_x
        centers = classes.mean_x - self._mean
        total = np.tensordot(self.shares, sigmas, 1)
        total += centers.T @ (self.shares[:, None] * centers)
        scale, inverse = deviations(total)
        self._scale, self._inverse = scale, inverse
        # All classes together would have a direction of rounding errors.
        cross = (self.shares[:, None] * centers * inverse)[:-1].T
        self._left, self._right = shrunk_projections(
            total * inverse * inverse[:, None], cross, n.sum(), 0.0
        )
        linear = np.eye(len(scale)) - self._left @ self._right
        sigmas = sigmas * inverse * inverse[:, None]
        self.sigmas = linear @ sigmas @ linear.T

    def rows(self, x: np.ndarray) -> np.ndarray:
        """`[..., x_dim]` rows after LEACE, standardized."""
        x = (x - self._mean) * self._inverse
        return x - (x @ self._right.T) @ self._left.T

    def directions(self, sigmas: np.ndarray) -> np.ndarray:
        """`[x_dim, rank]`, in which these `[classes, ...]` differ most."""
        differences = sigmas - np.tensordot(self.shares, sigmas, 1)
        spread = np.tensordot(self.shares, differences @ differences, 1)
        return np.linalg.eigh(spread)[1][:, -self._rank :]

    def eraser(self, left: np.ndarray, right: np.ndarray) -> LeaceEraser:
        """LEACE, and then `I - left right` of standardized columns."""
        right = right - (right @ self._left) @ self._right
        left = np.concatenate([self._left, left], axis=1)
        right = np.concatenate([self._right, right])
        return LeaceEraser(
            left * self._scale[:, None], right * self._inverse, self._mean
        )
