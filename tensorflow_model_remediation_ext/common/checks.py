"""What is asked of numbers, flags and functions among the arguments."""

import inspect
import math
import numbers
from typing import Any

import numpy as np


def whole(name: str, value: Any, least: int = 1) -> int:
    """A count or size as an integer.

    Args:
        name: What to call the argument in an error.
        value: An integer of Python or NumPy.
        least: The smallest allowed.

    Raises:
        ValueError: If it is no integer, a boolean, or below `least`.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Integral)
        or value < least
    ):
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def function_of_one(name: str, function: Any, argument: str) -> None:
    """Checks that a function can be called with one argument.

    Args:
        name: What to call it in an error.
        function: What to check.
        argument: What it will be called with, for the error.

    Raises:
        TypeError: If it is no function, or takes another number of arguments.
    """
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # Some built-in functions do not tell.
        return
    except TypeError as error:
        raise TypeError(
            f"`{name}` must be callable with one argument, {argument}. "
            f"Received: {function!r} ({error})"
        ) from None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number of Python or NumPy, no boolean."""
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def number(name: str, value: Any) -> float:
    """A finite number.

    Args:
        name: What to call the argument in an error.
        value: A number of Python or NumPy.

    Raises:
        ValueError: If it is no number, a boolean, NaN or infinite.
    """
    if not is_number(value):
        raise ValueError(
            f"`{name}` must be a finite number. Received: {name}={value!r}"
        )
    return float(value)


def share(name: str, value: Any) -> float:
    """A number from 0 to 1.

    Args:
        name: What to call the argument in an error.
        value: A number of Python or NumPy.

    Raises:
        ValueError: If it is anything else.
    """
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(
            f"`{name}` must be a number from 0 to 1. Received: {name}={value!r}"
        )
    return float(value)


def checked_seed(name: str, value: Any) -> int:
    """A seed: an integer that NumPy, scikit-learn and Keras all take.

    Args:
        name: What to call the argument in an error.
        value: An integer of Python or NumPy.

    Raises:
        ValueError: If it is no integer, or not from 0 to 2**32 - 1.
    """
    if whole(name, value, 0) >= 2**32:
        raise ValueError(
            f"`{name}` must be an integer below 2**32. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def flag(name: str, value: Any) -> bool:
    """A boolean.

    Args:
        name: What to call the argument in an error.
        value: A boolean of Python or NumPy.

    Raises:
        ValueError: If it is anything else, such as a number to set how much.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(
            f"`{name}` must be True or False. Received: {name}={value!r}"
        )
    return bool(value)


def hides_values(value: Any) -> bool:
    """Whether a value is a masked array of NumPy with values that are masked.

    `numpy.asarray` would show them. Arrays of pandas, which
    `numpy.ma.is_masked` takes for masked ones, do not hide theirs.
    """
    return isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value)
