"""Rows for erasers, for readers and for judges, each their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.evaluation.checks import finite_numbers
from tensorflow_model_remediation_ext.evaluation.labels import read_labels
from tensorflow_model_remediation_ext.evaluation.tables import extra

# Each split takes two of these folds for the eraser, one for readers to learn
# from and one to judge them.
_FOLDS = 4


def features(x: Any) -> np.ndarray:
    """Returns `[n, d]` features, float32 as it is and all else as float64.

    Raises:
        ValueError: If they are of another shape, empty or not finite.
    """
    checked = finite_numbers(x, "x")
    if checked.ndim != 2 or not checked.size:
        raise ValueError(
            "`x` must have shape [n, d] and not be empty. "
            f"Received: shape={checked.shape}"
        )
    return checked.astype(np.float32) if _is_float32(x) else checked


def _is_float32(x):
    return str(getattr(x, "dtype", "")).endswith("float32")


def class_ids(values: Any, name: str, n: int) -> np.ndarray:
    """Returns ids from 0, in sorted order of the labels where they have one.

    Args:
        values: Labels, `[n]` or `[n, 1]`.
        name: What to call them in an error.
        n: Number of rows.

    Raises:
        ValueError: If a length is not `n`, a label is missing or a fraction,
            or there are fewer than two.
    """
    labels, codes = read_labels(values, name, n)
    for label in labels:
        if isinstance(label, (float, np.floating)) and not label.is_integer():
            raise ValueError(
                f"`{name}` must be labels, not measurements. Received: {label}"
            )
    if len(labels) < 2:
        raise ValueError(
            f"`{name}` must have two labels or more. Received: {labels}"
        )
    try:
        order = sorted(range(len(labels)), key=labels.__getitem__)
    except TypeError:  # Of types that do not compare.
        return codes
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels))
    return place[codes]


def split_rows(
    z: np.ndarray, groups: np.ndarray | None, splits: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields the rows of the eraser, of the readers and of the judge.

    Up to four splits judge different rows.

    Args:
        z: `[n]` class ids, of which each part has its share.
        groups: `[n]` ids of what is never split, or `None`.
        splits: Number of splits.
        seed: Seed of the splits.

    Raises:
        ValueError: If a class has too few rows or groups.
    """
    selection = extra("sklearn.model_selection", "A measure of leakage")
    kind = "StratifiedKFold" if groups is None else "StratifiedGroupKFold"
    units = np.bincount(z)
    if groups is not None:
        units = np.bincount(np.unique(np.stack([z, groups]), axis=1)[0])
    if units.min() < _FOLDS:
        what = "rows" if groups is None else "groups"
        raise ValueError(
            f"Every class of `z` must have {_FOLDS} {what} or more. Received: "
            f"a class with {units.min()}"
        )
    for split in range(splits):
        place = split % _FOLDS
        if place == 0:
            splitter = getattr(selection, kind)(
                _FOLDS, shuffle=True, random_state=seed + split
            )
            folds = [rows for _, rows in splitter.split(z, z, groups)]
        test, learn, *fit = (folds[(place + k) % _FOLDS] for k in range(_FOLDS))
        yield np.sort(np.concatenate(fit)), learn, test
