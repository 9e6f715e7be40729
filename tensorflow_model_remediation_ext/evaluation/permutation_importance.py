"""Which inputs does a model's quality hang on?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.evaluation.checks import require_model
from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    normal_quantile,
)
from tensorflow_model_remediation_ext.evaluation.performance import (
    accuracy,
    auc,
)
from tensorflow_model_remediation_ext.evaluation.predicting import (
    predict_batch,
)
from tensorflow_model_remediation_ext.evaluation.tables import (
    Row,
    Table,
    extra,
    plot_estimates,
)


@dataclasses.dataclass(frozen=True)
class ImportanceRow(Row):
    """What it costs to take a feature away.

    Args:
        feature: Name of the feature or edit.
        changed: Number of rows that differ from the original ones; the mean
            over the repeats.
        importance: Mean drop of the metric; the interval is that of the mean
            over all shuffles, and has no width for an edit.
        spread: Standard deviation of the drop between repeats; NaN for a
            single one.
        repeats: Number of shuffles, or 1 for an edit.
    """

    feature: str
    changed: float
    importance: Estimate
    spread: float
    repeats: int


@dataclasses.dataclass(frozen=True, repr=False)
class ImportanceReport(Table[ImportanceRow]):
    """The importance of all features, in order; its `repr` is a table.

    Args:
        rows: An `ImportanceRow` for each feature and edit.
        confidence: Level of the intervals.
        metric: Name of the metric.
        baseline: Its value on the original inputs.
    """

    metric: str
    baseline: float

    measures: ClassVar[str] = (
        "How far the quality of the model's predictions drops when a feature "
        "is shuffled among examples, or a term removed from all texts."
    )
    caveat: ClassVar[str] = (
        "A feature without importance may still be used together with others, "
        "or be stood in for by those that go along with it. Intervals tell "
        "what other shuffles of these data would give, not other data."
    )
    _plotted: ClassVar[dict[str, str]] = {"importance": "importance"}
    _columns: ClassVar[tuple[str, ...]] = (
        "feature",
        "changed",
        "importance",
        "spread",
        "repeats",
    )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers: the metric, its baseline and the features."""
        return {
            "metric": self.metric,
            "baseline": self.baseline,
            "features": super().to_dict(),
        }

    def plot(self, axes: Any = None) -> Any:
        """Draws the drops with their intervals, the largest on top.

        Args:
            axes: matplotlib `Axes` to draw on; a new figure's by default.

        Returns:
            The `Axes`; its figure is `axes.figure`.

        Raises:
            ImportError: If matplotlib is missing.
        """
        rows = sorted(self.rows, key=lambda row: -row.importance.value)
        return plot_estimates(
            axes,
            [row.feature for row in rows],
            {"importance": [row.importance for row in rows]},
            f"drop of {self.metric} from {self.baseline:.4f} "
            f"({100 * self.confidence:g} % intervals over shuffles)",
            {"no drop": [0]},
        )

    def __repr__(self) -> str:
        return f"{self.metric} {self.baseline:.4f}\n{super().__repr__()}"


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

    A shuffled feature keeps its values but tells nothing of the row that it
    stands in. For a text, where shuffling takes away everything at once, give
    `edits`: what happens without a term is the drop of the metric on texts
    from which it was removed. Only rows that an edit changes are predicted
    again.

    What the figures do not show: of two features that go along with one
    another each may stand in for the other, so that neither seems important.
    Shuffled rows may be impossible ones, on which a model does as it likes.
    Little importance for the metric is not little influence on decisions:
    a term that is rare, or moves right and wrong decisions alike, costs
    nothing here; measure that with `flips`. And intervals tell what other
    shuffles of these data would give, not other data.

    Args:
        model: A Keras model with one output.
        x: Its inputs: an array `[n, d]` or a pandas DataFrame, each column of
            which is a feature; any other array, `[n]` or `[n, ...]`, that is
            one feature; or a dict or sequence of arrays, each of which is one.
            Strings are strings or bytes.
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
        TypeError: If `model` is no Keras model.
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
    score = _scorer(metric)
    y = np.asarray(y)
    if not len(y):
        raise ValueError("`y` is empty.")
    arrays, rebuild, columns = _inputs(x)
    for name, array in arrays.items():
        if array.shape[:1] != (len(y),):
            raise ValueError(
                "`x` and `y` must be equally long. Received: "
                f"{len(y)} rows of `y` and shape {array.shape} for {name!r}"
            )
    features = _features(arrays, columns, feature_names)
    edits = dict(edits or {})
    names = [name for name, *_ in features] + list(edits)
    if len(set(names)) < len(names):
        raise ValueError(
            f"Features and edits must have names that differ. Received: {names}"
        )

    def predict(arrays):
        rows = len(next(iter(arrays.values())))
        parts = []
        for start in range(0, rows, batch_size):
            batch = slice(start, min(start + batch_size, rows))
            x = rebuild({key: array[batch] for key, array in arrays.items()})
            parts.append(predict_batch(model, x, batch.stop - start))
        return np.concatenate(parts)

    original = predict(arrays)
    baseline = score(y, original)
    rng = np.random.default_rng(seed)

    def row(name, drops, changed):
        return ImportanceRow(
            feature=name,
            changed=float(np.mean(changed)),
            importance=_mean(drops, confidence),
            spread=float(np.std(drops, ddof=1)) if drops[1:] else np.nan,
            repeats=len(drops),
        )

    rows = []
    for name, key, column in features:
        drops, changed = [], []
        for _ in range(n_repeats):
            shuffled = _shuffle(arrays, key, column, rng)
            drops.append(baseline - score(y, predict(shuffled)))
            changed.append(_differ(arrays, shuffled).sum())
        rows.append(row(name, drops, changed))
    for name, edit in edits.items():
        # Copies, since an edit may change what it is given.
        copies = {key: array.copy() for key, array in arrays.items()}
        edited, *_ = _inputs(edit(rebuild(copies)))
        shapes = {key: array.shape for key, array in edited.items()}
        wanted = {key: array.shape for key, array in arrays.items()}
        if shapes != wanted:
            raise ValueError(
                f"`edits[{name!r}]` must keep the inputs and their shapes, "
                f"{wanted}. Received: {shapes}"
            )
        changed = _differ(arrays, edited)
        predictions = original.copy()
        if changed.any():
            predictions[changed] = predict(
                {key: array[changed] for key, array in edited.items()}
            )
        drop = baseline - score(y, predictions)
        exact = row(name, [drop], [changed.sum()])
        rows.append(
            dataclasses.replace(exact, importance=Estimate(drop, drop, drop))
        )
    name = getattr(metric, "__name__", str(metric))
    return ImportanceReport(tuple(rows), confidence, name, baseline)


def _scorer(metric: Any) -> Callable[[np.ndarray, np.ndarray], float]:
    known = _METRICS.get(metric) if isinstance(metric, str) else metric
    if not callable(known):
        raise ValueError(
            f"`metric` must be one of {sorted(_METRICS)} or a function. "
            f"Received: metric={metric!r}"
        )

    def score(y, predictions):
        value = float(known(y, predictions))
        if np.isnan(value):
            raise ValueError("`metric` must be a number. Received: NaN")
        return value

    return score


def _inputs(
    x: Any,
) -> tuple[dict[str, np.ndarray], Callable, list[str] | None]:
    """Returns the arrays of `x` by name, and what makes `x` of such a dict.

    Last come the names of its columns, if `x` is one array that has them.
    """
    if isinstance(x, Mapping):
        keys = {str(key): key for key in x}
        arrays = {name: np.asarray(x[key]) for name, key in keys.items()}

        def rebuild(arrays):
            return {keys[name]: _tensor(a) for name, a in arrays.items()}

        return arrays, rebuild, None

    if isinstance(x, (list, tuple)) and all(np.ndim(a) for a in x):
        arrays = {str(k): np.asarray(array) for k, array in enumerate(x)}
        return arrays, lambda arrays: [*map(_tensor, arrays.values())], None

    array, columns = np.asarray(x), None
    if array.ndim == 2:
        columns = [*map(str, getattr(x, "columns", range(array.shape[1])))]
    return {"x": array}, lambda arrays: _tensor(arrays["x"]), columns


def _tensor(array: np.ndarray) -> Any:
    # Keras takes strings as tensors only.
    return tf.constant(array) if array.dtype.kind in "OSU" else array


def _features(
    arrays: dict[str, np.ndarray],
    columns: list[str] | None,
    names: Sequence[str] | None,
) -> list[tuple[str, str, int | None]]:
    """Returns each feature's name, array and column, `None` for all of it."""
    if columns is None:
        places, default = [(name, None) for name in arrays], list(arrays)
    else:
        places, default = [("x", k) for k in range(len(columns))], columns
    if names is None:
        names = default
    if len(names) not in (0, len(places)):
        raise ValueError(
            f"`feature_names` must be {len(places)} names, or none. "
            f"Received: {list(names)}"
        )
    return [
        (str(name), *place) for name, place in zip(names, places, strict=False)
    ]


def _shuffle(arrays, key, column, rng) -> dict[str, np.ndarray]:
    order = rng.permutation(len(arrays[key]))
    if column is None:
        return {**arrays, key: arrays[key][order]}
    array = arrays[key].copy()
    array[:, column] = array[order, column]
    return {**arrays, key: array}


def _differ(arrays, others) -> np.ndarray:
    """Returns which rows differ in any array."""
    differ: Any = False
    for name, array in arrays.items():
        other = others[name]
        if array.dtype.kind in "OSU":
            array, other = (_tensor(a).numpy() for a in (array, other))
        # NaN differs from itself, but has not changed.
        values = (array != other) & ((array == array) | (other == other))
        differ = differ | values.reshape(len(array), -1).any(axis=1)
    return differ


def _mean(drops: list[float], confidence: float) -> Estimate:
    """Returns the mean with Student's interval."""
    mean, n = float(np.mean(drops)), len(drops)
    if n == 1:
        return Estimate(mean, np.nan, np.nan)
    t = extra("scipy.stats", "An interval of shuffles").t
    half = t.ppf((1 + confidence) / 2, n - 1) * np.std(drops, ddof=1) / n**0.5
    return Estimate(mean, float(mean - half), float(mean + half))
