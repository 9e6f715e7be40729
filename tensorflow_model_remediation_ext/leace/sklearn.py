"""Concept erasure as a scikit-learn transformer."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.common.checks import hides_values
from tensorflow_model_remediation_ext.leace.covariance import covariance_eraser
from tensorflow_model_remediation_ext.leace.leace import LeaceEraser
from tensorflow_model_remediation_ext.leace.mmd import mmd_eraser
from tensorflow_model_remediation_ext.leace.soft_quadratic import (
    SoftQuadraticEraser,
)

try:
    from sklearn.base import (
        BaseEstimator,
        OneToOneFeatureMixin,
        TransformerMixin,
    )
    from sklearn.utils.validation import (
        check_array,
        check_consistent_length,
        check_is_fitted,
    )
except ImportError as error:
    raise ImportError(
        "LeaceTransformer needs scikit-learn: pip install "
        '"tensorflow_model_remediation_ext[scikit-learn]"'
    ) from error

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # Before scikit-learn 1.6.

    def validate_data(estimator, X, **options):
        """What a method did: checks `X`, and its names against those of fit."""
        return estimator._validate_data(X, **options)


_DTYPES = (np.float64, np.float32)

ERASERS: dict[str, Callable[..., Any]] = {
    "leace": LeaceEraser.fit,
    "soft_quadratic": SoftQuadraticEraser.fit,
    "covariance": covariance_eraser,
    "mmd": mmd_eraser,
}


class LeaceTransformer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Erases a concept in a scikit-learn pipeline.

    A pipeline's `y` is the task's label, so the concept comes as metadata: with
    `sklearn.set_config(enable_metadata_routing=True)` and
    `set_fit_request(z=True)` a pipeline or a cross-validation hands the right
    rows of `z` to `fit`, so that the eraser never sees the rows of the fold
    that judges. No concept is needed to transform.

    What is erased, and what is not, is said where the erasers are: LEACE guards
    against linear readers, in sample.

    Args:
        eraser: `"leace"`, `"soft_quadratic"`, `"covariance"` or `"mmd"`, or a
            function `(x, z, **options) -> eraser`.
        options: Keyword arguments of that function, such as
            `{"method": "orth"}` for `"leace"` or `{"rank": 32}` for `"mmd"`.

    Attributes:
        eraser_: The fitted eraser.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if `fit` got a table whose names are
            strings, of a kind that this version of scikit-learn reads.

    Raises:
        ValueError: From `fit`, if `eraser` is not one of these, or `z` is
            missing.

    Examples:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> import sklearn
        >>> from tensorflow_model_remediation_ext.leace.sklearn import (
        ...     LeaceTransformer,
        ... )
        >>> rng = np.random.default_rng(0)
        >>> x, z = rng.normal(size=(99, 4)), np.arange(99) % 3
        >>> y = np.arange(99) % 2
        >>> with sklearn.config_context(enable_metadata_routing=True):
        ...     erase = LeaceTransformer(options={"z_dim": 3})
        ...     pipeline = make_pipeline(
        ...         erase.set_fit_request(z=True), LogisticRegression()
        ...     )
        ...     pipeline = pipeline.fit(x, y, z=z)
        >>> pipeline.predict(x).shape
        (99,)

    References:
        - [Belrose et al., LEACE: Perfect linear concept erasure in closed
          form, 2023](https://arxiv.org/abs/2306.03819).
    """

    def __init__(
        self,
        eraser: str | Callable[..., Any] = "leace",
        *,
        options: dict[str, Any] | None = None,
    ):
        self.eraser = eraser
        self.options = options

    def fit(
        self, X: Any, y: Any = None, *, z: Any = None, sample_weight: Any = None
    ) -> "LeaceTransformer":
        """Fits the eraser.

        Args:
            X: `[n, d]` features.
            y: Ignored: the task's labels.
            z: `[n]` or `[n, z_dim]`, the concept.
            sample_weight: `[n]` or `None`.

        Returns:
            The transformer itself.

        Raises:
            ValueError: On wrong shapes, labels or options, or missing or
                masked values.
        """
        if z is None:
            raise ValueError(
                "`z`, the concept, must be given. In a pipeline: "
                "sklearn.set_config(enable_metadata_routing=True), "
                "set_fit_request(z=True) on the transformer, and "
                "fit(X, y, z=z)."
            )
        make = self.eraser if callable(self.eraser) else None
        if make is None:
            if self.eraser not in ERASERS:
                raise ValueError(
                    f"`eraser` must be one of {tuple(ERASERS)} or a function. "
                    f"Received: eraser={self.eraser!r}"
                )
            make = ERASERS[self.eraser]
        X, z, sample_weight = map(_unmasked, (X, z, sample_weight))
        table, X = X, check_array(X, dtype=_DTYPES)
        z = np.asarray(z)
        check_consistent_length(X, z, sample_weight)
        options = dict(self.options or {})
        if sample_weight is not None:
            options["sample_weight"] = np.asarray(sample_weight, np.float64)
        eraser = make(X, z, **options)
        # Last, so that a fit that fails leaves the names of the one before.
        validate_data(self, table, dtype=_DTYPES)
        self.eraser_ = eraser
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Erases the concept.

        Args:
            X: `[n, d]` features.

        Returns:
            `[n, d]`, float32 for float32 and else float64.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit`.
            ValueError: On another number of features, or a table with other
                names or another order of them than that of `fit`.
        """
        check_is_fitted(self, "eraser_")
        X = validate_data(self, _unmasked(X), dtype=_DTYPES, reset=False)
        return np.asarray(self.eraser_(X))


def _unmasked(value: Any) -> Any:
    """Returns NaN for what an array masks, as scikit-learn looks behind it."""
    if not hides_values(value):
        return value
    return value.astype(np.float64).filled(np.nan)
