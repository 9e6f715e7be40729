"""A table of people: from a CSV file to features, labels and groups."""

import csv
import pathlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.datasets.text_lines import (
    check_delimiter,
    skipping_mark,
)

# As spreadsheets, databases and pandas write it. "none" may be an answer.
MISSING = frozenset(
    ["", "?", "NA", "<NA>", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN"]
    + ["NULL", "null", "None"]
)
_MOST_CATEGORIES = 100
_MOST_GROUPS = 64  # As `build_min_diff_dataset` takes.
_FEWEST_ROWS = 20
# Squares of larger numbers are infinite in float32, and so is their variance.
_LARGEST = 1e18


class People(NamedTuple):
    """Rows of a table.

    Args:
        features: Columns by name, float32 or text, `[n]` each.
        labels: Zeros and ones, `[n]`.
        groups: The group of each row, as text, `[n]`.
    """

    features: dict[str, np.ndarray]
    labels: np.ndarray
    groups: np.ndarray

    def take(self, rows: np.ndarray) -> "People":
        """Returns some of the rows."""
        features = {name: each[rows] for name, each in self.features.items()}
        return People(features, self.labels[rows], self.groups[rows])

    def split(self, share: float, seed: int) -> tuple["People", "People"]:
        """Returns the rows without and with a random share of them."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        cut = round(share * len(order))
        return self.take(np.sort(order[cut:])), self.take(np.sort(order[:cut]))


class TableTask(NamedTuple):
    """What the demo does on a table.

    Args:
        name: Name of the file.
        people: All rows.
        positive: The label that counts as 1.
        group_names: Names of the columns that tell the group.
        left_out: Columns that are not features, and why.
    """

    name: str
    people: People
    positive: str
    group_names: list[str]
    left_out: dict[str, str]


def load_table(
    path: str,
    label: str,
    group_names: list[str],
    limit: int | None = None,
    keep_group: bool = False,
    delimiter: str = ",",
    encoding: str = "utf-8",
    positive_label: str | None = None,
) -> TableTask:
    """Reads a CSV file with a header and infers what its columns are.

    A column is a number if all its values are, missing ones (empty, "?", "NA",
    "NULL" and the like) apart, which become the mean; otherwise it is a
    category, and so is what is missing in it. Categories with more than 100
    values, such as names, and columns with one value are left out, and so are
    the columns that tell the group unless `keep_group`. Ids that are numbers
    are taken for numbers: leave them out of the file. A column without a name
    is called by its place, such as `"column 1"`. Labels and groups are
    never guessed: where they are missing, the table is refused.

    Args:
        path: The file.
        label: Column with two values.
        group_names: Columns that tell the group; each combination is one.
        limit: Take at most this many rows.
        keep_group: Whether the model may see the group.
        delimiter: The character between fields.
        encoding: Any text encoding Python knows.
        positive_label: The value of the label that counts as 1; by default the
            one that sorts last.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is of another encoding or cannot be parsed, a column
            is missing, rows are cut off, or label or groups do not have the
            values they need, in each row.
    """
    name = pathlib.Path(path).name
    check_delimiter(delimiter)
    try:
        columns = _read(path, name, limit, delimiter, encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise ValueError(
            f"{name} must be text in the encoding {encoding!r}: {error}"
        ) from error
    for wanted in (label, *group_names):
        if wanted not in columns:
            raise ValueError(
                f"{name} must have the column {wanted!r}. "
                f"It has: {', '.join(columns)}"
            )
    if label in group_names:
        raise ValueError(
            f"{name}: the label {label!r} must not be a column of the group too"
        )
    labels, positive = _labels(columns.pop(label), label, name, positive_label)
    for group in group_names:
        _refuse_missing(columns[group], group, name)
    combined = [*zip(*(columns[g] for g in group_names), strict=True)]
    names = {values: ", ".join(values) for values in combined}
    if len(set(names.values())) < len(names):
        # Values that hold commas: quotes tell these combinations apart.
        names = {values: ", ".join(map(repr, values)) for values in names}
    groups = np.array([names[values] for values in combined])
    if not 2 <= len(set(groups)) <= _MOST_GROUPS:
        raise ValueError(
            f"{name}: {', '.join(group_names)} must tell two groups apart, or "
            f"more, up to {_MOST_GROUPS}. Received {len(set(groups))}: "
            f"{', '.join(sorted(set(groups.tolist()))[:5])}"
        )
    if "overall" in groups:
        raise ValueError(
            f"{name}: {', '.join(group_names)} must not have the value "
            "'overall', which names the figures of all rows"
        )
    features, left_out = {}, {}
    for column, values in columns.items():
        if column in group_names and not keep_group:
            left_out[column] = "tells the group"
            continue
        feature, why_not = _feature(values)
        # As Keras may call an input.
        column = column.replace("/", "_")
        if feature is None:
            left_out[column] = why_not
        elif column in features:
            raise ValueError(
                f"{name} must have one column called {column!r}. In names '/' "
                "counts as '_'"
            )
        else:
            features[column] = feature
    if not features:
        raise ValueError(f"{name} has no column left to learn from")
    return TableTask(
        name, People(features, labels, groups), positive, group_names, left_out
    )


def build_table_model(features: dict[str, np.ndarray]) -> keras.Model:
    """Makes a small network that takes the columns as they are.

    Its layers have names that a column is unlikely to have.
    """
    inputs, encoded = {}, []
    for k, (name, values) in enumerate(features.items()):
        number = values.dtype.kind == "f"
        each = keras.Input(
            (1,), dtype="float32" if number else "string", name=name
        )
        inputs[name] = each
        if number:
            layer = keras.layers.Normalization(name=f"numbers>{k}")
            layer.adapt(values[:, None])
        else:
            layer = keras.layers.StringLookup(
                output_mode="one_hot", name=f"values>{k}"
            )
            layer.adapt(tf.constant(values[:, None]))
        encoded.append(layer(each))
    x = encoded[0]
    if len(encoded) > 1:
        x = keras.layers.Concatenate(name="all>columns")(encoded)
    x = keras.layers.Dense(32, "relu", name="hidden>1")(x)
    x = keras.layers.Dense(16, "relu", name="hidden>2")(x)
    outputs = keras.layers.Dense(1, "sigmoid", name="probability>of>1")(x)
    return keras.Model(inputs, outputs, name="table_classifier")


def inputs_of(people: People) -> dict[str, tf.Tensor]:
    """Returns the columns as the model takes them, `[n, 1]` each."""
    return {
        name: tf.constant(values[:, None])
        for name, values in people.features.items()
    }


def _read(path, name, limit, delimiter, encoding):
    with open(path, newline="", encoding=skipping_mark(encoding)) as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        filled = _filled(reader, name)
        header = [
            value or f"column {k}"
            for k, value in enumerate(next(filled, []), start=1)
        ]
        if len(header) == 1:
            raise ValueError(
                f"{name} must have columns with {delimiter!r} between them; "
                f"another delimiter may be given. Its header is {header[0]!r}"
            )
        rows = []
        for row in filled:
            if len(row) != len(header):
                raise ValueError(
                    f"{name}, line {reader.line_num}: a row must have "
                    f"{len(header)} values. It has {len(row)}"
                )
            rows.append(row)
            if limit is not None and len(rows) == limit:
                break
    if len(rows) < _FEWEST_ROWS or len(set(header)) < len(header):
        raise ValueError(
            f"{name} must have a header of different names and at least "
            f"{_FEWEST_ROWS} rows. It has {len(rows)} rows and the header "
            f"{header}"
        )
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _filled(reader, name):
    """Yields the rows that are not blank, without spaces around values."""
    try:
        for row in reader:
            row = [value.strip() for value in row]
            if row and row != [""]:
                yield row
    except csv.Error as error:
        raise ValueError(
            f"{name}, line {reader.line_num}: {error}. Is a quote not closed?"
        ) from error


def _refuse_missing(values, column, name):
    missing = [value for value in values if value in MISSING]
    if missing:
        raise ValueError(
            f"{name}: the column {column!r} must have a value in each row. In "
            f"{len(missing)} of {len(values)} it has {sorted(set(missing))}. "
            "Leave these rows out, or say what is meant"
        )


def _labels(values, label, name, positive):
    found = sorted(set(values) - MISSING)
    if len(found) <= 2:
        _refuse_missing(values, label, name)
    if len(found) != 2:
        raise ValueError(
            f"{name}: the label {label!r} must have two values. It has "
            f"{len(found)}: {', '.join(found[:5])}"
        )
    if positive is None:
        positive = found[1]
    elif positive not in found:
        raise ValueError(
            f"{name}: the positive label must be a value of {label!r}, "
            f"{found[0]!r} or {found[1]!r}. Received: {positive!r}"
        )
    return (np.array(values) == positive).astype("float32"), positive


def _feature(values):
    """Returns a column as an array, or `None` and why it is none."""
    known = [value for value in values if value not in MISSING]
    if not known or len(set(values)) < 2:
        return None, "has one value"
    try:
        numbers = np.array([float(value) for value in known])
    except ValueError:
        if len(set(values)) > _MOST_CATEGORIES:
            return None, f"has {len(set(values))} different texts"
        return np.array(values), ""
    if not np.isfinite(numbers).all():
        return None, "has numbers that are infinite or none"
    if np.abs(numbers).max() > _LARGEST:
        return None, "has too large numbers"
    column = np.full(len(values), numbers.mean(), "float32")
    column[[value not in MISSING for value in values]] = numbers
    if np.ptp(column) == 0:
        return None, "has one value"
    return column, ""
