"""Concept erasure in closed form: LEACE and its relatives."""

from tensorflow_model_remediation_ext.leace import keras

__all__ = ["keras"]
