import html
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from matplotlib import cbook
from matplotlib.figure import Figure

from tensorflow_model_remediation_ext.evaluation import (
    Report,
    TradeoffMethod,
    flips,
    group_metrics,
    tradeoff,
)
from tensorflow_model_remediation_ext.evaluation.report import (
    charts as report_charts,
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
    assert sweep["10.0"]["unfairness_high"] == pytest.approx(0.03)


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


def test_small_figures_are_no_zeros():
    same = np.full(20_000, 0.5)
    result = flips(same, same, seed=0)
    high = result["overall"].flip_rate.high
    assert 0 < high < 0.0005
    errors = np.linspace(1e-7, 3e-7, 40)
    people = np.arange(40) % 2
    by_group = group_metrics(0 * errors, errors, people, task="regression")
    report = Report("Small").add("m", "Flips", result).add("m", "G", by_group)
    for text in (
        repr(report),
        report.to_html().replace("\N{NO-BREAK SPACE}", " "),
    ):
        text = re.sub("<[^>]+>", "", text)
        assert f"0 [0, {high:.3g}]" in text
        assert f"between 0.0 % and {float(f'{100 * high:.3g}'):g} %" in text
        mean = f"{by_group['overall'].mean_error.value:.3g}"
        assert mean.startswith("2e-07") and mean in text
    # In words, for those who do not see the chart.
    assert "from 1.97e-07 (0) to 2.03e-07 (1)" in text
    assert "2e-07" in repr(by_group)


def test_charts_come_in_two_schemes_and_in_words(page):
    figures = re.findall("<figure>.*?</figure>", page, re.DOTALL)
    assert len(figures) == 4
    for figure in figures:
        assert 'media="(prefers-color-scheme: dark)"' in figure
        assert 'alt="Chart of ' in figure
        assert re.search(r"<figcaption>.*\d\.\d{4}.*</figcaption>", figure)
    assert re.search(r"from 0.0100 \([^)]*10\) to 0.3000 \([^)]*0\)\.", page)


def test_sections_say_what_they_measure_and_last_what_they_do_not(page, nasty):
    sections = re.findall("<section.*?</section>", page, re.DOTALL)
    assert len(sections) == 4
    for section in sections:
        assert re.search("</h2><p>[A-Z].*?</p>", section)
        caveat = section.index("What this does not show.")
        assert caveat > section.rindex("</table>")
    assert f"Here: {html.escape(nasty)}" in sections[1]
    assert "Max quality loss. 0.01." in sections[3]


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


@pytest.mark.parametrize("argument", ["title", "model", "name", "about"])
def test_texts_are_text(argument):
    texts = {"title": "A", "model": "m", "name": "n", "about": "", argument: 1}
    with pytest.raises(TypeError, match=f"`{argument}` must be text.*1"):
        Report(texts.pop("title")).add(**texts, result=0.5)


def test_one_level_for_all_models():
    report = Report("A")
    report.add("before", "Flips", flips([0.5], [0.5], confidence=0.95))
    before = report.to_dict()
    with pytest.raises(ValueError, match=r"'Flips'.*0.5 for.*'after', after 0"):
        report.add("after", "Flips", flips([0.5], [0.5], confidence=0.5))
    assert report.to_dict() == before


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("models", ["mm", "mn"])
def test_a_result_is_not_called_as_a_part_of_another(order, models):
    y, p = [0, 1, 0, 1], [0.1, 0.9, 0.2, 0.4]
    results = {
        "By sex": group_metrics(y, p, list("aabb"), n_permutations=9),
        "By sex: calibration": flips([0.5], [0.5]),
    }
    first, second = list(results.items())[::order]
    report = Report("A").add(models[0], *first)
    before = report.to_dict()
    with pytest.raises(ValueError, match="same title, 'By sex: calibration'"):
        report.add(models[1], *second)
    assert report.to_dict() == before
    report.add(models[1], "By age", results["By sex"])


def drawn(report, monkeypatch):
    """Axes of the report's charts, which are written on the way."""
    axes = []
    draw = report_charts.plot_estimates

    def keep(*args):
        axes.append(draw(*args))
        return axes[-1]

    monkeypatch.setattr(report_charts, "plot_estimates", keep)
    report.to_html()
    return axes


def test_rows_of_different_sizes_have_no_size(monkeypatch):
    report = Report("A")
    for model, n in (("before", 50), ("after", 20)):
        groups = {"same": np.arange(n) < 7, "half": np.arange(n) < n // 2}
        result = flips(np.full(n, 0.1), np.full(n, 0.9), groups=groups)
        report.add(model, "Flips", result)
    labels = drawn(report, monkeypatch)[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [
        "overall",
        "same (n = 7)",
        "half",
    ]
    assert "(n = 50)" not in repr(report)


def test_long_names_break_before_the_number_of_rows(monkeypatch):
    groups = {"Amer-Indian-Eskimo": np.arange(40) < 19}
    result = flips(np.full(40, 0.1), np.full(40, 0.9), groups=groups)
    report = Report("A")
    report.add("before", "Flips", result).add("after", "Flips", result)
    label = drawn(report, monkeypatch)[0].get_yticklabels()[1]
    assert label.get_text() == "Amer-Indian-Eskimo\n(n = 19)"


@pytest.mark.parametrize("models", [1, 2])
def test_long_names_of_rows_stay_in_the_picture_and_apart(models, monkeypatch):
    groups = {
        f"{first} of a long line of names that goes on and on": np.ones(9, bool)
        for first in ("The first", "The second", "x" * 90)
    }
    report = Report("A")
    for k in range(models):
        pairs = np.linspace(0.1, 0.9, 9), np.linspace(0.9, 0.1, 9)
        report.add(f"m{k}", "Flips", flips(*pairs, groups=groups, seed=0))
    drawn = []
    save = Figure.savefig

    def watched(self, *arguments, **options):
        save(self, *arguments, **options)
        self.draw_without_rendering()
        labels = self.axes[0].get_yticklabels()
        drawn.append([label.get_window_extent() for label in labels])

    monkeypatch.setattr(Figure, "savefig", watched)
    report.to_html()
    assert drawn
    for boxes in drawn:
        assert min(box.x0 for box in boxes) >= 0
        for above, below in pairwise(boxes):
            assert above.y0 >= below.y1


@pytest.mark.parametrize(
    "names",
    [("_base", "after"), ("$10k-$20k", r"$\m$"), ("<$50k", "$50k_{-100k$")],
)
def test_names_are_drawn_as_they_are(names, tmp_path, monkeypatch):
    report = Report("$A$ and $_")
    masks = {name: np.array([True, False, True]) for name in names}
    for name in names:
        result = flips([0.1, 0.2, 0.9], [0.9, 0.2, 0.8], groups=masks)
        report.add(name, f"Flips of {names[1]}", result)
        result.plot().figure.savefig(tmp_path / "alone.png")
    report.save(tmp_path)
    (axes, *_) = drawn(report, monkeypatch)
    labels = axes.get_legend_handles_labels()[1]
    labels += [label.get_text() for label in axes.get_yticklabels()[1:]]
    assert not any(map(cbook.is_math_text, labels))
    # An escaped dollar is drawn as one, a space of no width is not seen.
    plain = [x.replace(r"\$", "$").strip("\u200b") for x in labels]
    assert [x.removesuffix(" (n = 2)") for x in plain] == [*names, *names]


def test_names_in_charts_of_their_own_are_drawn_as_they_are(tmp_path):
    odd = "$10k_$"
    people = np.array([odd, "_b"])[np.arange(20) % 2]
    scores = np.linspace(0.1, 0.9, 20)
    groups = group_metrics(np.arange(20) // 10, scores, people)
    sweep = tradeoff(
        {odd: TradeoffMethod(lambda setting: 0, [odd]), "_b": lambda: 0},
        measure=lambda _: (0.5, 0.1),
        measure_of_unfairness=f"price of {odd}",
        verbose=0,
    )
    for axes in (groups.calibration.plot(), sweep.plot()):
        labels = axes.get_legend_handles_labels()[1]
        assert "\u200b_b" in labels  # Otherwise the legend leaves it out.
        texts = [text.get_text() for text in axes.texts]
        texts += [*labels, axes.get_xlabel()]
        assert not any(map(cbook.is_math_text, texts))
        axes.figure.savefig(tmp_path / "chart.png")


@pytest.mark.parametrize("models", [1, 2])
def test_where_nothing_is_known_nothing_is_drawn(models, tmp_path):
    report = Report("A")
    for model in range(models):
        report.add(str(model), "Flips", flips([], []))
    report.save(tmp_path)
    assert not [*tmp_path.glob("*.png")]


def test_what_one_model_has_is_drawn_even_if_the_first_one_lacks_it():
    groups = ["a", "a", "b", "b"]
    charts = [
        report_charts.charts(
            "G",
            {
                str(k): group_metrics(labels, [0.1, 0.2, 0.3, 0.9], groups)
                for k, labels in enumerate(both)
            },
        )
        for both in (([0] * 4, [0, 1, 0, 1]), ([0, 1, 0, 1], [0] * 4))
    ]
    titles = [[chart.title for chart in each] for each in charts]
    assert titles[0] == titles[1]
    assert "G: AUC" in titles[0]


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


@pytest.mark.parametrize("letter", ["W", "i"])
def test_long_names_of_models_stay_in_the_picture(letter, monkeypatch):
    names = [f"{letter * 15} {letter * 16} {k:02d}" for k in range(4)]
    names.append(letter * 70)
    report = Report("Long names")
    for k, name in enumerate(names):
        pairs = np.linspace(0.1, 0.9, 20), np.linspace(0.9, 0.1 + k / 10, 20)
        report.add(name, "Flips", flips(*pairs, seed=0))
    drawn = []
    save = Figure.savefig

    def watched(self, *arguments, **options):
        save(self, *arguments, **options)
        # Saving leaves it laid out for another resolution.
        self.draw_without_rendering()
        box = self.legends[0].get_window_extent()
        drawn.append((box.x0, box.x1, self.bbox.x1))

    monkeypatch.setattr(Figure, "savefig", watched)
    report.to_html()
    assert drawn
    for left, right, edge in drawn:
        assert left >= 0 and right <= edge
