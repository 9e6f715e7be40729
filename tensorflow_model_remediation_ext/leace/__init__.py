"""Concept erasure in closed form: LEACE and its relatives."""

import importlib
from typing import Any

from tensorflow_model_remediation_ext.leace import keras

__all__ = ["keras"]


def __getattr__(name: str) -> Any:
    """Looks up `sklearn`, which is not imported before it is used."""
    if name == "sklearn":
        return importlib.import_module(f"{__name__}.sklearn")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
