"""What pairs hold, and which terms carry the label."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import (
    describe_pairs,
    label_terms,
    swaps,
)
from tensorflow_model_remediation_ext.counterfactual.keras import (
    build_counterfactual_data,
)

TEXTS = ["an old man", "old news", "nothing", "an old man", "so old", "old"]


def test_removal_is_described():
    data = tf.data.Dataset.from_tensor_slices(TEXTS)
    found = describe_pairs(data, ["old"], samples=2)
    assert (found.pairs, found.without, found.duplicates) == (5, 1, 1)
    assert found.length_change == (-3.8, -4, -3)
    assert found.empty == 1
    assert found["old -> "].pairs == 5
    assert found["old -> "].broken == 2
    assert len(found["old -> "].examples) == 2
    assert list(found.broken) == ['"a" where "an" is said, or the reverse']
    assert "5 pairs" in repr(found) and "[old -> ]" in repr(found)
    figures = found.to_dict()
    assert figures["all pairs"]["pairs"] == figures["old -> "]["pairs"] == 5
    assert figures["all pairs"]["broken"] == found.faulty == 2
    again = describe_pairs(data.batch(4), ["old"], samples=2)
    assert again == found


def test_terms_next_to_one_another_count_one_by_one():
    data = tf.data.Dataset.from_tensor_slices(["an old gay man", "gay news"])
    found = describe_pairs(data, ["old", "gay", "very old"])
    assert {row.change: row.pairs for row in found.rows} == {
        "old -> ": 1,
        "gay -> ": 2,
    }
    (example,) = found["old -> "].examples
    assert example == "an [old gay -> ] man"


def test_pairs_of_any_kind_are_described():
    data = tf.data.Dataset.from_tensor_slices(
        ({"text": ["her brother", "x"], "n": [1, 2]}, [0, 1])
    )
    gender = swaps.load("gender_en")
    pairs = build_counterfactual_data(data, terms_to_replace=gender)
    found = describe_pairs(pairs)
    assert found.without is None
    assert {row.change for row in found.rows} == {
        "her -> his",
        "brother -> sister",
    }
    assert found.rows[0].examples == ("[her -> his] [brother -> sister]",)
    assert not found.broken


def test_frames():
    pytest.importorskip("pandas")
    data = tf.data.Dataset.from_tensor_slices(TEXTS)
    found = describe_pairs(data, ["old"])
    assert found.to_frame().loc["old -> ", "pairs"] == 5
    table = label_terms(["a b", "c"], [1, 0], ["a"]).to_frame()
    assert table.loc["a", "rate"] == 1


def test_no_pairs():
    data = tf.data.Dataset.from_tensor_slices(["a"])
    with pytest.raises(ValueError, match="no pairs"):
        describe_pairs(data, ["b"])


def test_terms_that_carry_the_label():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    noise = rng.integers(0, 2, 2000)
    texts = [
        "x" + " bad" * int(y) + " gay" * int(k)
        for y, k in zip(labels, noise, strict=True)
    ]
    found = label_terms(texts, labels[:, None], ["gay", "bad", "never"])
    assert found.rows[0].term == "bad"
    assert found["bad"].rate == 1 and found["bad"].carries_label
    assert found["bad"].rate_low < 1 == found["bad"].rate_high
    assert not found["gay"].carries_label
    assert found["gay"].difference_low < 0 < found["gay"].difference_high
    assert found["never"].n == 0 and math.isnan(found["never"].rate)
    assert not found["never"].carries_label
    assert "carries the label" in repr(found)


def test_newcombe_example():
    # 56 of 70 beside 48 of 80: .0524 to .3339 by method 10 of the paper.
    texts = ["a"] * 70 + ["b"] * 80
    labels = [1] * 56 + [0] * 14 + [1] * 48 + [0] * 32
    row = label_terms(texts, labels, ["a"])["a"]
    np.testing.assert_allclose(
        [row.difference_low, row.difference_high], [0.0524, 0.3339], atol=5e-5
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [([1], "one label"), ([1, 2], "zeros and ones"), ([[1, 0]], "one label")],
)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        label_terms(["a", "b"], labels, ["a"])
    with pytest.raises(ValueError, match="confidence"):
        label_terms(["a", "b"], [0, 1], ["a"], confidence=1)


def test_both_are_sections_of_a_report(tmp_path):
    pytest.importorskip("matplotlib")
    evaluation = pytest.importorskip(
        "tensorflow_model_remediation_ext.evaluation"
    )
    data = tf.data.Dataset.from_tensor_slices(TEXTS)
    pairs = describe_pairs(data, ["old"])
    terms = label_terms(TEXTS * 9, [1, 0, 0, 1, 0, 0] * 9, ["man", "zebra"])
    for most in (0, 2):
        report = evaluation.Report("Before training", examples=most)
        report.add("data", "Pairs", pairs).add("data", "Labels", terms)
        page = report.to_html()
        assert "Pairs: there are 5 pairs, and 1 example without one." in page
        assert "(40.0%) looks broken" in page
        assert "1 of 2 terms predict the label by themselves" in page
        assert page.count("[old -&gt; ]") == most
    json_figures = report.to_dict()["results"]
    assert json_figures["Pairs"]["data"]["figures"]["all pairs"]["pairs"] == 5
    assert json_figures["Labels"]["data"]["figures"]["man"]["rate"] == 1


def test_examples_without_are_counted_by_their_text():
    features = {"a": np.zeros((4, 3)), "text": ["gay man", "b", "c", "gay"]}
    data = tf.data.Dataset.from_tensor_slices((features, np.zeros(4)))
    for each in (data, data.batch(3)):
        found = describe_pairs(each, ["gay"])
        assert (found.pairs, found.without) == (2, 2)
