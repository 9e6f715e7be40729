"""How `fit` reads a concept: columns of numbers, or class ids."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    LeaceFitter,
    LeaceLayer,
    OracleFitter,
    QuadraticFitter,
)

N, D = 300, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
AGES = RNG.integers(20, 60, N)
LINEAR = [LeaceFitter, OracleFitter]

ONE_COLUMN = {
    "floats": AGES.astype(float),
    "float32": AGES.astype("float32"),
    "zeros and ones": AGES % 2,
    "booleans": AGES > 40,
    "unsigned bits": (AGES % 2).astype("uint8"),
    "all zero": np.zeros(N, int),
    "all one": np.ones(N, int),
}
NEITHER = {
    "ages": AGES,
    "postal codes": 94110 + np.arange(N) % 3,
    "gaps": np.array([0, 1, 3])[np.arange(N) % 3],
    "from one": 1 + np.arange(N) % 3,
    "signs": np.where(np.arange(N) % 2, 1, -1),
    "negative": -1 + np.arange(N) % 3,
    "unsigned": AGES.astype("uint8"),
    "years": 2000 + np.arange(N) % 20,
    "a constant": np.full(N, 3),
}


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("case", ONE_COLUMN)
def test_one_column(kind, case):
    fitter = kind.fit(X, ONE_COLUMN[case])
    assert fitter.z_dim == 1
    wanted = kind(D, 1).update(X, ONE_COLUMN[case].astype(float))
    np.testing.assert_allclose(fitter.sigma_xz, wanted.sigma_xz, atol=1e-12)


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("k", [3, 7])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8"])
def test_classes_that_are_all_there(kind, k, dtype):
    ids = (np.arange(N) % k).astype(dtype)
    assert kind.fit(X, ids).z_dim == k
    assert kind.fit(X, ids[:, None]).z_dim == 1
    assert kind.fit(X, np.eye(k, dtype=dtype)[ids]).z_dim == k
    assert QuadraticFitter.fit(X, ids).num_classes == k


@pytest.mark.parametrize("kind", [*LINEAR, LeaceEraser])
@pytest.mark.parametrize("case", NEITHER)
def test_what_may_be_both_is_refused_and_the_ways_out_work(kind, case):
    z = NEITHER[case]
    with pytest.raises(ValueError, match="`z` holds integers") as error:
        kind.fit(X, z)
    for way in ("z_dim=1", "floats", "z_dim=k", "np.unique(z, return_inverse"):
        assert way in str(error.value)
    assert f"from {z.min()} to {z.max()}" in str(error.value)


@pytest.mark.parametrize("kind", LINEAR)
def test_the_ways_out(kind):
    numbers = kind.fit(X, AGES.astype(float))
    one = kind.fit(X, AGES, z_dim=1)
    np.testing.assert_allclose(one.sigma_xz, numbers.sigma_xz)
    ids = np.unique(AGES, return_inverse=True)[1]
    k = len(np.unique(AGES))
    assert kind.fit(X, ids).z_dim == k == kind.fit(X, ids, z_dim=k).z_dim
    # Not every class need be there where z_dim says how many there are.
    assert kind.fit(X, AGES, z_dim=60).z_dim == 60
    assert kind.fit(X, AGES % 2, z_dim=2).z_dim == 2
    with pytest.raises(ValueError, match="class ids outside"):
        kind.fit(X, AGES, z_dim=3)


def test_an_age_is_erased_as_one_direction():
    x = X + 0.1 * AGES[:, None]
    erased = LeaceEraser.fit(x, AGES, z_dim=1)
    assert erased.proj_left.shape == (D, 1)
    assert LeaceEraser.fit(x, AGES.astype(float)).proj_left.shape == (D, 1)
    layer = LeaceLayer()
    with pytest.raises(ValueError, match="`z` holds integers"):
        layer.adapt(x.astype("float32"), AGES)


def test_task_labels_are_read_alike():
    ids = np.arange(N) % 2
    with pytest.raises(ValueError, match=r"`preserve` holds .*preserve_dim=1"):
        LeaceFitter.fit(X, ids, preserve=AGES)
    fitter = LeaceFitter.fit(X, ids, preserve=AGES, preserve_dim=1)
    assert fitter.preserve_dim == 1
    assert LeaceFitter.fit(X, ids, preserve=AGES % 3).preserve_dim == 3


@pytest.mark.parametrize("case", [*NEITHER, "floats"])
def test_quadratic_erasure_takes_class_ids_only(case):
    z = NEITHER.get(case, ONE_COLUMN["floats"])
    with pytest.raises(ValueError, match="`z` must be integer class ids from"):
        QuadraticFitter.fit(X, z)


def test_classes_of_quadratic_erasure():
    assert QuadraticFitter.fit(X, AGES > 40).num_classes == 2
    assert QuadraticFitter.fit(X, AGES % 3, num_classes=5).num_classes == 5


@pytest.mark.parametrize("kind", [*LINEAR, QuadraticFitter])
def test_text_is_named(kind):
    for z in (np.full(N, "a"), np.array(["a", 1] * (N // 2), object)):
        with pytest.raises(ValueError, match=r"`z` must hold real.*of dtype"):
            kind.fit(X, z)


@pytest.mark.parametrize("kind", [*LINEAR, QuadraticFitter])
def test_rows_of_weight_zero_are_left_out(kind):
    weight = np.ones(N)
    weight[::3] = 0
    x, ids = X.copy(), np.arange(N) % 2
    x[::3], ids[::3] = np.nan, -1
    some, kept = kind(D, 2), weight > 0
    some.update(x, ids, sample_weight=weight)
    wanted = kind(D, 2).update(X[kept], (np.arange(N) % 2)[kept])
    np.testing.assert_allclose(some.mean_x, wanted.mean_x, atol=1e-12)
    np.testing.assert_array_equal(some.n, wanted.n)


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("total", [1.0, 0.3, 1e-6])
def test_weights_of_a_total_of_one_are_refused(kind, dtype, total):
    weight = RNG.uniform(0.5, 2, N).astype(dtype)
    weight = weight / weight.sum() * np.asarray(total, dtype)
    fitter = kind.fit(X, AGES % 2, sample_weight=weight)
    for name in ("eraser", "sigma_xz"):
        with pytest.raises(
            ValueError, match=r"by the number of rows. Received"
        ):
            getattr(fitter, name)
    fitter = kind.fit(X, AGES % 2, sample_weight=weight * N / total)
    assert np.abs(fitter.sigma_xz).max() < 1


def test_weights_of_a_class_of_a_total_of_one_are_refused():
    weight = np.full(N, 2 / N)
    fitter = QuadraticFitter.fit(X, AGES % 2, weight)
    with pytest.raises(ValueError, match="Every class needs at least two sam"):
        _ = fitter.eraser
