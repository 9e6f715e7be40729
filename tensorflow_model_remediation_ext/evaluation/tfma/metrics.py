"""The figures of `flips` that TensorFlow Model Analysis lacks, as its metric.

TensorFlow Model Analysis finds this module by its name, which its configs
hold; what users call is in `evaluation.tfma`.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.utils import model_util

from tensorflow_model_remediation_ext.evaluation.intervals import (
    expanded_interval,
    has_mean_interval,
)

# The output names, in the order of `PairSums.extract_output`.
NAMES = (
    "pair_count",
    "effective_pair_count",
    "flip_count",
    "counterfactual_gap",
    "counterfactual_gap_low",
    "counterfactual_gap_high",
    "pos_to_neg_square_share",
    "neg_to_pos_square_share",
)
_POWERS = np.arange(4)


class PairSums(beam.CombineFn):
    """Sums over pairs from which the figures of a group follow.

    In the accumulator, `sums[i, j]` is the sum of `weight^i * gap^j`,
    which is all that the mean gap, its interval and the effective number of
    pairs need; with it come numbers and squared weights of the flips in
    each direction, and the ends of the gaps.
    So it merges by adding, in any order, and does not grow with the data.

    Args:
        threshold: Of a positive decision.
        confidence: Level of the interval of the gap.
    """

    def __init__(self, threshold: float, confidence: float):
        super().__init__()
        self._threshold = threshold
        self._confidence = confidence

    def create_accumulator(self):
        """No pairs."""
        return np.zeros((4, 4)), np.zeros((2, 2)), (np.inf, -np.inf)

    def add_input(self, accumulator, element):
        """Adds one pair, `(original, counterfactual, weight)`."""
        sums, flips, (least, most) = accumulator
        original, counterfactual, weight = map(float, element)
        if not np.isfinite([original, counterfactual, weight]).all():
            raise ValueError(
                "Predictions and weights must be finite. Received: "
                f"original={original}, counterfactual={counterfactual}, "
                f"weight={weight}"
            )
        if 0 < self._threshold < 1 and not (
            0 <= original <= 1 and 0 <= counterfactual <= 1
        ):
            raise ValueError(
                "Predictions must be probabilities at "
                f"`threshold={self._threshold}`; give `threshold=0.0` for "
                f"logits. Received: {original} and {counterfactual}"
            )
        if weight < 0:
            raise ValueError(
                f"Weights must not be negative. Received: {weight}"
            )
        if weight == 0:
            return accumulator
        gap = abs(original - counterfactual)
        before, after = (
            score > self._threshold for score in (original, counterfactual)
        )
        directions = [before > after, before < after]
        return (
            sums + np.outer(weight**_POWERS, gap**_POWERS),
            flips + np.outer([1, weight**2], directions),
            (min(least, gap), max(most, gap)),
        )

    def merge_accumulators(self, accumulators):
        """Adds up the sums of all accumulators."""
        sums, flips, ends = zip(*accumulators, strict=True)
        least, most = zip(*ends, strict=True)
        return sum(sums), sum(flips), (min(least), max(most))

    def extract_output(self, accumulator):
        """The figures, in the order of `NAMES`."""
        sums, flips, ends = accumulator
        n, total = sums[0, 0], sums[1, 0]
        if not n:
            return 0.0, 0.0, 0.0, *[np.nan] * 5
        mean = sums[1, 1] / total
        effective = total**2 / sums[2, 0]
        # Sums of the influence `weight * (gap - mean)`, squared and cubed.
        square = sums[2] @ [mean**2, -2 * mean, 1, 0]
        cube = sums[3] @ [-(mean**3), 3 * mean**2, -3 * mean, 1]
        scale = n / total
        low = high = np.nan
        if has_mean_interval(effective, ends[1] - ends[0]):
            low, high = np.clip(
                mean
                + expanded_interval(
                    max(square, 0.0) * scale**2 / n,
                    cube * scale**3 / n,
                    n,
                    effective,
                    self._confidence,
                ),
                *ends,
            )
        shares = flips[1] / sums[2, 0]
        return n, effective, flips[0].sum(), mean, low, high, *shares


class _PairSumsOfExamples(PairSums):
    """The same over the inputs and for the outputs that TFMA deals in."""

    def __init__(self, keys, baseline, shared, threshold, confidence):
        super().__init__(threshold, confidence)
        self._keys = keys
        self._baseline = baseline
        self._shared = shared

    def add_input(self, accumulator, element):
        def read(model_name):
            return metric_util.to_label_prediction_example_weight(
                element, model_name=model_name, allow_none=True, **self._shared
            )

        pairs = zip(
            read(self._baseline), read(self._keys[0].model_name), strict=True
        )
        for (_, original, weight), (_, counterfactual, _) in pairs:
            accumulator = super().add_input(
                accumulator,
                (original.item(), counterfactual.item(), weight.item()),
            )
        return accumulator

    def extract_output(self, accumulator):
        values = super().extract_output(accumulator)
        return dict(zip(self._keys, map(float, values), strict=True))


class CounterfactualPairs(metric_types.Metric):
    """Numbers of pairs and flips, and the counterfactual gap with its interval.

    A metric of TensorFlow Model Analysis that goes with its
    `BooleanFlipRates`: the baseline predicts the originals, the candidate the
    counterfactuals.

    Args:
        threshold: A prediction greater than this is a positive decision.
        confidence: Level of the interval of the gap.
    """

    def __init__(self, threshold: float = 0.5, confidence: float = 0.95):
        super().__init__(
            _computations, threshold=threshold, confidence=confidence
        )


def _computations(
    threshold: float,
    confidence: float,
    eval_config: Any = None,
    model_names: Any = None,
    output_names: Any = None,
    sub_keys: Any = None,
    example_weighted: bool = False,
    **_: Any,
):
    """One combiner for each candidate."""
    baseline = model_util.get_baseline_model_spec(eval_config).name
    shared = {"eval_config": eval_config, "example_weighted": example_weighted}
    computations = []
    for model_name in model_names:
        if model_name == baseline:
            continue
        keys = [
            metric_types.MetricKey(
                name,
                model_name=model_name,
                example_weighted=example_weighted,
                is_diff=True,
            )
            for name in NAMES
        ]
        combiner = _PairSumsOfExamples(
            keys, baseline, shared, threshold, confidence
        )
        computations.append(
            metric_types.MetricComputation(
                keys=keys, preprocessors=None, combiner=combiner
            )
        )
    return computations


metric_types.register_metric(CounterfactualPairs)
