"""Counterfactual logit pairing for Keras models."""
