"""Groups of rows as boolean masks, from the forms in which users have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def group_masks(groups: Any, n: int) -> dict[str, np.ndarray]:
    """Brings groups into one form.

    Args:
        groups: `None`; a dict of boolean masks `[n]`, which may overlap; an
            array, list or pandas Series of labels `[n]`; or a pandas
            DataFrame of `n` rows, whose boolean columns are taken as masks
            and whose other columns as labels.
        n: Number of rows.

    Returns:
        Masks by name. Labels are named by their value, those of a DataFrame
        `column=value`.

    Raises:
        ValueError: If a length is not `n`, a mask is not boolean, a label is
            missing, or two groups get the same name.
    """
    if groups is None:
        return {}
    if isinstance(groups, Mapping):
        named = [(str(name), _mask(name, m, n)) for name, m in groups.items()]
    elif hasattr(groups, "columns"):
        named = []
        for name, column in groups.items():
            if column.dtype == bool:
                named.append((str(name), _mask(name, column, n)))
            else:
                named += [
                    (f"{name}={label}", mask)
                    for label, mask in _by_label(column, n)
                ]
    else:
        named = [(str(label), mask) for label, mask in _by_label(groups, n)]
    masks = dict(named)
    if len(masks) < len(named):
        raise ValueError(
            "`groups` must have names that differ as text. "
            f"Received: {sorted(name for name, _ in named)}"
        )
    return masks


def _mask(name: Any, mask: Any, n: int) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (n,):
        raise ValueError(
            f"`groups[{name!r}]` must be a boolean mask of shape ({n},). "
            f"Received: dtype={mask.dtype}, shape={mask.shape}"
        )
    return mask


def _by_label(labels: Any, n: int) -> list[tuple[Any, np.ndarray]]:
    labels = np.asarray(labels, dtype=object)
    if labels.shape != (n,):
        raise ValueError(
            f"`groups` must hold a label for each of the {n} pairs. "
            f"Received: shape={labels.shape}"
        )
    # A dictionary, since sorting objects is slow and fails on mixed types.
    codes: dict[Any, int] = {}
    rows = np.fromiter(
        (codes.setdefault(label, len(codes)) for label in labels.tolist()),
        dtype=np.int64,
        count=n,
    )
    if any(_is_missing(label) for label in codes):
        raise ValueError(
            "`groups` must not hold missing labels: give them a name, or pass "
            "a dict of boolean masks."
        )
    return [(label, rows == code) for label, code in codes.items()]


def _is_missing(label: Any) -> bool:
    # NaN and NaT differ from themselves; pandas' NA neither does nor does not.
    return label is None or str(label == label) != "True"
