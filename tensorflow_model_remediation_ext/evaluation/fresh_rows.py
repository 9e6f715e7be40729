"""Rows for erasers, for readers and for judges, each their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tensorflow_model_remediation_ext.evaluation.tables import extra

# Each split takes two of these folds for the eraser, one for readers to learn
# from and one to judge them.
_FOLDS = 4


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
