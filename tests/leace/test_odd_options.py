"""Options that Python would take for a number or a flag."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    LeaceFitter,
    OracleEraser,
    QuadraticEditor,
    QuadraticEraser,
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


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (LeaceEraser, {"proj_left": (3, 1), "proj_right": (1, 3), "bias": 3}),
        (OracleEraser, {"coef": (3, 2), "mean_z": 2}),
        (
            QuadraticEraser,
            {"class_means": (2, 3), "global_mean": 3, "ot_maps": (2, 3, 3)},
        ),
        (QuadraticEditor, {"class_means": (2, 3), "ot_maps": (2, 2, 3, 3)}),
    ],
)
def test_erasers_hold_finite_values(make, shapes, value):
    for name in shapes:
        arguments = {key: np.ones(shape) for key, shape in shapes.items()}
        make(**arguments)
        arguments[name].flat[0] = value
        with pytest.raises(ValueError, match=f"`{name}` must be finite"):
            make(**arguments)


@pytest.mark.parametrize("verbose", ["yes", "1", 7, -1, None, 1.0, [0]])
def test_verbose_is_what_keras_takes(verbose):
    batches = [(np.ones((4, 2)), np.arange(4.0))]
    with pytest.raises(ValueError, match="`verbose` must be 'auto', 0, 1 or 2"):
        LeaceFitter(2, 1).fit_dataset(batches, verbose=verbose)
