"""Scrubbing: models of every kind, and what can be built on the result."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.layers import hook, sublayers
from tensorflow_model_remediation_ext.evaluation import probe_model
from tensorflow_model_remediation_ext.leace.keras import random_scrub, scrub
from tensorflow_model_remediation_ext.leace.keras.scrubbing import graphs

N, T, D, K = 48, 5, 8, 3
OPTIONS = {"z_dim": K, "svd_tol": 1e-6, "verbose": 0}
layers = keras.layers


def make_data(k=K, t=T):
    rng = np.random.default_rng(0)
    z = rng.integers(0, k, (N, t))
    x = rng.normal(size=(N, t, D)) + np.eye(k, D)[z]
    return x.astype("float32"), z


def batches(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(20)


def dense_norm(x, name=None):
    return layers.LayerNormalization(name=name)(layers.Dense(D)(x))


def plain(t=T):
    inputs = keras.Input((t, D))
    return keras.Model(inputs, dense_norm(dense_norm(inputs, "a"), "b"))


def gap(model, path, x, z):
    """Largest distance of class means after a layer."""
    seen = []
    off = hook(sublayers(model)[path], lambda y, *a, **k: seen.append(y) or y)
    model(tf.constant(x))
    off()
    means = [seen[0].numpy()[z == c].mean(0) for c in range(K)]
    return max(np.abs(means[0] - m).max() for m in means)


@pytest.mark.slow
def test_a_model_on_a_scrubbed_one_is_a_model_like_others(tmp_path):
    x, z = make_data()
    scrubbed = scrub(plain(), batches(x, z), **OPTIONS)
    inputs = keras.Input((T, D))
    outer = keras.Model(inputs, dense_norm(scrubbed(inputs), "last"))
    stacked = keras.Sequential([keras.Input((T, D)), scrubbed, layers.Dense(1)])
    for model in (outer, stacked):
        want = model.predict(x, verbose=0)

        def same(other, want=want):
            np.testing.assert_allclose(
                other.predict(x, verbose=0), want, atol=1e-5
            )

        for name in ("model.keras", "model.h5"):
            model.save(tmp_path / name)
            same(keras.models.load_model(tmp_path / name, compile=False))
        model.save_weights(tmp_path / "model.weights.h5")
        for copy in (
            keras.models.clone_model(model),
            type(model).from_config(model.get_config()),
        ):
            copy.load_weights(tmp_path / "model.weights.h5")
            same(copy)
            copy.set_weights(model.get_weights())
            same(copy)
    again = scrub(outer, batches(x, z), layers="last", **OPTIONS)
    assert gap(again.model, "last", x, z) < 1e-3 * gap(outer, "last", x, z)
    control = random_scrub(outer, 1)
    assert list(control.erasers) == list(
        scrub(outer, batches(x, z % 2), z_dim=2, verbose=0).erasers
    )


class Queries(layers.Layer):
    """Attends to normalized queries, which know nothing of the inputs."""

    def build(self, shape):
        self.queries = self.add_weight((T, D), name="queries")
        self.norm, self.spread_norm = (
            layers.LayerNormalization() for _ in range(2)
        )
        self.norm.build((None, T, D))
        self.spread_norm.build((None, T, D))

    def call(self, x):
        own = self.norm(self.queries[None])
        own = self.spread_norm(tf.zeros_like(x) + own)
        return x + tf.nn.softmax(own @ tf.transpose(x, [0, 2, 1])) @ x


class Cell(layers.Layer):
    """A recurrent cell with a normalization."""

    state_size = output_size = D

    def build(self, shape):
        self.norm = layers.LayerNormalization()
        self.norm.build(shape)

    def call(self, x, states):
        x = self.norm(x + states[0])
        return x, [x]


def test_what_knows_nothing_of_the_inputs_is_left_out():
    x, z = make_data()
    inputs = keras.Input((T, D))
    queries = Queries(name="queries")
    model = keras.Model(inputs, dense_norm(queries(inputs), "norm"))
    places = [list(random_scrub(model, 1).erasers)]
    places.append(list(scrub(model, batches(x, z), **OPTIONS).erasers))
    assert places == [["norm"], ["norm"]]
    for name in ("queries/norm", "queries/spread_norm"):
        with pytest.raises(ValueError, match=f"{name}.*does not depend on"):
            random_scrub(model, 1, layers=name)


def test_what_runs_in_a_loop_is_said_and_left_out():
    x, z = make_data()
    inputs = keras.Input((T, D))
    hidden = layers.RNN(Cell(), return_sequences=True, name="rnn")(inputs)
    model = keras.Model(inputs, dense_norm(hidden, "norm"))
    for run in (
        lambda: scrub(model, batches(x, z), **OPTIONS),
        lambda: random_scrub(model, 1),
    ):
        with pytest.warns(UserWarning, match="not scrubbed:\n'rnn/cell/norm'"):
            assert list(run().erasers) == ["norm"]


class Nameless(layers.Layer):
    """Takes its name, and forgets it."""

    def __init__(self, **kwargs):
        super().__init__()
        self.norm = layers.LayerNormalization()

    def build(self, shape):
        self.norm.build(shape)

    def call(self, x):
        return self.norm(x)


def test_a_layer_that_changes_its_name_keeps_its_place(tmp_path):
    x, z = make_data()
    inputs = keras.Input((T, D))
    model = keras.Model(inputs, Nameless()(layers.Dense(D)(inputs)))
    scrubbed = scrub(model, batches(x, z), **OPTIONS)
    assert len(scrubbed.erasers) == 1
    scrubbed.save(tmp_path / "model.keras")
    with keras.saving.custom_object_scope({"Nameless": Nameless}):
        loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(x), scrubbed(x), atol=1e-5)
    np.testing.assert_array_equal(
        scrubbed.predict(x, verbose=0),
        scrub(model, batches(x, z), **OPTIONS).predict(x, verbose=0),
    )


def test_functions_come_along_without_unsafe_loading():
    x, z = make_data()
    scale = 2.0

    def half(v):
        return v / scale

    inputs = keras.Input((T, D))
    y = layers.Lambda(lambda v: np.float32(scale) * v)(inputs)
    y = layers.Lambda(half)(layers.Dense(D, activation=lambda v: v + 1)(y))
    model = keras.Model(inputs, dense_norm(y, "norm"))
    scrubbed = scrub(model, batches(x, z), **OPTIONS)
    names = [
        v.function.__name__ for v in model.layers if hasattr(v, "function")
    ]
    assert names == ["<lambda>", "half"]
    weights = [v for v in scrubbed.model.get_weights()]
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert gap(scrubbed.model, "norm", x, z) < 1e-3 * gap(model, "norm", x, z)


def test_one_language_of_paths():
    x, z = make_data()
    model = plain()
    norm = model.get_layer("a")
    scrubbed = scrub(model, batches(x, z), layers=[norm], **OPTIONS)
    assert list(scrubbed.erasers) == ["a"]
    assert list(random_scrub(model, 1, layers=norm).erasers) == ["a"]
    inputs = keras.Input((T, D))
    outer = keras.Model(inputs, keras.Sequential([Nameless()])(inputs))
    for each in (outer, plain()):
        erased = scrub(each, batches(x, z), **OPTIONS)
        for path in erased.erasers:
            layer = sublayers(each)[path]
            random_scrub(each, 1, layers=[path])
            for model, named in (
                (each, path),
                (each, layer),
                (each, layer.path),
                (erased, path),
            ):
                report = probe_model(model, named, batches(x, z), verbose=0)
                assert report["linear"].n == N * T
    with pytest.raises(ValueError, match="a layer of the model"):
        scrub(model, batches(x, z), layers=[layers.Dense(2)], **OPTIONS)
    with pytest.raises(TypeError, match="made of layers, names and paths"):
        scrub(model, batches(x, z), layers=[3], **OPTIONS)


# Keras 3.10 says so of an array where the config has a list of one input.
@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
def test_the_model_inside_does_not_save_itself_without_erasers(tmp_path):
    x, z = make_data()
    scrubbed = scrub(plain(), batches(x, z), **OPTIONS)
    inner = scrubbed.model
    for write in (
        lambda: inner.save(tmp_path / "model.keras"),
        lambda: keras.saving.save_model(inner, tmp_path / "model.keras"),
        lambda: inner.save(tmp_path / "model.h5"),
        lambda: inner.save_weights(tmp_path / "model.weights.h5"),
        lambda: inner.to_json(),
        lambda: keras.models.clone_model(inner),
        lambda: inner.quantize("int8"),
    ):
        with pytest.raises(NotImplementedError, match="leave the erasers out"):
            write()
    np.testing.assert_array_equal(inner(x), scrubbed(x))
    scrubbed.save(tmp_path / "scrubbed.keras")
    loaded = keras.models.load_model(tmp_path / "scrubbed.keras")
    with pytest.raises(NotImplementedError, match="leave the erasers out"):
        loaded.model.save(tmp_path / "model.keras")
    assert not hasattr(scrubbed, "generate")
    assert not hasattr(scrubbed, "save_to_preset")


@pytest.mark.parametrize("k", [2, 3])
def test_columns_that_look_like_class_ids_of_tokens(k):
    x, z = make_data(k, t=k)
    model, options = plain(k), {**OPTIONS, "z_dim": k}
    of_examples = np.eye(k, dtype="int64")[z[:, 0]]
    with pytest.raises(ValueError, match="floating dtype; or give"):
        scrub(model, batches(x, of_examples), **options)
    for labels in (z, of_examples.astype("float32"), np.eye(k)[z]):
        assert scrub(model, batches(x, labels), **options).erasers


class Attending(keras.Model):
    """Takes several inputs and returns several outputs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attend = layers.MultiHeadAttention(2, 4)
        self.norms = [layers.LayerNormalization() for _ in range(2)]

    def call(self, inputs):
        a, b = inputs
        y = self.norms[0](a + self.attend(a, b))
        return {"y": y, "again": self.norms[1](y * b)}


def test_subclassed_models_with_several_inputs_and_outputs():
    x, z = make_data()
    model = Attending()
    model((x, x))
    scrubbed = scrub(model, batches((x, x[:, ::-1]), z), **OPTIONS)
    assert list(scrubbed.erasers) == ["norms/0", "norms/1"]
    assert set(scrubbed((x, x))) == {"y", "again"}


def test_the_cost_of_cutting_is_linear_in_layers(monkeypatch):
    copied = []
    part = graphs.Graph._part

    def counting(self, *args):
        found = part(self, *args)
        copied[-1] += len(found[0].node)
        return found

    monkeypatch.setattr(graphs.Graph, "_part", counting)
    x, z = make_data()
    for count in (4, 8):
        copied.append(0)
        inputs = keras.Input((T, D))
        y = inputs
        for _ in range(count):
            y = y + dense_norm(y)
        scrub(keras.Model(inputs, y), batches(x, z), **OPTIONS)
    assert copied[1] < 2.2 * copied[0]


@keras.saving.register_keras_serializable("test_scrub_models")
class TracedBlock(layers.Layer):
    """A layer that TensorFlow traces by itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.norm = layers.Dense(D), layers.LayerNormalization()

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build((*shape[:-1], D))

    @tf.function
    def call(self, x):
        return self.norm(self.dense(x))


@keras.saving.register_keras_serializable("test_scrub_models")
class Traced(keras.Model):
    """A model that TensorFlow traces by itself, with such layers in it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.last = TracedBlock(), TracedBlock()

    @tf.function
    def call(self, x, training=None):
        return self.last(self.first(x))


def test_functions_of_tensorflow_in_a_model(tmp_path):
    x, z = make_data()
    model = Traced()
    plain = model(x).numpy()
    assert probe_model(model, "first/norm", batches(x, z), verbose=0)
    scrubbed = scrub(model, batches(x, z), **OPTIONS)
    assert list(scrubbed.erasers) == ["first/norm", "last/norm"]
    # What was traced before has no erasers, and must not be run for them.
    np.testing.assert_array_equal(model(x), plain)
    for each in (scrubbed, tf.function(scrubbed)):
        means = [tf.reduce_mean(each(x)[z == c], 0) for c in range(K)]
        np.testing.assert_allclose(means[1:], [means[0]] * 2, atol=1e-4)
    scrubbed.save(tmp_path / "scrubbed.keras")
    loaded = keras.models.load_model(tmp_path / "scrubbed.keras")
    np.testing.assert_allclose(loaded(x), scrubbed(x), atol=1e-5)
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), scrubbed(x), atol=1e-5
    )
