import json
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.evaluation import (
    flips,
    group_metrics,
    wilson_interval,
)

ORIGINAL = np.array([0.9, 0.2, 0.6, 0.7, 0.5])
CHANGED = np.array([0.8, 0.6, 0.4, 0.1, 0.5])


def random_pairs(n, seed=0):
    rng = np.random.default_rng(seed)
    original = rng.random(n)
    changed = np.clip(original + rng.normal(0, 0.1, n), 0, 1)
    return original, changed


def test_counts_by_hand():
    row = flips(ORIGINAL, CHANGED, seed=0)["overall"]
    assert (row.n, row.flip_count, row.effective_n) == (5, 3, 5.0)
    assert row.flip_rate.value == pytest.approx(0.6)
    assert row.positive_to_negative.value == pytest.approx(0.4)
    assert row.negative_to_positive.value == pytest.approx(0.2)
    assert row.counterfactual_gap.value == pytest.approx(0.26)
    assert row.flip_rate[1:] == pytest.approx(wilson_interval(3, 5))


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_intervals_hold_their_values_and_widen(confidence):
    row = flips(*random_pairs(300), confidence=confidence, seed=0)["overall"]
    wider = flips(*random_pairs(300), confidence=0.99, seed=0)["overall"]
    for name in ("flip_rate", "negative_to_positive", "counterfactual_gap"):
        estimate, wide = getattr(row, name), getattr(wider, name)
        assert wide.low < estimate.low < estimate.value
        assert estimate.value < estimate.high < wide.high


def test_identical_predictions_do_not_flip():
    row = flips(ORIGINAL, ORIGINAL, seed=0)["overall"]
    assert row.flip_count == 0
    # That no pair moves does not say that none would.
    assert row.counterfactual_gap.value == 0
    assert np.isnan(row.counterfactual_gap[1:]).all()
    assert row.flip_rate.low == 0 and row.flip_rate.high > 0.4


def test_swapping_the_sides_swaps_the_directions():
    original, changed = random_pairs(400)
    there = flips(original, changed, seed=0)["overall"]
    back = flips(changed, original, seed=0)["overall"]
    assert there.positive_to_negative == back.negative_to_positive
    assert there.flip_rate == back.flip_rate
    assert there.counterfactual_gap == back.counterfactual_gap


def test_one_column_and_tensors_are_like_vectors():
    expected = flips(ORIGINAL, CHANGED, seed=0)
    assert flips(ORIGINAL[:, None], CHANGED, seed=0) == expected
    tensors = [tf.constant(p, tf.float64) for p in (ORIGINAL, CHANGED)]
    assert flips(*tensors, seed=0) == expected


def test_two_columns_are_the_binary_case():
    def both(p):
        return np.stack([1 - p, p], axis=1)

    original, changed = random_pairs(200)
    one = flips(original, changed, seed=0)["overall"].to_dict()
    two = flips(both(original), both(changed), seed=0)["overall"].to_dict()
    assert two == pytest.approx(one)
    for threshold in (0.2, 0.9):
        one, two = (
            flips(*pairs, threshold=threshold, seed=0)["overall"].flip_rate
            for pairs in (
                (original, changed),
                (both(original), both(changed)),
            )
        )
        assert two == one
    # As `group_metrics` decides, and of logits by their difference.
    decided = group_metrics(
        changed > 0.9, both(original), ["g"] * 200, threshold=0.9
    )["g"]
    rate = flips(both(original), both(changed), threshold=0.9)["overall"]
    assert 1 - decided.accuracy.value == rate.flip_rate.value
    logits = [[[0.0, 3.0]], [[0.0, 1.0]]]
    assert flips(*logits, threshold=0.0)["overall"].flip_count == 0
    assert flips(*logits, threshold=2.0)["overall"].flip_count == 1


def test_many_classes_use_the_largest():
    original = np.array([[3.0, 1, 2], [0, 5, 1], [0, 1, 2]])  # Logits.
    changed = np.array([[1.0, 3, 2], [1, 5, 2], [0, 2, 1]])
    row = flips(original, changed, seed=0)["overall"]
    named = flips(original, changed, threshold=0.0, seed=0)["overall"]
    assert named.flip_count == row.flip_count
    assert row.flip_count == 2
    assert row.counterfactual_gap.value == pytest.approx(8 / 9)
    assert np.isnan(row.positive_to_negative.value)


def test_logits_at_zero_decide_as_probabilities_at_half():
    original, changed = random_pairs(200)

    def logit(p):
        p = np.clip(p, 1e-6, 1 - 1e-6)
        return np.log(p) - np.log1p(-p)

    logits = flips(logit(original), logit(changed), threshold=0.0, seed=0)
    probabilities = flips(original, changed, seed=0)
    assert logits["overall"].flip_rate == probabilities["overall"].flip_rate


@pytest.mark.parametrize("n", [500, 3_000])
def test_a_group_is_its_rows_alone(n):
    original, changed = random_pairs(n)
    weights = np.random.default_rng(1).random(n)
    mask = np.arange(n) % 3 == 0
    report = flips(
        original,
        changed,
        groups={"third": mask, "all": np.ones(n, bool)},
        sample_weight=weights,
        seed=0,
    )
    alone = flips(
        original[mask], changed[mask], sample_weight=weights[mask], seed=0
    )["overall"].to_dict()
    third = report["third"].to_dict()
    for figures in (alone, third):
        del figures["group"]
    # The bootstrap of small groups draws on, so its ends differ by chance.
    assert third == pytest.approx(alone, rel=0.02)
    assert report["all"].flip_rate == report["overall"].flip_rate


def test_zero_weights_leave_pairs_out():
    weights = np.array([1, 1, 0, 1, 0])
    kept = weights > 0
    weighted = flips(ORIGINAL, CHANGED, sample_weight=weights, seed=0)
    alone = flips(ORIGINAL[kept], CHANGED[kept], seed=0)
    assert weighted["overall"].to_dict() == pytest.approx(
        alone["overall"].to_dict(), nan_ok=True
    )
    nothing = flips(ORIGINAL, CHANGED, sample_weight=np.zeros(5))["overall"]
    assert nothing.n == 0 and np.isnan(nothing.flip_rate.value)


def test_weights_weigh_and_their_scale_does_not():
    weights = np.array([1.0, 3, 2, 0.5, 1.5])
    row = flips(ORIGINAL, CHANGED, sample_weight=weights, seed=0)["overall"]
    assert row.flip_rate.value == pytest.approx(5.5 / 8)
    assert row.effective_n == pytest.approx(64 / 16.5)
    for scale in (1e-300, 1e300):
        scaled = flips(
            ORIGINAL, CHANGED, sample_weight=scale * weights, seed=0
        )["overall"]
        assert scaled.to_dict() == pytest.approx(row.to_dict(), nan_ok=True)


def test_empty_groups_are_rows_without_figures():
    report = flips(ORIGINAL, CHANGED, groups={"nobody": ORIGINAL > 1})
    row = report["nobody"]
    assert row.n == row.flip_count == row.effective_n == 0
    assert np.isnan([row.flip_rate, row.counterfactual_gap]).all()
    assert flips([], [])["overall"].n == 0


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "b", "b", "a"],
        np.array(["b", "a", "b", "b", "a"]),
        np.array(["b", "a", "b", "b", "a"], dtype=object),
        pd.Series(["b", "a", "b", "b", "a"], index=[9, 8, 7, 6, 5]),
        pd.Categorical(["b", "a", "b", "b", "a"]),
        tf.constant(["b", "a", "b", "b", "a"]),
        [b"b", "a", "b", "b", b"a"],
        np.array([["b"], ["a"], ["b"], ["b"], ["a"]]),
    ],
)
def test_labels_make_groups(labels):
    report = flips(ORIGINAL, CHANGED, groups=labels, seed=0)
    assert [(r.group, r.n) for r in report.rows] == [
        ("overall", 5),
        ("b", 3),
        ("a", 2),
    ]
    assert report["a"].flip_count == 1


@pytest.mark.parametrize("dtype", [bool, "boolean"])
def test_frames_make_groups_by_column(dtype):
    old = pd.Series([True, False, True, False, False], dtype=dtype)
    frame = pd.DataFrame({"old": old, "faith": [1, 1, 2, 2, 2]})
    report = flips(ORIGINAL, CHANGED, groups=frame, seed=0)
    masks = flips(ORIGINAL, CHANGED, groups={"old": old}, seed=0)
    assert masks["old"].n == 2
    assert {r.group: r.n for r in report.rows} == {
        "overall": 5,
        "old": 2,
        "faith=1": 2,
        "faith=2": 3,
    }


def test_seed_decides_the_bootstrap():
    pairs = random_pairs(100)
    assert flips(*pairs, seed=3) == flips(*pairs, seed=3)
    assert flips(*pairs, seed=3) != flips(*pairs, seed=4)


def test_report_prints_and_converts():
    report = flips(
        ORIGINAL, CHANGED, groups={"a long name": ORIGINAL > 0.5}, seed=0
    )
    lines = repr(report).splitlines()
    assert len({len(line) for line in lines[:3]}) == 1
    assert "0.6000 [0.2307, 0.8824]" in lines[1]
    assert lines[2].startswith("a long name")
    assert "95 %" in lines[3]
    figures = json.loads(json.dumps(report.to_dict()))
    assert figures["overall"]["flip_rate_low"] == pytest.approx(
        0.2307, abs=1e-4
    )
    frame = report.to_frame()
    assert list(frame.index) == ["overall", "a long name"]
    assert frame.loc["a long name", "flip_count"] == 2
    with pytest.raises(KeyError):
        report["nobody"]


def test_without_pandas_only_the_frame_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    report = flips(ORIGINAL, CHANGED, groups=["a", "b", "a", "a", "b"], seed=0)
    assert "flip_rate" in repr(report)
    with pytest.raises(ImportError, match=r"ext\[evaluation\]"):
        report.to_frame()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counterfactual_predictions": [0.5]}, r"same shape.*\(5,\).*\(1,\)"),
        (
            {"counterfactual_predictions": np.full((5, 2), 0.5)},
            "same shape",
        ),
        ({"original_predictions": 0.5}, "`original_predictions`.*shape"),
        (
            {"counterfactual_predictions": [0.1, 0.2, np.nan, 0.3, 0.4]},
            "`counterfactual_predictions` must be finite.*row 2",
        ),
        (
            {"original_predictions": [0.1, 0.2, 1.5, 0.3, -1]},
            "`original_predictions`.*probabilities.*-1 to 1.5",
        ),
        (
            {"original_predictions": np.full((5, 2), 0.9), "threshold": 0.7},
            "`original_predictions`.*sum to one.*1.8 in row 0",
        ),
        (
            {"original_predictions": np.full((5, 2), 3.0), "threshold": 0.7},
            "`original_predictions`.*`threshold=0.0` for logits.*3 to 3",
        ),
        (
            {
                "original_predictions": np.full((5, 3), 1 / 3),
                "threshold": 0.9,
            },
            "`threshold` must be 0.5.*several classes.*0.9",
        ),
        ({"threshold": float("nan")}, "`threshold`.*finite.*threshold=nan"),
        ({"threshold": {1: 0.2}}, r"`threshold`.*finite.*\{1: 0.2\}"),
        ({"threshold": None}, "`threshold`.*finite.*None"),
        ({"threshold": "0.5"}, "`threshold`.*finite.*'0.5'"),
        ({"confidence": "95"}, "`confidence`.*'95'"),
        ({"confidence": float("nan")}, "`confidence`.*nan"),
        ({"original_predictions": list("abcde")}, "array of numbers.*'a', "),
        ({"groups": {"g": [True]}}, r"groups\['g'\].*shape=\(1,\)"),
        ({"groups": {"g": [0, 1, 0, 1, 0]}}, r"groups\['g'\].*boolean"),
        ({"groups": ["a", "b"]}, "`groups`.*5 rows"),
        ({"groups": ["a", None, "a", "b", "b"]}, "missing"),
        ({"groups": ["a", float("nan"), "a", "b", "b"]}, "missing"),
        ({"groups": pd.Series(["a", pd.NA] + 3 * ["b"])}, "missing"),
        (
            {
                "groups": pd.DataFrame(
                    {
                        "w": pd.Series(
                            [True, None] * 2 + [False], dtype="boolean"
                        )
                    }
                )
            },
            r"groups\['w'\].*without missing",
        ),
        ({"groups": ["1", 1, 2, 3, 4]}, "`groups`.*names that differ"),
        ({"groups": 5 * ["overall"]}, "'overall'"),
        ({"sample_weight": [1, 1]}, r"`sample_weight`.*\(5,\)"),
        ({"sample_weight": [1, 1, 1, 1, -1]}, "`sample_weight`.*negative"),
        ({"sample_weight": [1, 1, 1, 1, np.nan]}, "`sample_weight`.*finite"),
        ({"sample_weight": list("abcde")}, "`sample_weight`.*numbers"),
        ({"confidence": 95}, "`confidence`"),
    ],
)
def test_errors(changes, message):
    arguments = {
        "original_predictions": ORIGINAL,
        "counterfactual_predictions": CHANGED,
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        flips(**arguments)


def test_flows_from_class_to_class():
    before = np.eye(3)[[0, 0, 0, 1, 1, 2]]
    after = np.eye(3)[[0, 1, 1, 1, 2, 2]]
    masks = {"first": np.arange(6) < 2}
    report = flips(
        before, after, groups=masks, classes=["no", "maybe", "yes"], seed=0
    )
    found = [(f.flow, f.n, f.flip_count) for f in report.flows]
    assert found == [
        ("overall: no to maybe", 3, 2),
        ("overall: maybe to yes", 2, 1),
        ("first: no to maybe", 2, 1),
    ]
    assert report.flows[0].flip_rate.value == pytest.approx(2 / 3)
    assert sum(f.flip_count for f in report.flows[:2]) == (
        report["overall"].flip_count
    )
    weights = [1, 0, 3, 1, 1, 1]
    weighted = flips(before, after, sample_weight=weights, seed=0)
    assert weighted.flows[0].flip_rate.value == pytest.approx(3 / 4)
    assert flips(ORIGINAL, CHANGED).flows == ()
    with pytest.raises(ValueError, match="`classes` must name 3 classes"):
        flips(before, after, classes=["a", "b"])


def test_unused_categories_are_groups_without_pairs():
    labels = pd.Categorical(["b", "a", "b"], categories=["a", "b", "none"])
    before, after = [0.9, 0.2, 0.6], [0.8, 0.3, 0.4]
    for groups, prefix in (
        (labels, ""),
        (pd.Series(labels), ""),
        (pd.DataFrame({"g": labels}), "g="),
    ):
        report = flips(before, after, groups=groups)
        assert {row.group: row.n for row in report.rows} == {
            "overall": 3,
            f"{prefix}a": 1,
            f"{prefix}b": 2,
            f"{prefix}none": 0,
        }
        assert np.isnan(report[f"{prefix}none"].flip_rate).all()


def test_a_column_with_a_missing_label_is_named():
    groups = pd.DataFrame({"g": ["a", "b"], "h": ["a", None]})
    with pytest.raises(ValueError, match=r"`groups\['h'\]`.*missing.*row 1"):
        flips([0.1, 0.2], [0.1, 0.2], groups=groups)
