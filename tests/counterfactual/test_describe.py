"""What pairs hold, and which terms carry the label."""

import math
import time

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
    pack_counterfactual_data,
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


@pytest.mark.parametrize(
    ("text", "terms", "changes", "example"),
    [
        # A mark is part of the word, composed or not, in every script.
        ("हिंदु आए", {"हिंदु": "हिंदी"}, ["हिंदु -> हिंदी"], "[हिंदु -> हिंदी] आए"),
        ("मुसलमान आए", ["मुसलमान"], ["मुसलमान -> "], "[मुसलमान -> ] आए"),
        (
            "un nin\u0303o.",
            {"nin\u0303o": "nin\u0303a"},
            ["nin\u0303o -> nin\u0303a"],
            "un [nin\u0303o -> nin\u0303a].",
        ),
        # Where no spaces are, what is next to a term is not of it.
        (
            "我是穆斯林女人。",
            ["穆斯林"],
            ["穆斯林 -> "],
            "我是[穆斯林 -> ]女人。",
        ),
        (
            "这是我女儿",
            {"女儿": "儿子"},
            ["女儿 -> 儿子"],
            "这是我[女儿 -> 儿子]",
        ),
        ("他是女人", {"女人": "男人"}, ["女人 -> 男人"], "他是[女人 -> 男人]"),
        (
            "a 👩‍🔬 ran",
            {"👩‍🔬": "👨‍🔬"},
            ["👩‍🔬 -> 👨‍🔬"],
            "a [👩‍🔬 -> 👨‍🔬] ran",
        ),
        ("the c++ man", ["c++"], ["c++ -> "], "the [c++ -> ] man"),
        # A term is one, whichever of its words stay.
        (
            "an old man ran",
            {"old man": "old woman"},
            ["old man -> old woman"],
            "an [old man -> old woman] ran",
        ),
        (
            "her brother and his sister",
            {"brother": "sister", "sister": "brother", "her": "his"},
            ["her -> his", "brother -> sister", "sister -> brother"],
            "[her -> his] [brother -> sister] and his [sister -> brother]",
        ),
    ],
)
def test_what_changes_is_words_and_terms(text, terms, changes, example):
    data = tf.data.Dataset.from_tensors(text)
    if isinstance(terms, dict):
        found = describe_pairs(data, terms_to_replace=terms)
    else:
        found = describe_pairs(data, terms)
    assert [row.change for row in found.rows] == changes
    assert {row.examples for row in found.rows} == {(example,)}
    # "a" after a mark is no article.
    assert not found.broken


def test_terms_inside_words_are_named():
    data = tf.data.Dataset.from_tensor_slices(["gaygay x", "ungay"])
    found = describe_pairs(data, ["gay"], whole_words=False)
    assert {row.change for row in found.rows} == {"gay -> ", "ungay -> un"}
    data = tf.data.Dataset.from_tensor_slices(["a gay Gay man"])
    found = describe_pairs(data, ["Gay"], case_sensitive=True)
    assert found.rows[0].examples == ("a gay [Gay -> ] man",)


def test_long_texts_are_described_in_time():
    data = tf.data.Dataset.from_tensors(
        "one two, " * 4000 + "gay" + " x" * 4000
    )
    start = time.perf_counter()
    assert describe_pairs(data, ["gay"]).rows[0].change == "gay -> "
    # Comparing all words with all takes minutes.
    assert time.perf_counter() - start < 20


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


def test_the_text_is_asked_for():
    features = {"author": ["gay", "b"], "text": ["a gay man", "c"]}
    data = tf.data.Dataset.from_tensor_slices(features)
    pairs = build_counterfactual_data(data, ["gay"], text_key="text")
    with pytest.raises(ValueError, match=r"`text_key`.*'author', 'text'"):
        describe_pairs(pairs)
    with pytest.raises(ValueError, match=r"`text_key` must be one of.*'body'"):
        describe_pairs(pairs, text_key="body")
    found = describe_pairs(pairs, text_key="text")
    assert [row.change for row in found.rows] == ["gay -> "]


def several_strings(kind):
    rows = [["a gay man", "hello"], ["x", "y"], ["gay gay", "the gay"]]
    if kind == "ragged":
        rows = tf.ragged.constant([*rows, [], ["z"]])
    elif kind == "two axes":
        rows = [[row, ["z", "z"]] for row in rows]
    return tf.data.Dataset.from_tensor_slices(rows)


@pytest.mark.parametrize("kind", ["dense", "ragged", "two axes"])
def test_examples_of_several_strings_are_one_pair_each(kind):
    data = several_strings(kind).batch(2)
    examples = {"dense": 3, "ragged": 5, "two axes": 3}[kind]
    found = describe_pairs(data, ["gay"])
    assert (found.pairs, found.without) == (2, examples - 2)
    assert found["gay -> "].pairs == 2 and found.duplicates == 0
    assert found["gay -> "].examples == (
        "a [gay -> ] man",
        "[gay gay -> ] | the [gay -> ]",
    )
    # Nothing is left of "gay gay", but of its example.
    assert found.empty == 0
    assert found.length_change == (-7.5, -11, -4)
    assert list(found.broken) == ["an article before nothing"]
    pairs = build_counterfactual_data(data, ["gay"])
    again = describe_pairs(pairs)
    assert (again.pairs, again.without) == (2, None)


def test_strings_of_an_example_may_differ_in_number():
    data = tf.data.Dataset.from_tensors(tf.ragged.constant([["a", "gay"]]))
    pairs = build_counterfactual_data(
        data, custom_counterfactual_function=lambda x: (x, x[:, :1])
    )
    found = describe_pairs(pairs)
    assert [row.change for row in found.rows] == ["gay -> "]


def test_terms_may_be_an_iterator():
    data = tf.data.Dataset.from_tensor_slices(["a gay muslim man", "gay"])
    terms = ["gay", "muslim"]
    for each in (iter(terms), np.array(terms)):
        found = describe_pairs(data, each)
        assert {row.change: row.pairs for row in found.rows} == {
            "gay -> ": 2,
            "muslim -> ": 1,
        }


def test_what_is_no_pair():
    data = tf.data.Dataset.from_tensor_slices(["a gay man", "gay"])
    with pytest.raises(ValueError, match=r"`dataset` must hold pairs"):
        describe_pairs(data)
    task = tf.data.Dataset.zip((data, tf.data.Dataset.range(2)))
    packed = pack_counterfactual_data(
        task.batch(2), build_counterfactual_data(data, ["gay"])
    )
    for wrong, options in ((task, {}), (packed, {}), (packed, {"text_key": 0})):
        with pytest.raises(ValueError, match=r"`dataset` must hold pairs"):
            describe_pairs(wrong, **options)
    with pytest.raises(TypeError, match=r"`dataset` must be a `tf.data"):
        describe_pairs(["a"])


def test_what_has_no_end_is_not_read():
    data = tf.data.Dataset.from_tensor_slices(["a gay man", "gay"]).repeat()
    for each in (data, data.batch(2)):
        pairs = build_counterfactual_data(each, ["gay"])
        for endless, terms in ((each, ["gay"]), (pairs, None)):
            with pytest.raises(ValueError, match="`dataset` must come to an"):
                describe_pairs(endless, terms)


@pytest.mark.parametrize("samples", [-1, 2.5, "3", True, None])
def test_samples_are_a_whole_number(samples):
    data = tf.data.Dataset.from_tensor_slices(TEXTS)
    with pytest.raises(ValueError, match=r"`samples` must be an integer"):
        describe_pairs(data, ["old"], samples=samples)


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
    [
        ([1], "one label"),
        ([1, 2], r"zeros and ones.*\[2\]"),
        ([1, None], r"zeros and ones.*\[None\]"),
        ([1, float("nan")], r"zeros and ones.*\[nan\]"),
        (["1", "0"], r"zeros and ones.*\['1', '0'\]"),
        ([[1, 0]], "one label"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        label_terms(["a", "b"], labels, ["a"])
    with pytest.raises(ValueError, match="confidence"):
        label_terms(["a", "b"], [0, 1], ["a"], confidence=1)


def test_a_label_that_pandas_misses():
    missing = pytest.importorskip("pandas").NA
    with pytest.raises(ValueError, match=r"zeros and ones.*\[<NA>\]"):
        label_terms(["a", "b"], [1, missing], ["a"])


@pytest.mark.parametrize("texts", [["a", None], ["a", 3.0], [1, 2], None])
def test_texts_that_are_none(texts):
    with pytest.raises(TypeError, match="`texts` must be strings"):
        label_terms(texts, [0, 1], ["a"])


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ("idiot", TypeError, "`terms` must be a list.*'idiot'"),
        (3, TypeError, "`terms` must be a list.*3"),
        (["a", 3], TypeError, "`terms` must hold strings.*3"),
        ([], ValueError, "`terms` must hold at least one"),
        ([" a"], ValueError, "`terms` must not be blank.*' a'"),
    ],
)
def test_bad_terms_for_labels(terms, error, message):
    with pytest.raises(error, match=message):
        label_terms(["a", "b"], [0, 1], terms)


def test_terms_that_differ_in_case_only_are_one():
    texts, labels = ["Gay", "gay K", "x", "y"], [1, 0, 0, 1]
    terms = ["gay", "Gay", "k", "\N{KELVIN SIGN}"]
    found = label_terms(texts, labels, iter(terms))
    assert {row.term: row.n for row in found.rows} == {"gay": 2, "k": 1}
    found = label_terms(texts, labels, terms, case_sensitive=True)
    assert [found[term].n for term in terms] == [1, 1, 0, 0]


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


def test_a_capital_dotted_i_is_the_letter_that_it_matches():
    capital = "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}stanbul"
    data = tf.data.Dataset.from_tensor_slices([f"in {capital}", "in istanbul"])
    found = describe_pairs(data, [capital])
    assert [(row.change, row.pairs) for row in found.rows] == [
        ("istanbul -> ", 2)
    ]


def test_terms_are_found_within_one_another_and_warned_of_once():
    texts = ["gay man", "a gay", "a man", "\u0e04\u0e19", "none"]
    terms = ["gay man", "gay", "\u0e04\u0e19", "nowhere"]
    with pytest.warns(UserWarning, match="whole words") as warned:
        found = label_terms(texts, [1, 0, 1, 0, 1], terms)
    assert len(warned) == 1
    assert [found[term].n for term in terms] == [1, 2, 1, 0]
