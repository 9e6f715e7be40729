"""Flip rates by TensorFlow Model Analysis, for data of any size, with Beam."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

try:
    import apache_beam as beam
    import pyarrow as pa
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.proto import config_pb2
    from tfx_bsl.arrow import table_util
except ImportError as error:
    raise ImportError(
        "tensorflow_model_remediation_ext.evaluation.tfma needs TensorFlow "
        'Model Analysis: pip install "tensorflow_model_remediation_ext[tfma]", '
        "or [fairness-indicators] for those metrics as well"
    ) from error

from tensorflow_model_remediation_ext.common.checks import number
from tensorflow_model_remediation_ext.evaluation.flips import flips
from tensorflow_model_remediation_ext.evaluation.intervals import (
    normal_quantile,
)
from tensorflow_model_remediation_ext.evaluation.tfma import (
    metrics as pair_metrics,
)
from tensorflow_model_remediation_ext.evaluation.tfma.results import (
    FlipAnalysis,
    load_flips,
)

__all__ = ["EvaluateFlips", "FlipAnalysis", "analyze_flips", "load_flips"]

_INDICATORS = "fairness_indicators.fairness_indicators_metrics"
# Rows that a worker of the pipeline takes at a time.
_ROWS = 4096


def analyze_flips(
    frame: Any,
    slices: Iterable[str | Sequence[str]] = (),
    *,
    output_path: str | None = None,
    **options: Any,
) -> FlipAnalysis:
    """Measures flips of predictions in a data frame with TFMA.

    It says what `evaluation.flips` says, and no more: a flip rate of zero is
    not equal treatment. It takes a few hundred microseconds a row, where
    `flips` takes less than one; it is there for those who need TFMA's
    `EvalResult`, its other metrics or its pipelines.

    Figures are those of `flips`, with one difference: the interval of the gap
    is the Cornish-Fisher expansion in groups of any size, not a resampled one
    in those of up to 1,000 pairs.

    Args:
        frame: A pandas DataFrame with a row for each pair.
        slices: Columns that make groups: a name, or a tuple of names to cross.
            A boolean column on its own is a mask: the group of its true rows.
        output_path: A directory for TFMA's files; by default they are removed
            once they have been read.
        **options: Those of `EvaluateFlips`, apart from `masks`.

    Returns:
        The table and TFMA's results. A mask without a true row has a row with
        `n` 0 and NaN figures.

    Raises:
        ValueError: If a column is missing, a slice has missing values, or
            predictions or weights are not as `flips` wants them.

    Examples:
        >>> frame = pd.DataFrame(
        ...     {
        ...         "original": [0.9, 0.2, 0.6],
        ...         "counterfactual": [0.8, 0.3, 0.4],
        ...         "mentions": ["women", "men", "women"],
        ...     }
        ... )
        >>> analysis = analyze_flips(frame, ["mentions"])
        >>> analysis.report["mentions=women"].flip_count
        1

    References:
        Garg et al. 2018, "Counterfactual Fairness in Text Classification
        through Robustness", arXiv 1809.10610, section 3.1.
    """
    crossings = [(s,) if isinstance(s, str) else tuple(s) for s in slices]
    masks = [
        names[0]
        for names in crossings
        if len(names) == 1
        and names[0] in frame
        and frame[names[0]].dtype.kind == "b"
    ]
    crossings = [
        names for names in crossings if names not in [(mask,) for mask in masks]
    ]
    with tempfile.TemporaryDirectory() as scratch:
        path = output_path or scratch
        evaluate = EvaluateFlips(path, crossings, masks=masks, **options)
        batches = _record_batches(frame, evaluate)
        with beam.Pipeline() as pipeline:
            _ = pipeline | beam.Create(batches) | evaluate
        return load_flips(path)


class EvaluateFlips(beam.PTransform):
    """Measures flips of predictions in a Beam pipeline with TFMA.

    Takes a PCollection of Arrow record batches, as TFX's readers give them, and
    writes the results to `output_path`, from where `load_flips` reads them.
    The predictions are features: make them with the model wherever it runs
    best, `tf.data` or Beam's `RunInference`.

    A `tf.train.Example` holds float32: there, a prediction a hair from the
    threshold may be decided otherwise than in float64. A group all of whose
    weights are zero makes TFMA divide by zero; leave such rows out. TFMA's own
    intervals stay off: with them its flip rates themselves come out wrong,
    since its combiner adds into accumulators that the resamples share.

    Args:
        output_path: Directory for TFMA's files, local or remote.
        slices: Features that make groups: a name, or a tuple of names to
            cross.
        masks: Features of 0 and 1 that are groups, which may overlap: each is
            the group of the rows with 1.
        original: Feature with the prediction on the original, a number.
        counterfactual: Feature with the prediction on the counterfactual.
        label: Feature with the label, 0 or 1. With it TFMA's results hold the
            accuracy and, if Fairness Indicators is installed, its metrics at
            `threshold`.
        sample_weight: Feature with the weight of the pair.
        threshold: A prediction greater than this is a positive decision.
            Predictions must be probabilities if it is strictly between 0 and
            1; give `threshold=0.0` for logits.
        confidence: Level of the intervals.

    Raises:
        ValueError: On options out of range; on predictions that are not finite
            or no probabilities when the pipeline runs.

    Examples:
        ```python
        from tfx_bsl.public import tfxio

        pairs = tfxio.TFExampleRecord("pairs-*.tfrecord").BeamSource()
        with beam.Pipeline(runner="DirectRunner") as pipeline:
            evaluate = EvaluateFlips("results", ["faith"], masks=["old"])
            _ = pipeline | pairs | evaluate
        print(load_flips("results").report)
        ```
    """

    def __init__(
        self,
        output_path: str,
        slices: Iterable[str | Sequence[str]] = (),
        *,
        masks: Iterable[str] = (),
        original: str = "original",
        counterfactual: str = "counterfactual",
        label: str | None = None,
        sample_weight: str | None = None,
        threshold: float = 0.5,
        confidence: float = 0.95,
    ):
        super().__init__()
        normal_quantile(confidence)  # Refuses a bad level before any work.
        self.output_path = output_path
        self.slices = [
            (names,) if isinstance(names, str) else tuple(names)
            for names in slices
        ]
        self.masks = list(masks)
        self.original = original
        self.counterfactual = counterfactual
        self.label_key = label
        self.sample_weight = sample_weight
        self.threshold = number("threshold", threshold)
        self.confidence = confidence

    @property
    def eval_config(self) -> config_pb2.EvalConfig:
        """What TFMA is told to do."""
        at: dict[str, Any] = {"threshold": self.threshold}
        metrics = [
            _metric("ExampleCount"),
            _metric("BooleanFlipRates", **at),
            _metric(
                "CounterfactualPairs",
                pair_metrics.__name__,
                confidence=self.confidence,
                **at,
            ),
        ]
        if self.label_key:
            metrics.append(_metric("BinaryAccuracy", **at))
        if self.label_key and _has_fairness_indicators():
            indicators = _metric(
                "FairnessIndicators", _INDICATORS, thresholds=[self.threshold]
            )
            metrics.append(indicators)
        return config_pb2.EvalConfig(
            model_specs=[
                config_pb2.ModelSpec(
                    name=name,
                    prediction_key=key,
                    label_key=self.label_key or "",
                    example_weight_key=self.sample_weight or "",
                    is_baseline=name == "original",
                )
                for name, key in (
                    ("original", self.original),
                    ("counterfactual", self.counterfactual),
                )
            ],
            metrics_specs=[config_pb2.MetricsSpec(metrics=metrics)],
            slicing_specs=[
                config_pb2.SlicingSpec(),
                *(config_pb2.SlicingSpec(feature_keys=s) for s in self.slices),
                *(
                    config_pb2.SlicingSpec(feature_values={mask: "1"})
                    for mask in self.masks
                ),
            ],
        )

    def expand(self, examples):
        """Builds the pipeline."""
        return examples | tfma.ExtractEvaluateAndWriteResults(
            eval_config=self.eval_config, output_path=self.output_path
        )


def _metric(class_name: str, module: str = "", **config: Any):
    return config_pb2.MetricConfig(
        class_name=class_name, module=module, config=json.dumps(config)
    )


def _has_fairness_indicators() -> bool:
    return importlib.util.find_spec("fairness_indicators") is not None


def _record_batches(frame: Any, evaluate: EvaluateFlips) -> list:
    """Returns the columns needed as Arrow batches, or says what is wrong."""
    groups = {*evaluate.masks, *(c for names in evaluate.slices for c in names)}
    numbers = [
        evaluate.original,
        evaluate.counterfactual,
        *filter(None, (evaluate.label_key, evaluate.sample_weight)),
    ]
    for name in [*numbers, *groups]:
        if name not in frame:
            raise ValueError(
                f"`frame` must have a column {name!r}. "
                f"Received: columns={list(frame.columns)}"
            )
        if frame[name].isna().any():
            raise ValueError(f"`frame[{name!r}]` must not have missing values.")
    weight = evaluate.sample_weight
    # Refuses what `flips` refuses, before a pipeline is built.
    flips(
        frame[evaluate.original],
        frame[evaluate.counterfactual],
        threshold=evaluate.threshold,
        sample_weight=None if weight is None else frame[weight],
    )
    if weight is not None:
        frame = frame[frame[weight] > 0]
    if frame.empty:
        raise ValueError("`frame` must have a row with a positive weight.")
    columns = {name: pa.array(frame[name].astype(float)) for name in numbers}
    for name in groups:
        kind = "int64" if frame[name].dtype.kind in "biu" else str
        columns[name] = pa.array(frame[name].astype(kind))
    batches = pa.table(columns).to_batches(max_chunksize=_ROWS)
    return [table_util.CanonicalizeRecordBatch(batch) for batch in batches]
