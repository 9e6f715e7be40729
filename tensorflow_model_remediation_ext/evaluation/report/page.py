"""The page of a report: HTML that needs nothing but itself."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any, NamedTuple

from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
)
from tensorflow_model_remediation_ext.evaluation.report.charts import (
    Chart,
    charts,
)
from tensorflow_model_remediation_ext.evaluation.tables import (
    Row,
    Table,
    name_of,
    show,
)

_SUMMARY = "Figures of each model, side by side."
_IN_SHORT = (
    "Differences are told from both intervals; of models measured on the same "
    "data that errs toward saying that nothing differs."
)
_SUMMARY_CAVEAT = (
    "Figures are those of the data they were measured on. Two intervals that "
    "overlap may still differ, and of many intervals some will miss. Whether a "
    "model is fair enough to be used is not in any of them."
)


# Texts of more letters are broken into lines.
_LONG = 30
# Fields that hold names of figures.
_OF_FIGURES = ("metric", "figure")


class Section(NamedTuple):
    """What a page says of one subject.

    Args:
        name: Its heading.
        about: What these results are of, in addition to `measures`.
        by_model: Results by the name of the model.
    """

    name: str
    about: str
    by_model: Mapping[str, Table]


def render(
    title: str,
    summary: str,
    models: Sequence[str],
    figures: Mapping[str, Mapping[str, Estimate]],
    sentences: Sequence[str],
    sections: Sequence[Section],
) -> str:
    """Returns a whole HTML page.

    Args:
        title: Its heading.
        summary: What stands below it; may be empty.
        models: Names of the models, in order.
        figures: Plain figures by their name and the model.
        sentences: What they say, for the top.
        sections: What follows.

    Returns:
        The text of the page.
    """
    parts = []
    if figures or sentences:
        parts.append(("Summary", _summary(models, figures, sentences)))
    parts += [(section.name, _section(section)) for section in sections]
    links = "".join(
        f'<li><a href="#s{k}">{escape(name)}</a></li>'
        for k, (name, _) in enumerate(parts)
    )
    body = "".join(
        f'<section id="s{k}" aria-labelledby="h{k}">'
        f'<h2 id="h{k}">{escape(name)}</h2>{html}</section>'
        for k, (name, html) in enumerate(parts)
    )
    files = resources.files(__package__)
    style, script = (
        (files / name).read_text(encoding="utf-8")
        for name in ("report.css", "report.js")
    )
    below = f'<p class="lead">{escape(summary)}</p>' if summary else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{below}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
<footer>
<p>Made with tensorflow_model_remediation_ext. All figures are in report.json
as well.</p>
</footer>
<script>
{script}</script>
</body>
</html>
"""


def _summary(
    models: Sequence[str],
    figures: Mapping[str, Mapping[str, Estimate]],
    sentences: Sequence[str],
) -> str:
    said = "".join(f"<li>{escape(text)}</li>" for text in sentences)
    said = said.replace(" %", "\N{NO-BREAK SPACE}%")
    short = f'<p>{_IN_SHORT}</p><ul class="short">{said}</ul>' if said else ""
    if not figures:
        return short + _caveat(_SUMMARY_CAVEAT)
    rows = [
        [name, *(by_model.get(model, UNKNOWN) for model in models)]
        for name, by_model in figures.items()
    ]
    table = _table(
        "Figures by model; intervals in brackets", ["figure", *models], rows
    )
    return f"{short}<p>{_SUMMARY}</p>{table}{_caveat(_SUMMARY_CAVEAT)}"


def _section(section: Section) -> str:
    result = next(iter(section.by_model.values()))
    level = f"{100 * result.confidence:g} % intervals in brackets"
    what = " ".join(filter(None, (result.measures, section.about)))
    figures = "".join(map(_figure, charts(section.name, section.by_model)))
    parts = [f'<p>{escape(what)}</p><div class="charts">{figures}</div>']
    for field in dataclasses.fields(result):
        values = {
            m: getattr(r, field.name) for m, r in section.by_model.items()
        }
        rows = {m: value for m, value in values.items() if _is_rows(value)}
        if rows:
            own = field.name == "rows"
            caption = "figures" if own else _label(field.name)
            columns = result.columns if own else ()
            parts.append(_rows_table(caption, level, rows, columns, result))
        elif field.name != "confidence" and not _is_shown_elsewhere(values):
            texts = {model: _text(value) for model, value in values.items()}
            said = "; ".join(
                dict.fromkeys(texts.values())
                if len(set(texts.values())) == 1
                else [f"{model}: {text}" for model, text in texts.items()]
            )
            label = _label(field.name).capitalize()
            parts.append(f"<p>{label}. {escape(said)}.</p>")
    return "".join(parts) + _caveat(result.caveat)


def _is_shown_elsewhere(values: Mapping[str, Any]) -> bool:
    """Returns whether there is nothing to show, or only tables of their own."""
    return all(
        value is None or value == () or isinstance(value, Table)
        for value in values.values()
    )


def _is_rows(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and bool(value)
        and all(isinstance(row, Row) for row in value)
    )


def _rows_table(
    caption: str,
    level: str,
    tables: Mapping[str, Sequence[Row]],
    columns: Sequence[str],
    result: Table,
) -> str:
    """Returns one table of several models' rows, equal names together."""
    one = next(iter(tables.values()))[0]
    columns = columns or [field.name for field in dataclasses.fields(one)]
    by_name: dict[Any, list[list[Any]]] = {}
    for model, rows in tables.items():
        for row in rows:
            name = name_of(row)
            if columns[0] in _OF_FIGURES:
                name = result.plotted.get(name, _label(name))
            figures = [getattr(row, column) for column in columns[1:]]
            by_name.setdefault(name, []).append([name, model, *figures])
    lines = [line for found in by_name.values() for line in found]
    if any(isinstance(value, Estimate) for line in lines for value in line):
        caption = f"{caption}; {level}"
    labels = [result.plotted.get(column, _label(column)) for column in columns]
    header = [labels[0], "model", *labels[1:]]
    return _table(caption, header, lines)


def _table(caption: str, header: Sequence[str], rows: Sequence[list]) -> str:
    head = "".join(
        f'<th scope="col"><button type="button">{escape(name)}</button></th>'
        for name in header
    )
    body = "".join(
        f'<tr><th scope="row"{_sort(row[0])}>{escape(_text(row[0]))}</th>'
        + "".join(map(_cell, row[1:]))
        + "</tr>"
        for row in rows
    )
    # The wrapper scrolls, so it must be reachable by keyboard.
    return (
        f'<div class="scroll" role="region" tabindex="0" '
        f'aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    shown = escape(_text(value))
    if isinstance(value, Estimate):
        shown = re.sub(r"(\[.*)", r'<span class="interval">\1</span>', shown)
    long = isinstance(value, str) and len(value) > _LONG
    kind = ' class="text"' if long else _sort(value)
    return f"<td{kind}>{shown}</td>"


def _sort(value: Any) -> str:
    """Returns what a number sorts by; text sorts by itself."""
    if isinstance(value, Estimate):
        value = value.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    return f' class="figure" data-sort="{value}"'


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and value == value:
        return f"{value:,.4g}"
    return show(value)


def _figure(chart: Chart) -> str:
    light, dark = (
        "data:image/svg+xml;base64,"
        + base64.b64encode(chart.svg(dark)).decode("ascii")
        for dark in (False, True)
    )
    title, words = escape(chart.title), escape(chart.words)
    return (
        "<figure><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="Chart of {title}, described below">'
        f"</picture><figcaption><strong>{title}.</strong> {words}</figcaption>"
        "</figure>"
    )


def _caveat(caveat: str) -> str:
    return (
        '<p class="caveat"><strong>What this does not show.</strong> '
        f"{escape(caveat)}</p>"
    )


def _label(name: str) -> str:
    return name.replace("_", " ").strip()
