"""MinDiff: equal scores or decisions between groups of rows.

Prost et al. 2019, "Toward a better trade-off between performance and fairness
with kernel-based distribution matching" (arXiv 1910.11779).
"""

from tensorflow_model_remediation_ext.min_diff import keras, losses

__all__ = ["keras", "losses"]
