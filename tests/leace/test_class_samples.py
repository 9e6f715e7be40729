"""Keeping rows of a stream to draw from."""

import numpy as np

from tensorflow_model_remediation_ext.leace.class_samples import ClassSamples


def test_draws_rows_of_each_class_by_weight():
    x, ids = np.arange(8.0)[:, None], np.arange(8) % 2
    samples = ClassSamples(2)
    weight = np.array([0, 1, 1, 1, 3, 1, 0, 1.0])
    for rows in (slice(0, 3), slice(3, 8)):
        samples.add(x[rows], ids[rows], weight[rows])
    drawn = samples.draw(4000, np.random.default_rng(0))[..., 0]
    even, odd = (np.unique(row, return_counts=True) for row in drawn)
    assert even[0].tolist() == [2, 4] and odd[0].tolist() == [1, 3, 5, 7]
    assert abs(even[1][1] / 4000 - 0.75) < 0.03
    assert np.abs(odd[1] / 4000 - 0.25).max() < 0.03


def test_every_row_of_a_stream_has_the_same_chance():
    kept = np.zeros(40)
    for seed in range(300):
        samples = ClassSamples(1, room=8, seed=seed)
        for i in range(0, 40, 5):
            samples.add(np.arange(i, i + 5.0)[:, None], np.zeros(5, int))
        drawn = samples.draw(200, np.random.default_rng(seed))
        rows = np.unique(drawn).astype(int)
        assert len(rows) == 8
        kept[rows] += 1
    # 300 x 8 / 40 = 60, with a standard deviation of 7.
    assert np.abs(kept - 60).max() < 30
    assert abs(kept[:20].sum() - kept[20:].sum()) < 150
