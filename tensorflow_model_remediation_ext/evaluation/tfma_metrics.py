"""The metric of `evaluation.tfma`, where version 0.1.0 had it.

Configurations of TensorFlow Model Analysis store the name of a metric's
module: those that 0.1.0 wrote name this one.
"""

from tensorflow_model_remediation_ext.evaluation.tfma.metrics import (
    CounterfactualPairs,
)

__all__ = ["CounterfactualPairs"]
