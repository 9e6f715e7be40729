"""Comments from a CSV file."""

from __future__ import annotations

import csv
import math
import os
import reprlib
from collections.abc import Iterator

import numpy as np

from tensorflow_model_remediation_ext.datasets.labeled_text import LabeledText
from tensorflow_model_remediation_ext.datasets.text_lines import (
    Problems,
    text_lines,
)

_WORDS = {"true": 1.0, "false": 0.0}


def load_csv(
    path: str | os.PathLike,
    text_column: str,
    label_column: str,
    *,
    encoding: str = "utf-8",
    delimiter: str = ",",
    label_threshold: float = 0.5,
) -> LabeledText:
    r"""Reads texts and binary labels from a CSV file with a header.

    Fields in quotes may hold delimiters, quotes and newlines. Empty lines are
    skipped. A label is `true`, `false` (in any case) or a number, which counts
    as 1 from `label_threshold` up.

    The whole file is read before anything is reported: an error names the
    first lines that are wrong, and how many there are.

    Args:
        path: The file. A byte order mark at its start is skipped.
        text_column: Header of the column of texts.
        label_column: Header of the column of labels.
        encoding: Any text encoding Python knows.
        delimiter: The character between fields.
        label_threshold: Smallest number that counts as label 1.

    Returns:
        The texts and labels, in the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, a column is missing or there twice,
            rows cannot be decoded or parsed or have too few or many fields, a
            label is no finite number, or all labels are the same. The message
            is one line.

    Examples:
        >>> import pathlib
        >>> rows = 'text,rude\n"thanks, all",0\nshut up,0.9\n'
        >>> _ = pathlib.Path("rows.csv").write_text(rows)
        >>> load_csv("rows.csv", "text", "rude").labels
        array([0, 1], dtype=int32)
    """
    if not math.isfinite(label_threshold):
        raise ValueError(
            "`label_threshold` must be finite. "
            f"Received: label_threshold={label_threshold}"
        )
    problems = Problems(path)
    rows = _records(text_lines(path, encoding, problems), delimiter, problems)
    _, header = next(rows, (0, None))
    problems.raise_if_any()
    if header is None:
        raise ValueError(f"{path}: the file is empty")
    text_at = _position(header, text_column, path)
    label_at = _position(header, label_column, path)

    texts, labels = [], []
    for line, row in rows:
        if len(row) != len(header):
            problems.add(
                line, f"{len(header)} fields expected, {len(row)} found"
            )
            continue
        label = _number(row[label_at])
        if label is None:
            shown = reprlib.repr(row[label_at])
            problems.add(line, f"label {shown} is not a number, true or false")
            continue
        texts.append(row[text_at])
        labels.append(int(label >= label_threshold))
    problems.raise_if_any()
    if not labels:
        raise ValueError(f"{path}: no rows below the header")
    if len(set(labels)) == 1:
        raise ValueError(
            f"{path}: every label in {label_column!r} is {labels[0]} at a "
            f"threshold of {label_threshold}; two classes are needed"
        )
    return LabeledText(np.array(texts, object), np.array(labels))


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


def _number(label: str) -> float | None:
    label = label.strip().lower()
    try:
        number = _WORDS[label] if label in _WORDS else float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
