"""Fits erasers, applies them to rows they never saw, and checks the results."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tensorflow_model_remediation_ext.common.torch_tensors import without_torch

# Rows that an eraser gets a second time, on their own.
_AGAIN = 32


def fit_method(
    name: str,
    method: Callable[..., Any],
    x: np.ndarray,
    z: np.ndarray,
    task: np.ndarray | None,
) -> Callable[[Any], Any]:
    """Fits a method to rows, of which it gets copies.

    Args:
        name: What to call the method in an error.
        method: A function of `x` and `z`, and of `task` if it names that.
        x: `[n, d]`.
        z: `[n]` class ids.
        task: `[n]` class ids, or `None`.

    Returns:
        The eraser.

    Raises:
        TypeError: If the method does not return a function.
    """
    more = {}
    if task is not None and "task" in _arguments(method):
        more["task"] = task.copy()
    eraser = method(x.copy(), z.copy(), **more)
    if not callable(eraser):
        raise TypeError(
            "`methods` must return erasers, functions of features. "
            f"Received: {type(eraser).__name__} from {name!r}"
        )
    return eraser


def _arguments(function):
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # Built in, or written in another language.
        return {}


def erase(
    name: str,
    eraser: Callable[[Any], Any],
    x: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Applies an eraser to rows, all at once and in no order it could know.

    Args:
        name: What to call its method in an error.
        eraser: A function of `[n, d]` features.
        x: `[n, d]`.
        rng: Source of the order.

    Returns:
        `[n, e]` float64.

    Raises:
        ValueError: If it returns another number of rows, values that are not
            finite, or for a row what depends on the other rows.
    """
    order = rng.permutation(len(x))
    shuffled = x[order]
    after = _apply(name, eraser, shuffled)
    some = rng.permutation(len(x))[:_AGAIN]
    again = _apply(name, eraser, shuffled[some])
    if not _alike(again, after[some]) and _alike(
        _apply(name, eraser, shuffled), after
    ):
        raise ValueError(
            "An eraser must treat each row by itself: what is served has no "
            f"company to be compared with. That of `methods[{name!r}]` returns "
            "for the same rows other values when other rows come with them."
        )
    erased = np.empty_like(after)
    erased[order] = after
    return erased


def _apply(name, eraser, x):
    after = eraser(x.copy())
    try:
        after = keras.ops.convert_to_numpy(without_torch(after))
        after = np.asarray(after, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The eraser of `methods[{name!r}]` must return an array of "
            f"numbers. Received: {type(after).__name__}"
        ) from error
    if after.ndim != 2 or len(after) != len(x) or not after.size:
        raise ValueError(
            f"The eraser of `methods[{name!r}]` must return as many rows as it "
            f"gets. Received: shape {after.shape} for {x.shape}"
        )
    if not np.isfinite(after).all():
        raise ValueError(
            f"The eraser of `methods[{name!r}]` returned NaN or infinity."
        )
    return after


def _alike(a, b):
    """Whether two results agree except for the rounding of float32."""
    scale = max(float(np.abs(b).max()), 1e-300)
    return a.shape == b.shape and bool(np.abs(a - b).max() <= 1e-3 * scale)


def rank_of_change(before: np.ndarray, after: np.ndarray) -> int:
    """Returns the number of directions in which rows moved.

    Args:
        before: `[n, d]`.
        after: `[n, e]`; 0 is returned where `e` is not `d`.
    """
    if before.shape != after.shape:
        return 0
    change = after - before
    change = change - change.mean(axis=0)
    sizes = np.linalg.svd(change, compute_uv=False)
    # Below is the rounding of float32.
    floor = 1e-5 * max(np.abs(before).max(), 1e-300) * np.sqrt(len(before))
    return int((sizes > max(1e-4 * sizes[0], floor)).sum())


def random_removals(
    before: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns the rows without random directions, as much as erasure took.

    Args:
        before: `[n, d]` rows.
        after: `[n, e]` the same rows after erasure.
        rng: Source of the directions.

    Returns:
        Rows by what is equal: `"rank"`, the number of directions, unless rows
        moved in all of them; and `"variance"`, the mean squared distance that
        rows moved. None where the number of features changed.
    """
    if before.shape != after.shape:
        return {}
    mean, d = before.mean(axis=0), before.shape[1]
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    inner = (before - mean) @ basis
    removals = {}
    rank = rank_of_change(before, after)
    if 0 < rank < d:
        removals["rank"] = np.arange(d) < rank
    moved = float(np.square(after - before).sum(axis=1).mean())
    if moved > 0:
        energy = np.square(inner).mean(axis=0)
        taken = np.clip(moved - (np.cumsum(energy) - energy), 0, energy)
        removals["variance"] = np.sqrt(
            np.divide(taken, energy, where=energy > 0, out=0 * energy)
        )
    return {
        what: before - (inner * share) @ basis.T
        for what, share in removals.items()
    }
