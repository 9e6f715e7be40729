import json

import fairlearn.metrics
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from tensorflow_model_remediation_ext.evaluation import (
    accuracy,
    auc,
    group_metrics,
    wilson_interval,
)

FEW = {"n_boot": 50, "n_permutations": 19}


def people(n=400, seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    y = rng.random(n) < 0.4
    logit = 2 * y - 1 + shift * (group == "b") + rng.normal(size=n)
    return y.astype(int), 1 / (1 + np.exp(-logit)), group


def test_rows_are_the_groups_alone():
    y, p, group = people()
    report = group_metrics(y, p, group, **FEW)
    assert [row.group for row in report.rows] == ["overall", "a", "b", "c"]
    for row in report.rows:
        mask = (
            np.ones(400, bool)
            if row.group == "overall"
            else (group == row.group)
        )
        yes = p[mask] > 0.5
        assert (row.n, row.positives) == (mask.sum(), y[mask].sum())
        assert row.accuracy == pytest.approx(accuracy(y[mask], p[mask]))
        assert row.auc == pytest.approx(auc(y[mask], p[mask]))
        assert row.selection_rate[1:] == pytest.approx(
            wilson_interval(yes.sum(), len(yes))
        )
        for rate, label in (
            (row.true_positive_rate, 1),
            (row.false_positive_rate, 0),
        ):
            assert rate.value == pytest.approx(yes[y[mask] == label].mean())


def test_disparities_are_fairlearns():
    y, p, group = people()
    report = group_metrics(y, p, group, **FEW)
    decided = (p > 0.5).astype(int)
    for name in ("demographic_parity", "equalized_odds"):
        row = report.disparity(name)
        for kind in ("difference", "ratio"):
            theirs = getattr(fairlearn.metrics, f"{name}_{kind}")
            assert getattr(row, kind).value == pytest.approx(
                theirs(y, decided, sensitive_features=group)
            )
    rates = [report[g].true_positive_rate.value for g in "abc"]
    row = report.disparity("true_positive_rate")
    assert row.difference.value == pytest.approx(max(rates) - min(rates))
    assert row.ratio.value == pytest.approx(min(rates) / max(rates))
    areas = [roc_auc_score(y[group == g], p[group == g]) for g in "abc"]
    assert report.disparity("auc").difference.value == pytest.approx(
        max(areas) - min(areas)
    )
    with pytest.raises(KeyError):
        report.disparity("happiness")


def test_intervals_hold_a_plain_difference():
    y, p, group = people(2_000, shift=2.0)
    report = group_metrics(y, p, group, **FEW)
    row = report.disparity("demographic_parity")
    assert 0.1 < row.difference.low < row.difference.value
    assert row.difference.value < row.difference.high < 0.7
    assert row.ratio.low < row.ratio.value < row.ratio.high < 1


def test_permutations_tell_groups_apart_that_differ():
    y, p, group = people(shift=3.0)
    report = group_metrics(y, p, group, n_boot=1, n_permutations=199)
    assert report["b"].p_value == pytest.approx(1 / 200)
    assert np.isnan(report["overall"].p_value)


def test_p_values_of_like_groups_are_uniform():
    values = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        # Scores with ties, which the test must not mind.
        report = group_metrics(
            [0, 1] * 20,
            rng.integers(5, size=40) / 4,
            ["a", "b", "b", "a"] * 10,
            n_boot=1,
            n_permutations=39,
            seed=seed,
        )
        assert report["a"].p_value == report["b"].p_value
        values.append(report["a"].p_value)
    assert 0 < np.mean(np.array(values) <= 0.2) < 0.5


def test_p_values_are_those_of_all_orders():
    # Few enough to count: scores with ties, groups of three, three and two.
    scores = np.array([0, 1, 1, 2, 2, 2, 3, 4])
    group = np.array([0, 0, 0, 2, 1, 1, 2, 1])

    def distances(group):
        return [
            max(
                abs(
                    (scores[group == k] <= score).mean()
                    - (scores[group != k] <= score).mean()
                )
                for score in scores
            )
            for k in range(3)
        ]

    orders = {
        tuple(np.random.default_rng(k).permutation(group)) for k in range(9_000)
    }
    assert len(orders) == 560  # 8! / (3! 3! 2!)
    every = np.array([distances(np.array(order)) for order in orders])
    exact = (every > np.array(distances(group)) - 1e-9).mean(axis=0)
    report = group_metrics(
        group > 0, scores / 4, group, n_boot=1, n_permutations=4_999
    )
    found = [report[str(k)].p_value for k in range(3)]
    # Four standard errors.
    assert found == pytest.approx(exact, abs=0.03)


def test_one_example_is_no_further_from_itself():
    report = group_metrics([1], [0.9], ["a"], **FEW)
    assert report["a"].n == 1
    assert np.isnan(report.disparity("accuracy").difference).all()
    assert np.isnan(report.disparity("auc").difference).all()


@pytest.mark.parametrize(
    "labels",
    [
        [b"b", b"a", b"b", b"b"],
        tf.constant(["b", "a", "b", "b"]),
        pd.Series(pd.Categorical(["b", "a", "b", "b"])),
        pd.Series(["b", "a", "b", "b"], dtype="string"),
        np.array([["b"], ["a"], ["b"], ["b"]]),
    ],
)
def test_labels_of_any_form(labels):
    report = group_metrics([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.4], labels, **FEW)
    assert [(row.group, row.n) for row in report.rows[1:]] == [
        ("a", 1),
        ("b", 3),
    ]


def test_several_features_make_groups_of_combinations():
    y, p, group = people()
    old = np.arange(400) % 2 == 0
    features = {"group": group, "old": old}
    report = group_metrics(y, p, features, **FEW)
    assert len(report.rows) == 7
    assert report["group=a, old=True"].n == (old & (group == "a")).sum()
    framed = group_metrics(y, p, pd.DataFrame(features), **FEW)
    assert repr(report) == repr(framed)


def test_empty_groups_are_rows_without_figures():
    y, p, group = people()
    labels = pd.Categorical(group, categories=["a", "b", "c", "nobody"])
    row = group_metrics(y, p, labels, **FEW)["nobody"]
    assert row.n == row.positives == 0
    assert np.isnan([*row.accuracy, *row.auc, *row.selection_rate]).all()
    assert np.isnan(row.p_value)
    crossed = {"group": group, "first": group == "a"}
    assert group_metrics(y, p, crossed, **FEW)["group=a, first=False"].n == 0


def test_a_group_with_one_label_only_has_what_it_can_have():
    y, p, group = people()
    y = np.where(group == "c", 0, y)
    report = group_metrics(y, p, group, **FEW)
    row = report["c"]
    assert np.isnan(row.true_positive_rate).all() and np.isnan(row.auc).all()
    assert row.false_positive_rate == row.selection_rate
    # Each rate is compared between the groups that have it.
    decided, others = (p > 0.5).astype(int), group != "c"
    expected = max(
        fairlearn.metrics.true_positive_rate_difference(
            y[others], decided[others], sensitive_features=group[others]
        ),
        fairlearn.metrics.false_positive_rate_difference(
            y, decided, sensitive_features=group
        ),
    )
    odds = report.disparity("equalized_odds").difference
    assert odds.value == pytest.approx(expected)


def test_no_comparison_is_no_equality():
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.integers(2, size=2_000), np.ones(400, int)])
    p = np.concatenate([rng.random(2_000) / 1.5, 0.5 + rng.random(400) / 2])
    group = np.repeat(["a", "b"], [2_000, 400])
    report = group_metrics(y, p, group, **FEW)
    decided = (p > 0.5).astype(int)
    for name in ("equalized_odds", "true_positive_rate"):
        row = report.disparity(name)
        for kind in ("difference", "ratio"):
            theirs = getattr(fairlearn.metrics, f"true_positive_rate_{kind}")(
                y, decided, sensitive_features=group
            )
            assert getattr(row, kind).value == pytest.approx(theirs)
            assert getattr(row, kind).low < getattr(row, kind).high
    for name in ("auc", "false_positive_rate"):
        row = report.disparity(name)
        assert np.isnan([*row.difference, *row.ratio]).all()
    alone = group_metrics(y, p, np.full(2_400, "a"), **FEW)
    for row in alone.disparities:
        assert np.isnan([*row.difference, *row.ratio]).all(), row.metric
    nothing = group_metrics(0 * y, p, group, **FEW)
    assert np.isnan(nothing.disparity("true_positive_rate").difference).all()


def test_constant_predictions_and_tiny_groups():
    y, _, group = people()
    report = group_metrics(y, np.full(400, 0.2), group, **FEW)
    assert report["a"].auc.value == 0.5
    assert (
        report["a"].selection_rate.value
        == 0
        < (report["a"].selection_rate.high)
    )
    # No decision in any group: not that groups would never differ.
    difference = report.disparity("selection_rate").difference
    assert difference[:2] == (0, 0) and 0.01 < difference.high < 0.2
    assert np.isnan(report.disparity("selection_rate").ratio).all()
    tiny = group_metrics([1, 0, 1], [0.9, 0.2, 0.8], ["a", "a", "b"], **FEW)
    assert np.isnan(tiny["b"].auc.value) and np.isnan(tiny["b"].p_value)


def test_logits_need_another_threshold():
    y, p, group = people()
    logits = np.log(p / (1 - p))
    with pytest.raises(ValueError, match="`y_pred` must be probabilities"):
        group_metrics(y, logits, group)
    rows = [
        group_metrics(y, scores, group, threshold=t, **FEW)["b"]
        for scores, t in ((p, 0.5), (logits, 0.0))
    ]
    assert rows[0] == rows[1]


def test_report_prints_converts_and_draws():
    y, p, group = people()
    report = group_metrics(y, p, group, **FEW)
    assert "demographic_parity" in repr(report) and "overall" in repr(report)
    figures = json.loads(json.dumps(report.to_dict()))
    assert set(figures) == {
        "groups",
        "disparities",
        "worst",
        "subgroups",
        "calibration",
    }
    assert report.to_frame().loc["b", "n"] == report["b"].n
    assert "difference_low" in report.disparities_to_frame().columns
    labels = [t.get_text() for t in report.plot().get_yticklabels()]
    assert labels[0] == "overall (n = 400)"
    assert "treatment" in report.caveat


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_pred": [0.5]}, "`y_true` and `y_pred`.*4 and 1"),
        ({"y_pred": [0.5, np.nan, 0.1, 0.2]}, "`y_pred`.*nan in row 1"),
        ({"y_pred": [0, 1, 2, np.inf], "threshold": 0.0}, "`y_pred`.*inf"),
        ({"y_true": ["no", "yes", "no", "no"]}, "`y_true`.*numbers.*'yes'"),
        ({"y_true": [0, 1, 2, 1]}, "`y_true` must be zeros and ones"),
        ({"y_true": [], "y_pred": []}, "`y_true` must hold"),
        ({"sensitive_features": ["a"]}, "label for each of the 4 rows"),
        ({"sensitive_features": np.eye(4)}, r"shape=\(4, 4\)"),
        ({"sensitive_features": ["a", None, "b", "b"]}, "missing"),
        ({"sensitive_features": ["a", np.nan, "b", "b"]}, "missing.*row 1"),
        ({"sensitive_features": {}}, "`sensitive_features`.*dict without"),
        ({"sensitive_features": ["overall"] * 4}, "'overall'"),
        ({"sensitive_features": ["", "", "b", "b"]}, "must name groups"),
        ({"sensitive_features": {"m": [True]}}, r"'m'\]` must have shape"),
        (
            {"sensitive_features": {1: [True] * 4, "1": [True] * 4}},
            "names that differ",
        ),
        ({"sample_weight": [1, 1, -1, 1]}, "`sample_weight`.*negative.*-1"),
        ({"sample_weight": [0] * 4}, "`sample_weight` must not be zero"),
        ({"sample_weight": [1, 1]}, r"`sample_weight`.*\(4,\)"),
        ({"y_pred": np.full((4, 3), 0.3)}, "sum to one.*0.9 in row 0"),
        ({"y_pred": np.full((4, 3), 1 / 3), "y_true": [0, 1, 2, 3]}, "column"),
        (
            {"y_pred": np.full((4, 3), 1 / 3), "classes": "ab"},
            "`classes` must name the 3",
        ),
        (
            {"y_pred": np.full((4, 3), 1 / 3), "threshold": 0.3},
            "`threshold` must be 0.5",
        ),
        ({"y_pred": np.full((3, 3), 1 / 3)}, "equally long.*4 and 3"),
        (
            {"y_pred": np.full((4, 2), 0.5), "y_true": np.eye(4)[:, :2]},
            r"one-hot rows it is `y_true.argmax\(axis=1\)`.*\(4, 2\)",
        ),
        ({"task": "ranking"}, "`task`.*'ranking'"),
        ({"bins": 0}, "`bins`"),
        ({"n_boot": 0}, "`n_boot`"),
        ({"n_boot": 10.5}, "`n_boot` must be an integer.*10.5"),
        ({"n_permutations": 0}, "`n_permutations`"),
        ({"confidence": 1.0}, "`confidence`"),
        ({"confidence": "95"}, "`confidence`.*'95'"),
        ({"threshold": float("nan")}, "`threshold`.*finite.*nan"),
        ({"threshold": None}, "`threshold`.*finite.*None"),
        ({"threshold": True}, "`threshold`.*finite.*True"),
        ({"mean_power": float("nan")}, "`mean_power`.*finite.*nan"),
        ({"mean_power": float("inf")}, "`mean_power`.*finite.*inf"),
        ({"mean_power": 0}, "`mean_power` must not be 0.*mean_power=0"),
        ({"membership_threshold": float("nan")}, "`membership_threshold`.*nan"),
        ({"membership_threshold": "x"}, "`membership_threshold`.*'x'"),
        ({"membership_threshold": 0}, "`membership_threshold`.*greater than 0"),
        ({"membership_threshold": 50}, "`membership_threshold`.*at most 1.*50"),
    ],
)
def test_errors(changes, message):
    arguments = {
        "y_true": [0, 1, 0, 1],
        "y_pred": [0.1, 0.9, 0.2, 0.4],
        "sensitive_features": ["a", "a", "b", "b"],
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        group_metrics(**arguments)
