"""Comments from a CSV file."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import reprlib
from collections.abc import Iterator

import numpy as np

from tensorflow_model_remediation_ext.common.checks import number
from tensorflow_model_remediation_ext.datasets.labeled_text import LabeledText
from tensorflow_model_remediation_ext.datasets.text_lines import (
    Problems,
    check_delimiter,
    text_lines,
)

_WORDS = {"true": 1.0, "false": 0.0}
# The largest that fits a C long everywhere.
_LARGEST_FIELD = 2**31 - 1


@contextlib.contextmanager
def _fields_of_any_size() -> Iterator[None]:
    """Lifts the limit of the csv module, which the whole process shares."""
    limit = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


@_fields_of_any_size()
def load_csv(
    path: str | os.PathLike,
    text_column: str,
    label_column: str,
    *,
    encoding: str = "utf-8",
    delimiter: str = ",",
    label_threshold: float = 0.5,
    positive_label: str | None = None,
) -> LabeledText:
    r"""Reads texts and binary labels from a CSV file with a header.

    Fields in quotes may hold delimiters, quotes and newlines. Empty lines are
    skipped. A label is `true`, `false` (in any case) or a number, which counts
    as 1 from `label_threshold` up; or, with `positive_label`, one of two words.

    The whole file is read before anything is reported: an error names the
    first lines that are wrong, and how many there are.

    Args:
        path: The file. A byte order mark at its start is skipped.
        text_column: Header of the column of texts.
        label_column: Header of the column of labels.
        encoding: Any text encoding Python knows.
        delimiter: The character between fields.
        label_threshold: Smallest number that counts as label 1.
        positive_label: Where labels are two words such as `BAD` and `NOT_BAD`:
            the one that counts as label 1. The other one counts as 0.

    Returns:
        The texts and labels, in the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `positive_label` is not a string.
        ValueError: If the file is empty, a column is missing or there twice,
            rows cannot be decoded or parsed or have too few or many fields, a
            label is not a finite number, labels are not `positive_label` and
            one other word, or all labels are the same. The message is one
            line.

    Examples:
        >>> import pathlib
        >>> rows = 'text,rude\n"thanks, all",0\nshut up,0.9\n'
        >>> _ = pathlib.Path("rows.csv").write_text(rows)
        >>> load_csv("rows.csv", "text", "rude").labels
        array([0, 1], dtype=int32)
    """
    number("label_threshold", label_threshold)
    check_delimiter(delimiter)
    if not isinstance(positive_label, str | None):
        raise TypeError(
            "`positive_label` must be a word as it stands in the file. "
            f"Received: positive_label={positive_label!r}"
        )
    problems = Problems(path)
    rows = _records(text_lines(path, encoding, problems), delimiter, problems)
    _, header = next(rows, (0, None))
    problems.raise_if_any()
    if header is None:
        raise ValueError(f"{path}: the file is empty")
    text_at = _position(header, text_column, path)
    label_at = _position(header, label_column, path)
    if positive_label is None:
        read = _Numbers(label_threshold)
    else:
        read = _Words(positive_label)

    texts, labels = [], []
    for line, row in rows:
        if len(row) != len(header):
            problems.add(
                line, f"{len(header)} fields expected, {len(row)} found"
            )
            continue
        try:
            labels.append(read(row[label_at]))
        except ValueError as error:
            problems.add(line, str(error))
            continue
        texts.append(row[text_at])
    problems.raise_if_any()
    if not labels:
        raise ValueError(f"{path}: no rows below the header")
    if len(set(labels)) == 1:
        raise ValueError(
            f"{path}: every label in {label_column!r} is {labels[0]} "
            f"{read.rule}; two classes are needed"
        )
    return LabeledText(np.array(texts, object), np.array(labels))


class _Numbers:
    """Reads labels that are numbers, true or false."""

    def __init__(self, threshold: float):
        self._threshold = threshold
        self.rule = f"at a threshold of {threshold}"

    def __call__(self, label: str) -> int:
        label = label.strip().lower()
        try:
            number = _WORDS[label] if label in _WORDS else float(label)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            shown = reprlib.repr(label)
            raise ValueError(
                f"label {shown} is not a number, true or false (words need "
                "`positive_label`)"
            )
        return int(number >= self._threshold)


class _Words:
    """Reads labels that are one of two words."""

    def __init__(self, positive: str):
        self._positive = positive.strip()
        self._other: str | None = None
        self.rule = f"where {positive!r} counts as 1"

    def __call__(self, label: str) -> int:
        label = label.strip()
        if label == self._positive:
            return 1
        if self._other is None:
            if not label:
                raise ValueError("label is empty")
            self._other = label
        if label != self._other:
            raise ValueError(
                f"label {reprlib.repr(label)} is a third one, after "
                f"{self._positive!r} and {reprlib.repr(self._other)}"
            )
        return 0


def _records(
    lines: Iterator[str], delimiter: str, problems: Problems
) -> Iterator[tuple[int, list[str]]]:
    """Yields each record that is not empty with the line it starts in."""
    # Unless strict, a quote never closed silently swallows the rest.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(line, f"not valid CSV ({error})")
            continue
        if row:
            yield line, row


def _position(header: list[str], column: str, path: str | os.PathLike) -> int:
    count = header.count(column)
    if count == 1:
        return header.index(column)
    found = "no" if count == 0 else f"{count} times a"
    raise ValueError(
        f"{path}: {found} column {column!r}; the columns are "
        f"{', '.join(map(reprlib.repr, header))}"
    )
