"""What TensorFlow Model Analysis has written, read back as our table.

Users call it through `evaluation.tfma`, which says what is missing.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import tensorflow_model_analysis as tfma

from tensorflow_model_remediation_ext.evaluation.flip_report import (
    FlipReport,
    FlipRow,
)
from tensorflow_model_remediation_ext.evaluation.intervals import (
    UNKNOWN,
    Estimate,
    weighted_rate,
)

_DIRECTIONS = ("pos_to_neg", "neg_to_pos")


@dataclasses.dataclass(frozen=True)
class FlipAnalysis:
    """What TensorFlow Model Analysis found, in its form and in ours.

    Args:
        report: The table that `flips` returns.
        eval_result: Metrics of the counterfactual predictions, the candidate,
            and their differences from the original ones: a `tfma.EvalResult`.
        original_result: Metrics of the original predictions, the baseline.
    """

    report: FlipReport
    eval_result: Any
    original_result: Any


def load_flips(output_path: str) -> FlipAnalysis:
    """Reads what `EvaluateFlips` has written.

    Args:
        output_path: The directory it was given.

    Returns:
        The table, with the groups in the order of the slices, and TFMA's
        results.

    Raises:
        ValueError: If the directory holds no such results, or those of an
            earlier version.
    """
    result, original_result = (
        tfma.load_eval_result(output_path, model_name=name)
        for name in ("counterfactual", "original")
    )
    if result.config is None:
        raise ValueError(
            "`output_path` must be a directory that `EvaluateFlips` has "
            f"written. Received: output_path={output_path!r}"
        )
    (confidence,) = (
        json.loads(metric.config)["confidence"]
        for spec in result.config.metrics_specs
        for metric in spec.metrics
        if metric.class_name == "CounterfactualPairs"
    )
    found = dict(result.slicing_metrics)
    rows = []
    for spec in result.config.slicing_specs:
        if spec.feature_values:
            (mask,) = spec.feature_values
            rows.append(_row(mask, found.get(((mask, 1),)), confidence))
            continue
        rows += [
            _row(_name(key), found[key], confidence)
            for key in sorted(found, key=str)
            if {name for name, _ in key} == set(spec.feature_keys)
        ]
    return FlipAnalysis(
        FlipReport(tuple(rows), confidence), result, original_result
    )


def _name(slice_key: tuple) -> str:
    if not slice_key:
        return "overall"
    return ", ".join(f"{column}={value}" for column, value in slice_key)


def _row(group: str, metrics: dict | None, confidence: float) -> FlipRow:
    """Makes a row of ours from the metrics of a slice, if there are any."""
    if metrics is None:
        return FlipRow(group, 0, 0.0, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)

    def read(name: str) -> float:
        figure = metrics[""][""].get(f"{name}_diff")
        if figure is None:
            raise ValueError(
                "`output_path` must hold what this version has written: run "
                f"`EvaluateFlips` again. Received: results without {name}"
            )
        return float(figure["doubleValue"])

    n = read("effective_pair_count")
    shares = [read(f"{way}_square_share") for way in _DIRECTIONS]

    def rate(name: str, share: float) -> Estimate:
        return weighted_rate(read(name), n, share, confidence)

    directions = [
        rate(f"{way}_flip_rate", share)
        for way, share in zip(_DIRECTIONS, shares, strict=True)
    ]

    return FlipRow(
        group=group,
        n=int(read("pair_count")),
        effective_n=n,
        flip_count=int(read("flip_count")),
        flip_rate=rate("flip_rate", sum(shares)),
        positive_to_negative=directions[0],
        negative_to_positive=directions[1],
        counterfactual_gap=Estimate(
            *(read(f"counterfactual_gap{end}") for end in ("", "_low", "_high"))
        ),
    )
