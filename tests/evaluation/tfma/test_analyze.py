"""Flip rates by TensorFlow Model Analysis, beside our own."""

import os
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import apache_beam as beam
        import tensorflow as tf
        import tensorflow_model_analysis as library
        from tfx_bsl.public import tfxio
    except ImportError:
        # CI installs it and sets this, so that a skip cannot hide there.
        if os.environ.get("REQUIRE_TFMA") == "1":
            raise
        pytest.skip(
            "needs the extra [tfma] or [fairness-indicators]",
            allow_module_level=True,
        )
    import pandas as pd
    import pyarrow as pa
    from tensorflow_model_analysis.proto import config_pb2
    from tfx_bsl.arrow import table_util

    from tensorflow_model_remediation_ext.evaluation import (
        flips,
        group_metrics,
        tfma,
    )
    from tensorflow_model_remediation_ext.evaluation.tfma import results
    from tensorflow_model_remediation_ext.evaluation.tfma.metrics import (
        PairSums,
    )

# Of TFMA, Beam and what they import, by the dozen.
pytestmark = pytest.mark.filterwarnings("ignore")

RATES = ("flip_rate", "positive_to_negative", "negative_to_positive")


def random_frame(n, seed=0):
    rng = np.random.default_rng(seed)
    original = rng.random(n).astype("float32").astype(float)
    moved = np.clip(original + rng.normal(0, 0.2, n), 0, 1)
    return pd.DataFrame(
        {
            "original": original,
            "counterfactual": moved.astype("float32").astype(float),
            "label": rng.integers(0, 2, n),
            "faith": rng.choice(["a", "b & c"], n),
            "age": rng.integers(1, 3, n),
            "old": rng.random(n) < 0.3,
            "nobody": np.zeros(n, bool),
            "weight": rng.integers(0, 4, n) / 2,
        }
    )


def assert_same(got, want, exact):
    """Compares rows: exactly but for sums of floats, and the gap's interval."""
    assert (got.n, got.flip_count) == (want.n, want.flip_count)
    assert got.effective_n == pytest.approx(want.effective_n, rel=1e-12)
    for name in RATES:
        mine, theirs = getattr(want, name), getattr(got, name)
        if exact:
            assert mine == theirs or np.isnan([mine, theirs]).all()
        else:
            assert mine == pytest.approx(theirs, rel=1e-12)
    gap = want.counterfactual_gap
    if want.n > 1000:  # Not resampled.
        assert got.counterfactual_gap == pytest.approx(gap, rel=1e-9)
    else:
        assert got.counterfactual_gap.value == pytest.approx(
            gap.value, rel=1e-12, nan_ok=True
        )
        assert got.counterfactual_gap == pytest.approx(
            gap, abs=0.01, nan_ok=True
        )


def test_a_frame_gives_the_figures_of_flips(tmp_path):
    frame = random_frame(500)
    # At the threshold, and next to it: only float64 tells these apart.
    frame.loc[:2, "original"] = 0.5
    frame.loc[:2, "counterfactual"] = np.nextafter(0.5, [0, 1, 1])
    analysis = tfma.analyze_flips(
        frame,
        ["faith", "age", ("faith", "old"), "old", "nobody"],
        label="label",
        output_path=str(tmp_path / "results"),
    )
    report = analysis.report
    want = flips(
        frame["original"],
        frame["counterfactual"],
        groups={
            "faith=a": frame["faith"] == "a",
            "faith=b & c": frame["faith"] != "a",
            "age=1": frame["age"] == 1,
            "age=2": frame["age"] == 2,
            "faith=a, old=1": (frame["faith"] == "a") & frame["old"],
            "old": frame["old"],
            "nobody": frame["nobody"],
        },
        seed=0,
    )
    for row in want.rows:
        assert_same(report[row.group], row, exact=True)
    assert [row.group for row in report.rows][:3] == [
        "overall",
        "faith=a",
        "faith=b & c",
    ]
    assert len(report.rows) == 5 + 4 + 2
    metrics = {
        name: dict(result.slicing_metrics)[()][""][""]
        for name, result in (
            ("original", analysis.original_result),
            ("counterfactual", analysis.eval_result),
        )
    }
    for name, figures in metrics.items():
        accuracy = ((frame[name] > 0.5) == frame["label"]).mean()
        assert figures["binary_accuracy"]["doubleValue"] == pytest.approx(
            accuracy
        )
        indicators = [key for key in figures if "positive_rate@0.5" in key]
        assert bool(indicators) == bool(find_spec("fairness_indicators"))
    again = tfma.load_flips(str(tmp_path / "results"))
    assert again.report == report


def test_figures_of_groups_are_tfmas(tmp_path):
    frame = random_frame(2_000)
    frame = frame[frame["weight"] > 0]
    names = ("BinaryAccuracy", "TPR", "FPR", "MeanPrediction", "MeanLabel")
    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                prediction_key="original",
                label_key="label",
                example_weight_key="weight",
            )
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    *(config_pb2.MetricConfig(class_name=n) for n in names),
                    config_pb2.MetricConfig(
                        class_name="AUC", config='"num_thresholds": 100000'
                    ),
                ]
            )
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            config_pb2.SlicingSpec(feature_keys=["faith"]),
        ],
    )
    columns = {
        "faith": pa.array(frame["faith"]),
        **{
            name: pa.array(frame[name].astype(float))
            for name in ("original", "label", "weight")
        },
    }
    batches = map(
        table_util.CanonicalizeRecordBatch, pa.table(columns).to_batches()
    )
    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | beam.Create(list(batches))
            | library.ExtractEvaluateAndWriteResults(
                eval_config=config, output_path=str(tmp_path)
            )
        )
    found = dict(library.load_eval_result(str(tmp_path)).slicing_metrics)
    report = group_metrics(
        frame["label"],
        frame["original"],
        frame["faith"],
        sample_weight=frame["weight"],
        n_boot=50,
    )
    for row in report.rows:
        group = row.group
        key = () if group == "overall" else (("faith", group),)
        theirs = {
            name: value["doubleValue"]
            for name, value in found[key][""][""].items()
        }
        calibration = report.calibration[group]
        for name, mine in (
            ("binary_accuracy", row.accuracy.value),
            ("tpr", row.true_positive_rate.value),
            ("fpr", row.false_positive_rate.value),
            ("mean_prediction", calibration.mean_prediction),
            ("mean_label", calibration.positive_rate.value),
        ):
            assert mine == pytest.approx(theirs[name], rel=1e-9), (group, name)
        # TFMA's is a sum over thresholds.
        assert row.auc.value == pytest.approx(theirs["auc"], abs=1e-4)


def test_a_pipeline_over_tfrecords_gives_the_figures_of_flips(tmp_path):
    frame = random_frame(400, seed=1)
    frame = frame[frame["weight"] > 0]
    for part in range(2):
        path = str(tmp_path / f"pairs-{part}.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for _, row in frame[part::2].iterrows():
                features = {
                    name: tf.train.Feature(
                        float_list=tf.train.FloatList(value=[row[name]])
                    )
                    for name in ("original", "counterfactual", "weight")
                }
                features["old"] = tf.train.Feature(
                    int64_list=tf.train.Int64List(value=[row["old"]])
                )
                features["faith"] = tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[row["faith"].encode()])
                )
                example = tf.train.Example(
                    features=tf.train.Features(feature=features)
                )
                writer.write(example.SerializeToString())
    results = str(tmp_path / "results")
    pairs = tfxio.TFExampleRecord(
        str(tmp_path / "pairs-*.tfrecord"),
        telemetry_descriptors=["test"],
    )
    with beam.Pipeline(runner="DirectRunner") as pipeline:
        evaluate = tfma.EvaluateFlips(
            results,
            ["faith"],
            masks=["old"],
            sample_weight="weight",
            confidence=0.9,
        )
        _ = pipeline | pairs.BeamSource() | evaluate
    report = tfma.load_flips(results).report
    assert report.confidence == 0.9
    want = flips(
        frame["original"],
        frame["counterfactual"],
        groups={
            "faith=a": frame["faith"] == "a",
            "faith=b & c": frame["faith"] != "a",
            "old": frame["old"],
        },
        sample_weight=frame["weight"],
        confidence=0.9,
        seed=0,
    )
    assert [r.group for r in report.rows] == [r.group for r in want.rows]
    for row in want.rows:
        assert_same(report[row.group], row, exact=False)


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_merge_in_any_grouping(weighted):
    frame = random_frame(2000)
    weights = frame["weight"] if weighted else np.ones(2000)
    combine = PairSums(0.5, 0.95)
    parts = []
    for start in (0, 700, 1990):
        accumulator = combine.create_accumulator()
        for element in zip(
            frame["original"][start : start + 1290 if start else 700],
            frame["counterfactual"][start:],
            weights[start:],
            strict=False,
        ):
            accumulator = combine.add_input(accumulator, element)
        parts.append(accumulator)
    parts.append(combine.create_accumulator())
    one = combine.merge_accumulators(parts)
    two = combine.merge_accumulators(
        [combine.merge_accumulators(parts[1:]), parts[0]]
    )
    row = flips(
        frame["original"], frame["counterfactual"], sample_weight=weights
    )["overall"]
    before, after = (
        frame[name] > 0.5 for name in ("original", "counterfactual")
    )
    shares = [
        (weights[moved] ** 2).sum() / (weights**2).sum()
        for moved in (before & ~after, ~before & after)
    ]
    want = (
        row.n,
        row.effective_n,
        row.flip_count,
        *row.counterfactual_gap,
        *shares,
    )
    for merged in (one, two):
        assert combine.extract_output(merged) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ((np.nan, 0.5, 1), "finite"),
        ((0.5, 0.5, np.inf), "finite"),
        ((0.5, 1.5, 1), "probabilities.*1.5"),
        ((0.5, 0.5, -1), "negative"),
    ],
)
def test_sums_refuse_what_flips_refuses(element, message):
    combine = PairSums(0.5, 0.95)
    with pytest.raises(ValueError, match=message):
        combine.add_input(combine.create_accumulator(), element)
    logits = PairSums(0.0, 0.95)
    added = logits.add_input(logits.create_accumulator(), (-3, 2, 1))
    assert logits.extract_output(added)[2] == 1


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"slices": ["gender"]}, "column 'gender'"),
        ({}, {"original": "score"}, "column 'score'"),
        ({}, {"confidence": 95}, "`confidence`"),
        ({"counterfactual": 2.0}, {}, "probabilities"),
        ({"faith": None}, {"slices": ["faith"]}, "'faith'.*missing"),
        ({"weight": 0.0}, {"sample_weight": "weight"}, "positive weight"),
        ({"weight": -1.0}, {"sample_weight": "weight"}, "negative"),
    ],
)
def test_errors_come_before_a_pipeline_is_built(change, options, message):
    frame = random_frame(5).assign(**change)
    with pytest.raises(ValueError, match=message):
        tfma.analyze_flips(frame, **options)


def test_no_results_to_load(tmp_path):
    with pytest.raises(ValueError, match="`output_path` must be a directory"):
        tfma.load_flips(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="`output_path` must be a directory"):
        tfma.load_flips(str(tmp_path))


def test_results_of_an_earlier_version_are_refused():
    earlier = {"": {"": {"pair_count_diff": {"doubleValue": 3.0}}}}
    with pytest.raises(ValueError, match="run `EvaluateFlips` again"):
        results._row("overall", earlier, 0.95)
