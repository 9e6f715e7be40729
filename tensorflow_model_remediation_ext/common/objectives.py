"""Values that are given once, or once per objective in a dict."""

from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")

# The objective of a value that was given without a dict.
SINGLE = ""


def by_objective(value: T | dict[str, T], name: str) -> dict[str, T]:
    """Returns `value` as a dict by objective.

    Args:
        value: One value, or a non-empty dict of values by objective.
        name: Name of the argument, for error messages.

    Returns:
        A new dict; its only key is `SINGLE` where `value` is not a dict.

    Raises:
        ValueError: If the dict is empty or a key is not a non-empty string.
    """
    if not isinstance(value, dict):
        return {SINGLE: value}
    if not value or not all(isinstance(k, str) and k for k in value):
        raise ValueError(
            f"`{name}` given as a dict must map names of objectives "
            f"(non-empty strings) to values. Received keys: {list(value)}"
        )
    return dict(value)


def align(
    value: T | dict[str, T], objectives: Iterable[str], name: str
) -> dict[str, T]:
    """Returns `value` with exactly the keys `objectives`.

    A single value serves every objective; a dict must name them all and no
    others.

    Args:
        value: One value, or a dict of values by objective.
        objectives: The objectives wanted.
        name: Name of the argument, for error messages.

    Returns:
        A dict with the keys of `objectives`, in their order.

    Raises:
        ValueError: If `value` is a dict with other keys.
    """
    objectives = list(objectives)
    if not isinstance(value, dict):
        return dict.fromkeys(objectives, value)
    if set(value) != set(objectives):
        wanted = (
            "a single value, since there is one unnamed objective"
            if objectives == [SINGLE]
            else f"the objectives {sorted(objectives)}"
        )
        raise ValueError(
            f"`{name}` must hold {wanted}. Received: {sorted(value)}"
        )
    return {objective: value[objective] for objective in objectives}


def prefixed(objective: str, name: str) -> str:
    """Returns `name` for one objective, as it appears in logs."""
    return f"{objective}_{name}" if objective != SINGLE else name


def argument_name(name: str, objective: str) -> str:
    """Returns how error messages call the value of one objective."""
    return f"{name}[{objective!r}]" if objective != SINGLE else name


def unwrap(values: dict[str, T]) -> T | dict[str, Any]:
    """Undoes `by_objective`."""
    return values[SINGLE] if list(values) == [SINGLE] else dict(values)
