"""Concept erasure for Keras models and TensorFlow arrays."""
