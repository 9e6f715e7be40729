"""Remediation of unfair behavior in Keras 3 models on TensorFlow.

Importing the package registers its Keras classes, so that
`keras.models.load_model` finds them without `custom_objects`.
"""

from tensorflow_model_remediation_ext import counterfactual

__all__ = ["counterfactual"]
__version__ = "0.1.0"
