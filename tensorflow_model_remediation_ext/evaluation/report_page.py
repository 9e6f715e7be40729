"""The page of a report: HTML that needs nothing but itself."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.report_charts import (
    Chart,
    first,
)
from tensorflow_model_remediation_ext.evaluation.tables import Row, Table

_SECTION = tuple[str, Mapping[str, Table], Sequence[Chart]]
_SUMMARY_CAVEAT = (
    "Figures are those of the data they were measured on. Two intervals that "
    "overlap may still differ, and of many intervals some will miss. Whether a "
    "model is fair enough to be used is not in any of them."
)


def page(
    title: str,
    summary: str,
    models: Sequence[str],
    figures: Mapping[str, Mapping[str, Estimate]],
    sections: Sequence[_SECTION],
) -> str:
    """Returns a whole HTML page.

    Args:
        title: Its heading.
        summary: What stands below it; may be empty.
        models: Names of the models, in order.
        figures: Plain figures by their name and the model.
        sections: Name, results by model, and charts of each section.

    Returns:
        The text of the page.
    """
    parts = []
    if figures:
        parts.append(("Summary", _summary(models, figures)))
    parts += [
        (name, _section(by_model, charts))
        for name, by_model, charts in sections
    ]
    links = "".join(
        f'<li><a href="#s{k}">{escape(name)}</a></li>'
        for k, (name, _) in enumerate(parts)
    )
    body = "".join(
        f'<section id="s{k}" aria-labelledby="h{k}">'
        f'<h2 id="h{k}">{escape(name)}</h2>{html}</section>'
        for k, (name, html) in enumerate(parts)
    )
    files = resources.files(__package__) / "report_files"
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


def text(estimate: Estimate) -> str:
    """Returns a figure with its interval in brackets."""
    if math.isnan(estimate.value):
        return "–"
    value, low, high = (f"{part:,.4f}" for part in estimate)
    if math.isnan(estimate.low):
        return f"{value} [no interval]"
    return f"{value} [{low}, {high}]"


def _summary(
    models: Sequence[str], figures: Mapping[str, Mapping[str, Estimate]]
) -> str:
    rows = [
        [name, *(by_model.get(model) for model in models)]
        for name, by_model in figures.items()
    ]
    return _caveat(_SUMMARY_CAVEAT) + _table(
        "Figures by model; intervals in brackets", ["figure", *models], rows
    )


def _section(by_model: Mapping[str, Table], charts: Sequence[Chart]) -> str:
    result = next(iter(by_model.values()))
    level = f"{100 * result.confidence:g} % intervals in brackets"
    figures = "".join(map(_figure, charts))
    parts = [_caveat(result.caveat), f'<div class="charts">{figures}</div>']
    for field in dataclasses.fields(result):
        tables = {m: getattr(r, field.name) for m, r in by_model.items()}
        if not _is_rows(next(iter(tables.values()))):
            continue
        columns, what = (), _label(field.name)
        if field.name == "rows":
            columns, what = result._columns, "figures"
        parts.append(_rows_table(f"{what}; {level}", tables, columns))
    return "".join(parts)


def _is_rows(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and bool(value)
        and all(isinstance(row, Row) for row in value)
    )


def _rows_table(
    caption: str,
    tables: Mapping[str, Sequence[Row]],
    columns: Sequence[str],
) -> str:
    """Returns one table of several models' rows, equal names together."""
    one = next(iter(tables.values()))[0]
    columns = columns or [field.name for field in dataclasses.fields(one)]
    names = dict.fromkeys(
        first(row) for rows in tables.values() for row in rows
    )
    lines = [
        [name, model, *(getattr(row, column) for column in columns[1:])]
        for name in names
        for model, rows in tables.items()
        for row in rows
        if first(row) == name
    ]
    header = [_label(columns[0]), "model", *map(_label, columns[1:])]
    return _table(caption, header, lines)


def _table(caption: str, header: Sequence[str], rows: Sequence[list]) -> str:
    head = "".join(
        f'<th scope="col"><button type="button">{escape(name)}</button></th>'
        for name in header
    )
    body = "".join(
        f'<tr><th scope="row">{escape(str(row[0]))}</th>'
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
    if value is None:
        value = Estimate(math.nan, math.nan, math.nan)
    if isinstance(value, Estimate):
        figure, _, interval = text(value).partition(" ")
        if interval:
            figure += f' <span class="interval">{interval}</span>'
        return f'<td class="figure" data-sort="{value.value}">{figure}</td>'
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, (int, float)):
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
        if value != value:
            shown = "–"
        return f'<td class="figure" data-sort="{value}">{shown}</td>'
    return f"<td>{escape(str(value))}</td>"


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
    return name.replace("_", " ")
