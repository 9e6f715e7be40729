"""Results that were made elsewhere, as a report takes them."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
)
from tensorflow_model_remediation_ext.evaluation.tables import Row, Table

# More rows make a chart that nobody reads.
_MOST_PLOTTED = 20


@runtime_checkable
class Evidence(Protocol):
    """Any result that a `Report` can show.

    Nothing has to be imported or derived from: an object with these three
    members will do. It may also have

    - `confidence`, the level of its intervals (0.95 otherwise);
    - `plotted`, names of the figures to draw (all with intervals otherwise), or
      `plot(axes=None)`, which draws them and returns the matplotlib `Axes`;
    - `remarks()`, sentences for the top of the report;
    - `examples`, dicts of texts, of which the report shows as many as it may.
    """

    # A type checker takes attributes, class variables and frozen fields, too.
    @property
    def measures(self) -> str:
        """A sentence or two on what the figures are of."""
        ...

    @property
    def caveat(self) -> str:
        """A sentence or two on what they do not show."""
        ...

    def to_dict(self) -> Mapping[Any, Mapping[str, Any]]:
        """Returns rows by their names, each of them figures by their names.

        A figure is a number, text, a boolean or `None`. `x_low` and `x_high`
        are the ends of the interval of `x`.
        """
        ...


def as_table(evidence: object) -> Table:
    """Returns the table that shows a result.

    Args:
        evidence: A `Table`, or any other object with the members of
            `Evidence`.

    Raises:
        TypeError: If it lacks one of these, or its figures are not rows of
            plain values.
    """
    if isinstance(evidence, Table):
        return evidence
    kind = type(evidence).__name__
    if not isinstance(evidence, Evidence):
        raise TypeError(
            "`result` must be a table of `evaluation`, an Estimate, a number, "
            "or have `measures`, `caveat` and `to_dict`. "
            f"Received: {evidence!r}"
        )
    figures = evidence.to_dict()
    if not isinstance(figures, Mapping) or not all(
        isinstance(row, Mapping) for row in figures.values()
    ):
        raise TypeError(
            "`result.to_dict()` must return rows, each a dict of figures. "
            f"Received: {figures!r:.80} from {kind}"
        )
    plotted = getattr(evidence, "plotted", None)
    plain, with_intervals = _kinds_of_figures(figures, plotted or (), kind)
    texts = [key for key in plain if key not in with_intervals]
    _require_plain(figures, texts, kind)
    row_type = dataclasses.make_dataclass(
        f"{kind}Row",
        [("name_", Any), *((f"{key}_", Any) for key in plain)],
        bases=(Row,),
        frozen=True,
    )
    rows = tuple(
        row_type(name, *(_value(row, key, with_intervals) for key in plain))
        for name, row in figures.items()
    )
    drawn = with_intervals if plotted is None else plotted
    methods: dict[str, Any] = {
        "measures": evidence.measures,
        "caveat": evidence.caveat,
        "columns": ("name_", *(f"{key}_" for key in plain)),
        "plotted": {f"{key}_": key.replace("_", " ") for key in drawn},
        "most_plotted": _MOST_PLOTTED,
        "to_dict": lambda self: figures,
    }
    own = getattr(evidence, "plot", None)
    if callable(own):
        methods["plot"] = lambda self, axes=None: own(axes)
    remarks = getattr(evidence, "remarks", None)
    if callable(remarks):
        methods["remarks"] = lambda self: remarks()
    table = dataclasses.make_dataclass(
        kind,
        [("examples", tuple[Row, ...])],
        bases=(Table,),
        namespace=methods,
        frozen=True,
        repr=False,
    )
    return table(
        rows,
        float(getattr(evidence, "confidence", 0.95)),
        _examples(getattr(evidence, "examples", ())),
    )


def _kinds_of_figures(
    figures: Mapping[Any, Mapping[str, Any]], plotted: Iterable[str], kind: str
) -> tuple[list[str], list[str]]:
    """Returns the names of all figures, and of those with intervals.

    The ends of an interval are no figures of their own.

    Args:
        figures: Rows of figures.
        plotted: Names of those to draw, which all have intervals.
        kind: What they are from.

    Raises:
        TypeError: If one that is to be drawn is not there.
    """
    keys = list(dict.fromkeys(key for row in figures.values() for key in row))
    plain = [
        key
        for key in keys
        if not any(
            key.endswith(end) and key.removesuffix(end) in keys
            for end in ("_low", "_high")
        )
    ]
    unknown = [key for key in plotted if key not in plain]
    if unknown:
        raise TypeError(
            f"`result.plotted` must name figures, {plain}. "
            f"Received: {unknown} from {kind}"
        )
    with_intervals = [
        key for key in plain if f"{key}_low" in keys or key in plotted
    ]
    return plain, with_intervals


def require_alike(name: str, model: str, table: Table, other: Table) -> None:
    """Raises unless results of two models can stand side by side.

    Args:
        name: What both are called.
        model: Name of the model of the first.
        table: Its result.
        other: That of another model.

    Raises:
        ValueError: If they have other levels or other figures.
    """
    found, known = table.confidence, other.confidence
    if found != known:
        raise ValueError(
            f"Results named {name!r} must have one `confidence`. "
            f"Received: {found} for the model {model!r}, after {known}"
        )
    for what in ("columns", "plotted", "examples"):
        one, two = (
            _figures(getattr(each, what, ())) for each in (table, other)
        )
        # There need not be examples of every model.
        if one != two and (what != "examples" or (one and two)):
            raise ValueError(
                f"Results named {name!r} must have the same {what}; a figure "
                f"that is unknown is None. Received: {one} for the model "
                f"{model!r}, after {two}"
            )


def _figures(fields: Any) -> list[str]:
    """Returns names of figures, given or of a first row, as they were given."""
    if fields and isinstance(fields, tuple) and isinstance(fields[0], Row):
        fields = [field.name for field in dataclasses.fields(fields[0])]
    return [str(name).removesuffix("_") for name in fields]


def _examples(texts: Iterable[Mapping[str, Any]]) -> tuple[Row, ...]:
    """Returns dicts as rows, `None` where one lacks a key."""
    texts = list(texts)
    if not texts:
        return ()
    keys = list(dict.fromkeys(key for text in texts for key in text))
    row_type = dataclasses.make_dataclass(
        "ExampleRow",
        [(f"{key}_", Any) for key in keys],
        bases=(Row,),
        frozen=True,
    )
    return tuple(row_type(*map(text.get, keys)) for text in texts)


def _require_plain(
    figures: Mapping[Any, Mapping[str, Any]], texts: list[str], kind: str
) -> None:
    """Raises unless figures can be shown and written to JSON.

    Args:
        figures: Rows of figures.
        texts: Which of the figures may be texts.
        kind: What they are from.
    """
    for name, row in figures.items():
        for key, value in row.items():
            if key in texts and isinstance(value, str):
                continue
            if not isinstance(value, (numbers.Real, np.bool_, type(None))):
                raise TypeError(
                    "`result.to_dict()` must return figures that are numbers, "
                    "booleans, None or, without an interval, texts. Received: "
                    f"{value!r:.80} for {key!r} in {name!r} from {kind}"
                )


def _value(row: Mapping[str, Any], key: str, with_intervals: list[str]) -> Any:
    value = row.get(key)
    if key not in with_intervals:
        return value
    if value is None:
        return UNKNOWN
    ends = (row.get(f"{key}{end}") for end in ("_low", "_high"))
    return Estimate(
        float(value),
        *(float("nan") if end is None else float(end) for end in ends),
    )
