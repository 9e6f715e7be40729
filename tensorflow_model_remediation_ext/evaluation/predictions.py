"""Labels, predictions and decisions of one or more columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tensorflow_model_remediation_ext.evaluation.checks import (
    finite_numbers,
    require_order,
    require_probabilities,
)
from tensorflow_model_remediation_ext.evaluation.frames import one_column
from tensorflow_model_remediation_ext.evaluation.labels import read_labels
from tensorflow_model_remediation_ext.evaluation.performance import (
    labels_and_scores,
)

# The threshold at which the largest of several columns is the decision.
HALF = 0.5
# How far a sum of probabilities in half precision may be from one.
_ROUNDING = 5e-3


class ClassScores(NamedTuple):
    """Scores of classes, and what was decided.

    Attributes:
        names: Names of the classes.
        true: The class of each row, `[n]`.
        decided: The class that was decided for, `[n]`.
        columns: Scores of the classes, `[n, classes]`.
        probabilities: Whether these are probabilities.
    """

    names: list[Any]
    true: np.ndarray
    decided: np.ndarray
    columns: np.ndarray
    probabilities: bool

    def rows(self, kept: np.ndarray) -> ClassScores:
        """Returns some of the rows."""
        return self._replace(
            true=self.true[kept],
            decided=self.decided[kept],
            columns=self.columns[kept],
        )

    def certainty(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns what happened, `[n]`, and how probable it was said to be.

        That is the positive class of two, and the right decision of several.
        """
        if len(self.names) == 2:
            return self.true == 1, self.columns[:, 1]
        return self.true == self.decided, self.columns.max(axis=1)


def read_class_scores(
    y_true: Any, y_pred: Any, classes: Sequence[Any] | None, threshold: float
) -> ClassScores:
    """Reads labels and scores of two or more classes.

    Raises:
        ValueError: If lengths differ, there are no rows, a label is not one of
            the classes, or scores are not finite or not probabilities where
            they must be.
    """
    require_order(classes, "classes")
    classes = None if classes is None else [*classes]
    scores = finite_numbers(y_pred, "y_pred")
    probabilities = 0 < threshold < 1
    if scores.ndim < 2 or scores.shape[1:] == (1,):
        if classes is not None:
            y_true = _codes(y_true, [*classes], 2)
        positive, column = labels_and_scores(y_true, scores, "y_true", "y_pred")
        require_probabilities(column, "y_pred", threshold)
        names = [0, 1] if classes is None else [*classes]
        columns = np.stack([-column, column], axis=1)
        return ClassScores(
            names,
            positive.astype(int),
            (column > threshold).astype(int),
            columns,
            probabilities,
        )
    if scores.ndim != 2 or not scores.size:
        raise ValueError(
            "`y_pred` must have shape [n], [n, 1] or [n, classes], and at "
            f"least one row. Received: shape={scores.shape}"
        )
    count = scores.shape[1]
    names = [*range(count)] if classes is None else [*classes]
    true = _codes(y_true, names, count)
    if len(true) != len(scores):
        raise ValueError(
            "`y_true` and `y_pred` must be equally long. "
            f"Received: {len(true)} and {len(scores)} rows"
        )
    require_scores(scores, "y_pred", threshold)
    decided = decisions(scores, threshold).astype(int)
    if count == 2:
        column = _positive(scores, threshold)
        scores = np.stack([-column, column], axis=1)
    return ClassScores(names, true, decided, scores, probabilities)


def require_scores(scores: np.ndarray, name: str, threshold: float) -> None:
    """Raises unless scores fit a threshold.

    Args:
        scores: Finite scores, `[n, k]`; more than one column are classes.
        name: What to call them in an error.
        threshold: They must be probabilities if it is strictly between 0
            and 1.

    Raises:
        ValueError: If they are not, or rows of several columns do not sum to
            one, or there are more than two columns and the threshold is
            neither 0 nor 0.5.
    """
    require_probabilities(scores, name, threshold)
    if scores.shape[1] == 1:
        return
    if 0 < threshold < 1:
        sums = scores.sum(axis=1)
        wrong = np.flatnonzero(np.abs(sums - 1) > _ROUNDING)
        if len(wrong):
            raise ValueError(
                f"`{name}` must be probabilities that sum to one in each row; "
                "give `threshold=0.0` for logits. "
                f"Received: {sums[wrong[0]]:g} in row {wrong[0]}"
            )
    if scores.shape[1] > 2 and threshold not in (0, 0.5):
        raise ValueError(
            "`threshold` must be 0.5 for probabilities or 0.0 for logits of "
            "several classes, of which the largest is the decision. "
            f"Received: threshold={threshold}"
        )


def decisions(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Returns what scores `[n, k]` decide, `[n]`.

    Of one column, or of two, whether the positive class is above the
    threshold; of more, or at a threshold of one half, the largest one.
    """
    columns = scores.shape[1]
    if columns > 2 or (columns == 2 and threshold == HALF):
        return scores.argmax(axis=1)
    return _positive(scores, threshold) > threshold


def _positive(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the score of the positive class, of one column or two."""
    if scores.shape[1] == 2 and not 0 < threshold < 1:
        return scores[:, 1] - scores[:, 0]
    return scores[:, -1]


def _codes(y_true: Any, names: list[Any], count: int) -> np.ndarray:
    """Returns the place of each row's label among the names."""
    if len(names) != count or len(set(names)) < count:
        raise ValueError(
            f"`classes` must name the {count} classes of `y_pred`, each once. "
            f"Received: classes={names}"
        )
    shape = np.shape(y_true)
    if len(shape) == 2 and shape[1] > 1:
        raise ValueError(
            "`y_true` must hold the class of each row: of one-hot rows it is "
            "`y_true.argmax(axis=1)`, and several labels of a row are measured "
            f"one by one. Received: shape={tuple(shape)}"
        )
    values, rows = read_labels(y_true, "y_true", len(y_true))
    place = {name: k for k, name in enumerate(names)}
    for value in values:
        if value not in place:
            raise ValueError(
                "`y_true` must hold classes that `y_pred` has a column for, "
                f"{names}. Received: {value!r}"
            )
    return np.array([place[value] for value in values], int)[rows]


def read_amounts(y_true: Any, y_pred: Any) -> np.ndarray:
    """Returns predictions minus truths, `[n]`.

    Raises:
        ValueError: If lengths differ, there are no rows, or an amount is not a
            finite number.
    """
    amounts = []
    for values, name in ((y_true, "y_true"), (y_pred, "y_pred")):
        array = one_column(finite_numbers(values, name))
        if array.ndim != 1 or not len(array):
            raise ValueError(
                f"`{name}` must have shape [n] or [n, 1], and at least one "
                f"row. Received: shape={array.shape}"
            )
        amounts.append(array)
    true, predicted = amounts
    if len(true) != len(predicted):
        raise ValueError(
            "`y_true` and `y_pred` must be equally long. "
            f"Received: {len(true)} and {len(predicted)} rows"
        )
    return predicted - true
