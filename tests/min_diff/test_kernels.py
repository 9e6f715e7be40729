import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext import min_diff
from tensorflow_model_remediation_ext.min_diff import kernels
from tensorflow_model_remediation_ext.min_diff.losses import (
    GaussianKernel,
    LaplacianKernel,
    MinDiffKernel,
)

X = np.array([[0.0, 0.0], [0.3, 0.4], [1.0, 0.0]], "float32")


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (GaussianKernel(0.5), lambda d: np.exp(-(d**2) / 0.25)),
        (LaplacianKernel(0.5), lambda d: np.exp(-d / 0.5)),
    ],
    ids=["gaussian", "laplacian"],
)
def test_values(kernel, expected):
    distance = np.linalg.norm(X[:, None] - X[None], axis=-1)
    np.testing.assert_allclose(kernel(X), expected(distance), rtol=1e-5)
    np.testing.assert_allclose(
        kernel(X, X[:2]), expected(distance[:, :2]), rtol=1e-5
    )
    # Without tiling, `call` sees what it is given.
    kernel = type(kernel)(0.5, tile_input=False)
    np.testing.assert_allclose(
        kernel(X[:, None], X[None]), expected(distance), rtol=1e-5
    )


@pytest.mark.parametrize("kernel", [GaussianKernel(), LaplacianKernel()])
def test_a_row_that_meets_itself_has_a_gradient(kernel):
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(kernel(x))
    assert np.isfinite(tape.gradient(total, x).numpy()).all()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gauss", GaussianKernel),
        ("Gaussian_Kernel", GaussianKernel),
        ("laplace", LaplacianKernel),
        ("laplacian_kernel", LaplacianKernel),
    ],
)
def test_names(name, kind):
    assert type(kernels.get(name)) is kind


def test_serialized_and_back():
    kernel = LaplacianKernel(0.7, tile_input=False)
    config = keras.saving.serialize_keras_object(kernel)
    again = kernels.get(config)
    assert again.kernel_length == 0.7 and again.tile_input is False


@keras.saving.register_keras_serializable("test_min_diff_kernels")
class WideKernel(GaussianKernel):
    def __init__(self):
        super().__init__(10.0)


def test_a_kernel_of_ones_own_with_fewer_arguments():
    config = keras.saving.serialize_keras_object(WideKernel())
    again = kernels.get(config)
    assert type(again) is WideKernel and again.kernel_length == 10.0


def test_arguments_that_would_be_lost_are_told():
    class Shifted(kernels.MinDiffKernel):
        def __init__(self, shift):
            super().__init__(tile_input=False)

    with pytest.raises(ValueError, match=r"override `get_config`.*'shift'"):
        keras.saving.serialize_keras_object(Shifted(1.0))


@pytest.mark.parametrize("length", [0, -1.0, np.inf, np.nan, True, "a"])
def test_bad_lengths(length):
    with pytest.raises(ValueError, match=r"`kernel_length`.*Received"):
        GaussianKernel(length)


def test_errors():
    with pytest.raises(ValueError, match=r"`kernel`.*gaussian.*'gaus'"):
        kernels.get("gaus")
    with pytest.raises(TypeError, match=r"`kernel`.*MinDiffKernel.*4.*int"):
        kernels.get(4)
    with pytest.raises(NotImplementedError, match=r"MinDiffKernel.*call"):
        MinDiffKernel()(X)


def test_the_path_of_the_predecessor():
    assert min_diff.losses.kernels.GaussianKernel is GaussianKernel
