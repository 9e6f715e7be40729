"""One page with the evidence: tables, charts, and what they do not show."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import re
from typing import Any

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.evaluation.evidence import (
    Evidence,
    as_table,
    require_alike,
)
from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
    without_interval,
)
from tensorflow_model_remediation_ext.evaluation.report import charts
from tensorflow_model_remediation_ext.evaluation.report.page import (
    Section,
    render,
)
from tensorflow_model_remediation_ext.evaluation.report.summary import (
    sentences,
)
from tensorflow_model_remediation_ext.evaluation.tables import (
    Row,
    Table,
    aligned,
    name_of,
    show,
)


class Report:
    """Collects results of one or more models and writes them as a page.

    Results of the same name stand side by side, model by model. The page is
    one HTML file that asks for nothing from the network; it comes with its
    charts as PNG and all figures as JSON.

    A report shows what was measured, and next to it what that does not show.
    It does not weigh figures against each other: whether a model is fair
    enough to be used is not in them.

    Args:
        title: Heading of the page.
        summary: A sentence or two below it: what the data and models are.
        examples: How many texts of a result to show at most, such as pairs
            that flip. 0 leaves all of them out, as they may be private.

    Examples:
        >>> labels = [0, 1, 0, 1]
        >>> before, after = [0.2, 0.9, 0.6, 0.7], [0.3, 0.8, 0.4, 0.7]
        >>> report = Report("Comments, before and after")
        >>> for name, scores in {"plain": before, "remediated": after}.items():
        ...     report = report.add(name, "AUC", auc(labels, scores))
        ...     report = report.add(name, "Flips", flips(scores, after))
        >>> report.save("evidence")
        PosixPath('evidence/report.html')
    """

    def __init__(self, title: str, summary: str = "", *, examples: int = 5):
        _require_text(title=title, summary=summary)
        self._examples = whole("examples", examples, least=0)
        self.title = title
        self.summary = summary
        self._figures: dict[str, dict[str, Estimate]] = {}
        self._results: dict[str, dict[str, Table]] = {}
        self._about: dict[str, str] = {}
        self._kinds: dict[str, type] = {}

    def add(
        self,
        model: str,
        name: str,
        result: Evidence | Estimate | float,
        about: str = "",
    ) -> Report:
        """Adds what was measured of a model.

        Args:
            model: Name of the model, such as `"baseline"`.
            name: What was measured. Under one name, all models have results of
                the same type and figures, and intervals of the same level. It
                is not that of a part of another result, such as `"By sex:
                calibration"` beside a `GroupReport` named `"By sex"`.
            result: What a function of `evaluation` returned: a table, an
                `Estimate`, or a plain number, which has no interval. Or any
                object that is `Evidence`: with `measures`, `caveat` and
                `to_dict`.
            about: Of a table, a sentence for all models on what it is of: which
                examples, which change in them.

        Returns:
            The report.

        Raises:
            TypeError: If `result` is none of these, or of another type than
                what other models have under this name; or if a text is not a
                string.
            ValueError: If the model already has a result of this name;
                intervals have another level, or results other figures, than
                other models' under it; or a result and a part of another one
                have the same name.
        """
        _require_text(model=model, name=name, about=about)
        home: dict[str, dict[str, Any]]
        kind = type(result)
        if hasattr(result, "to_dict"):
            table = _with_examples(as_table(result), self._examples)
            home, result = self._results, table
        else:
            home, kind, result = self._figures, Estimate, _estimate(result)
        before = home.get(name, {})
        if self._kinds.get(name, kind) is not kind:
            raise TypeError(
                f"Results named {name!r} must be of one type. "
                f"Received: {kind.__name__} for the model {model!r}"
            )
        if model in before:
            raise ValueError(
                f"The model {model!r} already has a result named {name!r}."
            )
        if isinstance(result, Table):
            self._require_own_titles(name, result)
            for other in self._results.get(name, {}).values():
                require_alike(name, model, result, other)
        self._kinds[name] = kind
        home.setdefault(name, {})[model] = result
        if about:
            self._about[name] = about
        return self

    def _require_own_titles(self, name: str, table: Table) -> None:
        """Raises if a result and a part of another have one title."""
        parts = {
            title
            for known, by_model in self._results.items()
            for result in by_model.values()
            for title in _titles_of_parts(known, result)
        }
        taken = {name} & parts or self._results.keys() & _titles_of_parts(
            name, table
        )
        for title in taken:
            raise ValueError(
                f"`name` must not make a part of one result and another result "
                f"have the same title, {title!r}. Received: name={name!r}"
            )

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order they were added."""
        everything: list[dict[str, Any]] = [
            *self._figures.values(),
            *self._results.values(),
        ]
        return list(
            dict.fromkeys(m for by_model in everything for m in by_model)
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all figures as JSON knows them, NaN as `None`."""
        return _plain(
            {
                "title": self.title,
                "summary": self.summary,
                "figures": {
                    name: {m: e._asdict() for m, e in by_model.items()}
                    for name, by_model in self._figures.items()
                },
                "results": {
                    name: {
                        model: {
                            "type": type(result).__name__,
                            "measures": result.measures,
                            "about": self._about.get(name, ""),
                            "caveat": result.caveat,
                            "confidence": result.confidence,
                            "figures": result.to_dict(),
                            **_more_rows(result),
                        }
                        for model, result in by_model.items()
                    }
                    for name, by_model in self._sections().items()
                },
            }
        )

    def _sections(self) -> dict[str, dict[str, Table]]:
        """Returns results by name and model, each followed by its parts."""
        sections: dict[str, dict[str, Table]] = {}
        for name, by_model in self._results.items():
            sections[name] = by_model
            for model, result in by_model.items():
                for title, table in _titles_of_parts(name, result).items():
                    sections.setdefault(title, {})[model] = table
        return sections

    def to_html(self) -> str:
        """Returns the page.

        Raises:
            ImportError: If matplotlib is missing.
        """
        return render(
            self.title,
            self.summary,
            self.models,
            self._figures,
            sentences(self._figures, self._results),
            [
                Section(name, self._about.get(name, ""), by_model)
                for name, by_model in self._sections().items()
            ],
        )

    def save(self, directory: str | os.PathLike) -> pathlib.Path:
        """Writes `report.html`, `report.json` and a PNG for each chart.

        Args:
            directory: Where to; made if it is missing. Files of the same name
                are replaced.

        Returns:
            The path of the page.

        Raises:
            ImportError: If matplotlib is missing.
            ValueError: If nothing was added.
        """
        if not self.models:
            raise ValueError("The report is empty: `add` results first.")
        home = pathlib.Path(directory)
        home.mkdir(parents=True, exist_ok=True)
        page = home / "report.html"
        page.write_text(self.to_html(), encoding="utf-8")
        (home / "report.json").write_text(
            json.dumps(self.to_dict(), indent=2, allow_nan=False),
            encoding="utf-8",
        )
        taken: set[str] = set()
        for name, by_model in self._sections().items():
            for chart in charts.charts(name, by_model):
                (home / _file_name(chart.title, taken)).write_bytes(chart.png())
        return page

    def __repr__(self) -> str:
        parts, models = [self.title], self.models
        if self._figures:
            rows = [
                [name, *(show(by_model.get(m, UNKNOWN)) for m in models)]
                for name, by_model in self._figures.items()
            ]
            parts.append(aligned([["", *models], *rows]))
        for name, by_model in self._sections().items():
            first = next(iter(by_model.values()))
            for figure, label in (first.compared or first.plotted).items():
                labels, series = charts.side_by_side(by_model, figure)
                columns = [[f"{name}: {label}", *labels]]
                columns += [[m, *map(show, each)] for m, each in series.items()]
                parts.append(aligned(list(zip(*columns, strict=True))))
        said = sentences(self._figures, self._results)
        parts += ["Intervals in brackets", "\n".join(said)]
        return "\n\n".join(filter(None, parts))


def _require_text(**values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"`{name}` must be text. Received: {value!r}")


def _estimate(value: Any) -> Estimate:
    if isinstance(value, Estimate):
        return value
    try:
        return without_interval(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            "`result` must be a table of `evaluation`, an Estimate, a number, "
            "or have `measures`, `caveat` and `to_dict`. "
            f"Received: {value!r}"
        ) from error


def _titles_of_parts(name: str, table: Table) -> dict[str, Table]:
    return {f"{name}: {what}": part for what, part in table.parts().items()}


def _with_examples(table: Table, most: int) -> Table:
    """Returns a table with at most so many of its examples, if it has any."""
    examples = getattr(table, "examples", ())
    if not examples:
        return table
    shown: dict[str, Any] = {"examples": examples[:most]}
    return dataclasses.replace(table, **shown)


def _more_rows(result: Table) -> dict[str, Any]:
    """Returns rows that are in fields of their own, by field and name."""
    fields = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name != "rows"
    }
    return {
        name: {str(name_of(row)): row.to_dict() for row in rows}
        for name, rows in fields.items()
        if isinstance(rows, tuple) and rows and isinstance(rows[0], Row)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):  # NumPy's numbers.
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _file_name(title: str, taken: set[str]) -> str:
    """Returns a name of a PNG that is not taken, and takes it."""
    stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "chart"
    name, k = stem, 1
    while name in taken:
        k += 1
        name = f"{stem}-{k}"
    taken.add(name)
    return f"{name}.png"
