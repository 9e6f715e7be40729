"""How right readers are, where rows judge more than once or come in groups."""

from __future__ import annotations

import numpy as np

from tensorflow_model_remediation_ext.evaluation.clustered import (
    classes_of_units,
    clustered_accuracy,
    clustered_variance,
)
from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
    without_interval,
)
from tensorflow_model_remediation_ext.evaluation.over_seeds import (
    student_half_width,
)
from tensorflow_model_remediation_ext.evaluation.performance import (
    area_estimate,
    midranks,
    ordered_share,
)

_BLOCK = 100


class Judge:
    """Collects readers' scores over splits, and estimates how right they are.

    Args:
        classes: `[n]` true class ids of all rows.
        groups: `[n]` ids of what belongs together, or `None`.
        confidence: Level of the intervals.
    """

    def __init__(
        self,
        classes: np.ndarray,
        groups: np.ndarray | None,
        confidence: float,
    ):
        self.classes, self.num_classes = classes, int(classes.max()) + 1
        self._units = np.arange(len(classes)) if groups is None else groups
        self._grouped, self._confidence = groups is not None, confidence
        self._right: dict[object, list] = {}
        self._areas: dict[object, list] = {}

    def add(self, reader: object, rows: np.ndarray, scores: np.ndarray) -> None:
        """Adds a split: `[m]` judged rows and their `[m, classes]` scores."""
        z = self.classes[rows]
        self._right.setdefault(reader, []).append(
            (rows, scores.argmax(axis=1) == z)
        )
        found = [
            ordered_share(z == k, scores[:, k])
            for k in ([1] if scores.shape[1] == 2 else range(scores.shape[1]))
            if 0 < np.count_nonzero(z == k) < len(z)
        ]
        if found:
            areas, influence = zip(*found, strict=True)
            # The only row of a class tells no spread.
            influence = np.nan_to_num(influence).mean(axis=0)
            self._areas.setdefault(reader, []).append(
                (rows, float(np.mean(areas)), influence)
            )

    def judged(self, reader: object) -> int:
        """Returns how many different rows judged a reader."""
        return len(
            np.unique(np.concatenate([r for r, _ in self._right[reader]]))
        )

    def accuracy(self, reader: object) -> Estimate:
        """Returns the share of rows read rightly; unknown without scores."""
        if reader not in self._right:
            return UNKNOWN
        rows, right = map(
            np.concatenate, zip(*self._right[reader], strict=True)
        )
        estimate, _ = clustered_accuracy(
            right,
            self._units[rows],
            self._grouped,
            len(np.unique(rows)),
            self._confidence,
        )
        return estimate

    def auc(self, reader: object) -> Estimate:
        """Returns the mean area over classes and splits."""
        if reader not in self._areas:
            return UNKNOWN
        rows, areas, influence = zip(*self._areas[reader], strict=True)
        together = np.concatenate(rows)
        variance = clustered_variance(
            np.concatenate(influence) / len(areas),
            self._units[together],
            self._grouped,
        )
        # Rows are compared within a split, and counted once however often
        # they judge.
        counts = self._independent(together)
        split = np.mean([self._independent(each) for each in rows], axis=0)
        scarcest = split[counts.argmin()]
        return area_estimate(
            float(np.mean(areas)),
            variance,
            max(scarcest, 1.0),
            max(split.sum() - scarcest, 1.0),
            self._confidence,
            counts.sum() / split.sum(),
        )

    def _independent(self, rows: np.ndarray) -> np.ndarray:
        """Returns for how many independent rows each class counts."""
        found = classes_of_units(self.classes[rows], self._units[rows])
        return np.bincount(found, minlength=self.num_classes)


def similarity_kept(before: np.ndarray, after: np.ndarray) -> list[float]:
    """Returns Spearman's correlation of rows' cosine similarities.

    Args:
        before: `[n, d]` rows.
        after: `[n, e]` the same rows after erasure.

    Returns:
        A correlation for each block of a hundred rows, or of all where there
        are fewer; none for blocks whose similarities are all alike before or
        after, as those of a single column are.
    """
    blocks = max(len(before) // _BLOCK, 1)
    kept = []
    for rows in np.array_split(np.arange(len(before)), blocks)[:10]:
        ranks = [midranks(_similarities(x[rows])) for x in (before, after)]
        if all(len(np.unique(each)) > 1 for each in ranks):
            kept.append(float(np.corrcoef(ranks)[0, 1]))
    return kept


def mean_of_blocks(values: list[float], confidence: float) -> Estimate:
    """Returns a mean of correlations with Student's interval, if they differ.

    It stays between -1 and 1.
    """
    if not values:
        return UNKNOWN
    mean = float(np.mean(values))
    half = student_half_width(values, confidence, "An interval of similarities")
    if not half:
        return without_interval(mean)
    low, high = np.clip([mean - half, mean + half], -1, 1)
    return Estimate(mean, float(low), float(high))


def _similarities(x):
    """Cosines of all pairs of rows; those but a rounding apart are equal."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    x = x / np.where(norms > 0, norms, 1.0)
    return (x @ x.T)[np.triu_indices(len(x), 1)].round(12)
