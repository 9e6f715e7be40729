"""Rows of weight zero are left out, whatever they hold, by all of the wing."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceFitter,
    LeaceLayer,
    OracleFitter,
    QuadraticFitter,
    SoftQuadraticFitter,
    SoftQuadraticLayer,
    covariance_eraser,
    mmd_eraser,
)

N, D, K = 240, 8, 3
RNG = np.random.default_rng(0)
Z = np.arange(N) % K
X = RNG.normal(size=(N, D)) * (1 + Z[:, None]) + np.eye(K, D)[Z]
Y = (X[:, -1] > 0) * 1
# Every fourth row is padding.
AT = np.arange(0, N, 3)


def padded(values, with_what):
    return np.insert(values, AT, with_what, axis=0)


ROWS = padded(X, np.nan)
WEIGHT = padded(np.ones(N), 0)


def of_layer(layer, x, z, weight):
    layer.adapt(x, z, sample_weight=weight)
    return layer


def in_batches(fitter, x, z, weight, preserve=None):
    if preserve is not None:
        z = z, preserve
    weight = np.ones(len(x)) if weight is None else weight
    return fitter.fit_dataset([(x, z, weight)], verbose=0).eraser


CASES = {
    "leace": lambda x, z, y, w: LeaceFitter.fit(x, z, sample_weight=w).eraser,
    "leace, batches": lambda x, z, y, w: in_batches(LeaceFitter(D, K), x, z, w),
    "splince": lambda x, z, y, w: (
        LeaceFitter.fit(x, z, preserve=y, sample_weight=w).eraser
    ),
    "splince, batches": lambda x, z, y, w: in_batches(
        LeaceFitter(D, K, preserve_dim=2), x, z, w, y
    ),
    "soft": lambda x, z, y, w: (
        SoftQuadraticFitter.fit(x, z, preserve=y, sample_weight=w).eraser
    ),
    "soft, batches": lambda x, z, y, w: in_batches(
        SoftQuadraticFitter(D, K, preserve_dim=2), x, z, w, y
    ),
    "covariance": lambda x, z, y, w: covariance_eraser(
        x, z, 1, sample_weight=w
    ),
    "mmd": lambda x, z, y, w: mmd_eraser(x, z, 1, sample_weight=w, steps=2),
    "layer": lambda x, z, y, w: of_layer(LeaceLayer(), x, z, w),
    "soft layer": lambda x, z, y, w: of_layer(SoftQuadraticLayer(), x, z, w),
}


@pytest.mark.parametrize("ignored", [-1, -100])
@pytest.mark.parametrize("fit", CASES.values(), ids=CASES)
def test_a_label_to_ignore(fit, ignored):
    want = fit(X, Z, Y, None)
    got = fit(ROWS, padded(Z, ignored), padded(Y, ignored), WEIGHT)
    np.testing.assert_allclose(got(X), want(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [OracleFitter, QuadraticFitter])
def test_a_label_to_ignore_with_labels_at_hand(kind):
    want = kind.fit(X, Z).eraser(X, Z)
    got = kind.fit(ROWS, padded(Z, -100), WEIGHT).eraser(X, Z)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "fit", [CASES["splince, batches"], CASES["soft, batches"], CASES["soft"]]
)
def test_a_row_that_counts_needs_a_label(fit):
    for z, y in ((padded(Z, -1), padded(Y, 0)), (padded(Z, 0), padded(Y, -1))):
        with pytest.raises(ValueError, match="class ids"):
            fit(padded(X, 0.0), z, y, np.ones(len(ROWS)))
