"""Remediation of unfair behavior in Keras 3 models on TensorFlow.

Importing the package registers its Keras classes, so that
`keras.models.load_model` finds them without `custom_objects`.
"""

import importlib
from typing import Any

from tensorflow_model_remediation_ext import (
    counterfactual,
    leace,
    min_diff,
)

__all__ = ["counterfactual", "leace", "min_diff"]


def __getattr__(name: str) -> Any:
    """Looks up `__version__`, which `setup.py` alone says, and the rest."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tensorflow-model-remediation-ext")
    if name in ("datasets", "evaluation"):  # Not imported before it is used.
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
