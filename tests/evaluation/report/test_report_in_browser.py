"""The page of a report, as a browser shows it."""

import os
import re
import shutil

import numpy as np
import pytest

from tensorflow_model_remediation_ext.evaluation import Report, group_metrics


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


def test_opens_from_disk_without_errors_or_requests(opened, report, saved):
    images = opened.locator("img")
    for k in range(images.count()):
        assert images.nth(k).evaluate("e => e.complete && e.naturalWidth > 0")
    assert opened.said == []
    outside = [url for url in opened.asked if not url.startswith("data:")]
    assert outside == [saved.as_uri()]
    headings = opened.locator("h2").all_inner_texts()
    assert headings == ["Summary", *report.to_dict()["results"]]
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
        return [float(cell.split()[0]) for cell in cells(4) if cell != "[none]"]

    opened.keyboard.press("Enter")
    head = table.locator("th[aria-sort]")
    assert head.get_attribute("aria-sort") == "ascending"
    assert rates() == sorted(rates())
    assert cells(4)[-2:] == ["[none]", "[none]"]
    opened.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert rates() == sorted(rates(), reverse=True)
    assert cells(4)[-2:] == ["[none]", "[none]"]
    table.get_by_role("button", name="group").press("Enter")
    assert head.count() == 1
    assert cells(0)[:4] == ["9", "9", "10", "10"]


@pytest.fixture(scope="module")
def groups_page(tmp_path_factory):
    """A page with the widest tables that there are."""
    rng = np.random.default_rng(0)
    n = 300
    report = Report("By group, with long names of groups")
    masks = {
        f"a rather long name of group {k}": rng.random(n) < 0.5 for k in "ab"
    }
    for model in ("baseline", "a remediated model"):
        result = group_metrics(
            rng.integers(2, size=n), rng.random(n), masks, n_permutations=9
        )
        report.add(model, "Groups", result)
    return report.save(tmp_path_factory.mktemp("groups"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1_200])
def test_wide_tables_scroll_within_themselves(
    browser, groups_page, width, scheme
):
    tab = browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    tab.goto(groups_page.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.locator(".short li").count() > 3
    tab.close()


def test_no_table_is_cut_in_print(browser, groups_page, tmp_path):
    # The inside of an A4 page, landscape, with its margins.
    tab = browser.new_page(viewport={"width": 1_031, "height": 700})
    tab.goto(groups_page.as_uri())
    tab.emulate_media(media="print")
    for table in tab.locator(".scroll").all():
        assert table.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    tab.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert (tmp_path / "report.pdf").read_bytes()[:4] == b"%PDF"
    tab.close()
