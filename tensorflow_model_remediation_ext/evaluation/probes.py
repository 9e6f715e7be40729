"""Can a reader find a concept in a representation?"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    whole,
)
from tensorflow_model_remediation_ext.evaluation.clustered import (
    classes_of_units,
    clustered_accuracy,
    clustered_variance,
)
from tensorflow_model_remediation_ext.evaluation.feature_rows import (
    feature_rows,
    label_codes,
)
from tensorflow_model_remediation_ext.evaluation.fresh_rows import (
    stratified_folds,
)
from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    normal_quantile,
)
from tensorflow_model_remediation_ext.evaluation.performance import (
    area_estimate,
    ordered_share,
)
from tensorflow_model_remediation_ext.evaluation.probe_report import (
    ProbeReport,
    ProbeRow,
)
from tensorflow_model_remediation_ext.evaluation.tables import extra

_KINDS = ("linear", "mlp")
_LINEAR_STEPS = 2_000
_MLP_EPOCHS = 1_000


def linear_probe(
    x: Any,
    z: Any,
    *,
    groups: Any = None,
    cv: int = 5,
    kind: str = "linear",
    confidence: float = 0.95,
    seed: int = 0,
    max_iter: int | None = None,
) -> ProbeReport:
    """Measures how well a linear reader finds a concept in a representation.

    The reader is a logistic regression on standardized features. With
    `kind="mlp"` a network with one hidden layer of 64 units comes with it, so
    that nobody mistakes linear erasure for complete erasure. Each example is
    read by a reader that was trained on the other folds. A concept is out of a
    reader's sight where the interval of the accuracy holds
    `majority_rate` and that of the AUC 0.5; where classes are uneven, look at
    the AUC.

    What the figures do not show: a blind probe is not a blind network. Another
    kind of reader, more examples or later layers may find what this one does
    not, and a probe that reads a concept does not prove that the network uses
    it. On few examples intervals are wide: their upper ends say how much may
    still be there. Probe on examples that an eraser was *not* fitted to: on
    those it was fitted to class means agree exactly, so that what one fold
    lacks the others have too much of, and held-out figures fall below chance.
    An AUC well below 0.5 is a sign of that, and not of a reader that sees
    nothing.

    Accuracy has Wilson's score interval, and the AUC that of `auc`. Examples
    are ordered against those of the same fold, since scores of different
    readers do not compare. Readers of different folds share examples, so their
    errors are not independent: Wilson's interval with all `n` examples holds
    the 0.5 of a blind reader in 85 % of trials instead of 95 %. Variances are
    therefore multiplied by Nadeau and Bengio's `1 + cv / (cv - 1)`, which
    errs to the wide side, the more so the plainer the concept. Examples of a
    group, such as the words of a sentence, are not independent either: with
    `groups` the variance of the sums by group replaces that of the examples,
    but never by a smaller one for the accuracy. That needs some forty groups.

    Args:
        x: Representations, `[n, d]`, of any numeric dtype.
        z: The concept, `[n]` or `[n, 1]`: integers, booleans or strings.
        groups: Labels `[n]` of what belongs together, such as ids of
            sentences; a group is never split between folds.
        cv: Number of folds. Every class needs as many examples.
        kind: `"linear"`, or `"mlp"` for the nonlinear reader as well.
        confidence: Level of the two-sided intervals.
        seed: Seed of the folds and of the nonlinear reader.
        max_iter: Upper limit of training, in steps of the linear reader and
            epochs of the other; by default 2,000 and 1,000. `converged` tells
            where it was met.

    Returns:
        A report with a row `"linear"` and, if asked for, a row `"mlp"`.

    Raises:
        ImportError: If scikit-learn is missing.
        ValueError: If lengths differ, a value is not finite, a label is
            missing or a fraction, the concept has one class only or a class
            too few examples or groups for the folds, or an option is out of
            range.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> z = rng.integers(2, size=400)
        >>> x = rng.normal(size=(400, 8)) + z[:, None]
        >>> linear_probe(x, z)["linear"].accuracy.low > 0.8
        True

    References:
        Alain and Bengio 2016, "Understanding intermediate layers using linear
        classifier probes", arXiv 1610.01644. Intervals: Nadeau and Bengio
        2003, "Inference for the generalization error"; DeLong, DeLong and
        Clarke-Pearson 1988; with groups Obuchowski 1997, "Nonparametric
        analysis of clustered ROC curve data".
    """
    if kind not in _KINDS:
        raise ValueError(
            f"`kind` must be one of {_KINDS}. Received: kind={kind!r}"
        )
    normal_quantile(confidence)  # Refuses a bad level before any work.
    whole("cv", cv, least=2)
    checked_seed("seed", seed)
    if max_iter is not None:
        whole("max_iter", max_iter)
    x = feature_rows(x).astype(np.float64)
    z = label_codes(z, "z", len(x))
    if groups is not None:
        groups = label_codes(groups, "groups", len(x))
    folds = _folds(z, groups, cv, seed)
    inflation = 1 + cv / (cv - 1)
    units = np.arange(len(x)) if groups is None else groups
    rows = []
    for each in _KINDS[: 1 + _KINDS.index(kind)]:
        reader, limit = _classifier(each, seed, max_iter)
        scores, steps = _read(reader, x, z, folds)
        right = scores.argmax(axis=1) == z
        accuracy, effective_n = clustered_accuracy(
            right, units, groups is not None, len(x), confidence, inflation
        )
        rows.append(
            ProbeRow(
                kind=each,
                n=len(x),
                effective_n=effective_n,
                classes=scores.shape[1],
                majority_rate=float(np.bincount(z).max() / len(z)),
                accuracy=accuracy,
                auc=_auc(scores, z, folds, groups, inflation, confidence),
                converged=steps < limit,
            )
        )
    return ProbeReport(tuple(rows), confidence)


def _folds(z, groups, cv, seed) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the rows to train on and the rows to read, for each fold."""
    counts = np.bincount(z)
    if len(counts) < 2:
        raise ValueError("`z` has one class only: there is nothing to find.")
    units = np.bincount(classes_of_units(z, groups))
    if units.min() < cv:
        raise ValueError(
            f"Every class of `z` must have {cv} "
            f"{'examples' if groups is None else 'groups'} or more for "
            f"cv={cv} folds. Received: a class with {units.min()}"
        )
    folds = stratified_folds(z, groups, cv, seed, "A probe")
    for train, _ in folds:
        if np.bincount(z[train], minlength=len(counts)).min() == 0:
            raise ValueError(
                "`groups` leave a fold without a class to train on: use fewer "
                f"folds. Received: cv={cv}"
            )
    return folds


def _classifier(kind: str, seed: int, max_iter: int | None):
    """Returns a scikit-learn classifier, and its limit of iterations."""
    pipeline = extra("sklearn.pipeline", "A probe")
    preprocessing = extra("sklearn.preprocessing", "A probe")
    if kind == "linear":
        limit = max_iter or _LINEAR_STEPS
        model = extra("sklearn.linear_model", "A probe").LogisticRegression(
            max_iter=limit
        )
    else:
        limit = max_iter or _MLP_EPOCHS
        # No early stopping: on a few hundred examples it stops before it has
        # seen anything, and a concept would seem erased.
        model = extra("sklearn.neural_network", "A probe").MLPClassifier(
            (64,),
            alpha=0.1,
            learning_rate_init=3e-3,
            max_iter=limit,
            random_state=seed,
        )
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model), limit


def _read(reader, x, z, folds) -> tuple[np.ndarray, int]:
    """Returns out-of-fold probabilities `[n, classes]` and the most steps."""
    exceptions = extra("sklearn.exceptions", "A probe")
    scores = np.empty((len(x), z.max() + 1))
    steps = 0
    for train, test in folds:
        with warnings.catch_warnings():
            # Told by `converged` instead.
            warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
            reader.fit(x[train], z[train])
        scores[test] = reader.predict_proba(x[test])
        steps = max(steps, int(np.max(reader[-1].n_iter_)))
    return scores, steps


def _auc(scores, z, folds, groups, inflation, confidence) -> Estimate:
    """Averages areas over folds, by their numbers of pairs, and classes."""
    classes = scores.shape[1]
    one_vs_rest = [1] if classes == 2 else range(classes)
    areas = []
    influence = np.zeros(len(z))
    for k in one_vs_rest:
        found = []
        for _, test in folds:
            positive = z[test] == k
            pairs = np.count_nonzero(positive) * np.count_nonzero(~positive)
            if pairs:
                found.append((pairs, test, positive))
        total = sum(pairs for pairs, *_ in found)
        for pairs, test, positive in found:
            share = pairs / total
            area, deviations = ordered_share(positive, scores[test, k])
            areas.append(share * area)
            # The only example of a class in a fold tells no spread.
            influence[test] += share * np.nan_to_num(deviations)
    area = float(np.clip(sum(areas) / len(one_vs_rest), 0, 1))
    influence /= len(one_vs_rest)
    variance = inflation * clustered_variance(
        influence,
        np.arange(len(z)) if groups is None else groups,
        groups is not None,
    )
    # The scarcest class, counted in what is independent, against the rest.
    units = classes_of_units(z, groups)
    m = np.bincount(units).min() / inflation
    n = len(units) / inflation - m
    return area_estimate(area, variance, m, n, confidence)
