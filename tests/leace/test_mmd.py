"""Affine erasers: what they take out, and that they are erasers like LEACE."""

import keras
import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    LeaceLayer,
    covariance_eraser,
    mmd_eraser,
)

D = 7
MAKE = {
    "covariance": covariance_eraser,
    "mmd": lambda x, z, rank, **options: mmd_eraser(
        x, z, rank, **{"steps": 15, "batch_size": 96, **options}
    ),
}
both = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def classes(k=2, n=600):
    """Class means in all features, class spreads in the first `k`."""
    rng = np.random.default_rng(0)
    z = np.arange(n) % k
    x = rng.normal(size=(n, D)) * (1 + 3 * np.eye(k, D)[z])
    return 50 + 5 * (x + rng.normal(size=(k, D))[z]), z


@both
@pytest.mark.filterwarnings("ignore:The eraser removes 5 of the 7")
@pytest.mark.parametrize("k", [2, 4])
def test_class_means_agree_and_the_mean_stays(make, k):
    x, z = classes(k)
    eraser = make(x, z, 2)
    assert isinstance(eraser, LeaceEraser)
    assert eraser.proj_left.shape[1] <= 2 + k - 1
    erased = eraser(x).numpy()
    means = np.stack([erased[z == c].mean(0) for c in range(k)])
    np.testing.assert_allclose(means, [x.mean(0)] * k, rtol=1e-10)


@both
def test_spreads_of_classes_come_closer_than_after_leace(make):
    x, z = classes()

    def difference(rows):
        one, other = (np.cov(np.asarray(rows)[z == c].T) for c in (0, 1))
        return np.abs(np.linalg.eigvalsh(one - other)).max()

    after = difference(make(x, z, 2)(x))
    assert after < 0.2 * difference(LeaceEraser.fit(x, z)(x))


@both
def test_erasing_more_than_half_of_the_dimensions_warns(make):
    x, z = classes()
    with pytest.warns(UserWarning, match=f"removes 4 of the {D} dimensions"):
        make(x, z, 3)


@both
def test_fits_of_other_sizes_after_one_another(make):
    rng = np.random.default_rng(0)
    for x_dim, rank, k in [(8, 3, 2), (8, 1, 2), (12, 3, 3), (8, 2, 2)]:
        x, z = rng.normal(size=(60, x_dim)), rng.integers(k, size=60)
        eraser = make(x, z, rank)
        assert rank <= eraser.proj_left.shape[1] <= rank + k - 1


def test_a_kernel_finds_what_covariances_do_not():
    # In two features one class is at the corners of a square, of the same
    # covariance as the other.
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2000, D)), np.arange(2000) % 2
    x[z == 1, 2:4] = np.sign(x[z == 1, 2:4])

    def kept(eraser):
        deviation = eraser(x).numpy().std(0) / x.std(0)
        return deviation[2:4], deviation[[0, 1, 4, 5, 6]]

    corners, others = kept(mmd_eraser(x, z, 2, steps=300))
    assert corners.max() < 0.5 and others.min() > 0.7
    # What it started from knows nothing of them.
    assert kept(covariance_eraser(x, z, 2))[0].min() > 0.7


@both
def test_does_not_depend_on_units(make):
    x, z = classes()
    unit = 10.0 ** np.arange(-3, D - 3)
    want = make(x, z, 2)(x).numpy() * unit
    np.testing.assert_allclose(make(x * unit, z, 2)(x * unit), want, rtol=1e-3)


@both
def test_weights_leave_rows_out(make):
    x, z = classes()
    weight = np.arange(len(x)) < 400
    some = make(x[:400], z[:400], 2, sample_weight=np.ones(400))
    weighted = make(x, z, 2, sample_weight=weight * 1.0)
    erased = weighted(x[:400]).numpy()
    means = [erased[z[:400] == c].mean(0) for c in (0, 1)]
    np.testing.assert_allclose(*means, rtol=1e-10)
    if make is covariance_eraser:
        np.testing.assert_allclose(weighted.P, some.P, atol=1e-8)


@both
def test_folds_and_goes_into_a_layer(make):
    x, z = classes()
    eraser = make(x.astype("float32"), z, 2)
    dense = keras.layers.Dense(3)
    dense.build((None, D))
    want = dense(eraser(x.astype("float32")))
    np.testing.assert_allclose(
        eraser.fold_into(dense)(x.astype("float32")), want, atol=1e-3
    )
    layer = LeaceLayer(eraser=eraser)
    np.testing.assert_allclose(
        layer(x.astype("float32")), eraser(x.astype("float32")), atol=1e-3
    )


def test_the_seed_decides():
    x, z = classes()
    one, same, other = (MAKE["mmd"](x, z, 2, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one.P, same.P)
    assert np.abs(np.asarray(one.P) - np.asarray(other.P)).max() > 1e-6


@both
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "`rank`"),
        ({"rank": D}, "`rank` must be below x_dim=7"),
        ({"z": np.full(600, -1)}, "`z` must be integer class ids from 0"),
        ({"z": np.arange(600) == 0}, "at least two samples"),
        ({"x": np.full((600, D), np.inf)}, "`x` holds NaN"),
    ],
)
def test_refuses(make, change, message):
    x, z = classes()
    with pytest.raises(ValueError, match=message):
        make(**{"x": x, "z": z, "rank": 2, **change})


def test_refuses_options_out_of_range():
    x, z = classes()
    with pytest.raises(ValueError, match="`shrinkage`"):
        covariance_eraser(x, z, 2, shrinkage=0)
    for name in ("steps", "batch_size", "learning_rate"):
        with pytest.raises(ValueError, match=f"`{name}`"):
            mmd_eraser(x, z, 2, **{name: 0})
