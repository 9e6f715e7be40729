"""The judge: what it finds, and what it does not let itself be told."""

import json
from typing import ClassVar

import numpy as np
import pytest

from tensorflow_model_remediation_ext.evaluation import (
    READERS,
    Estimate,
    Report,
    leakage,
)
from tensorflow_model_remediation_ext.evaluation.erasing import (
    random_removals,
)
from tensorflow_model_remediation_ext.leace.keras import LeaceEraser

FAST = ["linear", "svm"]
QUIET = {"controls": False, "verbose": 0}


def ring(n=480, d=4, seed=0):
    """A concept in the mean of one feature and the spread of another."""
    rng = np.random.default_rng(seed)
    z = rng.permutation(np.arange(n) % 2)
    x = rng.normal(size=(n, d))
    x[:, 0] += 2 * z
    x[:, 1] *= 1 + 3 * z
    return x, z


def identity(x, z):
    return lambda rows: rows


@pytest.fixture(scope="module")
def full():
    x, z = ring()
    y = (x[:, 2] > 0) * 1
    methods = {"LEACE": LeaceEraser.fit, "same": identity}
    return leakage(methods, x, z, task=y, controls=["LEACE"], verbose=0)


def test_every_reader_reads_what_is_there(full):
    for reading in full.readings:
        if reading.method in ("nothing", "same"):
            assert reading.auc.value > 0.75, reading
    assert {r.reader for r in full.readings} == set(READERS)
    assert full["same"].auc == full["nothing"].auc


def test_linear_readers_are_blind_after_leace_and_others_are_not(full):
    row = full["LEACE"]
    assert row.linear.low < row.majority_rate < row.linear.high
    assert row.linear_auc.low < 0.5 < row.linear_auc.high
    assert row.auc.low > 0.7 and row.auc_reader != "linear"
    assert row.accuracy.low > row.majority_rate
    assert (row.n, row.classes, row.rank, row.control) == (360, 2, 1, False)


def test_utility_is_that_of_the_task(full):
    for name in ("nothing", "LEACE"):
        assert full[name].task_auc.value > 0.95
        assert full[name].task_nonlinear_accuracy.value > 0.85
    assert full["same"].similarity.value == pytest.approx(1)
    assert 0.5 < full["LEACE"].similarity.value < 1
    assert full.within(2).method == "LEACE"
    with pytest.raises(ValueError, match="`points`"):
        full.within(-1)


def test_controls_take_as_much_and_erase_less(full):
    names = [row.method for row in full.rows if row.control]
    assert names == [f"LEACE: random, equal {w}" for w in ("rank", "variance")]
    for name in names:
        # One direction of four, and no matter which: most of it stays.
        assert full[name].linear_auc.low > full["LEACE"].linear_auc.high
        assert full[name].auc.value > full["LEACE"].auc.value
        assert full[name].similarity.value < full["same"].similarity.value
    assert full[names[0]].rank == full["LEACE"].rank == 1


@pytest.mark.parametrize("rank", [1, 3])
def test_random_removals_are_of_equal_rank_and_movement(rank):
    rng = np.random.default_rng(rank)
    before = rng.normal(size=(500, 6)) * np.arange(1, 7) + 10
    basis = np.linalg.qr(rng.normal(size=(6, rank)))[0]
    centered = before - before.mean(0)
    after = before - centered @ basis @ basis.T
    removed = random_removals(before, after, np.random.default_rng(0))
    assert list(removed) == ["rank", "variance"]
    moves = {what: rows - before for what, rows in removed.items()}
    for move in moves.values():
        np.testing.assert_allclose(move.mean(0), 0, atol=1e-9)
    assert np.linalg.matrix_rank(moves["rank"], tol=1e-8) == rank
    inner = removed["rank"] - before.mean(0)
    np.testing.assert_allclose(np.sum(inner * moves["rank"], 1), 0, atol=1e-8)

    def moved(rows):
        return np.square(rows - before).sum(1).mean()

    assert moved(removed["variance"]) == pytest.approx(moved(after))
    # Other directions than those of the method.
    assert np.abs(moves["rank"] @ basis).max() < np.abs(centered @ basis).max()
    assert random_removals(before, after[:, :5], rng) == {}
    assert random_removals(before, before, rng) == {}


def test_is_a_table_and_a_part_of_a_report(full, tmp_path):
    frame = full.to_frame()
    assert list(frame.index) == [row.method for row in full.rows]
    assert "auc_low" in frame and "95 % intervals" in repr(full)
    axes = full.plot()
    assert axes.get_ylabel() == "AUC of the strongest reader"
    # Not beside the points, where names would hide one another.
    handles, names = axes.get_legend_handles_labels()
    names = [name.replace("\n", " ") for name in names]
    assert names == ["chance", *(row.method for row in full.rows)]
    markers = [handle.lines[0].get_marker() for handle in handles[1:]]
    assert len(set(markers)) == len(full.rows)
    assert not axes.texts
    report = Report("Erasure").add("model", "Leakage", full)
    page = report.save(tmp_path).read_text(encoding="utf-8")
    assert full.caveat.split(":")[0] in page
    json.loads((tmp_path / "report.json").read_text())


# What an eraser may do to look good: all but erase.
def scaled_down(x, z):
    direction = np.eye(x.shape[1])[:2]
    shrink = np.eye(x.shape[1]) - (1 - 1e-4) * direction.T @ direction
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=shrink.shape))[0]
    return lambda rows: rows @ shrink @ turn


def among_outliers(x, z):
    def erase(rows):
        rows = rows.copy()
        rows[np.abs(rows[:, 2]) > 2] *= 1e9
        return rows

    return erase


def far_away(x, z):
    return lambda rows: rows * 1e-3 + 1e6


@pytest.mark.parametrize("trick", [scaled_down, among_outliers, far_away])
def test_hiding_is_not_erasing(trick):
    x, z = ring(800)
    row = leakage({"trick": trick}, x, z, splits=1, **QUIET)["trick"]
    assert row.auc.low > 0.75


def test_memory_of_the_fitted_rows_is_worth_nothing():
    x, z = ring()
    seen = []

    def memory(x, z):
        rows = {row.tobytes() for row in x}
        seen.append((rows, len(z)))
        x[:] = 0  # Its own copy.

        def erase(new):
            known = np.array([row.tobytes() in rows for row in new])
            seen[-1] = (*seen[-1], known.sum())
            return np.where(known[:, None], 0.0, new)

        return erase

    row = leakage({"memory": memory}, x, z, readers=FAST, **QUIET)["memory"]
    assert row.auc.low > 0.8 and len(seen) == 3
    for _, size, *known in seen:
        assert size == 240 and not any(known)


def test_refuses_erasers_that_compare_the_rows_they_get():
    x, z = ring()

    def of_the_batch(x, z):
        return lambda rows: rows - rows.mean(axis=0)

    with pytest.raises(ValueError, match="treat each row by itself"):
        leakage({"batch": of_the_batch}, x, z, readers=FAST, **QUIET)


def test_takes_erasers_that_are_random():
    x, z = ring()
    rng = np.random.default_rng(0)

    def noise(x, z):
        return lambda rows: rows + 50 * rng.normal(size=rows.shape)

    row = leakage({"noise": noise}, x, z, readers=FAST, **QUIET)["noise"]
    assert row.linear_auc.low < 0.5 < row.linear_auc.high


class Remembering:
    """A reader that knows the rows that it learned from, and no others."""

    seen: ClassVar[list] = []

    def fit(self, x, z):
        rows = (row.tobytes() for row in x)
        self.known = dict(zip(rows, z, strict=True))

    def predict_proba(self, x):
        found = [self.known.get(row.tobytes()) for row in x]
        self.seen.append(np.mean([label is not None for label in found]))
        p = [0.5 if label is None else float(label) for label in found]
        return np.stack([1 - np.array(p), p], axis=1)


def test_groups_are_never_split():
    # Every group has features and a label of its own, eight times over.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), 8)
    x = rng.normal(size=(80, 4))[groups]
    z = rng.permutation(np.arange(80) % 2)[groups]
    erasers = []

    def note(x, z):
        fitted = {row.tobytes() for row in x}

        def erase(rows):
            erasers.append(np.mean([row.tobytes() in fitted for row in rows]))
            return rows

        return erase

    rows = {}
    for name, some in (("apart", None), ("together", groups)):
        Remembering.seen.clear()
        erasers.clear()
        rows[name] = leakage(
            {"note": note},
            x,
            z,
            groups=some,
            readers={"memory": lambda seed: Remembering()},
            **QUIET,
        )["note"]
        # Of rows judged, and of all fresh rows: those that were seen before.
        rows[name, "seen"] = max(Remembering.seen), max(erasers)
    assert min(rows["apart", "seen"]) > 0.8
    assert rows["together", "seen"] == (0, 0)
    assert rows["apart"].auc.low > 0.9
    assert rows["together"].auc.value == 0.5
    estimate = rows["together"].accuracy
    # Sixty groups are judged, and not 480 rows.
    width = 2 * 1.96 * 0.5 / 60**0.5
    assert estimate.high - estimate.low == pytest.approx(width, rel=0.1)


def test_chance_is_in_the_interval_where_there_is_nothing():
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, z = rng.normal(size=(240, 5)), np.arange(240) % 2
        row = leakage(
            {}, x, z, readers=["linear"], confidence=0.8, seed=seed, **QUIET
        )["nothing"]
        held.append(
            [e.low <= 0.5 <= e.high for e in (row.linear, row.linear_auc)]
        )
    assert np.mean(held, axis=0).min() >= 0.55


def test_several_classes_of_any_labels():
    rng = np.random.default_rng(0)
    z = rng.permutation(np.arange(400) % 4)
    x = rng.normal(size=(400, 6)) + 3 * np.eye(4, 6)[z]
    given = {}

    def note(x, z):
        given.update(ids=np.unique(z), kind=z.dtype.kind)
        return lambda rows: rows[:, :5]

    names = np.array(["red", "green", "blue", "black"])[z]
    row = leakage({"note": note}, x, names, readers=FAST, **QUIET)["note"]
    assert row.classes == 4 and row.majority_rate == 0.25
    assert row.accuracy.low > 0.7 and row.auc.low > 0.85
    assert given["ids"].tolist() == [0, 1, 2, 3] and given["kind"] == "i"
    assert row.rank == 0  # Another number of features.


def test_methods_may_ask_for_the_task():
    x, z = ring()
    y, asked = np.arange(len(x)) % 3, []

    def splice(x, z, task=None):
        asked.append((len(x), np.unique(task).tolist()))
        return lambda rows: rows

    leakage({"splice": splice}, x, z, task=y, readers=FAST, splits=1, **QUIET)
    assert asked == [(240, [0, 1, 2])]


@pytest.mark.parametrize("name", ["deep network", "trees"])
def test_a_reader_of_ones_own_reads_standardized_features_by_any_name(name):
    from sklearn.neighbors import KNeighborsClassifier

    x, z = ring()
    x[:, 2] *= 1_000
    rows = [
        leakage(
            {},
            x,
            z,
            readers={each: lambda seed: KNeighborsClassifier(15)},
            splits=1,
            **QUIET,
        )["nothing"]
        for each in ("neighbors", name)
    ]
    assert rows[0].auc == rows[1].auc


def test_readers_of_ones_own_and_the_seed_decide():
    from sklearn.neighbors import KNeighborsClassifier

    x, z = ring()
    own = {"neighbors": lambda seed: KNeighborsClassifier(15)}
    row = leakage({}, x, z, readers=own, **QUIET)["nothing"]
    assert row.auc_reader == "neighbors" and row.auc.low > 0.8
    assert np.isnan(row.linear.value) and np.isnan(row.task_auc.value)
    one, same, other = (
        leakage({}, x, z, readers=["network"], splits=1, seed=seed, **QUIET)
        for seed in (0, 0, 1)
    )
    assert repr(one) == repr(same) != repr(other)
    assert isinstance(row.auc, Estimate)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"methods": {"a": 3}}, TypeError, "`methods`"),
        ({"methods": {"nothing": identity}}, ValueError, "'nothing'"),
        ({"methods": {"a": lambda x, z: 3}}, TypeError, "int from 'a'"),
        (
            {"methods": {"a": lambda x, z: lambda rows: rows[:3]}},
            ValueError,
            "as many rows",
        ),
        (
            {"methods": {"a": lambda x, z: lambda rows: rows * np.nan}},
            ValueError,
            "NaN",
        ),
        ({"readers": ["nose"]}, ValueError, "`readers`"),
        ({"readers": "linear"}, ValueError, "`readers`"),
        ({"readers": {"a": 3}}, TypeError, "`readers`"),
        ({"controls": ["b"]}, ValueError, "`controls`"),
        ({"controls": 3}, ValueError, "`controls`.*=3"),
        ({"splits": 0}, ValueError, "`splits`"),
        ({"confidence": 1}, ValueError, "`confidence`"),
        ({"x": np.ones((3, 2, 2))}, ValueError, "`x`"),
        ({"x": np.full((40, 2), np.nan)}, ValueError, "`x`"),
        ({"z": np.zeros(40)}, ValueError, "two labels or more"),
        ({"z": np.arange(40) / 7}, ValueError, "not measurements"),
        ({"z": np.arange(40) == 0}, ValueError, "4 rows or more"),
        ({"task": np.zeros(39)}, ValueError, "`task`"),
        ({"groups": np.arange(40) % 2}, ValueError, "4 groups or more"),
    ],
)
def test_refuses(change, error, message):
    x, z = ring(40)
    options = {"methods": {}, "x": x, "z": z, "readers": ["linear"], **QUIET}
    with pytest.raises(error, match=message):
        leakage(**{**options, **change})
