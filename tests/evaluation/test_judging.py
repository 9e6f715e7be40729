import numpy as np
import pytest

from tensorflow_model_remediation_ext.evaluation import leakage
from tensorflow_model_remediation_ext.evaluation.fresh_rows import split_rows
from tensorflow_model_remediation_ext.evaluation.judging import (
    Judge,
    mean_of_blocks,
    similarity_kept,
)

RNG = np.random.default_rng(0)
QUIET = {"readers": ["linear"], "controls": False, "verbose": 0}


def area_of_noise(n, splits, seed):
    rng = np.random.default_rng(seed)
    z = np.arange(n) % 2
    judge = Judge(z, None, 0.95)
    for _, _, rows in split_rows(z, None, splits, seed):
        scores = rng.normal(size=len(rows))
        judge.add("reader", rows, np.stack([-scores, scores], axis=1))
    return judge.auc("reader")


@pytest.mark.parametrize("n", [8, 12, 16, 40])
def test_areas_of_noise_cover_chance(n):
    found = [area_of_noise(n, 3, seed) for seed in range(200)]
    missed = [not each.low <= 0.5 <= each.high for each in found]
    # Areas of few pairs are few numbers: one in ten may miss.
    assert np.mean(missed) < 0.1


def test_more_splits_of_the_same_rows_tell_no_more():
    # From the fifth split on, rows judge again.
    widths = {}
    for splits in (1, 4, 16):
        found = [area_of_noise(16, splits, seed) for seed in range(50)]
        widths[splits] = np.mean([each.high - each.low for each in found])
    assert widths[4] < 0.9 * widths[1]
    assert widths[16] > 0.75 * widths[4]


def test_similarity_of_what_is_all_alike_is_unknown():
    column = RNG.uniform(20, 60, size=(300, 1))
    line = column * [1.0, 0.3, 7.0]  # Alike but for rounding.
    rows = RNG.normal(size=(300, 3))
    for before, after in (
        (column, column),
        (line, line),
        (rows, 0 * rows),
        (rows[:2], rows[:2]),
        (rows[:1], rows[:1]),
    ):
        assert similarity_kept(before, after) == []
    assert np.isnan(mean_of_blocks([], 0.95)).all()
    assert similarity_kept(rows, 2 * rows) == pytest.approx([1, 1, 1])


def test_similarities_that_agree_have_no_interval():
    for values in ([0.5], [0.5, 0.5, 0.5], [1.0, 1 - 1e-15]):
        value, *ends = mean_of_blocks(values, 0.95)
        assert value == pytest.approx(values[0]) and np.isnan(ends).all()
    assert np.isfinite(mean_of_blocks([0.5, 0.6], 0.95)).all()


@pytest.mark.parametrize("blocks", [2, 3, 10])
def test_few_blocks_are_covered_and_stay_correlations(blocks):
    # A normal interval holds 0.7 of means of two.
    rng = np.random.default_rng(0)
    found = [
        mean_of_blocks(list(values), 0.95)
        for values in rng.normal(0.5, 0.01, size=(500, blocks))
    ]
    covered = np.mean([e.low <= 0.5 <= e.high for e in found])
    assert 0.92 < covered < 0.98
    assert mean_of_blocks([0.999, 0.9], 0.95).high == 1


def test_leakage_of_one_column_has_no_similarity_and_is_drawn():
    x = RNG.uniform(20, 60, size=(80, 1))
    report = leakage({}, x, RNG.permutation(np.arange(80) % 2), **QUIET)
    assert np.isnan(report["nothing"].similarity).all()
    assert "[none]" in repr(report)
    report.plot().figure.draw_without_rendering()
