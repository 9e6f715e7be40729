"""A report in plain sentences, made from its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate
from tensorflow_model_remediation_ext.evaluation.tables import (
    Headline,
    Table,
    rounded,
)


def sentences(
    figures: Mapping[str, Mapping[str, Estimate]],
    results: Mapping[str, Mapping[str, Table]],
) -> list[str]:
    """Says what differs between models, and what does not beyond chance.

    Whether two figures differ is told from both intervals, as if the models
    had been measured on different data. Measured on the same data they agree
    more closely by chance, so this errs toward saying that nothing differs.

    Args:
        figures: Plain figures by their name and the model.
        results: Tables by their name and the model.

    Returns:
        The sentences; for each figure, those of all models against the first
        one that has it.
    """
    said = []
    for name, by_model in figures.items():
        said += _compared(
            {
                model: Headline(name, estimate)
                for model, estimate in by_model.items()
            },
            "",
        )
    for name, tables in results.items():
        headlines: dict[str, dict[str, Headline]] = {}
        for model, table in tables.items():
            for headline in table.headlines():
                headlines.setdefault(headline.label, {})[model] = headline
        for found in headlines.values():
            said += _compared(found, f"{name}: ")
        for model, table in tables.items():
            of = f" ({model})" if len(tables) > 1 else ""
            said += [f"{name}{of}: {text}" for text in table.remarks()]
    return [text[:1].upper() + text[1:] for text in said]


def _compared(found: Mapping[str, Headline], start: str) -> list[str]:
    known = {
        model: headline
        for model, headline in found.items()
        if not math.isnan(headline.estimate.value)
    }
    if not known:
        return []
    (before, first), *others = known.items()
    if not others:
        # A lone number without an interval is in the table anyway.
        if math.isnan(first.estimate.low):
            return []
        return [f"{start}the {_is(first)} ({before})."]
    return [
        f"{start}{_changed(first, other)} ({model} against {before})."
        for model, other in others
    ]


def _is(headline: Headline) -> str:
    value, low, high = map(headline.show, headline.estimate)
    return f"{headline.label} is {value}, between {low} and {high}"


def _changed(before: Headline, after: Headline) -> str:
    one, other = before.estimate, after.estimate
    values = f"{before.show(one.value)} and {after.show(other.value)}"
    change = other.value - one.value
    # The error of a difference, on the side that is toward no difference.
    sides: Sequence[float] = (
        (other.value - other.low, one.high - one.value)
        if change > 0
        else (other.high - other.value, one.value - one.low)
    )
    reach = math.hypot(*sides)
    if math.isnan(reach):
        return (
            f"the {before.label} is {values}, and nothing says how much of "
            "that is chance"
        )
    if abs(change) <= reach:
        return f"no difference in the {before.label} beyond chance, {values}"
    verb = "rose" if change > 0 else "fell"
    if before.percent:
        return (
            f"the {before.label} {verb} from {before.show(one.value)} to "
            f"{after.show(other.value)}"
        )
    return (
        f"the {before.label} {verb} by {rounded(abs(change), 2)}, to "
        f"{after.show(other.value)}"
    )
