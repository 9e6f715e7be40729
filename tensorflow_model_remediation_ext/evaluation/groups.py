"""Labels and groups of rows, from the forms in which users have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def group_masks(groups: Any, n: int) -> dict[str, np.ndarray]:
    """Brings groups into one form.

    Args:
        groups: `None`; a dict of boolean masks `[n]`, which may overlap; an
            array, list or pandas Series of labels, see `read_labels`; or a
            pandas DataFrame of `n` rows, whose boolean columns are taken as
            masks and whose other columns as labels.
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
            if column.dtype.kind == "b":
                named.append((str(name), _mask(name, column, n)))
            else:
                named += _by_label(column, n, f"{name}=")
    else:
        named = _by_label(groups, n)
    masks = dict(named)
    if len(masks) < len(named):
        raise ValueError(
            "`groups` must have names that differ as text. "
            f"Received: {sorted(name for name, _ in named)}"
        )
    return masks


def _mask(name: Any, mask: Any, n: int) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype == object and {*map(type, mask.flat)} == {bool}:
        mask = mask.astype(bool)  # A nullable column of pandas.
    if mask.dtype != bool or mask.shape != (n,):
        raise ValueError(
            f"`groups[{name!r}]` must be a boolean mask of shape ({n},), "
            "without missing values. "
            f"Received: dtype={mask.dtype}, shape={mask.shape}"
        )
    return mask


def _by_label(
    labels: Any, n: int, prefix: str = ""
) -> list[tuple[str, np.ndarray]]:
    values, codes = read_labels(labels, "groups", n)
    return [
        (f"{prefix}{value}", codes == code) for code, value in enumerate(values)
    ]


def read_labels(values: Any, name: str, n: int) -> tuple[list[Any], np.ndarray]:
    """Reads a label for each row.

    Args:
        values: Labels of any types, `[n]` or `[n, 1]`. Bytes, as which
            TensorFlow has its strings, are text.
        name: What to call them in an error.
        n: Number of rows.

    Returns:
        The labels that there are, in the order in which they first appear,
        and `int64` codes `[n]`, the place of each row's label among them.

    Raises:
        ValueError: If a length is not `n`, or a label is missing.
    """
    labels = np.asarray(values, dtype=object)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (n,):
        raise ValueError(
            f"`{name}` must hold a label for each of the {n} rows. "
            f"Received: shape={labels.shape}"
        )
    # A dictionary, since sorting objects is slow and fails on mixed types.
    codes: dict[Any, int] = {}
    rows = np.fromiter(
        (
            codes.setdefault(
                x.decode(errors="backslashreplace")
                if isinstance(x, bytes)
                else x,
                len(codes),
            )
            for x in labels.tolist()
        ),
        dtype=np.int64,
        count=n,
    )
    for label, code in codes.items():
        if _is_missing(label):
            raise ValueError(
                f"`{name}` must not hold missing labels (None, NaN): give "
                "these rows a label, or leave them out. "
                f"Received: {label!r} in row {np.argmax(rows == code)}"
            )
    return list(codes), rows


def _is_missing(label: Any) -> bool:
    # NaN and NaT differ from themselves; pandas' NA neither does nor does not.
    return label is None or str(label == label) != "True"
