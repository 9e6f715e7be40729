"""Linear concept erasure with the concept's labels at hand."""

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace import fitting
from tensorflow_model_remediation_ext.leace.moments import Moments
from tensorflow_model_remediation_ext.leace.shrinkage import (
    optimal_linear_shrinkage,
)


class OracleEraser(tf.Module):
    """Subtracts from `x` what a linear regression on `z` explains.

    Of all ways to make `x` uncorrelated with `z` it moves `x` the least, less
    than any that does not see `z`. It needs the true labels of whatever it is
    applied to; predicted ones leave the concept in, or put the predictor in.
    Being uncorrelated does not mean independent: a nonlinear reader may still
    find the concept. On data other than the fitted, what remains is the
    sampling error of the fitted statistics.

    Args:
        coef: `[x_dim, z_dim]` regression coefficients of `x` on `z`.
        mean_z: `[z_dim]` mean of the concept.
        name: Name of the module.

    Examples:
        >>> x, z = np.random.randn(100, 3), np.arange(100) % 2
        >>> erased = OracleEraser.fit(x, z)(x, z)

    References:
        Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed
        form" (arXiv 2306.03819), on erasure with oracle labels.
    """

    def __init__(self, coef: Any, mean_z: Any, name: str | None = None):
        super().__init__(name=name)
        coef, mean_z = np.asarray(coef), np.asarray(mean_z)
        if coef.ndim != 2 or mean_z.shape != coef.shape[1:]:
            raise ValueError(
                "`coef` must be of shape [x_dim, z_dim] and `mean_z` of "
                f"[z_dim]. Received: coef of shape {coef.shape}, mean_z of "
                f"shape {mean_z.shape}"
            )
        self.coef = tf.Variable(coef, trainable=False, name="coef")
        self.mean_z = tf.Variable(mean_z, trainable=False, name="mean_z")

    @classmethod
    def fit(cls, x: Any, z: Any, **options: Any) -> "OracleEraser":
        """The eraser of `OracleFitter.fit(x, z, **options)`."""
        return OracleFitter.fit(x, z, **options).eraser

    def __call__(self, x: Any, z: Any) -> tf.Tensor:
        """Erases the concept.

        Args:
            x: `[..., x_dim]`, any floating dtype.
            z: `[..., z_dim]`, or integer class ids `[...]` where `z_dim > 1`,
                or `[...]` where `z_dim == 1`.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On wrong shapes, dtypes or class ids.
            tf.errors.InvalidArgumentError: On such class ids in graph mode.
        """
        x_dim, z_dim = self.coef.shape
        x = fitting.features(x, x_dim)
        dtype = fitting.working_dtype(x)
        z = fitting.columns_or_ids("z", z, z_dim, x.shape[:-1], dtype)
        table = tf.cast(tf.transpose(self.coef), dtype)
        mean = tf.cast(tf.linalg.matvec(self.coef, self.mean_z), dtype)
        if z.dtype == tf.int64:
            with fitting.require(fitting.in_range("z", z, z_dim)):
                explained = tf.gather(table, z)
        else:
            explained = z @ table
        explained = tf.reshape(explained - mean, tf.shape(x))
        return tf.cast(tf.cast(x, dtype) - explained, x.dtype)


class OracleFitter(tf.Module):
    """Streams the statistics that an `OracleEraser` needs.

    Sample weights count rows: weight two is the row twice, weight zero the row
    left out. Covariances are divided by the sum of the weights less one. A
    concept that never varies gives an eraser that changes nothing, and a
    warning.

    Args:
        x_dim: Size of the last axis of `x`.
        z_dim: Size of the last axis of `z`, or the number of classes.
        shrinkage: Whether to shrink the concept's covariance towards a
            multiple of the identity. The erasure is then not exact.
        svd_tol: Eigenvalues of the concept's correlation matrix below this are
            taken for linear dependence between its columns.
        dtype: Of the accumulators, `"float32"` or `"float64"`.
        name: Name of the module.

    Raises:
        ValueError: On sizes or tolerances that are not positive.

    Examples:
        >>> fitter = OracleFitter(x_dim=3, z_dim=2)
        >>> for x, z in [(np.random.randn(8, 3), np.arange(8) % 2)]:
        ...     fitter = fitter.update(x, z)
        >>> eraser = fitter.eraser
    """

    def __init__(
        self,
        x_dim: int,
        z_dim: int,
        *,
        shrinkage: bool = False,
        svd_tol: float = 1e-10,
        dtype: str = "float64",
        name: str | None = None,
    ):
        super().__init__(name=name)
        if not (isinstance(svd_tol, (int, float, np.number)) and svd_tol > 0):
            raise ValueError(
                "`svd_tol` must be a positive number. Received: "
                f"svd_tol={svd_tol!r}"
            )
        self.z_dim = whole("z_dim", z_dim, 1)
        self.shrinkage, self.svd_tol = shrinkage, svd_tol
        self._moments = Moments(x_dim, z_dim, xx=False, dtype=dtype)
        self.x_dim = self._moments.x_dim
        self._cache = fitting.Cache()

    @classmethod
    def fit(
        cls, x: Any, z: Any, sample_weight: Any = None, **options: Any
    ) -> "OracleFitter":
        """A fitter that has seen `x` and `z`, its sizes inferred from them.

        Args:
            x: `[..., x_dim]`.
            z: `[..., z_dim]`, or integer class ids `[...]`, or a single
                floating-point concept `[...]`.
            sample_weight: `[...]` or `None`.
            **options: Of the constructor.
        """
        x, z = fitting.numbers("x", x), fitting.labels("z", z)
        if z.shape.rank == x.shape.rank:
            z_dim = z.shape[-1]
        elif z.dtype.is_integer:
            # Two classes are one column: the second says nothing more.
            z_dim = max(int(tf.reduce_max(z)) + 1, 2)
        else:
            z_dim = 1
        fitter = cls(x.shape[-1], z_dim, **options)
        return fitter.update(x, z, sample_weight)

    def update(
        self, x: Any, z: Any, sample_weight: Any = None
    ) -> "OracleFitter":
        """Adds a batch; either all of it or, on an error, nothing.

        Args:
            x: `[..., x_dim]`, any floating dtype.
            z: `[..., z_dim]`, or integer class ids `[...]` where `z_dim > 1`,
                or `[...]` where `z_dim == 1`.
            sample_weight: `[...]`, not negative, or `None` for ones.

        Returns:
            The fitter itself.

        Raises:
            ValueError: On wrong shapes or class ids, NaN or infinity.
            tf.errors.InvalidArgumentError: On such values in graph mode.
        """
        self._moments.update(x, z, sample_weight)
        return self

    def fit_dataset(
        self, dataset: Any, verbose: Any = "auto"
    ) -> "OracleFitter":
        """Updates with every `(x, z)` or `(x, z, sample_weight)` batch.

        Args:
            dataset: A `tf.data.Dataset` or another iterable.
            verbose: `0` for silence, otherwise as in `keras.Model.fit`.

        Returns:
            The fitter itself.
        """
        return fitting.fit_dataset(self, dataset, verbose)

    def merge(self, other: "OracleFitter") -> "OracleFitter":
        """Adds what `other`, of the same sizes, has seen.

        Returns:
            The fitter itself.

        Raises:
            TypeError: If `other` is no `OracleFitter`.
            ValueError: If its sizes differ.
        """
        if not isinstance(other, OracleFitter):
            raise TypeError(
                f"`other` must be an OracleFitter. Received: {other!r}"
            )
        self._moments.merge(other._moments)
        return self

    @property
    def n(self) -> float:
        """Sum of the weights of all rows so far."""
        return self._moments.n

    @property
    def mean_x(self) -> np.ndarray:
        """`[x_dim]` weighted mean."""
        return self._moments.mean_x

    @property
    def mean_z(self) -> np.ndarray:
        """`[z_dim]` weighted mean."""
        return self._moments.mean_z

    @property
    def sigma_xz(self) -> np.ndarray:
        """`[x_dim, z_dim]` cross-covariance."""
        return self._moments.scatter_xz / self._degrees_of_freedom()

    @property
    def sigma_zz(self) -> np.ndarray:
        """`[z_dim, z_dim]` covariance of the concept, shrunk if so asked."""
        freedom = self._degrees_of_freedom()
        if not self.shrinkage:
            return self._moments.scatter_zz / freedom
        return optimal_linear_shrinkage(
            self._moments.scatter_zz / self.n, self.n
        )

    @property
    def eraser(self) -> OracleEraser:
        """The eraser for all rows so far, cached until there are more."""
        return self._cache.get([self._moments], self._fit_eraser)

    def _fit_eraser(self):
        sigma_xz, sigma_zz = self.sigma_xz, self.sigma_zz
        # Correlations make the threshold the same for a concept in any unit,
        # and for one that is rare.
        scale = np.sqrt(sigma_zz.diagonal())
        inverse = np.divide(1.0, scale, where=scale > 0, out=0 * scale)
        values, basis = np.linalg.eigh(sigma_zz * np.outer(inverse, inverse))
        basis = inverse[:, None] * basis[:, values > self.svd_tol]
        values = values[values > self.svd_tol]
        if not values.size:
            warnings.warn(
                "The concept does not vary: the eraser changes nothing.",
                stacklevel=4,
            )
        coef = (sigma_xz @ basis / values) @ basis.T
        return OracleEraser(coef, self.mean_z)

    def _degrees_of_freedom(self):
        if not self.n > 1:
            raise ValueError(
                "At least two samples are needed. Received: a total weight of "
                f"{self.n:g}"
            )
        return self.n - 1
