"""Bytes of statistics and erasers, by the formulas of docs/scale.md."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    LeaceFitter,
    OracleFitter,
    QuadraticFitter,
)

K = 3


def nbytes(arrays):
    return sum(np.asarray(array).nbytes for array in arrays)


@pytest.mark.parametrize("d", [256, 768])
def test_statistics_take_the_bytes_that_are_documented(d):
    for kind, wanted in (
        (LeaceFitter, 4 * d * (d + 256) + 8 * d * K),
        (OracleFitter, 8 * K * (d + K)),
        (QuadraticFitter, 4 * K * d * (d + 256)),
    ):
        found = nbytes(kind(d, K).get_state())
        # Besides them, means, centers and diagonals.
        assert wanted <= found <= wanted + 40 * K * (d + K), kind


@pytest.mark.parametrize("d", [8, 16])
def test_an_eraser_takes_the_bytes_that_are_documented(d):
    rng = np.random.default_rng(0)
    z = np.arange(90) % K
    eraser = LeaceEraser.fit(rng.normal(size=(90, d)) + np.eye(K, d)[z], z)
    parts = eraser.proj_left.numpy(), eraser.proj_right.numpy()
    assert nbytes(parts) == 16 * d * (K - 1)
