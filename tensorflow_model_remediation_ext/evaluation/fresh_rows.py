"""Splits rows: some for the eraser, some for readers, some to judge them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tensorflow_model_remediation_ext.evaluation.clustered import (
    classes_of_units,
)
from tensorflow_model_remediation_ext.evaluation.tables import extra

# Each split takes two of these folds for the eraser, one for readers to learn
# from and one to judge them.
_FOLDS = 4


def stratified_folds(
    z: np.ndarray,
    groups: np.ndarray | None,
    count: int,
    seed: int,
    purpose: str,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the rows outside and inside each fold.

    Args:
        z: `[n]` class ids, of which each fold has its share.
        groups: `[n]` ids of what is never split, or `None`.
        count: Number of folds.
        seed: Seed of the folds.
        purpose: What needs scikit-learn, to begin an error message with.

    Raises:
        ImportError: If scikit-learn is missing.
    """
    selection = extra("sklearn.model_selection", purpose)
    kind = "StratifiedKFold" if groups is None else "StratifiedGroupKFold"
    splitter = getattr(selection, kind)(count, shuffle=True, random_state=seed)
    return list(splitter.split(z, z, groups))


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
    units = np.bincount(classes_of_units(z, groups))
    if units.min() < _FOLDS:
        what = "rows" if groups is None else "groups"
        raise ValueError(
            f"Every class of `z` must have {_FOLDS} {what} or more. Received: "
            f"a class with {units.min()}"
        )
    for split in range(splits):
        place = split % _FOLDS
        if place == 0:
            pairs = stratified_folds(
                z, groups, _FOLDS, seed + split, "A measure of leakage"
            )
            folds = [rows for _, rows in pairs]
        test, learn, *fit = (folds[(place + k) % _FOLDS] for k in range(_FOLDS))
        yield np.sort(np.concatenate(fit)), learn, test
