import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from tensorflow_model_remediation_ext.evaluation import linear_probe
from tensorflow_model_remediation_ext.leace.keras import LeaceEraser


def concept(n, d, strength, seed=0, classes=2):
    rng = np.random.default_rng(seed)
    z = rng.permutation(np.arange(n) % classes)
    return rng.normal(size=(n, d)) + strength * np.eye(classes, d)[z], z


def test_reads_held_out_folds_as_scikit_learn_does():
    x, z = concept(200, 4, 1.0)
    row = linear_probe(x, z, cv=4, seed=3)["linear"]
    right, areas = 0, []
    splits = StratifiedKFold(4, shuffle=True, random_state=3).split(x, z)
    for train, test in splits:
        scaler = StandardScaler().fit(x[train])
        reader = LogisticRegression().fit(scaler.transform(x[train]), z[train])
        held_out = scaler.transform(x[test])
        right += (reader.predict(held_out) == z[test]).sum()
        areas.append(
            roc_auc_score(z[test], reader.predict_proba(held_out)[:, 1])
        )
    assert row.accuracy.value == pytest.approx(right / 200)
    assert row.auc.value == pytest.approx(np.mean(areas))
    assert (row.n, row.classes, row.majority_rate) == (200, 2, 0.5)
    assert row.converged


def test_finds_what_is_there_and_nothing_else():
    plain = linear_probe(*concept(400, 5, 2.0))["linear"]
    assert plain.accuracy.low > 0.8 and plain.auc.low > 0.9
    blind = linear_probe(*concept(400, 5, 0.0))["linear"]
    assert blind.accuracy.low < blind.majority_rate < blind.accuracy.high
    assert blind.auc.low < 0.5 < blind.auc.high


def test_intervals_of_a_blind_reader_hold_chance():
    held = []
    for seed in range(40):
        x, z = concept(100, 5, 0.0, seed)
        row = linear_probe(x, z, cv=2, confidence=0.7)["linear"]
        held.append([e.low <= 0.5 <= e.high for e in (row.accuracy, row.auc)])
    # Three standard errors around 0.7; as if the readers were independent it
    # would be about 0.55.
    assert 0.5 < np.mean(held, axis=0).min() <= np.mean(held) < 0.92


def test_a_nonlinear_reader_stands_beside_the_linear_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    report = linear_probe(x, x[:, 0] * x[:, 1] > 0, kind="mlp", cv=3)
    assert report["linear"].auc.low < 0.5 < report["linear"].auc.high
    assert report["mlp"].auc.low > 0.9


def test_linear_erasure_blinds_the_linear_reader_on_other_examples():
    x, z = concept(800, 6, 1.5)
    eraser = LeaceEraser.fit(x[:400], z[:400])
    held_out = linear_probe(eraser(x[400:]).numpy(), z[400:])["linear"]
    assert held_out.auc.low < 0.5 < held_out.auc.high
    # As the docstring warns: below chance on what the eraser was fitted to.
    fitted = linear_probe(eraser(x[:400]).numpy(), z[:400])["linear"]
    assert fitted.auc.high < 0.5


def test_many_classes_are_read_one_against_the_rest():
    x, z = concept(300, 4, 3.0, classes=3)
    row = linear_probe(x, np.array(["red", "green", "blue"])[z])["linear"]
    assert row.classes == 3 and row.majority_rate == pytest.approx(1 / 3)
    assert row.accuracy.low > 0.8 and row.auc.low > 0.9


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_seed_decides(kind):
    x, z = concept(90, 3, 0.5)
    options = {"kind": kind, "cv": 3, "max_iter": 50}
    assert linear_probe(x, z, **options) == linear_probe(x, z, **options)
    assert linear_probe(x, z, **options) != linear_probe(
        x, z, seed=1, **options
    )


def test_labels_of_any_type_are_the_same_concept():
    x, z = concept(60, 3, 1.0)
    expected = linear_probe(x, z)
    for other in (z[:, None], z.astype(float), z > 0, z.astype(str)):
        assert linear_probe(x, other) == expected
    mixed = [str(k) if n % 2 else b"%d" % k for n, k in enumerate(z)]
    assert linear_probe(x, mixed, cv=np.int64(5)) == expected
    assert linear_probe(x.astype("float32"), z)["linear"].n == 60


def test_groups_stay_together_and_widen_intervals():
    # Every group has features and a label of its own, ten times over.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 10)
    x = rng.normal(size=(60, 4))[groups]
    z = (np.arange(60) % 2)[groups]
    apart = linear_probe(x, z, groups=groups)["linear"]
    assert apart.auc.low < 0.5 < apart.auc.high
    assert apart.effective_n < 60
    mixed = linear_probe(x, z)["linear"]
    assert mixed.accuracy.high - mixed.accuracy.low < (
        apart.accuracy.high - apart.accuracy.low
    )


def test_groups_of_one_are_no_groups():
    x, z = concept(200, 4, 1.0)
    row = linear_probe(x, z, groups=np.arange(200))["linear"]
    alone = linear_probe(x, z)["linear"]
    assert row.effective_n == pytest.approx(alone.effective_n, rel=0.02)
    widths = [r.auc.high - r.auc.low for r in (row, alone)]
    assert widths[0] == pytest.approx(widths[1], rel=0.3)


def test_all_right_within_groups_is_not_all_certain():
    groups = np.repeat(np.arange(10), 30)
    z = groups % 2
    row = linear_probe(z[:, None] * 10.0, z, groups=groups)["linear"]
    assert row.accuracy.value == 1 and row.accuracy.low < 0.7


def test_a_reader_that_did_not_converge_says_so():
    x, z = concept(200, 20, 1.0)
    report = linear_probe(x, z, kind="mlp", max_iter=2)
    assert not report["linear"].converged and not report["mlp"].converged
    assert "Not converged" in repr(report) and "linear, mlp" in repr(report)
    assert "Not converged" not in repr(linear_probe(x, z))


def test_constant_features_and_far_means_do_no_harm():
    x, z = concept(200, 3, 2.0)
    far = np.concatenate([x + 1e4, np.ones((200, 1))], axis=1)
    near, away = (linear_probe(v, z)["linear"] for v in (x, far))
    assert away.converged
    assert away.auc.value == pytest.approx(near.auc.value, abs=1e-3)


def test_report_prints_converts_and_draws():
    report = linear_probe(*concept(100, 3, 1.0))
    header, line, note = repr(report).splitlines()
    assert header.split() == list(report.columns) and "95 %" in note
    assert line.startswith("linear")
    figures = json.loads(json.dumps(report.to_dict()))["linear"]
    assert figures["auc_low"] < figures["auc"] < figures["auc_high"]
    assert report.to_frame().loc["linear", "n"] == 100
    axes = report.plot()
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "linear (n = 100)"
    ]
    assert "blind" in report.caveat


X, Z = concept(40, 2, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": X[:, 0]}, r"`x` must have shape \[n, d\].*\(40,\)"),
        ({"x": X[:0], "z": Z[:0]}, "`x`.*empty"),
        ({"x": [["a"]]}, "`x` must be an array of numbers.*'a'"),
        ({"x": np.where(X[7] == X, np.nan, X)}, "`x`.*finite.*row 7"),
        ({"z": Z[:-1]}, r"`z`.*40 rows.*\(39,\)"),
        ({"z": X[:, 0]}, "`z` must be labels, not measurements"),
        ({"z": np.where(Z > 0, np.nan, 0.0)}, "`z`.*missing.*nan in row"),
        ({"z": [None, "a"] * 20}, "`z`.*missing.*None in row 0"),
        ({"z": pd.Series(["a", None] * 20)}, "`z`.*missing.*in row 1"),
        ({"z": [np.inf, 1] * 20}, "`z` must be labels, not measure.*inf"),
        ({"groups": [1, np.nan] * 20}, "`groups`.*missing.*nan in row 1"),
        ({"z": np.zeros(40)}, "`z` has one class only"),
        ({"z": np.arange(40) < 4}, "5 examples or more.*a class with 4"),
        ({"groups": Z}, "5 groups or more.*a class with 1"),
        ({"groups": Z[:3]}, "`groups`.*40 rows"),
        ({"cv": 1}, "`cv`.*cv=1"),
        ({"cv": 2.5}, "`cv`.*cv=2.5"),
        ({"max_iter": 0}, "`max_iter`.*max_iter=0"),
        ({"kind": "forest"}, "`kind`.*'forest'"),
        ({"confidence": 95}, "`confidence`"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        linear_probe(**{"x": X, "z": Z, **changes})
