"""Counterfactual logit pairing (Garg et al. 2018, arXiv 1809.10610)."""

from tensorflow_model_remediation_ext.counterfactual import (
    keras,
    losses,
    swaps,
)
from tensorflow_model_remediation_ext.counterfactual.describe import (
    describe_pairs,
)
from tensorflow_model_remediation_ext.counterfactual.label_terms import (
    label_terms,
)

__all__ = ["describe_pairs", "keras", "label_terms", "losses", "swaps"]
