"""Reading text files so that whatever is wrong is reported by line."""

from __future__ import annotations

import codecs
import os
import pathlib
from collections.abc import Iterator

_SHOWN = 3
# What `errors="surrogateescape"` makes of a byte that cannot be decoded, and
# NUL, which Python's csv module refuses before version 3.11.
_UNREADABLE = dict.fromkeys([0, *range(0xDC80, 0xDD00)])


class Problems:
    """Collects what is wrong with a file, to be raised as one line."""

    def __init__(self, path: str | os.PathLike):
        self._path = path
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, what: str):
        """Notes what is wrong in a line, counted from 1."""
        self._found.append((line, what))

    def raise_if_any(self):
        """Raises a `ValueError` that shows the first of them and counts all."""
        if not self._found:
            return
        shown = [
            f"line {line}: {what}"
            for line, what in sorted(self._found)[:_SHOWN]
        ]
        if len(self._found) > _SHOWN:
            shown.append(f"{len(self._found)} problems in all")
        raise ValueError(f"{self._path}: {'; '.join(shown)}")


def check_delimiter(delimiter: str) -> None:
    """Raises `ValueError` unless a character can stand between fields.

    Args:
        delimiter: What to check.
    """
    if (
        not isinstance(delimiter, str)
        or len(delimiter) != 1
        or delimiter in '"\r\n'
    ):
        raise ValueError(
            "`delimiter` must be one character, no quote and no end of line. "
            f"Received: delimiter={delimiter!r}"
        )


def text_lines(
    path: str | os.PathLike, encoding: str, problems: Problems
) -> Iterator[str]:
    """Yields the lines of a file, their ends kept and a leading BOM dropped.

    Lines with bytes that cannot be decoded, or with NUL bytes, are noted in
    `problems` and come without them, so that reading goes on to the end.

    Args:
        path: The file.
        encoding: Any text encoding Python knows.
        problems: Where unreadable lines are noted.

    Yields:
        One line at a time.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If `path` is a directory, or `encoding` is not known.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: is a directory, not a file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    number = 0
    try:
        with path.open(
            encoding=skipping_mark(encoding),
            errors="surrogateescape",
            newline="",
        ) as file:
            for number, line in enumerate(file, 1):
                yield _readable(line, number, encoding, problems)
    except (LookupError, TypeError):
        raise ValueError(
            "`encoding` must be a text encoding that Python knows. "
            f"Received: encoding={encoding!r}"
        ) from None
    except UnicodeError:
        # Encodings of two or four bytes a character cannot escape one.
        problems.add(
            number + 1, f"cannot be decoded as {encoding}, here or further on"
        )


def skipping_mark(encoding: str) -> str:
    """Returns the encoding that skips the mark that UTF-8 may begin with.

    Raises:
        LookupError: If Python does not know the encoding.
    """
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _readable(line: str, number: int, encoding: str, problems: Problems) -> str:
    if line.isascii() and "\0" not in line:
        return line
    readable = line.translate(_UNREADABLE)
    if "\0" in line:
        problems.add(number, "holds a NUL byte")
    if len(readable) + line.count("\0") < len(line):
        problems.add(number, f"holds bytes that are not {encoding}")
    return readable
