"""Tests of datasets that are read from another place each time."""

import time

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.endless import (
    each_iteration,
    known_length,
    repeat_from_anywhere,
    start_at,
)

Dataset = tf.data.Dataset
SENTENCE = "`data` is empty."
ROWS = 1000


def same(dataset):
    return dataset


def endless(dataset=None, prepare=same, reach=None):
    dataset = Dataset.range(ROWS) if dataset is None else dataset
    return repeat_from_anywhere(dataset, prepare, SENTENCE, reach)


def epochs(dataset, number=4, steps=8, pause=0.0):
    """What `zip` with a task reads in each epoch."""
    zipped = Dataset.zip((Dataset.range(steps), dataset)).prefetch(2)
    found = []
    for _ in range(number):
        found.append([])
        for _, row in zipped:
            found[-1].append(int(row))
            time.sleep(pause)
    return found


def test_later_epochs_start_elsewhere():
    first, *later = epochs(endless())
    assert first == list(range(8))
    starts = {rows[0] for rows in later}
    assert len(starts) == 3 and 0 not in starts
    for rows in later:
        assert (np.diff(rows) % ROWS == 1).all()
    # The same in each run, however far the reader is ahead.
    assert epochs(endless(), pause=0.01) == [first, *later]


def test_all_elements_come_in_each_pass():
    data = endless(Dataset.range(10), lambda d: d.map(lambda x: x + 1))
    assert data.cardinality() == tf.data.INFINITE_CARDINALITY
    assert data.element_spec == Dataset.range(1).element_spec
    for _ in range(3):
        rows = list(data.take(30).as_numpy_iterator())
        for k in (0, 10, 20):
            assert sorted(rows[k : k + 10]) == list(range(1, 11))


@pytest.mark.parametrize(
    ("data", "reach"),
    [
        (Dataset.range(32), 8),
        (Dataset.range(1), None),
        (Dataset.range(50).filter(lambda x: True), None),
        (Dataset.range(50).repeat(), None),
    ],
    ids=["a quarter", "one", "unknown", "endless"],
)
def test_what_starts_at_the_beginning(data, reach):
    found = epochs(endless(data, reach=reach))
    assert all(rows == found[0] for rows in found)
    assert found[0][0] == 0


def test_nothing_left_is_an_error_and_not_a_hang():
    data = endless(prepare=lambda d: d.filter(lambda x: x < 0))
    for _ in range(2):
        with pytest.raises(tf.errors.InvalidArgumentError, match="is empty"):
            next(iter(data))


def test_strategies_caches_and_files(tmp_path):
    rows = Dataset.zip((Dataset.range(8), endless())).map(lambda _, x: x)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    shared = strategy.experimental_distribute_dataset(rows.batch(4))
    starts = [next(int(batch[0]) for batch in shared) for _ in range(3)]
    assert len(set(starts)) == 3
    cached = rows.cache()
    assert epochs(cached)[0] == epochs(cached)[1]
    rows.save(str(tmp_path))
    found = list(Dataset.load(str(tmp_path)).as_numpy_iterator())
    assert len(found) == 8 and (np.diff(found) % ROWS == 1).all()


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_numbers_may_seed_a_shuffle(seed):
    tf.random.set_seed(0)

    def build(number):
        data = start_at(Dataset.range(10), number, 10)
        return data.shuffle(10, seed=number).repeat()

    one, *others = epochs(each_iteration(build, seed), steps=10)
    assert sorted(one) == list(range(10))
    assert all(other != one for other in others)
    if seed is not None:
        again = epochs(each_iteration(build, seed), steps=10, pause=0.01)
        assert again == [one, *others]


def test_known_length():
    assert known_length(Dataset.range(3)) == 3
    assert known_length(Dataset.range(3).repeat()) is None
    assert known_length(Dataset.range(3).filter(lambda x: True)) is None
