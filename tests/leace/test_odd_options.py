"""Options that Python would take for a number or a flag."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceFitter,
    SoftQuadraticFitter,
    covariance_eraser,
    mmd_eraser,
)

X = np.random.default_rng(0).normal(size=(20, 3))
Z = np.array([0, 1] * 10)


@pytest.mark.parametrize("value", [True, "0.5", np.nan, np.inf, [0.5], 1j])
def test_no_finite_number(value):
    for name, fit in (
        ("svd_tol", lambda v: LeaceFitter(3, 1, svd_tol=v)),
        ("shrinkage", lambda v: SoftQuadraticFitter(3, 2, shrinkage=v)),
        (
            "regularization",
            lambda v: SoftQuadraticFitter(3, 2, regularization=v),
        ),
        ("shrinkage", lambda v: covariance_eraser(X, Z, 1, shrinkage=v)),
        ("learning_rate", lambda v: mmd_eraser(X, Z, 1, learning_rate=v)),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            fit(value)


def test_seed_of_mmd():
    with pytest.raises(ValueError, match="`seed` must be an integer"):
        mmd_eraser(X, Z, 1, seed=1.5)


def test_a_missing_value_of_pandas():
    z = pytest.importorskip("pandas").array([0, 1, None] * 6, dtype="Float64")
    with pytest.raises(ValueError, match="`z` holds NaN"):
        LeaceFitter.fit(X[:18], z)
