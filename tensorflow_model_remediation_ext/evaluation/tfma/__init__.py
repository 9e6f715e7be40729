"""Flip rates by TensorFlow Model Analysis, for data of any size, with Beam."""

from tensorflow_model_remediation_ext.evaluation.tfma.analyze import (
    EvaluateFlips,
    FlipAnalysis,
    analyze_flips,
    load_flips,
)

__all__ = ["EvaluateFlips", "FlipAnalysis", "analyze_flips", "load_flips"]
