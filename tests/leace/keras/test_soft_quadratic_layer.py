"""The layer of soft quadratic erasure: learning, refusing, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras import (
    SoftQuadraticEraser,
    SoftQuadraticLayer,
)

N, D, K = 120, 8, 3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    z = np.arange(N) % K
    x = rng.normal(size=(N, D)) * (1 + z[:, None]) + 2 * np.eye(K, D)[z] + 5
    return x.astype("float32"), z


@pytest.fixture(scope="module")
def eraser(data):
    return SoftQuadraticEraser.fit(*data)


def test_does_what_the_eraser_does(data, eraser):
    x, z = data
    want = eraser(x)
    arrays, shaped = (SoftQuadraticLayer(K) for _ in range(2))
    arrays.adapt(x, z)
    shaped.adapt(x.reshape(12, 10, D), z.reshape(12, 10))
    for layer in (arrays, shaped, SoftQuadraticLayer(eraser=eraser)):
        np.testing.assert_allclose(layer(x), want, atol=2e-4)
        assert not layer.trainable_weights
    erased = shaped(x.reshape(12, 10, D))
    np.testing.assert_allclose(np.reshape(erased, (N, D)), want, atol=2e-4)


class Batches(keras.utils.PyDataset):
    def __init__(self, x, z):
        super().__init__()
        self.x, self.z = x, z

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.x[index::3], self.z[index::3]


def test_adapts_to_batches(data):
    x, z = data
    x = x.astype("float64")
    want = SoftQuadraticEraser.fit(x, z)(x)
    for batches in (
        tf.data.Dataset.from_tensor_slices((x, z)).batch(50),
        Batches(x, z),
    ):
        layer = SoftQuadraticLayer(K, dtype="float64")
        layer.adapt(batches)
        np.testing.assert_allclose(layer(x), want, atol=1e-5)


def test_the_linear_guarantee_holds_for_the_layer(data):
    x, z = data
    layer = SoftQuadraticLayer(dtype="float64")
    layer.adapt(x.astype("float64"), z)
    erased = np.asarray(layer(x.astype("float64")))
    means = np.stack([erased[z == k].mean(0) for k in range(K)])
    np.testing.assert_allclose(means, [means[0]] * K, rtol=1e-9)


def test_room_for_classes_that_are_not_known_yet(data, eraser):
    x, z = data
    layer = SoftQuadraticLayer()
    inputs = keras.Input((D,))
    model = keras.Model(inputs, layer(inputs))
    layer.adapt(x, z)
    np.testing.assert_allclose(model(x), eraser(x), atol=2e-4)
    # Two classes the next time.
    layer.adapt(x, z % 2)
    two = SoftQuadraticEraser.fit(x, z % 2)
    np.testing.assert_allclose(model(x), two(x), atol=2e-4)
    assert layer.num_classes is None


def test_refuses_to_run_until_it_has_learned(data):
    x, z = data
    inputs = keras.Input((D,))
    layer = SoftQuadraticLayer(K)
    model = keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))
    for run in (lambda: model(x), lambda: model.predict(x, verbose=0)):
        with pytest.raises(RuntimeError, match="does not know yet what"):
            run()
    copy = keras.models.clone_model(model)
    layer.adapt(x, z)
    want = model.predict(x, verbose=0)
    with pytest.raises(RuntimeError, match="does not know yet what"):
        copy.predict(x, verbose=0)
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy.predict(x, verbose=0), want)


def test_trains_around_it_saves_and_exports(data, eraser, tmp_path):
    x, z = data
    layer = SoftQuadraticLayer(eraser=eraser)
    model = keras.Sequential([keras.Input((D,)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=True)
    before = layer.get_weights()
    model.fit(x / 10, z, verbose=0)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(x), model(x), rtol=1e-5)
    model.export(str(tmp_path / "exported"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(served.serve(x), model(x), rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_rounds_but_erases(data, eraser, policy):
    x, _ = data
    layer = SoftQuadraticLayer(eraser=eraser, dtype=policy)
    erased = layer(x)
    dtype = policy.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(erased.dtype) == dtype
    assert all(v.dtype == "float32" for v in layer.weights)
    want = eraser(tf.cast(x, dtype))
    step = 2e-2 if dtype == "float16" else 2e-1
    np.testing.assert_allclose(
        tf.cast(erased, tf.float32), tf.cast(want, tf.float32), atol=step
    )


def test_a_mask_counts_as_weights_and_is_passed_on(data):
    x, z = data
    sequences, ids = x.reshape(12, 10, D).copy(), z.reshape(12, 10)
    sequences[:, 6:] = 0
    masked = keras.layers.Masking()(sequences)
    layer = SoftQuadraticLayer(K)
    layer.adapt(masked, ids)
    want = SoftQuadraticEraser.fit(
        sequences[:, :6].reshape(-1, D), ids[:, :6].reshape(-1)
    )
    np.testing.assert_allclose(layer(x), want(x), atol=1e-3)
    pool = keras.layers.GlobalAveragePooling1D()
    model = keras.Sequential([keras.layers.Masking(), layer, pool])
    mean = np.mean(layer(sequences[:, :6]), axis=1)
    np.testing.assert_allclose(model(sequences), mean, atol=1e-4)


def test_bad_arguments_are_named(data, eraser):
    x, z = data
    layer = SoftQuadraticLayer()
    for arguments, error, message in (
        ((x,), ValueError, "`z` must be given with an array"),
        (([(x, z)],), ValueError, "`num_classes` must be given"),
        ((x, z - 1), ValueError, "`z` must be integer class ids"),
    ):
        with pytest.raises(error, match=message):
            layer.adapt(*arguments)
    with pytest.raises(TypeError, match="`data` is read several times"):
        SoftQuadraticLayer(K).adapt(iter([(x, z)]))
    for options, error, message in (
        ({"num_classes": 1}, ValueError, "`num_classes`"),
        ({"shrinkage": -1}, ValueError, "`shrinkage`"),
        ({"eraser": 3}, TypeError, "`eraser` must be a SoftQuadraticEraser"),
        ({"num_classes": 2, "eraser": eraser}, ValueError, "of 3 classes"),
    ):
        with pytest.raises(error, match=message):
            SoftQuadraticLayer(**options)
    with pytest.raises(RuntimeError, match="does not know yet what"):
        SoftQuadraticLayer()(x)
    roomy = SoftQuadraticLayer()
    roomy.build((None, 80))
    with pytest.raises(ValueError, match="has room for 20 classes"):
        roomy.adapt(
            np.random.default_rng(0).normal(size=(63, 80)), np.arange(63) % 21
        )
    with pytest.raises(ValueError, match="is not built"):
        layer.set_eraser(eraser)
    with pytest.raises(ValueError, match="The eraser is for x_dim=8"):
        SoftQuadraticLayer(eraser=eraser)(x[:, :5])
    built = SoftQuadraticLayer(eraser=eraser)
    built(x)
    with pytest.raises(ValueError, match=r"`eraser` must be of the layer's"):
        built.set_eraser(SoftQuadraticEraser.fit(x, z % 2))
    config = built.get_config()
    assert SoftQuadraticLayer.from_config(config).get_config() == config


def test_weights_of_other_sizes_leave_the_layer_as_it_was(data):
    x, z = data
    two, three = SoftQuadraticLayer(2), SoftQuadraticLayer(K)
    two.adapt(x + 1, z % 2)
    three.adapt(x, z)
    saved = {}
    two.save_own_variables(saved)
    before = three.get_weights()
    with pytest.raises(ValueError, match="same sizes: 'kernel' of shape"):
        three.load_own_variables(saved)
    for old, new in zip(before, three.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
