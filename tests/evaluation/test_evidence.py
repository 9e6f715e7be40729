import json
import re

import numpy as np
import pytest

from tensorflow_model_remediation_ext.evaluation import (
    Estimate,
    Evidence,
    Report,
    flips,
)
from tensorflow_model_remediation_ext.evaluation.evidence import as_table


class Described:
    """What another technique might return; it derives from nothing."""

    measures = "How many pairs there are."
    caveat = "Nothing on models."

    def to_dict(self):
        return {
            "gay": {
                "pairs": 12,
                "rate": 0.2,
                "rate_low": 0.1,
                "rate_high": 0.4,
            },
            "<b>": {"pairs": 3, "rate": None, "words": "a < b"},
        }


def test_any_object_with_the_protocol_is_a_section(tmp_path):
    assert isinstance(Described(), Evidence)
    report = Report("Pairs").add("data", "Pairs", Described())
    report.add("more", "Pairs", Described())
    report.save(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "How many pairs" in page and "Nothing on models" in page
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert "0.2000 " in page and "[0.1000, 0.4000]" in page
    figures = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert figures["results"]["Pairs"]["data"]["figures"]["gay"]["pairs"] == 12
    assert "rate" in repr(report)


def test_figures_may_be_of_numpy(tmp_path):
    row = {"a": np.float32(0.5), "b": np.int64(3), "c": np.True_, "d": np.nan}
    ends = {"a_low": np.float32(0.25), "a_high": np.float16(0.75)}
    report = Report("A").add("m", "E", Given({"r": row | ends}))
    report.save(tmp_path)
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert found["results"]["E"]["m"]["figures"]["r"] == {
        "a": 0.5,
        "b": 3,
        "c": True,
        "d": None,
        "a_low": 0.25,
        "a_high": 0.75,
    }


def test_it_may_draw_itself_and_say_its_level():
    class Drawn(Described):
        confidence = 0.9

        def plot(self, axes=None):
            from matplotlib.figure import Figure

            return Figure().add_subplot()

    table = as_table(Drawn())
    assert table.confidence == 0.9
    assert table["gay"].rate_ == Estimate(0.2, 0.1, 0.4)
    assert "<img" in Report("A").add("m", "Drawn", Drawn()).to_html()


def test_it_may_choose_what_is_drawn_said_and_quoted():
    class Fuller(Described):
        plotted = ("rate",)
        examples = [{"text": "<i>", "change": "y"}] * 3

        def to_dict(self):
            figures = super().to_dict()
            figures["gay"] |= {"odds": 0.3, "odds_low": 0.1, "odds_high": 0.6}
            return figures

        def remarks(self):
            return ["pairs are few."]

    for most in (0, 2):
        report = Report("A", examples=most).add("m", "Pairs", Fuller())
        page = report.to_html()
        assert "Pairs: pairs are few." in page
        assert page.count("&lt;i&gt;") == most and "<i>" not in page
        assert page.count("<figure>") == 1


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ([1], "must return rows"),
        ({"a": 3}, "must return rows"),
        ({"a": {"b": np.arange(3)}}, r"array\(\[0, 1, 2\]\) for 'b' in 'a'"),
        ({"a": {"b": 1, "b_low": 0}, "c": {"b": "x"}}, "'x' for 'b' in 'c'"),
        ({"a": {"b": 1, "b_low": "x"}}, "'x' for 'b_low' in 'a'"),
    ],
)
def test_figures_are_rows(figures, message):
    wrong = Described()
    wrong.to_dict = lambda: figures
    with pytest.raises(TypeError, match=message):
        Report("A").add("m", "Wrong", wrong)
    with pytest.raises(TypeError, match="`measures`, `caveat` and `to_dict`"):
        Report("A").add("m", "Wrong", object())


class Given:
    measures = "Whatever."
    caveat = "Nothing."

    def __init__(self, figures, **more):
        self.to_dict = lambda: figures
        vars(self).update(more)


HALF = {"x": 0.5, "x_low": 0.4, "x_high": 0.6}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            Given({"r": {"y": 0.5, "y_low": 0.4, "y_high": 0.6}}),
            r"same columns;.*None. Received: \['name', 'y'\].*'b', after.*'x'",
        ),
        (Given({}), "same columns"),
        (Given({"r": {"x": 0.5}}), "same plotted"),
        (Given({"r": HALF}, confidence=0.9), "one `confidence`"),
        (Given({"r": HALF}, examples=[{"word": "w"}]), "same examples"),
    ],
)
def test_models_have_the_same_figures(other, message):
    one = Given({"r": HALF}, examples=[{"text": "t"}])
    report = Report("A").add("a", "E", one)
    before = report.to_dict()
    with pytest.raises(ValueError, match=message):
        report.add("b", "E", other)
    assert report.to_dict() == before
    # What is unknown is None, and examples there need not be.
    unknown = {"r": dict.fromkeys(HALF)}
    page = report.add("b", "E", Given(unknown)).to_html()
    assert "[none]" in page


def test_figures_without_interval_are_drawn_and_those_unknown_refused():
    report = Report("A")
    for model in "ab":
        found = Given({"r": {"x": 0.5}}, plotted=["x"])
        report.add(model, "E", found)
    assert "0.5000 [no interval]" in report.to_html().replace(
        '<span class="interval">', ""
    )
    with pytest.raises(TypeError, match=r"`result.plotted`.*\['z'\]"):
        report.add("c", "E", Given({"r": {"x": 0.5}}, plotted=["z"]))


def test_texts_of_examples_stand_under_their_keys():
    texts = [{"text": "T1", "change": "C1"}, {"change": "C2"}]
    rows = as_table(Given({"r": HALF}, examples=texts)).examples
    assert [row.to_dict() for row in rows] == [
        {"text_": "T1", "change_": "C1"},
        {"text_": None, "change_": "C2"},
    ]


def test_types_of_one_name_stay_one():
    report = Report("A").add("m", "Pairs", Described())
    with pytest.raises(TypeError, match=r"must be of one type.*FlipReport"):
        report.add("n", "Pairs", flips([0.1], [0.2]))


def test_the_top_says_in_sentences_what_changed():
    n = 2_000
    rng = np.random.default_rng(0)
    before = rng.random(n)
    report = Report("A")
    report.add("plain", "AUC", Estimate(0.91, 0.90, 0.92))
    report.add("new", "AUC", Estimate(0.907, 0.897, 0.917))
    report.add("plain", "quality", 3.0).add("new", "quality", 2.0)
    for model, noise in (("plain", 0.3), ("new", 0.001)):
        after = np.clip(before + rng.normal(0, noise, n), 0, 1)
        report.add(model, "Flips", flips(before, after, seed=0))
    page = report.to_html()
    assert "No difference in the AUC beyond chance, 0.91 and 0.907" in page
    assert "quality is 3 and 2, and nothing says how much" in page
    assert "Flips: the flip rate fell from" in page
    # No line ends between a number and its sign.
    assert re.search(r"fell from [\d.]+\xa0% to 0\.\d\xa0%", page)
    # They are printed too, one a line, as sentences are written.
    *_, last = repr(report).split("\n\n")
    assert "No difference in the AUC beyond chance, 0.91" in last
    assert all(line[0].isupper() for line in last.splitlines())
    alone = Report("A").add("plain", "AUC", Estimate(0.91, 0.90, 0.92))
    assert "The AUC is 0.91, between 0.9 and 0.92 (plain)." in alone.to_html()
