"""Groups of rows, from the forms in which users have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tensorflow_model_remediation_ext.evaluation.frames import (
    columns_of,
    one_column,
    to_array,
)
from tensorflow_model_remediation_ext.evaluation.labels import read_labels


def group_masks(groups: Any, n: int) -> dict[str, np.ndarray]:
    """Brings groups into one form.

    Args:
        groups: `None`; a dict of boolean masks `[n]`, which may overlap; an
            array, list or Series of labels, see `read_labels`; or a DataFrame
            of `n` rows, of pandas or polars, whose boolean columns are taken
            as masks and whose other columns as labels.
        n: Number of rows.

    Returns:
        Masks by name. Labels are named by their value, those of a DataFrame
        `column=value`. Unused categories of pandas have empty ones.

    Raises:
        ValueError: If a length is not `n`, a mask is not boolean, a label is
            missing, or two groups get the same name.
    """
    if groups is None:
        return {}
    columns = columns_of(groups, "groups")
    if columns is None:
        named = _by_label(groups, n, "groups")
    else:
        named = []
        for name, column in columns.items():
            if isinstance(groups, Mapping) or is_mask(column):
                named.append((str(name), _mask(name, column, n)))
            else:
                named += _by_label(column, n, f"groups[{name!r}]", f"{name}=")
    masks = dict(named)
    if len(masks) < len(named):
        raise ValueError(
            "`groups` must have names that differ as text. "
            f"Received: {sorted(name for name, _ in named)}"
        )
    return masks


class Groups(NamedTuple):
    """Which rows are in which groups.

    Masks lie in memory group by group, since that is how they are read.

    Attributes:
        names: Names of the groups.
        members: Whether a row is in a group, boolean `[n, groups]`.
        others: Whether it is known not to be, boolean `[n, groups]`.
    """

    names: list[str]
    members: np.ndarray
    others: np.ndarray

    def with_everybody(self) -> np.ndarray:
        """Returns memberships after a group of all, `[n, 1 + groups]`."""
        everybody = np.ones((1, len(self.members)), bool)
        return np.concatenate([everybody, self.members.T]).T

    def rows(self, kept: np.ndarray) -> Groups:
        """Returns the groups of some of the rows."""
        return self._replace(
            members=np.take(self.members.T, kept, axis=1).T,
            others=np.take(self.others.T, kept, axis=1).T,
        )


def read_groups(
    features: Any, name: str, n: int, membership_threshold: float
) -> Groups:
    """Reads groups of people, which may overlap.

    Args:
        features: Labels `[n]`; or a dict or data frame of columns. Columns that
            all are masks, or shares between 0 and 1, make groups that may
            overlap, and so do zeros and ones beside shares; other columns make
            a group of each combination of labels.
        name: What to call them in an error.
        n: Number of rows.
        membership_threshold: A share of at least this is a membership.

    Raises:
        TypeError: If there are no values yet.
        ValueError: If a length is not `n`, a label is missing, fractions
            stand beside labels, or groups have no name or the same one.
    """
    columns = columns_of(features, name)
    if columns is not None and not columns:
        raise ValueError(
            f"`{name}` must hold labels of groups. "
            f"Received: {type(features).__name__} without columns"
        )
    shares = None if columns is None else _memberships(columns, name, n)
    if shares is None:
        names, codes = _combinations(columns or {"": features}, name, n)
        members = np.arange(len(names))[:, None] == codes
        groups = Groups(names, members.T, ~members.T)
    else:
        names = [str(key) for key in shares]
        for key, share in shares.items():
            if share.shape != (n,):
                raise ValueError(
                    f"`{name}[{key!r}]` must have shape ({n},). "
                    f"Received: shape={share.shape}"
                )
        members, others = np.empty((2, len(names), n), bool)
        for k, share in enumerate(shares.values()):
            np.greater_equal(share, membership_threshold, out=members[k])
            np.less(share, membership_threshold, out=others[k])
        groups = Groups(names, members.T, others.T)
    if "overall" in names or "" in names or len(set(names)) < len(names):
        raise ValueError(
            f"`{name}` must name groups, none of them 'overall', by names that "
            f"differ as text. Received: {names}"
        )
    return groups


def _memberships(
    columns: Mapping[Any, Any], name: str, n: int
) -> dict[Any, np.ndarray] | None:
    """Returns shares by column, NaN where unknown; `None` if some are labels.

    Raises:
        ValueError: If there are fractions beside labels.
    """
    arrays = {
        key: one_column(to_array(column, f"{name}[{key!r}]"))
        for key, column in columns.items()
    }
    shares = [key for key, array in arrays.items() if _holds_shares(array)]
    # Alone, zeros and ones are codes of labels.
    if any(arrays[key].dtype.kind == "f" for key in shares):
        shares += [key for key, array in arrays.items() if _is_binary(array)]
    labels = [key for key in columns if key not in shares]
    if not labels:
        return arrays
    for key in shares:
        known = arrays[key][arrays[key] == arrays[key]]
        fractions = known[(known > 0) & (known < 1)]
        if len(fractions):
            for other in labels:
                read_labels(columns[other], f"{name}[{other!r}]", n)
            raise ValueError(
                f"`{name}[{key!r}]` must hold labels beside {labels}, which "
                "are labels: shares make groups that overlap, labels make "
                "combinations. Decide it, as with `share >= 0.5`, or give "
                "these columns as boolean masks. "
                f"Received: a share of {fractions[0]:g}"
            )
    return None


def _holds_shares(array: np.ndarray) -> bool:
    if array.dtype == bool:
        return True
    if array.dtype.kind != "f":
        return False
    known = array[~np.isnan(array)]
    return bool(len(known) and 0 <= known.min() <= known.max() <= 1)


def _is_binary(array: np.ndarray) -> bool:
    return array.dtype.kind in "iu" and bool(np.isin(array, (0, 1)).all())


def _combinations(
    columns: Mapping[Any, Any], name: str, n: int
) -> tuple[list[str], np.ndarray]:
    """Returns names of all combinations of labels, and each row's place."""
    names, codes = [""], np.zeros(n, np.int64)
    for column, labels in columns.items():
        named = f"{name}[{column!r}]" if str(column) else name
        values, rows = _sorted_labels(labels, named, n)
        prefix = f"{column}=" if str(column) else ""
        codes = codes * len(values) + rows
        names = [
            f"{before}, {prefix}{value}" if before else f"{prefix}{value}"
            for before in names
            for value in values
        ]
    return names, codes


def _sorted_labels(
    labels: Any, name: str, n: int
) -> tuple[list[Any], np.ndarray]:
    """Returns all labels, in pandas' order or sorted, and codes of the rows."""
    found, rows = read_labels(labels, name, n)
    values = _categories(labels)
    if values is None:
        try:
            values = sorted(found)
        except TypeError:  # Of different types.
            values = found
    place = {value: k for k, value in enumerate(values)}
    return values, np.array([place[value] for value in found], int)[rows]


def _categories(labels: Any) -> list[Any] | None:
    """Returns the categories of pandas, used or not; `None` without them."""
    categories = getattr(getattr(labels, "cat", labels), "categories", None)
    if categories is None:
        return None
    return read_labels(categories, "categories", len(categories))[0]


def is_mask(column: Any) -> bool:
    """Returns whether a column holds booleans, or is declared to."""
    declared = str(getattr(column, "dtype", getattr(column, "type", "")))
    # "boolean" of pandas, "Boolean" of polars, "bool[pyarrow]" and the like.
    return declared.lower().startswith("bool")


def _mask(name: Any, mask: Any, n: int) -> np.ndarray:
    mask = to_array(mask, f"groups[{name!r}]")
    if mask.dtype != bool or mask.shape != (n,):
        raise ValueError(
            f"`groups[{name!r}]` must be a boolean mask of shape ({n},), "
            "without missing values. "
            f"Received: dtype={mask.dtype}, shape={mask.shape}"
        )
    return mask


def _by_label(
    labels: Any, n: int, name: str, prefix: str = ""
) -> list[tuple[str, np.ndarray]]:
    found, codes = read_labels(labels, name, n)
    categories = _categories(labels) or []
    values = found + [value for value in categories if value not in found]
    return [
        (f"{prefix}{value}", codes == code) for code, value in enumerate(values)
    ]
