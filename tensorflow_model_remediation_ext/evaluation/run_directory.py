"""Figures of finished runs, kept so that a sweep can be taken up again."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

_CONFIGURATION = "configuration"


class RunDirectory:
    """A directory with one JSON file for each finished run.

    Files appear whole or not at all, so a run that was interrupted leaves
    nothing, and several processes may fill one directory.

    Args:
        path: The directory, made if it is missing; `None` keeps nothing.
        configuration: What all runs share, as JSON.
        functions: Functions whose source text belongs to the configuration;
            one without a source, such as a builtin, counts by its type alone.

    Raises:
        ValueError: If the directory holds runs of another configuration, or
            the configuration cannot be written as JSON.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        configuration: dict[str, Any],
        functions: Iterable[Callable] = (),
    ):
        self._path = None if path is None else pathlib.Path(path)
        if self._path is None:
            return
        configuration = {
            **configuration,
            "sources": [digest(function) for function in functions],
        }
        try:
            # As it will be read back: tuples become lists, keys text.
            configuration = json.loads(json.dumps(configuration))
        except (TypeError, ValueError) as error:
            raise ValueError(
                "`configuration` and `fit_options` must be made of what JSON "
                "can hold, since `directory` keeps them: dicts, lists, text "
                f"and numbers. Received: {configuration}"
            ) from error
        self._path.mkdir(parents=True, exist_ok=True)
        before = self.read(_CONFIGURATION)
        if before is None:
            self.write(_CONFIGURATION, configuration)
        elif before != configuration:
            changed = sorted(
                key
                for key in {*before, *configuration}
                if before.get(key) != configuration.get(key)
            )
            raise ValueError(
                f"{self._path} holds figures of another configuration, which "
                "must not be mixed with these: use another directory, or "
                f"remove it. Received: changes in {changed}, from "
                f"{[before.get(key) for key in changed]} to "
                f"{[configuration.get(key) for key in changed]}"
            )

    def read(self, name: str) -> Any:
        """Returns what was written under a name, or `None`.

        Args:
            name: A name that can be that of a file.

        Returns:
            The value, as JSON gives it back; `None` if there is none.

        Raises:
            ValueError: If the file is not JSON.
        """
        if self._path is None:
            return None
        file = self._path / f"{name}.json"
        if not file.exists():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{file} must hold JSON, as it was written; remove it to run "
                "that part again."
            ) from error

    def write(self, name: str, value: Any) -> None:
        """Writes a value under a name, whole or not at all.

        Args:
            name: A name that can be that of a file.
            value: What JSON can hold.
        """
        if self._path is None:
            return
        handle, scratch = tempfile.mkstemp(dir=self._path, suffix=".partial")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(value, file, indent=2)
            os.replace(scratch, self._path / f"{name}.json")
        except BaseException:
            os.unlink(scratch)
            raise


def digest(function: Callable) -> str:
    """Returns what tells a function from one of another source text.

    Args:
        function: Any function; a `functools.partial` counts by its arguments,
            too, and one without a source, such as a builtin, by its type alone.
    """
    source = ""
    while isinstance(function, functools.partial):
        source += repr((function.args, function.keywords))
        function = function.func
    try:
        source += inspect.getsource(function)
    except (OSError, TypeError):
        source += type(function).__qualname__
    return digest_of(source)


def digest_of(text: str) -> str:
    """Returns 16 hexadecimal digits that tell a text from others.

    Args:
        text: Any text.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]
