"""The charts of a report: in light, in dark, as PNG, and in words."""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
)
from tensorflow_model_remediation_ext.evaluation.tables import (
    Row,
    Table,
    extra,
    in_digits,
    label_of,
    name_of,
    plot_estimates,
)

# Narrow enough to be read on a phone without turning it.
_WIDTH = 4.8
# Height of a line of the legend, likewise.
_LINE = 0.25
_LIGHT = "#1a1c1f"
_DARK = "#e7e9ec"


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart that can be drawn in any color of ink.

    Args:
        title: What it shows.
        words: The same in words, for those who do not see it.
        draw: Draws it on a new figure and returns the `Axes`.
    """

    title: str
    words: str
    draw: Callable[[], Any]

    def svg(self, dark: bool) -> bytes:
        """Returns the chart as SVG on no background, in light or dark."""
        return self._render("svg", _DARK if dark else _LIGHT, "none")

    def png(self) -> bytes:
        """Returns the chart as PNG, dark on white."""
        return self._render("png", _LIGHT, "white")

    def _render(self, kind: str, ink: str, paper: str) -> bytes:
        matplotlib = extra("matplotlib", "A report")
        colors = {
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.edgecolor": ink,
            "xtick.color": ink,
            "ytick.color": ink,
            "axes.facecolor": paper,
            "figure.facecolor": paper,
            "savefig.facecolor": paper,
            "font.size": 10,
            # So that the same figures give the same bytes.
            "svg.hashsalt": self.title,
        }
        buffer = io.BytesIO()
        with matplotlib.rc_context(colors):
            axes = self.draw()
            figure = axes.figure
            figure.set_figwidth(_WIDTH)
            if axes.get_legend():
                _lay_legend_outside(axes)
            figure.savefig(
                buffer,
                format=kind,
                dpi=150,
                metadata={"Date": None} if kind == "svg" else None,
            )
        return buffer.getvalue()


def _lay_legend_outside(axes: Any) -> None:
    """Moves the legend above the axes, in as many lines as it needs."""
    # There it neither hides a point nor is cut off.
    figure = axes.figure
    height = figure.get_figheight()
    axes.get_legend().remove()
    handles, labels = axes.get_legend_handles_labels()
    for columns, letters in ((3, 18), (2, 20), (1, 40), (1, 24), (1, 12)):
        texts = [textwrap.fill(label, letters) for label in labels]
        lines = max(text.count("\n") + 1 for text in texts)
        lines *= math.ceil(len(texts) / columns)
        # What the legend takes must not come out of the axes.
        figure.set_figheight(height + _LINE * lines)
        legend = figure.legend(
            handles,
            texts,
            loc="outside upper left",
            ncols=columns,
            frameon=False,
        )
        figure.draw_without_rendering()
        if letters == 12 or legend.get_window_extent().x1 <= figure.bbox.x1:
            return
        legend.remove()


def charts(name: str, by_model: Mapping[str, Table]) -> list[Chart]:
    """Returns the charts of the results that have one name.

    Results that draw themselves as any table does come together, one chart for
    each figure that any of them has, with the models side by side; others draw
    one each. What has no figure to draw has no chart.

    Args:
        name: What was measured.
        by_model: Results of one type by the name of the model.

    Returns:
        The charts.
    """
    by_model = {
        model: dataclasses.replace(
            result, rows=result.rows[: result.most_plotted]
        )
        for model, result in by_model.items()
    }
    results = list(by_model.values())
    if len(results) == 1 or type(results[0]).plot is not Table.plot:
        return [
            Chart(
                name if len(results) == 1 else f"{name}: {model}",
                words({model: result}, result.drawn()),
                result.plot,
            )
            for model, result in by_model.items()
            if result.known_figures() or type(result).plot is not Table.plot
        ]
    known = {figure for each in results for figure in each.known_figures()}
    return [
        Chart(
            name if len(known) == 1 else f"{name}: {label}",
            words(by_model, {figure: label}),
            functools.partial(_together, by_model, figure, label),
        )
        for figure, label in results[0].plotted.items()
        if figure in known
    ]


def side_by_side(
    by_model: Mapping[str, Table], figure: str
) -> tuple[list[str], dict[str, list[Estimate]]]:
    """Returns the rows' labels, and for each model the figure in each row."""
    labels: dict[Any, str] = {}
    for result in by_model.values():
        for row in result.rows:
            name, label = name_of(row), label_of(row)
            if labels.setdefault(name, label) != label:
                # Not of as many examples for all models.
                labels[name] = label_of(row, size=False)
    series = {}
    for model, result in by_model.items():
        found = {name_of(row): getattr(row, figure) for row in result.rows}
        series[model] = [found.get(name, UNKNOWN) for name in labels]
    return list(labels.values()), series


def words(by_model: Mapping[str, Table], figures: Mapping[str, str]) -> str:
    """Says for each model and figure where it is lowest and highest."""
    sentences = []
    for model, result in by_model.items():
        for figure, label in figures.items():
            known = [
                (getattr(row, figure).value, _place(row))
                for row in result.rows
                if not math.isnan(getattr(row, figure).value)
            ]
            start = f"{label[:1].upper()}{label[1:]} of {model}"
            if not known:
                sentences.append(f"{start}: unknown.")
                continue
            (low, where), (high, there) = min(known), max(known)
            least, most = in_digits(low, high)
            if low == high:
                sentences.append(f"{start}: {least}.")
            else:
                sentences.append(
                    f"{start}: from {least} ({where}) to {most} ({there})."
                )
    return " ".join(sentences)


def _place(row: Row) -> str:
    """Returns the name of a row, and what it is if that is but a number."""
    name = name_of(row)
    if not isinstance(name, float):
        return str(name)
    return f"{dataclasses.fields(row)[0].name.replace('_', ' ')} {name:g}"


def _together(by_model: Mapping[str, Table], figure: str, label: str) -> Any:
    labels, series = side_by_side(by_model, figure)
    references: dict[str, set[float]] = {}
    for result in by_model.values():
        for name, values in result.reference_lines([figure]).items():
            references.setdefault(name, set()).update(values)
    level = next(iter(by_model.values())).confidence
    return plot_estimates(
        None,
        labels,
        series,
        f"{label} ({100 * level:g} % intervals)",
        references,
    )
