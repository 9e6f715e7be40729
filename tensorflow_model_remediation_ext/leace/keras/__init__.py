"""Concept erasure for Keras models and TensorFlow arrays."""

from tensorflow_model_remediation_ext.leace.covariance import covariance_eraser
from tensorflow_model_remediation_ext.leace.keras import optimal_transport
from tensorflow_model_remediation_ext.leace.keras.layer import LeaceLayer
from tensorflow_model_remediation_ext.leace.keras.scrubbing import (
    random_scrub,
    scrub,
)
from tensorflow_model_remediation_ext.leace.keras.soft_quadratic_layer import (
    SoftQuadraticLayer,
)
from tensorflow_model_remediation_ext.leace.leace import (
    LeaceEraser,
    LeaceFitter,
)
from tensorflow_model_remediation_ext.leace.mmd import mmd_eraser
from tensorflow_model_remediation_ext.leace.oracle import (
    OracleEraser,
    OracleFitter,
)
from tensorflow_model_remediation_ext.leace.quadratic import (
    QuadraticEraser,
    QuadraticFitter,
)
from tensorflow_model_remediation_ext.leace.quadratic_editor import (
    QuadraticEditor,
)
from tensorflow_model_remediation_ext.leace.shrinkage import (
    optimal_linear_shrinkage,
)
from tensorflow_model_remediation_ext.leace.soft_quadratic import (
    SoftQuadraticEraser,
    SoftQuadraticFitter,
)
from tensorflow_model_remediation_ext.leace.soft_quadratic_editor import (
    SoftQuadraticEditor,
)

__all__ = [
    "LeaceEraser",
    "LeaceFitter",
    "LeaceLayer",
    "OracleEraser",
    "OracleFitter",
    "QuadraticEditor",
    "QuadraticEraser",
    "QuadraticFitter",
    "SoftQuadraticEditor",
    "SoftQuadraticEraser",
    "SoftQuadraticFitter",
    "SoftQuadraticLayer",
    "covariance_eraser",
    "mmd_eraser",
    "optimal_linear_shrinkage",
    "optimal_transport",
    "random_scrub",
    "scrub",
]
