"""What was changed in the texts of counterfactual pairs, and which flip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common import characters
from tensorflow_model_remediation_ext.common.changed_words import (
    JOINT,
    changed_words,
    strings_beside,
)
from tensorflow_model_remediation_ext.evaluation.flip_report import (
    ExampleRow,
    FlipReport,
    TermReport,
)
from tensorflow_model_remediation_ext.evaluation.flips import decisions


class ChangedTexts:
    """Collects, batch by batch, terms that were changed and texts that flip.

    Args:
        by_term: Whether terms are asked for, or the terms themselves.
        text_key: Which input is the text, `None` for the only one.
        most: How many examples to keep.
    """

    def __init__(self, by_term: bool | Iterable[str], text_key: Any, most: int):
        self._wanted = by_term is not False
        given = () if isinstance(by_term, bool) else by_term
        terms = {characters.lower(term) for term in given}
        self._as_words, self._anywhere = (
            characters.term_pattern(terms, whole_words=whole)
            for whole in (None, False)
        )
        self._key, self._most = text_key, most
        self._rows: dict[str, list[int]] = {}
        self._found: list[tuple[float, ExampleRow]] = []
        self._seen = 0

    def add(
        self,
        original: Any,
        counterfactual: Any,
        halves: tuple[np.ndarray, np.ndarray],
        weight: np.ndarray | None,
        threshold: float,
    ) -> None:
        """Takes up a batch.

        Args:
            original: Inputs of the originals.
            counterfactual: Inputs of the counterfactuals.
            halves: Predictions on both.
            weight: Weights `[batch]`, or `None`.
            threshold: Of a positive decision.

        Raises:
            TypeError: If terms are asked for and no input is text, or several
                are.
        """
        start, rows = self._seen, len(halves[0])
        self._seen += rows
        if not self._wanted and not self._most:
            return
        found = [
            _text_of(each, self._key, self._wanted)
            for each in (original, counterfactual)
        ]
        texts = [_rows_of(text) for text in found if text is not None]
        if len(texts) < len(found):
            return
        before, after = texts
        if self._wanted:
            for row, pair in enumerate(zip(before, after, strict=True)):
                named: dict[str, None] = {}
                for one, other in strings_beside(*map(_strings, pair)):
                    named |= dict.fromkeys(self._named(one, other))
                for term in named:
                    self._rows.setdefault(term, []).append(start + row)
        if self._most:
            self._keep(start, before, after, halves, weight, threshold)

    def _named(self, original: str, counterfactual: str) -> list[str]:
        """Returns the given terms that were changed, or else what was."""
        texts = characters.lower(original), characters.lower(counterfactual)
        named: dict[str, None] = {}
        for change in _changes(*texts):
            given = [
                found[0]
                for found in self._as_words.finditer(texts[0])
                if change.covers(*found.span())
            ] or [
                found[0]
                for found in self._anywhere.finditer(change.removed)
                if change.leaves(*found.span())
            ]
            named |= dict.fromkeys(given or [change.name])
        return list(named)

    def by_term(self, measure: Callable[..., FlipReport]) -> TermReport | None:
        """Returns flips by term, those first that flip most.

        Args:
            measure: `flips`, to which only groups are missing.
        """
        if not self._wanted:
            return None
        masks = {}
        for term, rows in self._rows.items():
            masks[term] = np.zeros(self._seen, bool)
            masks[term][rows] = True
        # The space lets a term be "overall", which names the row of all pairs.
        named = {f" {term}": mask for term, mask in masks.items()}
        report = measure(groups=named)
        rows = [
            dataclasses.replace(row, group=row.group[1:])
            for row in report.rows[1:]
            if row.n
        ]
        rows.sort(key=lambda row: (-row.flip_rate.value, -row.n, row.group))
        return TermReport(tuple(rows), report.confidence)

    def examples(self) -> tuple[ExampleRow, ...]:
        """Returns the pairs that flip furthest."""
        return tuple(row for _, row in self._found)

    def _keep(self, start, before, after, halves, weight, threshold) -> None:
        scores = [half.reshape(len(half), -1) for half in halves]
        decided = [decisions(score, threshold) for score in scores]
        gaps = np.abs(scores[0] - scores[1]).mean(axis=1)
        flipped = decided[0] != decided[1]
        if weight is not None:
            flipped &= weight > 0
        for row in np.flatnonzero(flipped):
            column = int(decided[0][row]) if scores[0].shape[1] > 1 else 0
            found = ExampleRow(
                pair=start + int(row),
                original=JOINT.join(_strings(before[row])),
                counterfactual=JOINT.join(_strings(after[row])),
                original_score=float(scores[0][row, column]),
                counterfactual_score=float(scores[1][row, column]),
            )
            self._found.append((float(gaps[row]), found))
        self._found.sort(key=lambda each: (-each[0], each[1].pair))
        del self._found[self._most :]


def is_text(value: Any) -> bool:
    """Returns whether an input is text."""
    if isinstance(value, (tf.Tensor, tf.RaggedTensor)):
        return value.dtype == tf.string
    return np.asarray(value).dtype.kind in "OSTU"


def _text_of(inputs: Any, key: Any, required: bool) -> Any:
    if key is not None:
        return inputs[key]
    arrays = (tf.Tensor, tf.RaggedTensor, np.ndarray)
    texts = [
        each
        for each in keras.tree.flatten(inputs)
        if isinstance(each, arrays) and is_text(each)
    ]
    if len(texts) == 1:
        return texts[0]
    if not required:
        return texts or None
    raise TypeError(
        "`by_term` needs one input that is text; where there are several, name "
        f"it in `text_key`. Received: {len(texts)} inputs that are text"
    )


def _rows_of(text: Any) -> list:
    """Returns the text of each row: a string, or a list of several."""
    if isinstance(text, list):  # Of several inputs.
        return list(zip(*map(_rows_of, text), strict=True))
    if isinstance(text, tf.RaggedTensor):
        return text.to_list()
    return np.asarray(text).tolist()


def _strings(row: Any) -> list[str]:
    """Returns the strings that make up the text of a row."""
    return [_decoded(text) for text in keras.tree.flatten(row)]


def _decoded(text: Any) -> str:
    if isinstance(text, bytes):
        return text.decode(errors="backslashreplace")
    return str(text)


class _Change(NamedTuple):
    """What stands in place of the characters `begin` to `end` of a text."""

    begin: int
    end: int
    removed: str
    added: str

    @property
    def name(self) -> str:
        """What was removed, `"one > other"`, or `"> other"`."""
        if not self.added:
            return self.removed
        return f"{self.removed} > {self.added}".strip()

    def covers(self, begin: int, end: int) -> bool:
        """Returns whether some of `begin` to `end` of the text was changed."""
        return max(begin, self.begin) < min(end, self.end)

    def leaves(self, begin: int, end: int) -> bool:
        """Returns whether what was removed is kept around `begin` to `end`."""
        # A removed term takes a space with it.
        first, last, added = (
            "".join(part.split())
            for part in (self.removed[:begin], self.removed[end:], self.added)
        )
        return (
            begin < end
            and len(first) + len(last) <= len(added)
            and added.startswith(first)
            and added.endswith(last)
        )


def _changes(one: str, other: str) -> list[_Change]:
    """Returns where two texts differ, word by word."""
    return [
        _Change(before.start, before.stop, one[before], other[after])
        for before, after in changed_words(one, other)
    ]
