"""Features, and labels of their rows, as readers take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.evaluation.checks import finite_numbers
from tensorflow_model_remediation_ext.evaluation.labels import read_labels


def feature_rows(x: Any) -> np.ndarray:
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
    labels, codes = _label_codes(values, name, n)
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


def label_codes(values: Any, name: str, n: int) -> np.ndarray:
    """Returns codes from 0 of labels, one or more of them, in any order.

    Args:
        values: Labels, `[n]` or `[n, 1]`.
        name: What to call them in an error.
        n: Number of rows.

    Raises:
        ValueError: If a length is not `n`, a label is missing or a fraction.
    """
    return _label_codes(values, name, n)[1]


def _label_codes(values, name, n):
    labels, codes = read_labels(values, name, n)
    for label in labels:
        if isinstance(label, (float, np.floating)) and not label.is_integer():
            raise ValueError(
                f"`{name}` must be labels, not measurements. Received: {label}"
            )
    return labels, codes
