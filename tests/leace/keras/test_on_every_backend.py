"""Erasing layers on every backend of Keras, each in a fresh process."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras import scrub

N, T, D, K = 48, 6, 8, 3
ROOT = pathlib.Path(__file__).parents[3]
PROGRAM = pathlib.Path(__file__).parent / "models_that_hold_it.py"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A scrubbed model, and what it returns, in files."""
    folder = tmp_path_factory.mktemp("scrubbed")
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(N, T, D)).astype("float32"), np.arange(N) % K
    inputs = keras.Input((T, D))
    attend = keras.layers.MultiHeadAttention(2, 4, name="attend")
    norm = keras.layers.LayerNormalization(name="norm")
    model = keras.Model(inputs, norm(attend(inputs, inputs)))
    scrubbed = scrub(
        model,
        tf.data.Dataset.from_tensor_slices((x, z)).batch(20),
        # One inside a layer, which only this layer calls.
        layers=["attend/_output_dense", "norm"],
        z_dim=K,
        svd_tol=1e-6,
        verbose=0,
    )
    scrubbed.save(folder / "scrubbed.keras")
    y = scrubbed(x)
    assert np.abs(y - model(x)).max() > 1e-2
    np.savez(folder / "arrays.npz", x=x, y=y)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_erases_saves_loads_and_trains(saved, backend):
    if importlib.util.find_spec(backend) is None:
        assert not os.environ.get("REQUIRE_BACKENDS")
        pytest.skip(f"{backend} is not installed (extra [backends])")
    subprocess.run(
        [sys.executable, PROGRAM, ROOT / "tests" / "data" / "v0.1.0", saved],
        check=True,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": str(ROOT),
        },
    )
