"""Which terms predict the label by themselves."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common import characters
from tensorflow_model_remediation_ext.common.checks import hides_values
from tensorflow_model_remediation_ext.common.proportions import (
    normal_quantile,
    wilson_interval,
)
from tensorflow_model_remediation_ext.counterfactual.terms import (
    TermEditor,
    check_terms,
)

_NAMED = 8  # Terms that a sentence names, at most.


@dataclasses.dataclass(frozen=True)
class LabelTerm:
    """How often the label is positive with a term, and without it.

    Attributes:
        term: The term.
        n: Number of texts that hold it.
        rate: Share of them with a positive label, NaN if there are none.
        rate_low: Lower end of its interval.
        rate_high: Upper end of its interval.
        rate_without: Share of the other texts with a positive label.
        difference: `rate` minus `rate_without`.
        difference_low: Lower end of its interval.
        difference_high: Upper end of its interval.
        carries_label: Whether that interval excludes 0.
    """

    term: str
    n: int
    rate: float
    rate_low: float
    rate_high: float
    rate_without: float
    difference: float
    difference_low: float
    difference_high: float
    carries_label: bool


@dataclasses.dataclass(frozen=True, repr=False)
class LabelTerms:
    """The figures of `label_terms`; prints as a table.

    Attributes:
        rows: A `LabelTerm` for each term, those furthest from 0 first.
        confidence: Level of the intervals.
    """

    rows: tuple[LabelTerm, ...]
    confidence: float

    measures: ClassVar[str] = (
        "How much more often the label is positive in texts with a term than "
        "in texts without it."
    )
    caveat: ClassVar[str] = (
        "A term that correlates with a label need not cause it, and of many "
        "intervals some miss: at 95 % one in twenty."
    )

    plotted: ClassVar[tuple[str, ...]] = ("difference",)

    def __getitem__(self, term: str) -> LabelTerm:
        for row in self.rows:
            if row.term == term:
                return row
        raise KeyError(term)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns the figures by term, as plain numbers."""
        figures = [dataclasses.asdict(row) for row in self.rows]
        return {row.pop("term"): row for row in figures}

    def remarks(self) -> list[str]:
        """Returns which terms carry the label, in a sentence for a report."""
        found = [row.term for row in self.rows if row.carries_label]
        if not found:
            return ["no term predicts the label by itself, beyond chance."]
        named = ", ".join(repr(term) for term in found[:_NAMED])
        more = ", and more" if len(found) > _NAMED else ""
        return [
            f"{len(found)} of {len(self.rows)} terms predict the label by "
            f"themselves: {named}{more}."
        ]

    def to_frame(self) -> Any:
        """Returns a pandas DataFrame, a line for each term.

        Raises:
            ImportError: If pandas is missing.
        """
        return frame(self.rows, "term")

    def __repr__(self) -> str:
        lines = [f"{'term':20} {'n':>7}  label with it   without  difference"]
        for r in self.rows:
            mark = "  carries the label" if r.carries_label else ""
            lines.append(
                f"{r.term:20} {r.n:7,}  {r.rate:13.4f}  {r.rate_without:8.4f}"
                f"  {r.difference:+.4f} [{r.difference_low:+.4f}, "
                f"{r.difference_high:+.4f}]{mark}"
            )
        lines.append(f"{100 * self.confidence:g} % intervals in brackets")
        return "\n".join(lines)


def label_terms(
    texts: Sequence[str] | Any,
    labels: Any,
    terms: Iterable[str],
    *,
    confidence: float = 0.95,
    case_sensitive: bool = False,
    whole_words: bool | None = None,
) -> LabelTerms:
    """Finds out which terms predict the label by themselves.

    Pairing asks a model to decide alike with and without a term. Where the
    term carries the label ("idiot" and toxicity), that costs quality, and may
    be wrong to ask for: look before you pair.

    Args:
        texts: Texts, `[n]`.
        labels: 0 or 1 for each of them, `[n]` or `[n, 1]`.
        terms: Terms, each looked for by itself. Those that match the same
            texts, as they differ in case only, are one: the first of them.
        confidence: Level of the intervals.
        case_sensitive: Whether the case of terms must match.
        whole_words: As in `build_counterfactual_data`.

    Returns:
        `LabelTerms`. Rates have Wilson's interval, differences Newcombe's.

    Raises:
        TypeError: If `terms` is not a collection of strings, or one of the
            texts is no string.
        ValueError: If there are no texts or terms, labels are not as many
            zeros and ones, or `confidence` is not between 0 and 1.

    Examples:
        >>> texts = ["you idiot", "idiot!", "a gay man", "gay", "hi", "bye"]
        >>> found = label_terms(texts, [1, 1, 0, 1, 0, 0], ["idiot", "gay"])
        >>> found["idiot"].rate, found["gay"].rate
        (1.0, 0.5)

    References:
        Newcombe, "Interval estimation for the difference between independent
        proportions", 1998, method 10.
    """
    try:
        texts = tf.convert_to_tensor(texts, tf.string)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`texts` must be strings, each of them. TensorFlow says: {error}"
        ) from error
    if hides_values(labels):
        raise ValueError(
            "`labels` must hold one label for each text. Received: a masked "
            "array with masked values"
        )
    values = np.asarray(labels)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if texts.shape.rank != 1 or values.shape != tuple(texts.shape):
        raise ValueError(
            "`labels` must hold one label for each text. Received: texts of "
            f"shape {tuple(texts.shape)}, labels of shape {values.shape}"
        )
    # Asked first, as what is missing in pandas is not even unequal.
    number = numbers.Real, np.bool_
    wrong = [
        label
        for label in values.tolist()
        if not isinstance(label, number) or label not in (0, 1)
    ]
    if wrong or not len(values):
        raise ValueError(
            "`labels` must be zeros and ones, at least one. Received: "
            f"{wrong[:5]}"
        )
    normal_quantile(confidence)  # Refuses a bad level before any work.
    positive = values.astype(bool)
    terms = _different(terms, case_sensitive)
    edit = functools.partial(
        TermEditor, case_sensitive=case_sensitive, whole_words=whole_words
    )
    # Where no term is at all, none is looked for by itself.
    some = np.flatnonzero(edit(terms)(texts) != texts)
    texts, rows = tf.gather(texts, some), []
    for term in terms:
        holds = np.zeros(len(values), bool)
        with warnings.catch_warnings():  # All terms were warned of above.
            warnings.simplefilter("ignore")
            editor = edit([term])
        holds[some] = editor(texts) != texts
        rows.append(_row(term, holds, positive, confidence))
    rows.sort(
        key=lambda r: -abs(r.difference) if r.difference == r.difference else 1
    )
    return LabelTerms(tuple(rows), confidence)


def _different(terms, case_sensitive):
    """Returns the first of the terms that match the same texts."""
    terms = check_terms(terms, "terms")
    if case_sensitive:
        return list(dict.fromkeys(terms))
    variants = characters.variants_of(terms, case_sensitive)
    first: dict[str, str] = {}
    for term in terms:
        first.setdefault(characters.fold(term, variants), term)
    return list(first.values())


def _row(term, holds, positive, confidence):
    n = int(holds.sum())
    trials = np.array([n, len(holds) - n])
    hits = np.array([(holds & positive).sum(), (~holds & positive).sum()])
    rates = hits / np.where(trials > 0, trials, np.nan)
    (low, other_low), (high, other_high) = wilson_interval(
        hits, trials, confidence
    )
    rate, other = rates
    difference = rate - other
    below = difference - math.hypot(rate - low, other_high - other)
    above = difference + math.hypot(high - rate, other - other_low)
    figures = (rate, low, high, other, difference, below, above)
    return LabelTerm(
        term, n, *map(float, figures), bool(below > 0 or above < 0)
    )


def frame(rows: Iterable[Any], index: str) -> Any:
    """Returns dataclasses as a pandas DataFrame.

    Args:
        rows: The dataclasses.
        index: The field to index by.

    Raises:
        ImportError: If pandas is missing.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "A data frame needs pandas: pip install "
            '"tensorflow_model_remediation_ext[evaluation]"'
        ) from error
    lines = [dataclasses.asdict(row) for row in rows]
    return pandas.DataFrame(lines).set_index(index)
