"""Every figure of `group_metrics` against an independent computation."""

import fairlearn.metrics
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from tensorflow_model_remediation_ext.evaluation import group_metrics
from tensorflow_model_remediation_ext.evaluation.disparities import disparity
from tensorflow_model_remediation_ext.evaluation.figures import Decisions

N = 500
RNG = np.random.default_rng(1)
Y = RNG.integers(2, size=N)
# With ties.
P = np.clip(0.3 * Y + 0.7 * RNG.random(N), 0, 1).round(2)
MASKS = {
    "a": RNG.random(N) < 0.5,
    "b": RNG.random(N) < 0.2,
    "everybody": np.ones(N, bool),
    "nobody": np.zeros(N, bool),
}
WEIGHTS = RNG.random(N) + 0.1
FEW = {"n_boot": 100, "n_permutations": 9}


def exactly(value):
    return pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True)


@pytest.fixture(params=[None, WEIGHTS], ids=["plain", "weighted"])
def weights(request):
    return request.param


def test_two_classes_in_groups_that_overlap(weights):
    report = group_metrics(Y, P, MASKS, sample_weight=weights, **FEW)
    w, d = np.ones(N) if weights is None else weights, P > 0.5
    assert [row.group for row in report.rows] == ["overall", *MASKS]
    for row in report.rows:
        m = MASKS.get(row.group, np.ones(N, bool))
        assert (row.n, row.positives) == (m.sum(), Y[m].sum())
        if not m.any():
            assert np.isnan([*row.accuracy, *row.auc, row.p_value]).all()
            continue
        assert row.effective_n == exactly(w[m].sum() ** 2 / (w[m] ** 2).sum())
        y, p, of, v = Y[m], P[m], d[m], w[m]
        assert row.accuracy.value == exactly(
            metrics.accuracy_score(y, of, sample_weight=v)
        )
        assert row.auc.value == exactly(
            metrics.roc_auc_score(y, p, sample_weight=v)
        )
        for rate, label in (
            (row.true_positive_rate, 1),
            (row.false_positive_rate, 0),
        ):
            assert rate.value == exactly(
                np.average(of[y == label], weights=v[y == label])
            )
        for figure in (row.accuracy, row.auc, row.selection_rate):
            assert figure.low < figure.value < figure.high


def test_areas_between_groups_and_their_background(weights):
    report = group_metrics(Y, P, MASKS, sample_weight=weights, **FEW)
    w = np.ones(N) if weights is None else weights
    values = {"subgroup_auc": [], "bpsn_auc": [], "bnsp_auc": []}
    for row in report.subgroups.rows:
        m, y = MASKS[row.group], Y == 1
        assert (row.positives, row.background_negatives) == (
            (m & y).sum(),
            (~m & ~y).sum(),
        )
        for name, rows in (
            ("subgroup_auc", m),
            ("bpsn_auc", (m & ~y) | (~m & y)),
            ("bnsp_auc", (m & y) | (~m & ~y)),
        ):
            found = getattr(row, name)
            if rows.any() and 0 < Y[rows].sum() < rows.sum():
                expected = metrics.roc_auc_score(
                    Y[rows], P[rows], sample_weight=w[rows]
                )
                values[name].append(expected)
                assert found.value == exactly(expected)
                assert found.low < found.value < found.high
            else:
                assert np.isnan(found).all()
    for name, known in values.items():
        mean = report.subgroups.generalized_mean(name)
        expected = np.mean(np.array(known) ** -5.0) ** (-1 / 5)
        assert mean.value == exactly(expected)
        assert mean.low < mean.value < mean.high
    with pytest.raises(KeyError):
        report.subgroups.generalized_mean("accuracy")


@pytest.mark.parametrize("power", [-5e3, -5.0, 0.5, 1.0, 2.0, 5e3])
def test_generalized_means_of_any_power(power):
    # The areas are 0, 1 and 3/4.
    y, p = [0, 1, 0, 1, 0, 0, 1, 1], [0.9, 0.1, 0.1, 0.9, 0.1, 0.6, 0.5, 0.9]
    groups = list("aabbcccc")
    for first, areas in ((0, [0, 1, 0.75]), (2, [1, 0.75])):
        report = group_metrics(
            y[first:], p[first:], groups[first:], mean_power=power, **FEW
        )
        mean = report.subgroups.generalized_mean("subgroup_auc")
        expected = 0.0
        if power > 0 or min(areas) > 0:
            # Of large powers the largest or smallest area is all that counts.
            most = max(areas) if power > 0 else min(areas)
            shares = np.mean((np.array(areas) / most) ** power)
            expected = most * shares ** (1 / power)
        assert mean.value == exactly(expected)
        if min(areas) > 0 or power >= 1:
            assert mean.low < mean.value <= mean.high
        else:  # Nothing is certain of it.
            assert np.isnan([mean.low, mean.high]).all()


def test_calibration_is_binned_by_hand(weights):
    report = group_metrics(Y, P, MASKS, sample_weight=weights, bins=7, **FEW)
    w = np.ones(N) if weights is None else weights
    places = pd.cut(P, np.arange(8) / 7, right=False, labels=False)
    places = np.where(P == 1, 6, places)
    for row in report.calibration.rows:
        m = MASKS.get(row.group, np.ones(N, bool))
        error = 0.0
        for k in range(7):
            some = m & (places == k)
            if some.any():
                share = w[some].sum() / w[m].sum()
                gap = np.average(Y[some] - P[some], weights=w[some])
                error += share * abs(gap)
        if m.any():
            assert row.calibration_error.value == exactly(error)
            assert row.mean_prediction == exactly(
                np.average(P[m], weights=w[m])
            )
    bins = [b for b in report.calibration.bins if b.group == "overall"]
    assert sum(b.n for b in bins) == N
    axes = report.calibration.plot()
    assert axes.get_ylim() == (0, 1)


def test_several_classes_are_one_against_the_rest(weights):
    classes = ["x", "y", "z"]
    y = RNG.choice(classes, N)
    p = RNG.dirichlet(np.ones(3), N)
    g = RNG.choice(["a", "b"], N)
    report = group_metrics(
        y, p, g, sample_weight=weights, classes=classes, **FEW
    )
    decided = np.array(classes)[p.argmax(axis=1)]
    w = np.ones(N) if weights is None else weights
    for row in report.rows:
        m = np.full(N, True) if row.group == "overall" else g == row.group
        assert row.accuracy.value == exactly(
            metrics.accuracy_score(y[m], decided[m], sample_weight=w[m])
        )
        assert row.true_positive_rate.value == exactly(
            metrics.recall_score(
                y[m], decided[m], average="macro", sample_weight=w[m]
            )
        )
        areas = []
        for k, name in enumerate(classes):
            one = report.classes[f"{name}, {row.group}"]
            areas.append(
                metrics.roc_auc_score(y[m] == name, p[m, k], sample_weight=w[m])
            )
            assert one.auc.value == exactly(areas[-1])
            assert one.selection_rate.value == exactly(
                np.average(decided[m] == name, weights=w[m])
            )
            rest = m & (y != name)
            assert one.false_positive_rate.value == exactly(
                np.average(decided[rest] == name, weights=w[rest])
            )
        assert row.auc.value == exactly(np.mean(areas))
        assert row.positives is None and np.isnan(row.selection_rate.value)
    # Odds over classes: the worst class counts.
    worst = max(
        abs(
            getattr(report.classes[f"{name}, a"], rate).value
            - getattr(report.classes[f"{name}, b"], rate).value
        )
        for name in classes
        for rate in ("true_positive_rate", "false_positive_rate")
    )
    assert report.disparity("equalized_odds").difference.value == exactly(worst)
    assert report.subgroups is None


def test_two_columns_are_two_classes():
    g = np.where(MASKS["a"], "a", "b")
    alone = group_metrics(Y, P, g, **FEW)
    both = group_metrics(Y, np.stack([1 - P, P], axis=1), g, **FEW)
    assert repr(alone) == repr(both)
    logits = RNG.normal(size=(N, 2))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for row, other in zip(
        group_metrics(Y, logits, g, threshold=0.0, **FEW).rows,
        group_metrics(Y, scores, g, **FEW).rows,
        strict=True,
    ):
        assert row.accuracy == other.accuracy and row.auc == other.auc
    assert group_metrics(Y, logits, g, threshold=0.0, **FEW).calibration is None


def test_amounts(weights):
    true = RNG.gamma(2.0, 100.0, N)
    predicted = true * RNG.normal(1.1, 0.2, N)
    report = group_metrics(
        true, predicted, MASKS, sample_weight=weights, task="regression", **FEW
    )
    w = np.ones(N) if weights is None else weights
    errors = predicted - true
    for row in report.rows:
        m = MASKS.get(row.group, np.ones(N, bool))
        if not m.any():
            assert row.n == 0 and np.isnan(row.mean_error).all()
            continue
        assert row.mean_error.value == exactly(
            np.average(errors[m], weights=w[m])
        )
        assert row.mean_absolute_error.value == exactly(
            metrics.mean_absolute_error(
                true[m], predicted[m], sample_weight=w[m]
            )
        )
        if weights is None:
            quantiles = np.quantile(
                errors[m], [0.05, 0.5, 0.95], method="inverted_cdf"
            )
            assert [row.q05, row.median, row.q95] == exactly(list(quantiles))
        assert row.mean_error.low < row.mean_error.value < row.mean_error.high
    ratio = report.disparity("mean_absolute_error").ratio
    assert 0 < ratio.low < ratio.value < ratio.high <= 1
    assert np.isnan(report.disparity("mean_error").ratio.value)
    assert len(report.worst) == 1
    report.plot()


def test_disparities_with_weights_are_fairlearns():
    g = np.where(MASKS["a"], "a", np.where(MASKS["b"], "b", "c"))
    report = group_metrics(Y, P, g, sample_weight=WEIGHTS, **FEW)
    for name in ("demographic_parity", "equalized_odds"):
        for kind in ("difference", "ratio"):
            theirs = getattr(fairlearn.metrics, f"{name}_{kind}")(
                Y,
                (P > 0.5).astype(int),
                sensitive_features=g,
                sample_weight=WEIGHTS,
            )
            found = getattr(report.disparity(name), kind)
            assert found.value == exactly(theirs)


def test_weights_are_repeated_rows_and_zeros_none():
    g = np.where(MASKS["a"], "a", "b")
    times = RNG.integers(0, 3, N)
    rows = np.repeat(np.arange(N), times)
    repeated = group_metrics(Y[rows], P[rows], g[rows], **FEW)
    weighted = group_metrics(Y, P, g, sample_weight=times, **FEW)
    for one, other in zip(repeated.rows, weighted.rows, strict=True):
        assert one.auc.value == exactly(other.auc.value)
        assert one.accuracy.value == exactly(other.accuracy.value)
    assert weighted["overall"].n == (times > 0).sum()


def test_shares_of_annotators_make_groups_as_they_come():
    # As in Civil Comments: what nobody annotated is missing.
    shares = pd.DataFrame(
        {
            "female": [0.0, 0.4, 0.5, 1.0, np.nan, 0.1],
            "black": [1.0, 0.0, 0.6, 0.0, np.nan, 0.2],
        }
    )
    y, p = [0, 1, 0, 1, 1, 0], [0.2, 0.7, 0.4, 0.9, 0.6, 0.1]
    report = group_metrics(y, p, shares, **FEW)
    assert [(row.group, row.n) for row in report.rows] == [
        ("overall", 6),
        ("female", 2),
        ("black", 2),
    ]
    row = report.subgroups["female"]
    # The row that was not annotated is not in the background either.
    assert row.background_positives + row.background_negatives == 3
    wide = group_metrics(y, p, shares, membership_threshold=0.4, **FEW)
    assert wide["female"].n == 3


@pytest.mark.parametrize("dtype", [int, bool, float, "Int64"])
def test_zeros_and_ones_beside_shares_are_memberships(dtype):
    woman = pd.Series(RNG.integers(2, size=N)).astype(dtype)
    shares = pd.DataFrame({"woman": woman, "muslim": RNG.random(N)})
    report = group_metrics(Y, P, shares, **FEW)
    expected = group_metrics(Y, P, shares.astype(float), **FEW)
    assert repr(report) == repr(expected)
    names = [row.group for row in report.rows]
    assert names == ["overall", "woman", "muslim"]


@pytest.mark.parametrize("dtype", [int, "Int64"])
def test_zeros_and_ones_alone_are_codes_of_labels(dtype):
    codes = pd.DataFrame(
        {"a": np.arange(N) % 2, "b": np.arange(N) // 2 % 2}
    ).astype(dtype)
    assert len(group_metrics(Y, P, codes, **FEW).rows) == 5
    # Fractions alone decide: zeros and ones beside labels are codes, too.
    codes["c"] = np.where(codes["a"] == 0, "x", "y")
    names = [row.group for row in group_metrics(Y, P, codes, **FEW).rows]
    assert "a=0, b=1, c=x" in names


def test_shares_beside_labels_are_refused_by_name():
    columns = {
        "share": RNG.random(N),
        "faith": RNG.choice(["x", "y"], N),
        "old": RNG.random(N) < 0.5,
    }
    for features in (columns, pd.DataFrame(columns)):
        with pytest.raises(
            ValueError, match=r"\['share'\]`.*'faith'.*share of"
        ):
            group_metrics(Y, P, features, **FEW)
    decided = pd.DataFrame(columns).assign(share=columns["share"] >= 0.5)
    assert len(group_metrics(Y, P, decided, **FEW).rows) == 1 + 8


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
@pytest.mark.parametrize("beside", [[0.3, 1.0], [0.0, 1.0], ["a", "b"]])
def test_a_column_without_values_is_named(missing, beside):
    features = pd.DataFrame({"m": beside * 20, "empty": [missing] * 40})
    with pytest.raises(
        ValueError, match=r"`sensitive_features\['empty'\]`.*mis"
    ):
        group_metrics(Y[:40], P[:40], features, **FEW)


def test_the_worst_group_by_each_figure():
    y = np.tile([0, 1], 60)
    g = np.repeat(["good", "bad"], 60)
    p = np.where(g == "good", 0.2 + 0.6 * y, 0.6)
    report = group_metrics(y, p, g, **FEW)
    assert {row.metric: row.group for row in report.worst} == {
        "accuracy": "bad",
        "auc": "bad",
        "false_positive_rate": "bad",
    }
    assert report.least_well_served == "bad"
    assert group_metrics(y, p, ["one"] * 120, **FEW).least_well_served is None


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_group_of_one_row_is_not_said_to_be_worst_beyond_chance(task):
    # Of 600 rows each a tenth or four tenths are wrong; and one row is.
    sizes, wrong = [600, 600, 1], [60, 240, 1]
    g = np.repeat(["good", "bad", "few"], sizes)
    off = np.concatenate(
        [np.arange(n) < k for n, k in zip(sizes, wrong, strict=True)]
    )
    y = np.resize([0, 1], len(g))
    report = group_metrics(y, abs(y - off).astype(float), g, task=task, **FEW)
    figures = "mean absolute error"
    if task == "classification":
        figures = "accuracy, AUC, true positive rate and false positive rate"
    assert report.remarks() == [
        f"the group bad (n = 600) has the worst {figures} beyond chance."
    ]
    # By the values alone it is the one row.
    assert report.worst[0].group == "few"
    # One that is worst in all it has, beyond chance, is named.
    g = np.where(g == "few", "good", g)
    report = group_metrics(y, abs(y - off).astype(float), g, task=task, **FEW)
    assert report.remarks()[0].startswith("the group bad (n = 600) has")


def test_errors_of_single_rows_say_nothing_of_chance():
    y, p = np.zeros(3), np.array([0.1, 0.2, 0.9])
    report = group_metrics(y, p, ["a", "a", "b"], task="regression", **FEW)
    assert report.least_well_served == "b"
    assert report.remarks() == []


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_no_group_is_the_worst_of_groups_that_are_alike(groups, task):
    y, p = np.tile([0, 1, 0, 1], 10), np.tile([0.1, 0.9, 0.3, 0.4], 10)
    # In another order, so that sums may differ by a rounding.
    y, p = (
        np.concatenate([each, *[each[::-1]] * (groups - 1)]) for each in (y, p)
    )
    g = np.repeat(["a", "b", "c"][:groups], 40)
    report = group_metrics(y, p, g, task=task, **FEW)
    assert report.worst == () and report.least_well_served is None
    for row in report.disparities:
        assert row.difference.value == pytest.approx(0, abs=1e-12)
        assert (row.lowest, row.highest, row.groups) == ("", "", groups)
    assert report.remarks() == ["no group is served worse beyond chance."]
    assert report.to_dict()["worst"] == {}
    alone = group_metrics(y, p, ["one"] * len(y), task=task, **FEW)
    assert alone.remarks() == []


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize(("n", "rate"), [(50, 0.3), (1_000, 0.1)])
def test_differences_and_ratios_are_covered(n, rate, groups):
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(groups), n)
    members = group[:, None] == np.arange(groups)
    truths = (0.1, rate / (rate + 0.1))
    held = []
    for _ in range(300):
        hit = rng.random(len(group)) < rate + 0.1 * (group == 1)
        cells = Decisions.read(hit, hit, 2, np.ones(len(group)), members)
        share = cells.share(cells.decided == 1, np.ones(len(cells.true), bool))
        figure = cells.figure([share])
        row = disparity("hits", [figure], "abc", 0.95, 200, rng)
        held.append(
            [
                estimate.low <= truth <= estimate.high
                for estimate, truth in zip(
                    (row.difference, row.ratio), truths, strict=True
                )
            ]
        )
    assert (np.mean(held, axis=0) > 0.92).all()


def test_two_groups_that_overlap_differ_more_surely():
    rng = np.random.default_rng(0)
    most = rng.random(2_000) < 0.9
    apart = {"all but some": most, "all": np.ones(2_000, bool)}
    y, p = rng.integers(2, size=2_000), rng.random(2_000)
    together = group_metrics(y, p, apart, **FEW).disparity("accuracy")
    width = 2 * 1.96 * np.sqrt(0.25 / 2_000)
    assert together.difference.high - together.difference.low < 0.6 * width


@pytest.mark.parametrize("label", [None, 0, 1])
def test_rate_gaps_in_training_are_these_differences(label, weights):
    training = pytest.importorskip(
        "tensorflow_model_remediation_ext.min_diff.keras.metrics"
    )
    rows = np.full(N, True) if label is None else label == Y
    metric = training.RateGap()
    metric.update_state(
        MASKS["a"][rows].astype(int),
        P[rows].astype("float32"),
        None if weights is None else weights[rows].astype("float32"),
    )
    report = group_metrics(
        Y, P, np.where(MASKS["a"], "a", "b"), sample_weight=weights, **FEW
    )
    name = {None: "selection", 0: "false_positive", 1: "true_positive"}[label]
    difference = report.disparity(f"{name}_rate").difference.value
    assert abs(float(metric.result())) == pytest.approx(difference, abs=1e-6)


def test_errors_that_only_rounding_tells_apart_have_no_certain_difference():
    true = np.arange(1, 17.0)
    report = group_metrics(
        true, true + 0.1, list("ab" * 8), task="regression", **FEW
    )
    difference = report.disparity("mean_error").difference
    assert abs(difference.value) < 1e-12
    assert np.isnan([difference.low, difference.high]).all()
