"""What all results of `evaluation` share, so that a report can collect them.

A result is a frozen dataclass derived from `Table`, and offers:

- `rows`: `Row`s; `result["name"]` is the row of that name, and its
  `Estimate`s hold their intervals;
- `to_dict()`: plain numbers, ready for JSON (NaN stays NaN);
- `to_frame()`: a pandas DataFrame, one line a row;
- `repr`: a table to read;
- `plot(axes=None)`: the matplotlib `Axes` that it drew on, with intervals;
- `measures` and `caveat`: what the figures are of, and what they do not show,
  in a sentence or two, to be printed wherever they are.

A `Report` takes other objects as well; see `evidence.Evidence`.
"""

from __future__ import annotations

import dataclasses
import importlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate

# Okabe and Ito's: told apart by all kinds of color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def extra(module: str, purpose: str) -> Any:
    """Imports a module of the extra `evaluation`.

    Args:
        module: Its full name.
        purpose: What needs it, to begin the error message with.

    Returns:
        The module.

    Raises:
        ImportError: If it is missing, with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {module.partition('.')[0]}: pip install "
            '"tensorflow_model_remediation_ext[evaluation]"'
        ) from error


@dataclasses.dataclass(frozen=True)
class Row:
    """Figures that belong together; the first field names them."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers, intervals as `<name>_low` and `_high`."""
        flat = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Estimate):
                flat[field.name] = value.value
                flat[f"{field.name}_low"] = value.low
                flat[f"{field.name}_high"] = value.high
            else:
                flat[field.name] = value
        return flat


class Headline(NamedTuple):
    """A figure that a report compares in a sentence.

    Attributes:
        label: What it is, to stand after "the".
        estimate: The figure.
        percent: Whether it is a share that is read in percent.
    """

    label: str
    estimate: Estimate
    percent: bool = False

    def show(self, value: float) -> str:
        """Returns a value as text."""
        if self.percent and (value == 0 or abs(value) >= 5e-4):
            return f"{100 * value:.1f} %"
        return f"{rounded(100 * value)} %" if self.percent else rounded(value)


def rounded(value: float, digits: int = 3) -> str:
    """Returns a number with so many significant digits.

    Only numbers below 0.0001 have an exponent.
    """
    return f"{float(f'{value:.{digits}g}'):,.12g}"


SomeRow = TypeVar("SomeRow", bound=Row)


@dataclasses.dataclass(frozen=True, repr=False)
class Table(Generic[SomeRow]):
    """Rows of figures with their intervals; its `repr` is a table.

    Args:
        rows: What the figures are of.
        confidence: Level of the intervals.
    """

    rows: tuple[SomeRow, ...]
    confidence: float

    measures: ClassVar[str] = ""
    caveat: ClassVar[str] = ""
    # Fields of a row that are printed.
    columns: ClassVar[tuple[str, ...]] = ()
    # Figures that are drawn, with their labels.
    plotted: ClassVar[dict[str, str]] = {}
    # Those that are compared with another model's, where they are more.
    compared: ClassVar[dict[str, str]] = {}
    # Fields of a row that a figure is drawn with, as a dashed line.
    reference_fields: ClassVar[dict[str, str]] = {}
    axis_label: ClassVar[str] = ""
    # More rows than these are not drawn, only printed.
    most_plotted: ClassVar[int | None] = None

    def __getitem__(self, name: str) -> SomeRow:
        for row in self.rows:
            if name_of(row) == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Returns each row's figures by its name, as plain numbers."""
        return {name_of(row): row.to_dict() for row in self.rows}

    def to_frame(self) -> Any:
        """Returns a pandas DataFrame with the rows' names as its index.

        Raises:
            ImportError: If pandas is missing.
        """
        return frame(self.rows)

    def plot(self, axes: Any = None) -> Any:
        """Draws the figures with their intervals.

        Args:
            axes: matplotlib `Axes` to draw on; a new figure's by default.

        Returns:
            The `Axes`; its figure is `axes.figure`.

        Raises:
            ImportError: If matplotlib is missing.
        """
        rows = self.rows[: self.most_plotted]
        return plot_estimates(
            axes,
            [label_of(row) for row in rows],
            {
                label: [getattr(row, name) for row in rows]
                for name, label in self.drawn().items()
            },
            f"{self.axis_label} ({100 * self.confidence:g} % intervals)",
            self.reference_lines(self.drawn()),
        )

    def drawn(self) -> dict[str, str]:
        """Returns the figures to draw, with their labels: those that are known.

        All of them if none is.
        """
        return self.known_figures() or self.plotted

    def known_figures(self) -> dict[str, str]:
        """Returns the figures to draw that any row has, with their labels."""
        return {
            name: label
            for name, label in self.plotted.items()
            if any(
                getattr(row, name).value == getattr(row, name).value
                for row in self.rows
            )
        }

    def parts(self) -> dict[str, Table]:
        """Returns the tables that are part of this one, by what they are."""
        fields = dataclasses.fields(self)
        values = {field.name: getattr(self, field.name) for field in fields}
        return {
            name.replace("_", " "): value
            for name, value in values.items()
            if isinstance(value, Table)
        }

    def headlines(self) -> list[Headline]:
        """Returns the figures that a report compares in sentences."""
        return []

    def remarks(self) -> list[str]:
        """Returns more sentences on these results, for the report's top."""
        return []

    def reference_lines(self, figures: Iterable[str]) -> dict[str, set[float]]:
        """Returns what to draw with these figures: values by their label."""
        return {
            field.replace("_", " "): {getattr(r, field) for r in self.rows}
            for figure, field in self.reference_fields.items()
            if figure in figures
        }

    def __repr__(self) -> str:
        return "\n".join(
            [
                text_table(self.rows, self.columns),
                f"{100 * self.confidence:g} % intervals in brackets",
            ]
        )


def frame(rows: Sequence[Row]) -> Any:
    """Returns rows as a pandas DataFrame, their names as its index.

    Without rows it has no columns either.
    """
    pandas = extra("pandas", "A data frame")
    if not rows:
        return pandas.DataFrame()
    result = pandas.DataFrame([row.to_dict() for row in rows])
    return result.set_index(result.columns[0])


def text_table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Returns the named columns of rows as text, the first one leftmost."""
    table = [list(columns)]
    table += [[show(getattr(row, c)) for c in columns] for row in rows]
    return aligned(table)


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Returns lines of cells with each column as wide as its widest cell."""
    padded: list[list[str]] = []
    for cells in zip(*table, strict=True):
        width = max(map(len, cells))
        # Names to the left, figures to the right.
        pad = str.rjust if padded else str.ljust
        padded.append([pad(cell, width) for cell in cells])
    return "\n".join(
        "  ".join(cells).rstrip() for cells in zip(*padded, strict=True)
    )


def plot_estimates(
    axes: Any,
    names: Sequence[str],
    series: Mapping[str, Sequence[Estimate]],
    axis_label: str,
    references: Mapping[str, Iterable[float]] = MappingProxyType({}),
) -> Any:
    """Draws a line for each name, on it a point and interval for each series.

    Args:
        axes: matplotlib `Axes`, or `None` for those of a new figure.
        names: Labels of the lines, from the top; long ones are folded.
        series: Estimates by what they are, each as many as `names`. NaN ones
            are left out.
        axis_label: What the values are.
        references: Values to draw a dashed line at, by their label.

    Returns:
        The `Axes`.

    Raises:
        ImportError: If matplotlib is missing.
    """
    names = [plain_text(in_lines(name)) for name in names]
    if axes is None:
        lines = max([1, *(name.count("\n") + 1 for name in names)])
        each = max(0.2 * (1 + len(series)), 0.17 * lines + 0.08)
        axes = new_axes(height=1.2 + each * len(names))
    step = 0.7 / len(series)
    for k, (label, estimates) in enumerate(series.items()):
        offset = step * (k - (len(series) - 1) / 2)
        value, low, high = zip(*estimates, strict=True) if names else [()] * 3
        axes.errorbar(
            value,
            [place + offset for place in range(len(names))],
            xerr=[
                [v - end for v, end in zip(value, low, strict=True)],
                [end - v for v, end in zip(value, high, strict=True)],
            ],
            fmt="o",
            markersize=5,
            capsize=3,
            color=COLORS[k % len(COLORS)],
            label=plain_text(label),
            clip_on=False,
        )
    for label, values in references.items():
        for k, value in enumerate(sorted(values)):
            axes.axvline(
                value,
                color="0.5",
                linestyle="--",
                linewidth=1,
                label=None if k else plain_text(label),
            )
    drawn = [x for each in series.values() for e in each for x in e]
    drawn += [value for values in references.values() for value in values]
    keep_within_shares(axes, "x", drawn)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_xlabel(plain_text(axis_label))
    axes.locator_params(axis="x", nbins=5)
    tidy(axes, grid="x")
    if len(series) > 1 or references:
        axes.legend(
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=3,
        )
    return axes


def in_lines(label: str, width: int = 22) -> str:
    """Returns a label as lines, so that it leaves room for what is drawn."""
    # None ends within "(n = 19)".
    kept = "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
    lines = textwrap.fill(label.replace(" = ", kept), width)
    return lines.replace(kept, " = ")


def plain_text(label: str) -> str:
    """Returns what matplotlib draws as this text."""
    # It sets what stands between dollars as mathematics, and leaves out of
    # legends what begins with an underscore: not with a space of no width.
    hidden = "\u200b" if label.startswith("_") else ""
    return hidden + label.replace("$", r"\$")


def new_axes(height: float) -> Any:
    """Returns the axes of a new figure that pyplot knows nothing of."""
    matplotlib_figure = extra("matplotlib.figure", "A picture")
    figure = matplotlib_figure.Figure(figsize=(7, height), layout="constrained")
    # Half a label of a tick that stands at the very end.
    figure.get_layout_engine().set(w_pad=0.12)
    return figure.add_subplot()


def tidy(axes: Any, grid: str) -> None:
    """Clears the frame of axes and lays a grid along x, y or both."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3, axis=grid)
    axes.set_axisbelow(True)


def keep_within_shares(axes: Any, axis: str, values: Iterable[float]) -> None:
    """Ends an axis at 0 and 1 where everything on it lies between them.

    Args:
        axes: matplotlib `Axes`.
        axis: `"x"` or `"y"`.
        values: All that is drawn along it; NaN is ignored.
    """
    drawn = [value for value in values if value == value]
    if drawn and min(drawn) >= 0 and max(drawn) <= 1:
        low, high = getattr(axes, f"get_{axis}lim")()
        getattr(axes, f"set_{axis}lim")(max(low, 0), min(high, 1))


def name_of(row: Row) -> Any:
    """Returns what names a row: its first field."""
    return getattr(row, dataclasses.fields(row)[0].name)


def label_of(row: Row, size: bool = True) -> str:
    """Returns the name of a row as text, with the number of examples or not."""
    name = name_of(row)
    name = f"{name:g}" if isinstance(name, float) else str(name)
    return f"{name} (n = {row.n:,})" if size and hasattr(row, "n") else name


def in_digits(*values: float) -> list[str]:
    """Returns figures of one thing as text, alike for all of them."""
    largest = max((abs(v) for v in values if v == v), default=0.0)
    # With four decimals they would all be zeros.
    digits = ",.3g" if 0 < largest < 5e-4 else ",.4f"
    return [format(value, digits) for value in values]


def show(value: Any) -> str:
    """Returns a figure as text, with its interval if it has one."""
    if isinstance(value, Estimate):
        if value.value != value.value:
            return "[none]"
        if value.low != value.low:
            return f"{in_digits(value.value)[0]} [no interval]"
        return "{} [{}, {}]".format(*in_digits(*value))
    if value is None:
        return "-"
    if isinstance(value, float):
        return "-" if value != value else in_digits(value)[0]
    return str(value)
