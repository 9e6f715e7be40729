"""What models that hold erasing layers can do, on the backend that is set.

Run as a file. Its arguments are the directory of what version 0.1.0 wrote, and
that of a scrubbed model.
"""

import pathlib
import sys
import tempfile

import keras
import numpy as np

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceLayer,
    SoftQuadraticEraser,
    SoftQuadraticLayer,
)

BACKEND = keras.backend.backend()
D = 6
layers = keras.layers
to_numpy = keras.ops.convert_to_numpy
rng = np.random.default_rng(0)
z = rng.integers(0, 2, 60)
x = (rng.normal(size=(60, D)) + z[:, None]).astype("float32")


@keras.saving.register_keras_serializable("holding")
class Holder(layers.Layer):
    """Holds the layer where no config shows it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.erase = layers.Dense(D), LeaceLayer(2, name="erase")

    def call(self, inputs):
        return self.erase(self.dense(inputs))


@keras.saving.register_keras_serializable("holding")
class Subclassed(keras.Model):
    """Holds it deeper."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks, self.out = [Holder()], layers.Dense(1)

    def call(self, inputs):
        return self.out(self.blocks[0](inputs))


def functional():
    inputs = keras.Input((D,))
    return keras.Model(inputs, layers.Dense(1)(Holder()(inputs)))


def sequential():
    return keras.Sequential([Holder(), layers.Dense(1)])


def nested():
    inputs = keras.Input((D,))
    erased = LeaceLayer(2, name="erase")(layers.Dense(D)(inputs))
    inner = keras.Model(inputs, erased)
    return keras.Sequential([keras.Input((D,)), inner, layers.Dense(1)])


def built(model):
    """Shapes are inferred; nothing runs."""
    if not model.built:
        model(keras.Input((D,)))
    return model


def erasers(model):
    inside = [v for h in model.layers for v in getattr(h, "layers", [])]
    inside += [h.erase for h in model.layers if isinstance(h, Holder)]
    return [v for v in inside if isinstance(v, LeaceLayer)]


def refuses(run):
    try:
        run()
    except RuntimeError as error:
        assert "does not know yet what to erase" in str(error), error
    else:
        raise AssertionError("It ran before it was adapted.")


def check(make, folder, trains):
    model = built(make())
    refuses(lambda: model(x))
    for step in ("predict", "fit")[: 2 * trains]:
        # On JAX, Keras loses the weights of a model whose step raises.
        fresh = built(make())
        fresh.compile("sgd", "mse", jit_compile=False)
        arguments = (x,) if step == "predict" else (x, z)
        run = getattr(fresh, step)
        refuses(lambda run=run, a=arguments: run(*a, verbose=0))
    (eraser,) = erasers(model)
    eraser.adapt(x, z)
    if trains:
        model.compile("sgd", "mse", jit_compile=BACKEND != "torch")
        model.fit(x, z, verbose=0)
    want = model.predict(x, verbose=0)

    def same(other):
        np.testing.assert_allclose(to_numpy(other(x)), want, atol=1e-5)

    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    found = loaded.predict(x, verbose=0)
    np.testing.assert_allclose(found, want, atol=1e-5)
    if trains:
        loaded.fit(x, z, verbose=0)
    if not isinstance(model, Subclassed):
        model.save(folder / "model.h5")
        same(keras.models.load_model(folder / "model.h5", compile=False))
    model.save_weights(folder / "model.weights.h5")
    other = built(make())
    other.load_weights(folder / "model.weights.h5")
    same(other)
    for copy in (
        keras.models.clone_model(model),
        type(model).from_config(model.get_config()),
    ):
        refuses(lambda copy=copy: built(copy)(x))
        copy.set_weights(model.get_weights())
        same(copy)
    outputs, _ = model.stateless_call(
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        keras.ops.convert_to_tensor(x),
    )
    np.testing.assert_allclose(to_numpy(outputs), want, atol=1e-5)
    # A model that never learned, in a model, in a file.
    inputs = keras.Input((D,))
    outer = keras.Model(inputs, layers.Dense(1)(built(make())(inputs)))
    outer.save(folder / "outer.keras")
    outer = keras.models.load_model(folder / "outer.keras")
    refuses(lambda: outer(x))


def check_soft_quadratic(folder):
    layer = SoftQuadraticLayer(2)
    refuses(lambda: layer(x))
    layer.adapt(keras.ops.convert_to_tensor(x), z)
    want = to_numpy(layer(x))
    eraser = SoftQuadraticEraser.fit(x, z)
    np.testing.assert_allclose(want, eraser(x).numpy(), atol=1e-4)
    model = keras.Sequential([keras.Input((D,)), layer, layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, z, verbose=0)
    np.testing.assert_array_equal(to_numpy(layer(x)), want)
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    np.testing.assert_allclose(
        to_numpy(loaded(x)), model.predict(x, verbose=0), atol=1e-5
    )


def check_masks():
    ids = rng.integers(1, 50, (40, 8))
    ids[::2, 4:] = 0
    embed = layers.Embedding(50, 8, mask_zero=True)
    hidden, labels = embed(ids), ids % 2
    halves = [(embed(ids[i::2]), labels[i::2]) for i in (0, 1)]
    rows = to_numpy(hidden)
    for make in (LeaceLayer, SoftQuadraticLayer):
        weighted, *masked = (make(2) for _ in range(3))
        weighted.adapt(hidden, labels, sample_weight=ids > 0)
        masked[0].adapt(hidden, labels)
        masked[1].adapt(halves)
        for layer in masked:
            np.testing.assert_allclose(
                to_numpy(layer(rows)), to_numpy(weighted(rows)), atol=1e-4
            )


def check_version_0_1_0(folder):
    if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15):
        return  # Keras does not read what a later Keras has written.
    arrays = np.load(folder / "predictions.npz")
    for name in ("functional", "sequential", "scrubbed"):
        model = keras.models.load_model(folder / f"{name}.keras")
        given = arrays["x"][:, 0] if name == "sequential" else arrays["x"]
        got = model.predict(given, verbose=0)
        np.testing.assert_allclose(got, arrays[name], atol=1e-5)


def check_scrubbed(folder):
    arrays = np.load(folder / "arrays.npz")
    model = keras.models.load_model(folder / "scrubbed.keras")
    found = model.predict(arrays["x"], verbose=0)
    np.testing.assert_allclose(found, arrays["y"], atol=1e-4)


def main(version_0_1_0, scrubbed):
    for make in (functional, sequential, nested, Subclassed):
        with tempfile.TemporaryDirectory() as folder:
            trains = make in (functional, Subclassed)
            check(make, pathlib.Path(folder), trains)
    with tempfile.TemporaryDirectory() as folder:
        check_soft_quadratic(pathlib.Path(folder))
    check_masks()
    check_version_0_1_0(pathlib.Path(version_0_1_0))
    check_scrubbed(pathlib.Path(scrubbed))


if __name__ == "__main__":
    main(*sys.argv[1:])
