"""Labels of rows, of any types."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.evaluation.frames import (
    one_column,
    plain_array,
)


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
        ValueError: If a length is not `n`, or a label is missing or several.
    """
    labels = one_column(plain_array(values, name, object))
    if labels.shape != (n,):
        raise ValueError(
            f"`{name}` must hold a label for each of the {n} rows. "
            f"Received: shape={labels.shape}"
        )
    for row, label in enumerate(labels):
        if isinstance(label, list | np.ndarray):
            raise ValueError(
                f"`{name}` must hold one label for each row. "
                f"Received: {label!r:.80} in row {row}"
            )
    # Dictionaries, since sorting objects is slow and fails on mixed types.
    given = labels.tolist()
    codes: dict[Any, int] = {}
    code_of = {
        label: codes.setdefault(_as_text(label), len(codes))
        for label in dict.fromkeys(given)
    }
    rows = np.fromiter(map(code_of.__getitem__, given), np.int64, n)
    for label, code in codes.items():
        if _is_missing(label):
            raise ValueError(
                f"`{name}` must not hold missing labels (None, NaN): give "
                "these rows a label, or leave them out. "
                f"Received: {label!r} in row {np.argmax(rows == code)}"
            )
    return list(codes), rows


def _as_text(label: Any) -> Any:
    if isinstance(label, bytes):
        return label.decode(errors="backslashreplace")
    return label


def _is_missing(label: Any) -> bool:
    # NaN and NaT differ from themselves; pandas' NA compared is NA again.
    return label is None or str(label == label) != "True"
