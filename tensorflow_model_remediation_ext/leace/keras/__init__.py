"""Concept erasure for Keras models and TensorFlow arrays."""

from tensorflow_model_remediation_ext.leace.keras.layer import LeaceLayer
from tensorflow_model_remediation_ext.leace.keras.linear import (
    LeaceEraser,
    LeaceFitter,
)
from tensorflow_model_remediation_ext.leace.keras.shrinkage import (
    optimal_linear_shrinkage,
)

__all__ = [
    "LeaceEraser",
    "LeaceFitter",
    "LeaceLayer",
    "optimal_linear_shrinkage",
]
