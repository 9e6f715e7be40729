"""Which inputs does a model's quality depend on?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    whole,
)
from tensorflow_model_remediation_ext.evaluation.checks import require_model
from tensorflow_model_remediation_ext.evaluation.frames import to_array
from tensorflow_model_remediation_ext.evaluation.importance_report import (
    ImportanceReport,
    ImportanceRow,
)
from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    normal_quantile,
    without_interval,
)
from tensorflow_model_remediation_ext.evaluation.model_inputs import (
    ModelInputs,
)
from tensorflow_model_remediation_ext.evaluation.over_seeds import (
    student_half_width,
)
from tensorflow_model_remediation_ext.evaluation.performance import (
    accuracy,
    auc,
)
from tensorflow_model_remediation_ext.evaluation.predicting import (
    predict_batch,
)

_METRICS = {
    "accuracy": lambda y, p: accuracy(y, p).value,
    "auc": lambda y, p: auc(y, p).value,
}


def permutation_importance(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    metric: str | Callable[[np.ndarray, np.ndarray], float] = "auc",
    edits: Mapping[str, Callable[[Any], Any]] | None = None,
    feature_names: Sequence[str] | None = None,
    n_repeats: int = 5,
    batch_size: int = 1_024,
    confidence: float = 0.95,
    seed: int = 0,
) -> ImportanceReport:
    """Measures how far a metric drops when a feature is shuffled.

    A shuffled feature keeps its values but tells nothing about the row that
    it is in. For a text, where shuffling takes away everything at once, give
    `edits`: what a term is worth is the drop of the metric on texts from which
    it was removed. Only rows that an edit changes are predicted again.

    What the figures do not show: of two features that correlate, each may
    replace the other, so that neither seems important. Shuffled rows may be
    impossible ones, on which a model does as it likes.
    Little importance for the metric is not little influence on decisions:
    a term that is rare, or moves right and wrong decisions alike, costs
    nothing here; measure that with `flips`. And intervals tell what other
    shuffles of these data would give, not other data.

    Args:
        model: A Keras model with one output.
        x: Its inputs: an array `[n, d]` or a DataFrame of numbers (pandas or
            polars), each column of which is a feature; any other array, `[n]`
            or `[n, ...]`, that is one feature; or a dict or sequence of
            arrays, each of which is one. Strings are strings or bytes.
        y: What the metric compares predictions with, `[n, ...]`.
        metric: `"accuracy"` or `"auc"` of binary labels and probabilities, or
            a function of `y` and predictions, `[n, ...]` arrays, that returns
            a number, the greater the better.
        edits: Functions by name, each of which takes a copy of `x`, strings
            as tensors and a DataFrame as its array, and returns it changed,
            such as `{"gay": TermEditor(["gay"])}`.
        feature_names: Names of the columns, or of the inputs where they are
            no dict. By default those of a DataFrame, otherwise their numbers;
            `"x"` for a single feature. An empty list leaves only `edits`.
        n_repeats: Number of shuffles of each feature.
        batch_size: Rows that are predicted at once.
        confidence: Level of the two-sided intervals.
        seed: Seed of the shuffles.

    Returns:
        A report with a row for each feature, then one for each edit.

    Raises:
        ImportError: If SciPy is missing.
        TypeError: If `model` is not a Keras model, or `x` is a DataFrame with
            a column that does not hold numbers.
        ValueError: If lengths differ, an edit changes names or shapes of
            inputs, `model` has several outputs, names do not fit or occur
            twice, the metric is unknown or gives no number, or an option is
            out of range.

    Examples:
        >>> inputs = keras.Input((2,))
        >>> dense = keras.layers.Dense(
        ...     1, "sigmoid", kernel_initializer=keras.initializers.Constant(
        ...         [[1.0], [0.0]]
        ...     )
        ... )
        >>> model = keras.Model(inputs, dense(inputs))
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> report = permutation_importance(model, x, x[:, 0] > 0)
        >>> report["1"].importance.value
        0.0

    References:
        Breiman 2001, "Random forests", section 10; Fisher, Rudin and Dominici
        2019, "All models are wrong, but many are useful", arXiv 1801.01489.
    """
    normal_quantile(confidence)  # Refuses a bad level before any work.
    require_model(model)
    whole("n_repeats", n_repeats)
    whole("batch_size", batch_size)
    measure = _Measure(model, metric, to_array(y, "y"), batch_size)
    checked_seed("seed", seed)
    inputs, edits = ModelInputs.read(x), dict(edits or {})
    _require_rows(inputs, len(measure.y))
    features = inputs.features(feature_names)
    names = [feature.name for feature in features] + list(edits)
    if len(set(names)) < len(names):
        raise ValueError(
            f"Features and edits must have names that differ. Received: {names}"
        )
    original = measure.predictions(inputs)
    baseline = measure.score(original)
    rng = np.random.default_rng(seed)
    rows = [
        _shuffled_row(
            feature, inputs, measure, baseline, n_repeats, confidence, rng
        )
        for feature in features
    ]
    rows += [
        _edited_row(name, edit, inputs, measure, original)
        for name, edit in edits.items()
    ]
    name = getattr(metric, "__name__", str(metric))
    return ImportanceReport(tuple(rows), confidence, name, baseline)


class _Measure:
    """The metric of a model's predictions, for inputs of any size."""

    def __init__(self, model, metric, y, batch_size):
        known = _METRICS.get(metric) if isinstance(metric, str) else metric
        if not callable(known):
            raise ValueError(
                f"`metric` must be one of {sorted(_METRICS)} or a function. "
                f"Received: metric={metric!r}"
            )
        if not len(y):
            raise ValueError("`y` is empty.")
        self.y = y
        self._model, self._metric, self._size = model, known, batch_size

    def predictions(self, inputs: ModelInputs) -> np.ndarray:
        rows = len(next(iter(inputs.arrays.values())))
        parts = []
        for start in range(0, rows, self._size):
            batch = inputs.rows(slice(start, start + self._size))
            count = min(self._size, rows - start)
            x = batch.rebuild(batch.arrays)
            parts.append(predict_batch(self._model, x, count))
        return np.concatenate(parts)

    def score(self, predictions: np.ndarray) -> float:
        value = float(self._metric(self.y, predictions))
        if np.isnan(value):
            raise ValueError("`metric` must be a number. Received: NaN")
        return value


def _require_rows(inputs: ModelInputs, n: int) -> None:
    for name, array in inputs.arrays.items():
        if array.shape[:1] != (n,):
            raise ValueError(
                "`x` and `y` must be equally long. Received: "
                f"{n} rows of `y` and shape {array.shape} for {name!r}"
            )


def _shuffled_row(
    feature, inputs, measure, baseline, n_repeats, confidence, rng
) -> ImportanceRow:
    drops, changed = [], []
    for _ in range(n_repeats):
        shuffled = inputs.shuffled(feature, rng)
        drops.append(baseline - measure.score(measure.predictions(shuffled)))
        changed.append(inputs.differ(shuffled).sum())
    return ImportanceRow(
        feature=feature.name,
        changed=float(np.mean(changed)),
        importance=_mean_drop(drops, confidence),
        spread=float(np.std(drops, ddof=1)) if drops[1:] else np.nan,
        repeats=n_repeats,
    )


def _edited_row(name, edit, inputs, measure, original) -> ImportanceRow:
    edited = inputs.edited(edit, f"edits[{name!r}]")
    changed = inputs.differ(edited)
    predictions = original.copy()
    if changed.any():
        predictions[changed] = measure.predictions(edited.rows(changed))
    drop = measure.score(original) - measure.score(predictions)
    return ImportanceRow(
        feature=name,
        changed=float(changed.sum()),
        # One edit says nothing about how another one would turn out.
        importance=without_interval(drop),
        spread=np.nan,
        repeats=1,
    )


def _mean_drop(drops: list[float], confidence: float) -> Estimate:
    """Returns a mean over shuffles with Student's interval, if they differ."""
    mean = float(np.mean(drops))
    half = student_half_width(drops, confidence, "An interval of shuffles")
    if not half:
        return without_interval(mean)
    return Estimate(mean, mean - half, mean + half)
