"""Figures by group of people: how fast, beside Fairlearn, and how sure.

Run as `python -m benchmarks.groups` or `python benchmarks/groups.py`, with the
package and the extra `[evaluation]` installed. Times are processor time of one
process. Fairlearn computes the same figures with its bootstrap of a few
resamples, whose time is scaled to 1,000; figures that differ end the run.
"""

import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Threads that wait for one another count as processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fairlearn
import numpy as np
from fairlearn.metrics import (
    MetricFrame,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from sklearn.metrics import accuracy_score, roc_auc_score

from benchmarks import common
from tensorflow_model_remediation_ext import evaluation

RATES = (0.05, 0.2, 0.5)


def scored(n, rate=0.3, seed=0):
    """Returns labels, and probabilities that mean what they say."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(2 * rate / (1 - rate), 2.0, n)
    return (rng.random(n) < scores).astype(int), scores, rng


def timed(function):
    start, before = time.process_time(), _memory()
    result = function()
    return time.process_time() - start, _memory() - before, result


def _memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def many_rows(n):
    """Returns seconds and GB for 20 overlapping groups with weights."""
    y, p, rng = scored(n)
    masks = {f"g{k}": rng.random(n) < 0.05 + 0.02 * k for k in range(20)}
    weights = rng.random(n)
    return timed(
        lambda: evaluation.group_metrics(y, p, masks, sample_weight=weights)
    )[:2]


def several_classes(n):
    """Returns seconds and GB for five classes and four groups."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), n)
    y, groups = rng.integers(5, size=n), rng.choice(list("abcd"), n)
    return timed(lambda: evaluation.group_metrics(y, p, groups))[:2]


def beside_fairlearn(n, resamples):
    """Returns seconds of both, Fairlearn's for 1,000 resamples."""
    y, p, rng = scored(n)
    groups = rng.choice(list("abcd"), n)
    rates = {
        "accuracy": accuracy_score,
        "selection_rate": selection_rate,
        "true_positive_rate": true_positive_rate,
        "false_positive_rate": false_positive_rate,
    }

    def theirs():
        options = {
            "y_true": y,
            "sensitive_features": groups,
            "n_boot": resamples,
            "ci_quantiles": [0.025, 0.975],
            "random_state": 0,
        }
        return (
            MetricFrame(metrics=rates, y_pred=(p > 0.5).astype(int), **options),
            MetricFrame(metrics={"auc": roc_auc_score}, y_pred=p, **options),
        )

    evaluation.group_metrics(y[:100], p[:100], groups[:100])  # Imports SciPy.
    ours_seconds, _, report = timed(
        lambda: evaluation.group_metrics(y, p, groups)
    )
    theirs_seconds, _, frames = timed(theirs)
    for frame in frames:
        for metric in frame.by_group.columns:
            for group in "abcd":
                one = getattr(report[group], metric).value
                other = frame.by_group[metric][group]
                assert abs(one - other) < 1e-12, (metric, group, one, other)
            difference = report.disparity(metric).difference.value
            assert abs(difference - frame.difference()[metric]) < 1e-12
    return ours_seconds, theirs_seconds * 1_000 / resamples


def coverage(n, rate, repeats):
    """Returns how often intervals hold the truth, by what they are of."""
    held = {"difference": [], "ratio": [], "AUC": [], "calibration": []}
    other = min(rate + 0.1, 1)
    apart, ratio = other - rate, rate / other
    _, many, _ = scored(2_000_000, rate, 1)
    area = _area(many)
    error = 0.2 * np.mean(many)  # Of labels that are a fifth rarer.
    for k in range(repeats):
        y, p, rng = scored(2 * n, rate, (n, k))
        groups = np.repeat(["a", "b"], n)
        decided = rng.random(2 * n) < np.where(groups == "a", rate, other)
        report = evaluation.group_metrics(
            y, decided * 1.0, groups, n_boot=20, n_permutations=1
        )
        row = report.disparity("selection_rate")
        held["difference"].append(_holds(row.difference, apart))
        held["ratio"].append(_holds(row.ratio, ratio))
        rarer = y * (rng.random(2 * n) < 0.8)
        for labels, name in ((y, "AUC"), (rarer, "calibration")):
            found = evaluation.group_metrics(
                labels[:n], p[:n], groups[:n], n_boot=500, n_permutations=1
            )
            if name == "calibration":
                estimate = found.calibration["a"].calibration_error
                held[name].append(_holds(estimate, error))
            elif found["a"].auc.value == found["a"].auc.value:
                held[name].append(_holds(found["a"].auc, area))
    return {name: float(np.mean(each)) for name, each in held.items()}


def _area(probabilities):
    """Returns the area of probabilities that mean what they say."""
    p = np.sort(probabilities)
    below = np.cumsum(1 - p) - (1 - p) / 2
    return float(p @ below / p.sum() / (1 - p).sum())


def _holds(estimate, truth):
    return estimate.low - 1e-4 <= truth <= estimate.high + 1e-4


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=1_000)
    arguments = parser.parse_args()
    size = 0.001 if arguments.quick else 1
    repeats = 3 if arguments.quick else arguments.repeats
    many = many_rows(int(1e6 * size))
    several = several_classes(int(1e5 * size))
    ours, theirs = beside_fairlearn(20_000, 2 if arguments.quick else 20)
    rows = [
        (
            "`group_metrics`, 10^6 rows, 20 overlapping groups, weights",
            f"{many[0]:.1f} s, {many[1]:.2f} GB",
        ),
        (
            "the same, 10^5 rows, five classes, four groups",
            f"{several[0]:.1f} s, {several[1]:.2f} GB",
        ),
        (
            f"against Fairlearn {fairlearn.__version__} with 1,000 resamples, "
            "20,000 rows",
            f"{theirs / ours:,.0f} times ({ours:.2f} s and {theirs:.0f} s)",
        ),
    ]
    figures = {"many_rows": many, "classes": several, "beside": [ours, theirs]}
    table = common.markdown(("what", "measured"), rows)
    common.report("Groups with intervals", table, figures, None)
    covered = {
        (n, rate): coverage(n, rate, repeats)
        for n in (50, 1_000)
        for rate in RATES
    }
    rows = [
        (name, f"{n:,}", *(f"{covered[n, rate][name]:.3f}" for rate in RATES))
        for name in ("difference", "ratio", "AUC", "calibration")
        for n in (50, 1_000)
    ]
    figures["coverage"] = {f"{n}, {r}": c for (n, r), c in covered.items()}
    sys.stdout.write("\n")
    common.report(
        f"Coverage of 95 % intervals, {repeats:,} simulations",
        common.markdown(
            ("interval", "n", *(f"rate {rate}" for rate in RATES)), rows
        ),
        figures,
        arguments.json,
    )


if __name__ == "__main__":
    main()
