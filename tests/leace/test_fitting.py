"""What all fitters share: streaming over datasets."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceFitter,
    OracleFitter,
    QuadraticFitter,
)

D = 3
FITTERS = [LeaceFitter, OracleFitter, QuadraticFitter]


class Batches(keras.utils.PyDataset):
    """Three batches of four rows, counting how often they are read."""

    def __init__(self, x, ids):
        super().__init__()
        self.x, self.ids, self.read = x, ids, 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.read += 1
        rows = slice(4 * index, 4 * index + 4)
        return self.x[rows], self.ids[rows], np.full(4, 2.0)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, D)), np.arange(12) % 3


@pytest.mark.parametrize("kind", FITTERS)
def test_any_source_of_batches_is_read_once(data, kind, capsys):
    source = Batches(*data)
    fitter = kind(D, 3).fit_dataset(source, verbose=0)
    assert source.read == 3 and np.sum(fitter.n) == 24
    assert capsys.readouterr().out == ""
    batches = tf.data.Dataset.from_tensor_slices((*data, np.full(12, 2.0)))
    other = kind(D, 3).fit_dataset(batches.batch(5), verbose=2)
    assert "3/3" in capsys.readouterr().out
    np.testing.assert_allclose(other.mean_x, fitter.mean_x)
    generator = (batch[:2] for batch in batches.batch(4))
    assert np.sum(kind(D, 3).fit_dataset(generator, verbose=0).n) == 12


@pytest.mark.parametrize("kind", FITTERS)
def test_other_sources_are_refused(data, kind):
    fitter = kind(D, 3)
    endless = tf.data.Dataset.from_tensors(data).repeat()
    for source, error, message in (
        (data[0], TypeError, "`dataset` must be .* Received: ndarray"),
        (7, TypeError, "`dataset` must be .* Received: int"),
        ([], ValueError, "`dataset` is empty"),
        (endless.take(0), ValueError, "`dataset` is empty"),
        (endless, ValueError, "`dataset` must be finite"),
        ([data[0]], ValueError, r"must yield \(x, z\) .* Received: ndarray"),
    ):
        with pytest.raises(error, match=message):
            fitter.fit_dataset(source, verbose=0)
    assert np.sum(fitter.n) == 0


@pytest.mark.parametrize("kind", FITTERS)
def test_what_does_not_fit_into_the_accumulators_changes_nothing(kind):
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=(60, D)), np.arange(60) % 3
    x[ids == 2] *= 1e25
    other = kind(D, 3).update(x, ids)
    fitter = kind(D, 3, dtype="float32").update(x[ids < 2], ids[ids < 2])
    before = fitter.get_state()
    with pytest.raises(ValueError, match="`other` has sums that overflow"):
        fitter.merge(other)
    with pytest.raises(ValueError, match=r"finite in float32\..*: sum"):
        fitter.set_state(other.get_state())
    for a, b in zip(before, fitter.get_state(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", FITTERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_state_that_is_no_statistics_is_refused(data, kind, value):
    fitter = kind(D, 3).update(*data)
    state = fitter.get_state()
    bad = [*state[:-1], np.full_like(state[-1], value)]
    bad[4] = np.full_like(state[4], value)
    with pytest.raises(ValueError, match="`state` must hold numbers"):
        fitter.set_state(bad)
    with pytest.raises(TypeError, match="`state` must be a list"):
        fitter.set_state(None)
    for old, new in zip(state, fitter.get_state(), strict=True):
        np.testing.assert_array_equal(old, new)


class Seen:
    """Notes how many rows each update added."""

    def update(self, x, *labels, **weight):
        super().update(x, *labels, **weight)
        self.__dict__.setdefault("seen", []).append(len(x))


def watched(kind):
    """Returns a fitter of a kind that notes what it adds."""
    return type(kind.__name__, (Seen, kind), {})(D, 3)


def in_batches(size, *arrays):
    """Returns equal parts of arrays, a tuple for each batch."""
    count = len(arrays[0]) // size
    return list(zip(*(np.split(array, count) for array in arrays), strict=True))


@pytest.mark.parametrize("kind", FITTERS)
def test_small_batches_are_added_together(kind):
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=(10_000, D)) + 100, rng.integers(3, size=10_000)
    weight = rng.uniform(size=10_000)
    fitter, alone = watched(kind), kind(D, 3)
    batches = in_batches(100, x, ids, weight)
    fitter.fit_dataset(batches, verbose=0)
    assert len(fitter.seen) == 3 and sum(fitter.seen) == 10_000
    for rows, labels, some in batches:
        alone.update(rows, labels, sample_weight=some)
    together, expected = fitter.eraser, alone.eraser
    z = () if kind is LeaceFitter else (ids,)
    np.testing.assert_allclose(together(x, *z), expected(x, *z), rtol=1e-9)


@pytest.mark.parametrize("kind", FITTERS)
def test_batches_before_a_fault_are_added_and_no_other(kind, data):
    x, ids = data
    good = in_batches(2, x, ids)
    bad = (np.full((2, D), np.nan), ids[:2])
    fitter = watched(kind)
    with pytest.raises(ValueError, match="`x` holds NaN"):
        fitter.fit_dataset([*good[:3], bad, *good[3:]], verbose=0)
    assert fitter.seen == [2, 2, 2]

    def breaking():
        yield from good[:3]
        raise RuntimeError("The disk is gone.")

    fitter = watched(kind)
    with pytest.raises(RuntimeError, match="The disk is gone"):
        fitter.fit_dataset(breaking(), verbose=0)
    assert fitter.seen == [6]


@pytest.mark.parametrize("kind", FITTERS)
def test_rows_that_a_batch_lacks_are_not_those_of_another(kind, data):
    x, ids = data
    crossed = [(x[:6], ids[:7]), (x[6:], ids[7:])]
    fitter = kind(D, 3)
    with pytest.raises(ValueError, match="`z` must"):
        fitter.fit_dataset(crossed, verbose=0)
    assert np.sum(fitter.n) == 0


def test_batches_of_several_kinds_are_added_each_as_it_is(data):
    x, ids = data
    weight = np.full(2, 3.0)
    batches = [
        (x[:2], ids[:2]),
        (x[2:4], ids[2:4], weight),
        (x[4:6].astype("float32"), ids[4:6]),
        (x[6:8], np.eye(3)[ids[6:8]]),
        (x[None, 8:10], ids[None, 8:10]),
        (x[10:], ids[10:].astype("int32")),
    ]
    fitter = LeaceFitter(D, 3).fit_dataset(batches, verbose=0)
    counts = np.where(np.isin(np.arange(12), (2, 3)), 3.0, 1.0)
    expected = LeaceFitter(D, 3).update(x, ids, sample_weight=counts)
    for name in ("n", "mean_x", "mean_z", "sigma_xx", "sigma_xz"):
        np.testing.assert_allclose(
            getattr(fitter, name), getattr(expected, name), atol=1e-6
        )
