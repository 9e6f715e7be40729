"""Counterfactual logit pairing for Keras models."""

from tensorflow_model_remediation_ext.common.target import AtMost
from tensorflow_model_remediation_ext.counterfactual.keras import (
    metrics,
    models,
    utils,
)
from tensorflow_model_remediation_ext.counterfactual.keras.models import (
    CounterfactualModel,
)
from tensorflow_model_remediation_ext.counterfactual.keras.utils import (
    CounterfactualPackedInputs,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.losses import (
    PairwiseMSELoss,
)

__all__ = [
    "AtMost",
    "CounterfactualModel",
    "CounterfactualPackedInputs",
    "PairwiseMSELoss",
    "build_counterfactual_data",
    "metrics",
    "models",
    "pack_counterfactual_data",
    "utils",
]
