"""Figures by group of people: how fast, beside Fairlearn, and how sure.

Run as `python -m benchmarks.groups` or `python benchmarks/groups.py`, with the
package and the extra `[evaluation]` installed. Times are processor time of one
process. Fairlearn computes the same figures with its bootstrap of a few
resamples, whose time is scaled to 1,000; figures that differ end the run.
"""

import csv
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
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

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


def on_adult(path):
    """Returns how far figures on Adult are from others' at most, and how many.

    Logistic regression says who earns more; groups are sexes and races, which
    overlap, weights those of the survey.
    """
    columns = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                columns.setdefault(name, []).append(value.strip())
    columns = {name: np.array(values) for name, values in columns.items()}
    numbers = ("age", "education-num", "hours-per-week", "capital-gain")
    x = np.stack([columns[name].astype(float) for name in numbers], axis=1)
    x = StandardScaler().fit_transform(x)
    y = np.char.startswith(columns["income-per-year"], ">").astype(int)
    p = LogisticRegression().fit(x[::2], y[::2]).predict_proba(x)[:, 1]
    weights = columns["fnlwgt"].astype(float)
    masks = {
        value: columns[name] == value
        for name in ("sex", "race")
        for value in np.unique(columns[name])
    }
    report = evaluation.group_metrics(y, p, masks, sample_weight=weights)
    return differences(report, y, p, masks, weights)


def differences(report, y, p, masks, weights):
    """Returns the largest difference from others' figures, and their number."""
    apart = []
    decided = (p > 0.5).astype(int)

    def compare(estimate, other):
        apart.append(abs(getattr(estimate, "value", estimate) - other))

    for name, m in {"overall": np.full(len(y), True), **masks}.items():
        w, row = weights[m], report[name]
        of, d, scores = y[m], decided[m], p[m]
        compare(row.accuracy, accuracy_score(of, d, sample_weight=w))
        compare(row.auc, roc_auc_score(of, scores, sample_weight=w))
        for figure, function in (
            (row.selection_rate, selection_rate),
            (row.true_positive_rate, true_positive_rate),
            (row.false_positive_rate, false_positive_rate),
        ):
            compare(figure, function(of, d, sample_weight=w))
        bins = np.minimum((scores * 10).astype(int), 9)
        error = sum(
            abs(w[bins == k] @ (of - scores)[bins == k]) for k in range(10)
        )
        found = report.calibration[name]
        compare(found.calibration_error, error / w.sum())
        compare(found.mean_prediction, np.average(scores, weights=w))
        if name == "overall":
            continue
        areas = report.subgroups[name]
        for figure, rows in (
            (areas.subgroup_auc, m),
            (areas.bpsn_auc, m & (y == 0) | ~m & (y == 1)),
            (areas.bnsp_auc, m & (y == 1) | ~m & (y == 0)),
        ):
            expected = roc_auc_score(
                y[rows], p[rows], sample_weight=weights[rows]
            )
            compare(figure, expected)
    for metric in ("accuracy", "auc", "selection_rate", "true_positive_rate"):
        values = [getattr(row, metric).value for row in report.rows[1:]]
        row = report.disparity(metric)
        compare(row.difference, max(values) - min(values))
        compare(row.ratio, min(values) / max(values))
    return max(apart), len(apart)


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
    parser.add_argument(
        "--adult", type=Path, default=common.TWEETS.with_name("adult.csv")
    )
    arguments = parser.parse_args()
    size = 0.001 if arguments.quick else 1
    repeats = 3 if arguments.quick else arguments.repeats
    many = many_rows(int(1e6 * size))
    several = several_classes(int(1e5 * size))
    ours, theirs = beside_fairlearn(20_000, 2 if arguments.quick else 20)
    y, p, rng = scored(20_000)
    masks = {f"g{k}": rng.random(len(y)) < 0.1 + 0.2 * k for k in range(4)}
    weights = rng.random(len(y))
    report = evaluation.group_metrics(y, p, masks, sample_weight=weights)
    equal = {"generated data": differences(report, y, p, masks, weights)}
    if not arguments.quick:
        equal["Adult"] = on_adult(arguments.adult)
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
        *(
            (
                f"{count} figures of {name}, largest difference from "
                "scikit-learn's, Fairlearn's and NumPy's",
                f"{apart:.0e}",
            )
            for name, (apart, count) in equal.items()
        ),
    ]
    figures = {"many_rows": many, "classes": several, "beside": [ours, theirs]}
    figures["equal"] = equal
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
