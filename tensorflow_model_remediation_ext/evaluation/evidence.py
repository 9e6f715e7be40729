"""What a report takes of results that are not made here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

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
    keys = list(dict.fromkeys(key for row in figures.values() for key in row))
    plain = [
        key
        for key in keys
        if not any(
            key.endswith(end) and key.removesuffix(end) in keys
            for end in ("_low", "_high")
        )
    ]
    with_intervals = [key for key in plain if f"{key}_low" in keys]
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
    drawn = getattr(evidence, "plotted", with_intervals)
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


def _examples(texts: Iterable[Mapping[str, Any]]) -> tuple[Row, ...]:
    """Returns dicts of the same keys as rows."""
    texts = list(texts)
    if not texts:
        return ()
    row_type = dataclasses.make_dataclass(
        "ExampleRow",
        [(f"{key}_", Any) for key in texts[0]],
        bases=(Row,),
        frozen=True,
    )
    return tuple(row_type(*text.values()) for text in texts)


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
