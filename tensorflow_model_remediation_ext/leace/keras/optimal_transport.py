"""Optimal transport between Gaussians, under the path that users import."""

from tensorflow_model_remediation_ext.leace.optimal_transport import (
    ot_barycenter,
    ot_distance,
    ot_map,
    ot_midpoint,
)

__all__ = ["ot_barycenter", "ot_distance", "ot_map", "ot_midpoint"]
