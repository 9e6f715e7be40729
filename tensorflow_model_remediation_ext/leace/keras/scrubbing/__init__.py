"""Concept scrubbing: erasers after many layers of a Keras model."""

from tensorflow_model_remediation_ext.leace.keras.scrubbing.model import (
    ScrubbedModel,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.scrub import (
    random_scrub,
    scrub,
)

__all__ = ["ScrubbedModel", "random_scrub", "scrub"]
