"""MinDiff for Keras models."""

from tensorflow_model_remediation_ext.common.target import AtMost
from tensorflow_model_remediation_ext.min_diff.keras import (
    metrics,
    models,
    utils,
)
from tensorflow_model_remediation_ext.min_diff.keras.models import MinDiffModel
from tensorflow_model_remediation_ext.min_diff.keras.utils import (
    MinDiffPackedInputs,
    build_min_diff_dataset,
    pack_min_diff_data,
)

__all__ = [
    "AtMost",
    "MinDiffModel",
    "MinDiffPackedInputs",
    "build_min_diff_dataset",
    "metrics",
    "models",
    "pack_min_diff_data",
    "utils",
]
