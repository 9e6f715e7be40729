"""How much of a concept do the strongest readers find after erasure?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    whole,
)
from tensorflow_model_remediation_ext.common.progress import progress_bar
from tensorflow_model_remediation_ext.evaluation.erasing import (
    erase,
    fit_method,
    random_removals,
    rank_of_change,
)
from tensorflow_model_remediation_ext.evaluation.feature_rows import (
    class_ids,
    feature_rows,
)
from tensorflow_model_remediation_ext.evaluation.fresh_rows import split_rows
from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    normal_quantile,
)
from tensorflow_model_remediation_ext.evaluation.judging import (
    Judge,
    mean_of_blocks,
    similarity_kept,
)
from tensorflow_model_remediation_ext.evaluation.leakage_report import (
    NOTHING,
    LeakageReport,
    LeakageRow,
    Reading,
)
from tensorflow_model_remediation_ext.evaluation.readers import (
    READERS,
    Reader,
    readers_by_name,
)

_HEADS = {"task": "linear", "task_nonlinear": "network"}


def leakage(
    methods: Mapping[str, Callable[..., Callable[[Any], Any]]],
    x: Any,
    z: Any,
    *,
    task: Any = None,
    groups: Any = None,
    readers: Sequence[str] | Mapping[str, Callable[[int], Any]] = READERS,
    splits: int = 3,
    controls: bool | Sequence[str] = True,
    confidence: float = 0.95,
    seed: int = 0,
    verbose: int | str = "auto",
) -> LeakageReport:
    """Measures how much of a concept the strongest reader finds after erasure.

    In each split half of the rows go to the eraser, a quarter is what readers
    learn from, and a quarter judges them: nobody reads rows that an eraser or
    reader was fitted to. That is the function's work, not its caller's. Up to
    four splits judge different rows. Readers get what the eraser returns,
    prepared for each: standardized, whitened, by ranks, or for trees as it is,
    so that scaling a concept down, or hiding it among outliers, does not pass
    for erasing it. `"nothing"`, the features as they are, is always judged as
    well.

    A random removal is the measure of what erasure is worth: each method is
    set beside the removal of random directions, as many as it moved rows in,
    and beside one of random directions that moves rows by as much on average.
    A method that moves rows in every direction has no control of the first
    kind.

    What the figures do not show: a stronger reader, or one with more rows to
    learn from, may find more. They are a lower bound of what is left. The
    strongest reader is chosen by the figures that are shown of it, so that
    where nothing is left they lie a little above chance.

    Accuracies have Wilson's score interval and areas that of `auc`, over the
    judged rows of all splits. With `groups` the variance of sums by group
    replaces that of rows, but for an accuracy never by a smaller one. They tell
    how sure the figures are for such erasers and readers, and not how both vary
    with the rows that they learn from.

    Args:
        methods: Functions `(x, z) -> eraser` by name, such as
            `LeaceEraser.fit`; an eraser is a function of `[m, d]` features. A
            function with an argument named `task` gets the task's labels too.
        x: Features, `[n, d]`, of any numeric dtype.
        z: The concept, `[n]` or `[n, 1]`: integers, booleans or strings, which
            methods get as class ids from 0 in sorted order.
        task: Labels of a task whose heads should still work, like `z`, or
            `None`.
        groups: Labels `[n]` of what belongs together, such as ids of
            sentences; a group is never split.
        readers: Names, by default all of `evaluation.READERS`, or functions
            of a seed by name that return a classifier with scikit-learn's
            interface, used on standardized features.
        splits: Number of splits.
        controls: Whether to add random removals to every method, or the names
            of the methods to add them to.
        confidence: Level of the two-sided intervals.
        seed: Seed of splits, readers and controls.
        verbose: `0` for no progress bar, otherwise as in `keras.Model.fit`.

    Returns:
        A row for `"nothing"`, each method and each control.

    Raises:
        ImportError: If scikit-learn is missing.
        TypeError: If `methods` or `readers` are not of functions, or a method
            does not return one.
        ValueError: If lengths differ, a value is not finite, the concept has
            one class only or a class too few rows or groups, an option is out
            of range, or an eraser returns another number of rows, values that
            are not finite, or for a row what depends on the others.

    Examples:
        >>> from tensorflow_model_remediation_ext.leace.keras import LeaceEraser
        >>> rng = np.random.default_rng(0)
        >>> z = rng.integers(2, size=400)
        >>> x = rng.normal(size=(400, 4)) * (1 + z[:, None]) + z[:, None]
        >>> report = leakage(
        ...     {"LEACE": LeaceEraser.fit},
        ...     x,
        ...     z,
        ...     readers=["linear", "svm"],
        ...     controls=False,
        ...     verbose=0,
        ... )
        >>> row = report["LEACE"]
        >>> row.linear_auc.value < 0.6, row.auc.value > 0.7, row.auc_reader
        (True, True, 'svm')

    References:
        Ravfogel et al. 2022, "Kernelized concept erasure", arXiv 2201.12191,
        on nonlinear readers that find what linear ones do not. Intervals: see
        `auc` and `wilson_interval`.
    """
    normal_quantile(confidence)  # Refuses a bad level before any work.
    whole("splits", splits, least=1)
    checked_seed("seed", seed)
    methods, controlled = _methods(methods, controls)
    makers = readers_by_name(readers)
    x = feature_rows(x)
    z = class_ids(z, "z", len(x))
    task = None if task is None else class_ids(task, "task", len(x))
    groups = None if groups is None else class_ids(groups, "groups", len(x))
    trial = _Trial(x, z, task, groups, makers, confidence)
    bar = progress_bar(splits * (1 + len(methods)), verbose, "method")
    for split, rows in enumerate(split_rows(z, groups, splits, seed)):
        rng = np.random.default_rng([seed, split])
        trial.start(rows, seed + split)
        trial.judge(NOTHING, x[trial.fresh].astype(np.float64))
        bar.add(1)
        for name, method in methods.items():
            eraser = fit_method(name, method, *trial.for_erasers())
            after = erase(name, eraser, x[trial.fresh], rng)
            trial.judge(name, after)
            if name in controlled:
                trial.judge_controls(name, after, rng)
            bar.add(1)
    return trial.report()


class _Trial:
    """What is judged, split by split, and what came out."""

    def __init__(self, x, z, task, groups, makers, confidence):
        self._x, self._z, self._task = x, z, task
        self._makers, self._confidence = makers, confidence
        self._judge = Judge(z, groups, confidence)
        self._heads = {}
        if task is not None:
            self._heads = {
                head: Judge(task, groups, confidence) for head in _HEADS
            }
        self._kept: dict[str, list] = {}
        self._controls: set[str] = set()

    def start(self, rows, seed):
        self._fit, self._learn, self._test = rows
        self._seed = seed
        self.fresh = np.concatenate([self._learn, self._test])

    def for_erasers(self):
        task = None if self._task is None else self._task[self._fit]
        return self._x[self._fit], self._z[self._fit], task

    def judge(self, name, after):
        """Lets all readers read the fresh rows as they are after a method."""
        before = self._x[self.fresh].astype(np.float64)
        n = len(self._learn)
        self._kept.setdefault(name, []).append(
            (
                similarity_kept(before[n:], after[n:]),
                after.var(axis=0).sum() / max(before.var(axis=0).sum(), 1e-300),
                rank_of_change(before, after),
            )
        )
        for reader, make in self._makers.items():
            self._read(self._judge, (name, reader), make(self._seed), after)
        for head, judge in self._heads.items():
            self._read(judge, name, Reader(_HEADS[head], self._seed), after)

    def judge_controls(self, name, after, rng):
        before = self._x[self.fresh].astype(np.float64)
        for equal, removed in random_removals(before, after, rng).items():
            control = f"{name}: random, equal {equal}"
            self._controls.add(control)
            self.judge(control, removed)

    def _read(self, judge, key, reader, after):
        n = len(self._learn)
        z = judge.classes[self._learn]
        scores = reader.read(after[:n], z, after[n:], judge.num_classes)
        judge.add(key, self._test, scores)

    def report(self) -> LeakageReport:
        judge = self._judge
        readings = tuple(
            Reading(
                name,
                reader,
                judge.accuracy((name, reader)),
                judge.auc((name, reader)),
            )
            for name in self._kept
            for reader in self._makers
        )
        by_method = {
            name: [r for r in readings if r.method == name]
            for name in self._kept
        }
        rows = tuple(self._row(*each) for each in by_method.items())
        return LeakageReport(rows, self._confidence, readings)

    def _row(self, name, readings):
        accurate = max(readings, key=lambda r: r.accuracy.value)
        ordering = max(readings, key=lambda r: r.auc.value)
        linear = next((r for r in readings if r.reader == "linear"), None)
        similar, variance, rank = zip(*self._kept[name], strict=True)
        heads = {
            f"{head}_{what}": getattr(judge, what)(name)
            for head, judge in self._heads.items()
            for what in ("accuracy", "auc")
        }
        for head in _HEADS:
            for what in ("accuracy", "auc"):
                heads.setdefault(f"{head}_{what}", UNKNOWN)
        return LeakageRow(
            method=name,
            n=self._judge.judged((name, accurate.reader)),
            classes=self._judge.num_classes,
            majority_rate=float(np.bincount(self._z).max() / len(self._z)),
            linear=linear.accuracy if linear else UNKNOWN,
            linear_auc=linear.auc if linear else UNKNOWN,
            accuracy=accurate.accuracy,
            accuracy_reader=accurate.reader,
            auc=ordering.auc,
            auc_reader=ordering.reader,
            **heads,
            similarity=mean_of_blocks(
                [kept for split in similar for kept in split], self._confidence
            ),
            variance_kept=float(np.mean(variance)),
            rank=max(rank),
            control=name in self._controls,
        )


def _methods(methods, controls):
    """The methods, and the names of those that get controls."""
    if not isinstance(methods, Mapping) or not all(
        isinstance(name, str) and callable(method)
        for name, method in methods.items()
    ):
        raise TypeError(
            "`methods` must map names to functions of `x` and `z`. "
            f"Received: methods={methods!r}"
        )
    if NOTHING in methods:
        raise ValueError(
            f"`methods` must not be named {NOTHING!r}, which is what the "
            "features as they are are called."
        )
    if isinstance(controls, (bool, np.bool_)):
        return methods, set(methods) if controls else set()
    if (
        isinstance(controls, str)
        or not isinstance(controls, Iterable)
        or not set(controls) <= set(methods)
    ):
        raise ValueError(
            "`controls` must be True, False or names of methods. "
            f"Received: controls={controls!r}"
        )
    return methods, set(controls)
