import html
import json
import os
import re
import shutil

import numpy as np
import pytest

from tensorflow_model_remediation_ext.evaluation import (
    Estimate,
    Report,
    Tradeoff,
    TradeoffRow,
    accuracy,
    flips,
    linear_probe,
)

NASTY = "a < b & \"c\" </script><script>alert('x')</script>"
PNG = b"\x89PNG\r\n\x1a\n"


def tradeoff_of(*figures):
    rows = tuple(
        TradeoffRow(
            loss_weight=weight,
            seeds=1,
            quality=Estimate(quality, quality - 0.01, quality + 0.01),
            flip_rate=Estimate(rate, rate - 0.001, rate + 0.02),
            quality_loss=Estimate(0.0, float("nan"), float("nan")),
            pareto=True,
            chosen=weight == 1,
        )
        for weight, quality, rate in figures
    )
    return Tradeoff(rows, 0.95, 0.01)


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    n = 120
    labels = rng.integers(0, 2, n)
    groups = {
        NASTY: rng.random(n) < 0.5,
        "10": rng.random(n) < 0.2,
        "9": rng.random(n) < 0.7,
        "nobody": np.zeros(n, bool),
    }
    result = Report(f"Before and after {NASTY}", f"Of {NASTY}")
    for model, noise in (("baseline", 0.3), ("remediated", 0.05)):
        before = rng.random(n)
        after = np.clip(before + rng.normal(0, noise, n), 0, 1)
        result.add(model, "accuracy", accuracy(labels, before))
        found = flips(before, after, groups=groups, seed=0)
        result.add(model, "Flips", found, f"Here: {NASTY}")
    result.add("baseline", "parameters", 1_234)
    x = rng.normal(size=(n, 3))
    for model in ("baseline", "erased"):
        result.add(model, f"Probe {NASTY}", linear_probe(x, labels))
    sweep = tradeoff_of((0.0, 0.9, 0.3), (1.0, 0.89, 0.1), (10.0, 0.7, 0.01))
    result.add("remediated", "Trade-off", sweep)
    return result


@pytest.fixture(scope="module")
def saved(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("report") / "evidence")


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


def test_json_has_all_figures_and_no_nan(report, saved):
    text = (saved.parent / "report.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    figures = json.loads(text)
    assert figures == report.to_dict()
    assert figures["title"].endswith(NASTY)
    assert figures["figures"]["parameters"]["baseline"]["value"] == 1234
    flipped = figures["results"]["Flips"]["baseline"]
    assert flipped["figures"]["nobody"]["flip_rate"] is None
    assert flipped["figures"]["9"]["flip_rate_low"] > 0
    assert "not equal treatment" in flipped["caveat"]
    sweep = figures["results"]["Trade-off"]["remediated"]["figures"]
    assert sweep["10.0"]["flip_rate_high"] == pytest.approx(0.03)


def test_nothing_is_left_unescaped(page):
    assert "alert(" in page
    assert "<script>alert" not in page
    assert page.count("<script>") == page.count("</script>") == 1
    assert html.escape(NASTY) in page


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


def test_sections_say_what_they_measure_and_last_what_they_do_not(page):
    sections = re.findall("<section.*?</section>", page, re.DOTALL)
    assert len(sections) == 4
    for section in sections:
        assert re.search("</h2><p>[A-Z].*?</p>", section)
        caveat = section.index("What this does not show.")
        assert caveat > section.rindex("</table>")
    assert f"Here: {html.escape(NASTY)}" in sections[1]
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
        ("accuracy", tradeoff_of(), TypeError, "of one type.*Tradeoff"),
        ("Flips", tradeoff_of(), TypeError, "of one type.*Tradeoff"),
    ],
)
def test_what_is_added(name, result, error, message):
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


# What follows opens the page in a browser.


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright import sync_api
    except ImportError:
        sync_api = None
    if path is None or sync_api is None:
        # CI installs both and sets this, so that a skip cannot hide there.
        assert os.environ.get("REQUIRE_BROWSER") != "1"
        pytest.skip("needs Chromium and playwright")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, saved):
    """The page in a phone's window, with what it said and asked for."""
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.said, tab.asked = [], []
    tab.on("console", lambda message: tab.said.append(message.text))
    tab.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(saved.as_uri())
    yield tab
    tab.close()


def test_opens_from_disk_without_errors_or_requests(opened, saved):
    images = opened.locator("img")
    for k in range(images.count()):
        assert images.nth(k).evaluate("e => e.complete && e.naturalWidth > 0")
    assert opened.said == []
    outside = [url for url in opened.asked if not url.startswith("data:")]
    assert outside == [saved.as_uri()]
    headings = opened.locator("h2").all_inner_texts()
    assert headings == ["Summary", "Flips", f"Probe {NASTY}", "Trade-off"]
    # Wide tables scroll within themselves, the page does not.
    assert opened.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    for selector in (".lead", ".caveat", "figcaption", ".interval", "a", "td"):
        ink, paper = opened.locator(selector).first.evaluate(
            """e => {
                const ink = getComputedStyle(e).color;
                let paper;
                do {
                    paper = getComputedStyle(e).backgroundColor;
                    e = e.parentElement;
                } while (paper === "rgba(0, 0, 0, 0)");
                return [ink, paper];
            }"""
        )
        assert contrast(ink, paper) >= 4.5, selector  # WCAG 2.2, level AA.
    source = opened.locator("img").first.evaluate("e => e.currentSrc")
    assert (source == opened.locator("img").first.get_attribute("src")) == (
        scheme == "light"
    )


def contrast(*colors):
    def luminance(color):
        parts = np.array(re.findall(r"\d+", color)[:3], float) / 255
        linear = np.where(
            parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return linear @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted(map(luminance, colors))
    return (light + 0.05) / (dark + 0.05)


def test_tables_sort_by_keyboard(opened):
    table = opened.locator("table").nth(1)
    rate = table.get_by_role("button", name="flip rate")
    rate.focus()

    def cells(column):
        rows = table.locator("tbody tr")
        return [
            rows.nth(k).locator("th, td").nth(column).inner_text()
            for k in range(rows.count())
        ]

    def rates():
        return [float(cell.split()[0]) for cell in cells(4) if cell != "-"]

    opened.keyboard.press("Enter")
    head = table.locator("th[aria-sort]")
    assert head.get_attribute("aria-sort") == "ascending"
    assert rates() == sorted(rates())
    assert cells(4)[-2:] == ["-", "-"]
    opened.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert rates() == sorted(rates(), reverse=True)
    assert cells(4)[-2:] == ["-", "-"]
    table.get_by_role("button", name="group").press("Enter")
    assert head.count() == 1
    assert cells(0)[:4] == ["9", "9", "10", "10"]
