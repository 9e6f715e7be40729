"""Identity terms from a file."""

from __future__ import annotations

import os

from tensorflow_model_remediation_ext.datasets.text_lines import (
    Problems,
    text_lines,
)


def load_terms(
    path: str | os.PathLike, *, encoding: str = "utf-8"
) -> tuple[str, ...]:
    r"""Reads terms from a file with one term, a word or a phrase, a line.

    Space around a term, empty lines and lines that start with `#` are left
    out, and so is a term that came before in any case.

    Args:
        path: The file. A byte order mark at its start is skipped.
        encoding: Any text encoding Python knows.

    Returns:
        The terms, in the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no term, or bytes that cannot be decoded.

    Examples:
        >>> import pathlib
        >>> _ = pathlib.Path("terms.txt").write_text("# age\nold\nmiddle aged")
        >>> load_terms("terms.txt")
        ('old', 'middle aged')
    """
    problems = Problems(path)
    lines = [line.strip() for line in text_lines(path, encoding, problems)]
    problems.raise_if_any()
    terms: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith("#"):
            terms.setdefault(line.lower(), line)
    if not terms:
        raise ValueError(f"{path}: no terms in the file")
    return tuple(terms.values())
