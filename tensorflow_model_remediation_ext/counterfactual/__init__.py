"""Counterfactual logit pairing (Garg et al. 2018, arXiv 1809.10610)."""

from tensorflow_model_remediation_ext.counterfactual import keras, losses

__all__ = ["keras", "losses"]
