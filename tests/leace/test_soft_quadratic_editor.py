"""Editing by predicted classes, where predictions are sure."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace.keras import (
    QuadraticFitter,
    SoftQuadraticEditor,
    SoftQuadraticEraser,
    SoftQuadraticFitter,
)

D, K = 8, 3


@pytest.fixture(scope="module")
def apart():
    """Classes of different covariances, so far apart that all are told."""
    rng = np.random.default_rng(0)
    z = np.arange(1500) % K
    scales = np.exp(rng.uniform(-0.7, 0.7, (K, D, 1)))
    mixing = scales * np.linalg.qr(rng.normal(size=(K, D, D)))[0]
    x = np.einsum("nd,nde->ne", rng.normal(size=(1500, D)), mixing[z])
    # Apart in all features alike.
    turn = np.linalg.qr(rng.normal(size=(D, D)))[0]
    return x + 20 * np.eye(K, D)[z] @ turn, z


@pytest.fixture(scope="module")
def editor(apart):
    fitter = SoftQuadraticFitter.fit(*apart, shrinkage=0.0, regularization=1e-3)
    assert (fitter.eraser.probabilities(apart[0]).numpy().max(1) > 0.98).all()
    return fitter.editor()


@pytest.mark.parametrize("target", range(K))
def test_means_and_covariances_become_those_of_the_target(
    apart, editor, target
):
    x, z = apart
    edited, there = editor(x, target).numpy(), x[z == target]
    sigma = np.cov(there.T)
    for source in range(K):
        moved = edited[z == source]
        gap = moved.mean(0) - there.mean(0)
        # What is left of the other classes' probabilities counts twentyfold.
        assert np.abs(gap / there.std(0)).max() < 0.05
        # The floor under variances is 1 % of the mean one.
        difference = np.linalg.norm(np.cov(moved.T) - sigma)
        before = np.linalg.norm(np.cov(x[z == source].T) - sigma)
        assert difference < 0.1 * np.linalg.norm(sigma)
        assert source == target or difference < 0.2 * before


def test_rows_of_the_target_stay(apart, editor):
    x, z = apart
    for target in range(K):
        there = x[z == target]
        moved = np.abs(editor(there, target).numpy() - there)
        assert (moved / there.std(0)).max() < 0.05


def test_is_the_editor_with_labels_where_these_are_predicted(apart, editor):
    x, z = apart
    target = np.arange(len(x)) % K
    with_labels = QuadraticFitter.fit(x, z).editor()(x, z, target).numpy()
    change = np.abs(editor(x, target).numpy() - with_labels)
    assert np.median(change / x.std(0)) < 0.01


def test_each_row_has_its_own_target(apart, editor):
    assert isinstance(editor, SoftQuadraticEditor)
    x, _ = apart
    rows, target = x[:30].reshape(5, 6, D), (np.arange(30) % K).reshape(5, 6)
    edited = editor(rows, target).numpy()
    for k in range(K):
        np.testing.assert_allclose(
            edited[target == k], editor(rows[target == k], k), rtol=1e-9
        )
    assert editor(rows.astype("float32"), target).dtype == "float32"


def test_a_row_between_classes_goes_part_of_each_way(apart, editor):
    x, z = apart
    fitter = SoftQuadraticFitter.fit(x, z, regularization=1e-3)
    middle = np.mean([x[z == k].mean(0) for k in (0, 1)], axis=0)
    p = SoftQuadraticEraser.probabilities(fitter.eraser, middle[None])[0]
    moves = [fitter.editor()(middle[None], k).numpy() - middle for k in (0, 1)]
    assert 0.01 < p.numpy()[0] < 0.99
    assert all(np.linalg.norm(move) > 1 for move in moves)


def test_refuses(apart, editor):
    x, _ = apart
    for target in (3, -1, 0.5, np.zeros(3, int)):
        with pytest.raises(ValueError, match="`target_z`"):
            editor(x, target)
    with pytest.raises(ValueError, match="`x`"):
        editor(x[:, :4], 0)
