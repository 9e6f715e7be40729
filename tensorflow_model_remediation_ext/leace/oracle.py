"""Linear concept erasure with the concept's labels at hand."""

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import flag, whole
from tensorflow_model_remediation_ext.leace import (
    arrays,
    labels,
    leftovers,
)
from tensorflow_model_remediation_ext.leace.conditioning import deviations
from tensorflow_model_remediation_ext.leace.fitting import (
    Fitter,
    degrees_of_freedom,
)
from tensorflow_model_remediation_ext.leace.moments import Moments
from tensorflow_model_remediation_ext.leace.options import tolerance
from tensorflow_model_remediation_ext.leace.shrinkage import (
    optimal_linear_shrinkage,
)


class OracleEraser(tf.Module):
    """Subtracts from `x` what a linear regression on `z` explains.

    Of all ways to make `x` uncorrelated with `z` it moves `x` the least, less
    than any that does not see `z`. It needs the true labels of the rows that it
    is applied to; predicted ones leave the concept in, or put the predictor in.
    Uncorrelated does not mean independent: a nonlinear reader may still find
    the concept. On other data than the fitted, the sampling error of the
    statistics remains.

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
        self.coef = arrays.constant("coef", coef)
        self.mean_z = arrays.constant("mean_z", mean_z, self.coef.dtype)
        shapes = self.coef.shape, self.mean_z.shape
        if shapes[0].rank != 2 or shapes[1] != shapes[0][1:]:
            raise ValueError(
                "`coef` must be of shape [x_dim, z_dim] and `mean_z` of "
                f"[z_dim]. Received: coef of shape {shapes[0]}, mean_z of "
                f"shape {shapes[1]}"
            )

    @classmethod
    def fit(cls, x: Any, z: Any, **options: Any) -> "OracleEraser":
        """Returns the eraser of `OracleFitter.fit(x, z, **options)`."""
        return OracleFitter.fit(x, z, **options).eraser

    def __call__(self, x: Any, z: Any) -> tf.Tensor:
        """Returns `x` without the concept.

        Args:
            x: `[..., x_dim]` of any floating dtype, one row or many.
            z: `[..., z_dim]`, or integer class ids `[...]` where `z_dim > 1`,
                or `[...]` where `z_dim == 1`.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On wrong shapes, dtypes or class ids.
            tf.errors.InvalidArgumentError: On such class ids in graph mode.
        """
        x_dim, z_dim = self.coef.shape
        x = arrays.features(x, x_dim)
        dtype = arrays.working_dtype(x)
        z = labels.columns_or_ids("z", z, z_dim, x.shape[:-1], dtype)
        table = tf.cast(tf.transpose(self.coef), dtype)
        mean = tf.cast(tf.linalg.matvec(self.coef, self.mean_z), dtype)
        if z.dtype == tf.int64:
            with arrays.require(labels.in_range("z", z, z_dim)):
                explained = tf.gather(table, z)
        else:
            explained = z @ table
        explained = tf.reshape(explained - mean, tf.shape(x))
        return tf.cast(tf.cast(x, dtype) - explained, x.dtype)


class OracleFitter(Fitter):
    """Streams the statistics that an `OracleEraser` needs.

    Sample weights count rows: weight two is the row twice, weight zero the row
    left out. Covariances are divided by the sum of the weights less one. A
    concept that never varies gives an eraser that changes nothing, and a
    warning. No dimension of `x` is lost as a whole, however many classes there
    are.

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
        self.z_dim = whole("z_dim", z_dim, 1)
        self.svd_tol = tolerance("svd_tol", svd_tol, positive=True)
        self.shrinkage = flag("shrinkage", shrinkage)
        moments = Moments(x_dim, z_dim, xx=False, dtype=dtype)
        self.x_dim = moments.x_dim
        sizes = {"x_dim": self.x_dim, "z_dim": self.z_dim}
        super().__init__(moments, sizes, name)

    @classmethod
    def fit(
        cls,
        x: Any,
        z: Any,
        sample_weight: Any = None,
        *,
        z_dim: int | None = None,
        **options: Any,
    ) -> "OracleFitter":
        """Returns a fitter that has seen these data, of inferred sizes.

        Args:
            x: `[..., x_dim]` of any floating dtype, or a table.
            z: `[..., z_dim]` columns, or `[...]`. Floats `[...]` are one
                column, and so are zeros and ones. Other integers `[...]` are
                class ids if they are 0 to k - 1, each of them there.
            sample_weight: `[...]` or `None`.
            z_dim: Number of columns or classes, where `z` may be read in more
                than one way: 1 for one column of integers, such as ages.
            **options: Of the constructor.

        Returns:
            The fitter.

        Raises:
            ValueError: As from `update`, and on integers that may be numbers
                or class ids.
        """
        x, z = arrays.rows("x", x), labels.labels("z", z)
        if z_dim is None:
            z_dim = labels.inferred_size("z", z, x, sample_weight)
        fitter = cls(x.shape[-1], z_dim, **options)
        return fitter.update(x, z, sample_weight)

    def update(
        self, x: Any, z: Any, sample_weight: Any = None
    ) -> "OracleFitter":
        """Adds a batch; either all of it or, on an error, nothing.

        Args:
            x: `[..., x_dim]` of any floating dtype.
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
        return self._moments.scatter_xz / degrees_of_freedom(self.n)

    @property
    def sigma_zz(self) -> np.ndarray:
        """`[z_dim, z_dim]` covariance of the concept, shrunk if so asked."""
        freedom = degrees_of_freedom(self.n)
        if not self.shrinkage:
            return self._moments.scatter_zz / freedom
        return optimal_linear_shrinkage(
            self._moments.scatter_zz / self.n, self.n
        )

    @property
    def eraser(self) -> OracleEraser:
        """The eraser for all rows so far, cached until there are more."""
        return self.cached(self._compute_eraser)

    def _compute_eraser(self):
        sigma_xz, sigma_zz = self.sigma_xz, self.sigma_zz
        # Correlations make the threshold the same for a concept in any unit,
        # and for one that is rare.
        _, inverse = deviations(sigma_zz)
        values, basis = np.linalg.eigh(sigma_zz * np.outer(inverse, inverse))
        basis = inverse[:, None] * basis[:, values > self.svd_tol]
        values = values[values > self.svd_tol]
        if not values.size:
            warnings.warn(
                "The concept does not vary, or too little beside its mean to "
                "be told from rounding: the eraser changes nothing.",
                stacklevel=4,
            )
        for found in (
            *leftovers.taken_for_constant("x", self._moments.lost_x),
            *leftovers.taken_for_constant("z", self._moments.lost_z),
        ):
            warnings.warn(found.text, stacklevel=4)
        coef = (sigma_xz @ basis / values) @ basis.T
        return OracleEraser(coef, self.mean_z)
