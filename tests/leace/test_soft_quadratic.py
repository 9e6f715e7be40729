"""Erasure by predicted classes: what is exact, and what it needs."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    SoftQuadraticEraser,
    SoftQuadraticFitter,
)

D = 8


def classes(k=2, n=None, d=D, seed=0):
    """Rows of `k` classes with different means, covariances and sizes."""
    rng = np.random.default_rng(seed)
    z = rng.integers(0, k, n or 150 * k)
    z[: 8 * k] = np.arange(8 * k) % k
    scales = np.exp(rng.uniform(-1, 1, (k, d)))
    x = rng.normal(size=(len(z), d)) * scales[z] + rng.normal(size=(k, d))[z]
    return 100 + x @ rng.normal(size=(d, d)), z


def spread(x, z):
    """How far apart class means are, in standard deviations."""
    x = np.asarray(x, np.float64)
    means = np.stack([x[z == c].mean(0) for c in np.unique(z)])
    return np.abs(means - means[0]).max() / x.std(0).max()


@pytest.mark.parametrize("k", [2, 3, 20])
def test_no_linear_reader_of_the_fitted_rows_sees_a_class(k):
    x, z = classes(k, d=4 * k)
    erased = SoftQuadraticEraser.fit(x, z)(x).numpy()
    assert spread(x, z) > 0.3 and spread(erased, z) < 1e-9
    np.testing.assert_allclose(erased.mean(0), x.mean(0), rtol=1e-10)
    centered = (erased - erased.mean(0)) / erased.std(0)
    probe = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    probe.fit(centered, z)
    majority = np.bincount(z).max() / len(z)
    assert probe.score(centered, z) == pytest.approx(majority)


@pytest.mark.parametrize("max_rank", [0, 1, 4, D, 50])
def test_max_rank_keeps_the_guarantee_and_moves_less(max_rank):
    x, z = classes(3)
    full = SoftQuadraticEraser.fit(x, z)(x).numpy()
    erased = SoftQuadraticEraser.fit(x, z, max_rank=max_rank)(x).numpy()
    assert spread(erased, z) < 1e-9
    if max_rank >= D:
        np.testing.assert_array_equal(erased, full)


def test_second_moments_come_closer_than_after_leace():
    x, z = classes(2, 4000)
    x = x + 6 * z[:, None]  # So that predictions are mostly right.
    new, new_z = x[2000:], z[2000:]

    def difference(rows):
        rows = np.asarray(rows)
        one, other = (np.cov(rows[new_z == c].T) for c in (0, 1))
        return np.linalg.norm(one - other) / np.linalg.norm(one + other)

    soft = SoftQuadraticEraser.fit(x[:2000], z[:2000])(new)
    leace = LeaceEraser.fit(x[:2000], z[:2000])(new)
    assert difference(soft) < 0.6 * difference(leace)


def test_a_row_is_erased_by_itself_and_without_its_label():
    x, z = classes(3)
    eraser = SoftQuadraticEraser.fit(x, z)
    erased = eraser(x).numpy()
    np.testing.assert_allclose(eraser(x[7:8])[0], erased[7], rtol=1e-12)
    np.testing.assert_allclose(
        eraser(x[:12].reshape(3, 4, D)).numpy().reshape(12, D),
        erased[:12],
        rtol=1e-12,
    )
    p = eraser.probabilities(x).numpy()
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p.argmax(1) == z).mean() > 0.5
    assert eraser(x.astype("float32")).dtype == tf.float32
    half = eraser(x[:5].astype("float16") * 0.1)
    assert half.dtype == tf.float16 and np.isfinite(half.numpy()).all()


def test_preserves_the_covariance_with_a_task():
    x, z = classes(3, 900)
    rng = np.random.default_rng(1)
    y = (x[:, 0] + rng.normal(size=len(x)) > 100) * 1

    def covariance(rows):
        return (np.asarray(rows) - x.mean(0)).T @ (y - y.mean()) / len(y)

    kept = SoftQuadraticEraser.fit(x, z, preserve=y)(x)
    assert spread(kept, z) < 1e-9
    np.testing.assert_allclose(covariance(kept), covariance(x), atol=1e-9)
    plain = SoftQuadraticEraser.fit(x, z)(x)
    assert np.abs(covariance(plain) - covariance(x)).max() > 1e-3


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("task", ["concept", "one class", "nearly", "both"])
def test_erasure_wins_over_a_task_that_is_the_concept(k, task):
    rng = np.random.default_rng(0)
    z = rng.integers(0, k, 400)
    x = rng.normal(size=(400, D)) + 2 * np.eye(k, D)[z]
    # Columns: of the concept, and of what it does not know.
    other = x[:, -1] + rng.normal(size=400)
    nearly = np.where(rng.random(400) < 0.01, (z + 1) % k, z)
    y = {
        "concept": np.eye(k)[z],
        "one class": np.eye(k)[z][:, -1:],
        "nearly": np.eye(k)[nearly],
        "both": np.column_stack([z == 0, other]),
    }[task].astype(float)
    with pytest.warns(UserWarning, match="Erasure wins") as warned:
        eraser = SoftQuadraticEraser.fit(x, z, preserve=y)
    erased = eraser(x).numpy()
    assert spread(erased, z) < 1e-9
    assert erased.var(0).sum() < 2 * x.var(0).sum()
    lost = k - 1 if task in ("concept", "nearly") else 1
    assert f"of {lost} direction" in str(warned[0].message)
    if task == "both":
        kept = np.cov(erased.T, other)[-1, :-1]
        np.testing.assert_allclose(kept, np.cov(x.T, other)[-1, :-1], atol=1e-9)


def test_weights_count_rows():
    x, z = classes(2, 200)
    weight = np.arange(200) % 3
    # A row's fold is in it: doubles are never apart.
    repeated = SoftQuadraticEraser.fit(
        np.repeat(x, weight, axis=0), np.repeat(z, weight)
    )
    weighted = SoftQuadraticEraser.fit(x, z, sample_weight=weight)
    np.testing.assert_allclose(weighted(x), repeated(x), rtol=1e-7)
    broken = np.where(weight[:, None] > 0, x, np.nan)
    again = SoftQuadraticEraser.fit(broken, z, sample_weight=weight)
    np.testing.assert_array_equal(again(x), weighted(x))
    mean = np.average(x, axis=0, weights=weight)
    erased = weighted(x).numpy()
    np.testing.assert_allclose(np.average(erased, 0, weight), mean)


def test_datasets_in_any_order_and_size_of_batches():
    x, z = classes(3)
    want = SoftQuadraticEraser.fit(x, z)(x)
    rows = tf.data.Dataset.from_tensor_slices((x, z))
    shuffled = rows.shuffle(len(x), reshuffle_each_iteration=True).batch(64)
    fitter = SoftQuadraticFitter(D, 3).fit_dataset(shuffled, verbose=0)
    np.testing.assert_allclose(fitter.eraser(x), want, rtol=1e-6)
    assert fitter.eraser is fitter.eraser


def test_float32_rows_may_come_in_any_batches():
    x, z = classes(2, 1000, d=20)
    x = x.astype("float32")
    order = np.random.default_rng(0).permutation(len(x))
    erased = []
    for rows, size in ((slice(None), 1000), (slice(None), 7), (order, 300)):
        batches = [
            (x[rows][i : i + size], z[rows][i : i + size])
            for i in range(0, len(x), size)
        ]
        fitter = SoftQuadraticFitter(20, 2).fit_dataset(batches, verbose=0)
        # As the fit has it, and as float32 does.
        erased.append(fitter.eraser(x.astype("float64")).numpy())
        assert fitter.eraser(x).dtype == tf.float32
    for other in erased[1:]:
        change = np.abs(other - erased[0]) / x.std(0)
        assert change.max() < 1e-5


def test_reads_the_data_as_often_as_it_says_and_no_more():
    x, z = classes(2, 100)

    class Counting:
        count = 0

        def __iter__(self):
            self.count += 1
            yield x, z

    data = Counting()
    SoftQuadraticFitter(D, 2).fit_dataset(data, verbose=0)
    assert data.count == SoftQuadraticFitter.PASSES


def test_features_of_any_unit_and_constant_ones():
    x, z = classes(2, 300, d=6)
    unit = np.array([1e-6, 1, 1e4, 1, 1, 1])
    want = SoftQuadraticEraser.fit(x, z)(x).numpy()
    got = SoftQuadraticEraser.fit(x * unit, z)(x * unit).numpy() / unit
    # Rows of other values are in other folds.
    assert np.abs((got - want) / x.std(0)).max() < 0.3
    wide = np.column_stack([x, np.full(len(x), 7.0), x[:, 0]])
    erased = SoftQuadraticEraser.fit(wide, z)(wide).numpy()
    np.testing.assert_allclose(erased[:, 6], 7.0)
    assert spread(erased[:, :6], z) < 1e-9


def test_fewer_rows_than_features():
    rng = np.random.default_rng(0)
    z = np.arange(24) % 3
    x = rng.normal(size=(24, 40)) + z[:, None]
    erased = SoftQuadraticEraser.fit(x, z)(x).numpy()
    assert np.isfinite(erased).all() and spread(erased, z) < 1e-8


def test_saves_as_a_module(tmp_path):
    x, z = classes(2)
    eraser = SoftQuadraticEraser.fit(x, z)
    signature = tf.function(eraser.__call__).get_concrete_function(
        tf.TensorSpec([None, D], tf.float64)
    )
    tf.saved_model.save(eraser, str(tmp_path), signatures=signature)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    (erased,) = served(x=tf.constant(x)).values()
    np.testing.assert_allclose(erased, eraser(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((4, 2), int)}, "`x` must be of a floating dtype"),
        (
            {"z": np.array([0, 1, 2, -1])},
            "`z` must be integer class ids from 0",
        ),
        (
            {"z": np.array([0, 1, 2, 1]), "num_classes": 2},
            "`z` holds class ids outside",
        ),
        ({"z": np.array([0.5, 1, 0, 1])}, "`z` must be integer class ids"),
        ({"z": np.array([0, 0, 0, 1])}, "at least two samples"),
        ({"z": np.array([0, 1, 1])}, "`z` must be integer class ids of shape"),
        ({"x": np.full((4, 2), np.nan)}, "NaN"),
        ({"sample_weight": np.array([1, 1, -1, 1])}, "`sample_weight`"),
        ({"shrinkage": 2}, "`shrinkage`"),
        ({"regularization": 0}, "`regularization`"),
        ({"max_rank": -1}, "`max_rank`"),
    ],
)
def test_refuses(change, message):
    options = {"x": np.eye(4, 2), "z": np.array([0, 1, 0, 1]), **change}
    with pytest.raises(ValueError, match=message):
        SoftQuadraticFitter.fit(**options)


def test_refuses_what_cannot_be_read_again():
    x, z = classes(2, 60)
    fitter = SoftQuadraticFitter(D, 2)
    with pytest.raises(ValueError, match="Nothing was fitted"):
        _ = fitter.eraser
    with pytest.raises(TypeError, match="read again"):
        fitter.fit_dataset(iter([(x, z)]), verbose=0)
    rng = np.random.default_rng(0)
    noisy = tf.data.Dataset.from_tensors((x, z)).map(
        lambda x, z: (x + tf.numpy_function(rng.random, [], x.dtype), z)
    )
    with pytest.raises(ValueError, match="must yield the same rows"):
        fitter.fit_dataset(noisy, verbose=0)
    with pytest.raises(ValueError, match="Nothing was fitted"):
        fitter.editor()


def test_refuses_labels_and_weights_that_change():
    x, z = classes(2, 90)
    rng = np.random.default_rng(0)
    ones = np.ones(90)

    class Changing:
        def __init__(self, batch):
            self.batch = batch

        def __iter__(self):
            yield self.batch()

    def other_task():
        return x, (z, rng.normal(size=90))

    for preserve_dim, batch in (
        (0, lambda: (x, rng.permutation(z))),
        (0, lambda: (x, z, rng.permutation(ones + z))),
        (1, other_task),
    ):
        fitter = SoftQuadraticFitter(D, 2, preserve_dim=preserve_dim)
        with pytest.raises(ValueError, match="same labels and weight"):
            fitter.fit_dataset(Changing(batch), verbose=0)
    features, ids = map(tf.data.Dataset.from_tensor_slices, (x, z))
    zipped = tf.data.Dataset.zip((features, ids.shuffle(90))).batch(50)
    with pytest.raises(ValueError, match="zipped after shuffling"):
        SoftQuadraticFitter(D, 2).fit_dataset(zipped, verbose=0)


def test_refuses_shapes_that_do_not_match():
    with pytest.raises(ValueError, match="`mean_x`, `kernel`"):
        SoftQuadraticEraser(
            np.ones(3), np.ones((3, 2)), np.ones(2), np.ones((2, 3, 3)), [1.0]
        )


def test_erasing_more_than_half_of_the_dimensions_warns():
    x, z = classes(4, d=3)
    with pytest.warns(UserWarning, match="removes 3 of the 3 dimensions"):
        SoftQuadraticFitter.fit(x, z)


@pytest.mark.parametrize("d, k, rank", [(6, 3, 4), (5, 4, 5), (3, 2, 2)])
def test_all_dimensions_that_are_lost_are_counted(d, k, rank):
    # Each of the two LEACEs takes its own.
    x, z = classes(k, d=d)
    with pytest.warns(UserWarning, match=f"removes {rank} of the {d} dim"):
        eraser = SoftQuadraticFitter.fit(x, z).eraser
    erased = eraser(x).numpy()
    deviations = (erased - erased.mean(0)) / x.std(0)
    assert np.linalg.matrix_rank(deviations, tol=1e-6) == d - rank
