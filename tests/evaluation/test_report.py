import html
import json
import re

import pytest

from tensorflow_model_remediation_ext.evaluation import (
    Report,
    flips,
)

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def page(saved):
    return saved.read_text(encoding="utf-8")


def test_files(saved):
    assert saved.name == "report.html"
    names = {file.name for file in saved.parent.iterdir()}
    charts = {name for name in names if name.endswith(".png")}
    assert names - charts == {"report.html", "report.json"}
    assert {"flips.png", "trade-off.png"} <= charts
    assert len(charts) == 4
    for name in charts:
        assert (saved.parent / name).read_bytes().startswith(PNG)


def test_json_has_all_figures_and_no_nan(report, saved, nasty):
    text = (saved.parent / "report.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    figures = json.loads(text)
    assert figures == report.to_dict()
    assert figures["title"].endswith(nasty)
    assert figures["figures"]["parameters"]["baseline"]["value"] == 1234
    flipped = figures["results"]["Flips"]["baseline"]
    assert flipped["figures"]["nobody"]["flip_rate"] is None
    assert flipped["figures"]["9"]["flip_rate_low"] > 0
    assert "not equal treatment" in flipped["caveat"]
    sweep = figures["results"]["Trade-off"]["remediated"]["figures"]
    assert sweep["10.0"]["flip_rate_high"] == pytest.approx(0.03)


def test_nothing_is_left_unescaped(page, nasty):
    assert "alert(" in page
    assert "<script>alert" not in page
    assert page.count("<script>") == page.count("</script>") == 1
    assert html.escape(nasty) in page


def test_every_figure_stands_with_its_interval(report, page):
    text = html.unescape(re.sub("<[^>]+>", "", page))
    for model in ("baseline", "remediated"):
        for row in report.to_dict()["results"]["Flips"][model][
            "figures"
        ].values():
            if row["n"]:
                shown = "{flip_rate:.4f} [{flip_rate_low:.4f}, "
                shown += "{flip_rate_high:.4f}]"
                assert shown.format(**row) in text
    assert "1,234.0000 [no interval]" in text


def test_charts_come_in_two_schemes_and_in_words(page):
    figures = re.findall("<figure>.*?</figure>", page, re.DOTALL)
    assert len(figures) == 4
    for figure in figures:
        assert 'media="(prefers-color-scheme: dark)"' in figure
        assert 'alt="Chart of ' in figure
        assert re.search(r"<figcaption>.*\d\.\d{4}.*</figcaption>", figure)
    assert "from 0.0100 (loss weight 10) to 0.3000 (loss weight 0)." in page


def test_sections_say_what_they_measure_and_last_what_they_do_not(page, nasty):
    sections = re.findall("<section.*?</section>", page, re.DOTALL)
    assert len(sections) == 4
    for section in sections:
        assert re.search("</h2><p>[A-Z].*?</p>", section)
        caveat = section.index("What this does not show.")
        assert caveat > section.rindex("</table>")
    assert f"Here: {html.escape(nasty)}" in sections[1]
    assert "Max quality loss. remediated: 0.01." in sections[3]


def test_the_same_figures_give_the_same_page(report, page):
    assert report.to_html() == page


def test_repr_is_readable(report):
    blocks = [block.splitlines() for block in repr(report).split("\n\n")]
    title, figures, rates, *_ = blocks
    assert title[0].startswith("Before and after")
    assert figures[0].split() == ["baseline", "remediated", "erased"]
    assert figures[1].startswith("accuracy")
    assert rates[0].split()[2:] == ["rate", "baseline", "remediated"]
    assert rates[1].startswith("overall (n = 120)")
    assert len(rates) == 6


@pytest.mark.parametrize(
    ("name", "result", "error", "message"),
    [
        ("text", "0.5", None, None),
        ("words", "many", TypeError, "`result`.*'many'"),
        ("nothing", None, TypeError, "`result`.*None"),
        ("accuracy", 0.5, ValueError, "'baseline' already has.*'accuracy'"),
        ("Flips", 0.5, TypeError, "'Flips' must be of one type.*Estimate"),
        ("accuracy", "SWEEP", TypeError, "of one type.*Tradeoff"),
        ("Flips", "SWEEP", TypeError, "of one type.*Tradeoff"),
    ],
)
def test_what_is_added(sweep, name, result, error, message):
    result = sweep if result == "SWEEP" else result
    report = Report("A")
    report.add("baseline", "accuracy", 0.5)
    report.add("baseline", "Flips", flips([0.5], [0.5]))
    before = report.to_dict()
    if error is None:
        assert report.add("baseline", name, result) is report
        return
    with pytest.raises(error, match=message):
        report.add("baseline", name, result)
    assert report.to_dict() == before


def test_nothing_to_save(tmp_path):
    with pytest.raises(ValueError, match="empty"):
        Report("A").save(tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_charts_of_like_names_do_not_overwrite_each_other(tmp_path):
    report = Report("A")
    for name in ("Flips!", "flips?", "…"):
        report.add("m", name, flips([0.5, 0.1], [0.5, 0.9]))
    report.save(tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == {
        "flips.png",
        "flips-2.png",
        "chart.png",
    }
