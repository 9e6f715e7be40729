"""Scrubbing: what is erased where, what it costs, and what the result can do.

The proof of erasure is always the covariance of a layer's outputs with the
concept, in the model as it runs, against that in the model as it was.
"""

import functools
import tempfile
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.layers import hook, sublayers
from tensorflow_model_remediation_ext.leace.keras import (
    LeaceLayer,
    random_scrub,
    scrub,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.model import (
    ScrubbedModel,
)

N, T, WORDS, D, K = 48, 6, 30, 8, 3
# Of K one-hot columns one is spare: its direction is noise, and not erased.
OPTIONS = {"z_dim": K, "svd_tol": 1e-6, "verbose": 0}
layers = keras.layers


@keras.saving.register_keras_serializable("test_scrubbing")
class Block(layers.Layer):
    """A parallel block: its two normalizations do not feed each other."""

    def build(self, shape):
        self.first, self.inner = layers.LayerNormalization(), layers.Dense(D)
        self.branches = (
            {"second": layers.RMSNormalization()}
            if RMS
            else {"second": layers.LayerNormalization()}
        )
        for layer in (self.first, self.inner, self.branches["second"]):
            layer.build(shape)

    def call(self, x):
        return x + self.inner(self.first(x)) + self.branches["second"](x) ** 2


RMS = hasattr(layers, "RMSNormalization")


@keras.saving.register_keras_serializable("test_scrubbing")
class NormalizedDense(layers.Dense):
    """Rebuilds its normalization when it is loaded."""

    def build(self, shape):
        super().build(shape)
        self.norm = layers.LayerNormalization(dtype=self.dtype_policy)
        self.norm.build(shape)

    def call(self, x):
        return self.norm(super().call(x))


@keras.saving.register_keras_serializable("test_scrubbing")
class Subclassed(keras.Model):
    """Its blocks are in a list, and nothing is functional."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embed = layers.Embedding(WORDS, D)
        self.blocks = [Block(), Block()]

    def call(self, tokens, training=None):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return x


def sequential():
    """No normalization: scrubbed after every layer but the last."""
    return keras.Sequential(
        [
            keras.Input((T,), dtype="int32"),
            layers.Embedding(WORDS, D),
            layers.Dense(D, "tanh"),
            layers.Dense(2),
        ]
    )


def functional():
    """A dict goes in, masked tokens are pooled away, two tensors come out."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    extra = keras.Input((None, 1), name="extra")
    x = layers.Embedding(WORDS, D, mask_zero=True)(tokens)
    x = layers.LayerNormalization(name="first_norm")(x)
    x = layers.BatchNormalization(name="second_norm")(layers.Dense(D)(x))
    pooled = layers.GlobalAveragePooling1D()(x)
    pooled = pooled + layers.GlobalAveragePooling1D()(extra)
    return keras.Model(
        {"tokens": tokens, "extra": extra},
        {"tokens": x, "pooled": layers.Dense(1)(pooled)},
    )


def nested():
    """A model in a model, a normalization in a layer."""
    inner = keras.Sequential(
        [layers.Dense(D, "relu"), layers.LayerNormalization()], name="inner"
    )
    tokens = keras.Input((T,), dtype="int32")
    x = inner(layers.Embedding(WORDS, D)(tokens))
    x = NormalizedDense(D, name="each")(x)
    return keras.Model(tokens, layers.Dense(2)(x))


def tiny():
    """One normalization: enough where labels and options are the matter."""
    return keras.Sequential(
        [
            keras.Input((T,), dtype="int32"),
            layers.Embedding(WORDS, D),
            layers.LayerNormalization(name="norm"),
        ]
    )


MODELS = {
    "tiny": (tiny, 1),
    "sequential": (sequential, 2),
    "functional": (functional, 2),
    "subclassed": (Subclassed, 4),
    "nested": (nested, 2),
}


def make(name):
    keras.utils.set_random_seed(0)
    model = MODELS[name][0]()
    x, z = make_data(name)
    model(x)
    return model, x, z


@functools.cache
def make_scrubbed(name):
    """A model, its data and itself scrubbed, for tests that change none."""
    model, x, z = make(name)
    return model, x, z, scrub(model, batches(x, z), **OPTIONS)


def make_data(name=None):
    """Tokens, of which some pad, and a label for each that depends on it."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, WORDS, (N, T)).astype("int32")
    tokens[::2, 4:] = 0
    x = tokens
    if name == "functional":
        extra = rng.normal(size=(N, T, 1)).astype("float32")
        x = {"tokens": tokens, "extra": extra}
    return x, tokens % K


def batches(*arrays, size=20):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


def covariances(model, x, z, keep=None):
    """Largest covariance with one-hot `z` after each layer that runs."""
    found, undo = {}, []
    for path, layer in sublayers(model).items():

        def record(hidden, *args, path=path, **kwargs):
            if tf.is_tensor(hidden):
                found[path] = hidden.numpy()
            return hidden

        undo.append(hook(layer, record))
    # Keras 3.10 warns of an array where it has loaded the model.
    model(keras.tree.map_structure(tf.convert_to_tensor, x), training=False)
    for off in reversed(undo):
        off()
    keep = np.ones_like(z, bool) if keep is None else keep
    target = np.eye(K)[z[keep]]
    return {
        path: np.abs(np.cov(hidden[keep].T, target.T)[:-K, -K:]).max()
        for path, hidden in found.items()
        if hidden.shape[:-1] == z.shape
    }


def equal(a, b):
    for left, right in zip(
        keras.tree.flatten(a), keras.tree.flatten(b), strict=True
    ):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", MODELS)
def test_every_scrubbed_layer_loses_the_concept(name, tmp_path):
    model, x, z, scrubbed = make_scrubbed(name)
    # Its embedding masks zeros.
    keep = make_data()[0] > 0 if name == "functional" else None
    assert len(scrubbed.erasers) == MODELS[name][1]
    found = covariances(model, x, z, keep)
    left = covariances(scrubbed.model, x, z, keep)
    for path in scrubbed.erasers:
        assert found[path] > 1e-3
        assert left[path] < 1e-5 * found[path]
    equal(model(x), make(name)[0](x))
    assert not any("call" in vars(v) for v in sublayers(model).values())

    after = scrubbed(x)
    path = str(tmp_path / "scrubbed.keras")
    scrubbed.save(path)
    loaded = keras.models.load_model(path)
    equal(loaded(x), after)
    assert covariances(loaded.model, x, z, keep) == left
    cloned = keras.models.clone_model(scrubbed)
    cloned.set_weights(scrubbed.get_weights())
    equal(cloned(x), after)


def class_gaps(model, x, z, paths):
    """How far class means, and class covariances, are apart at each path."""
    gaps = {}
    for path, rows in outputs(model, x, paths).items():
        ids = np.broadcast_to(
            np.reshape(z, (len(z),) + (1,) * (rows.ndim - 2)), rows.shape[:-1]
        ).ravel()
        rows = rows.reshape(-1, rows.shape[-1])
        groups = [rows[ids == k] for k in range(K)]
        means = np.stack([group.mean(0) for group in groups])
        sigmas = np.stack([np.cov(group.T) for group in groups])
        gaps[path] = (
            np.abs(means - means[0]).max(),
            np.linalg.norm(sigmas - sigmas.mean(0)),
        )
    return gaps


def outputs(model, x, paths):
    """What comes out at each path, as an array."""
    found = {}

    def seeing(path):
        def see(hidden, *args, **kwargs):
            found[path] = keras.ops.convert_to_numpy(hidden)
            return hidden

        return see

    known = sublayers(model)
    undo = [hook(known[path], seeing(path)) for path in paths]
    model(tf.convert_to_tensor(x), training=False)
    for off in reversed(undo):
        off()
    return found


@pytest.mark.parametrize("method", ["covariance", "mmd", "soft_quadratic"])
def test_methods_for_nonlinear_readers(method, tmp_path):
    rng = np.random.default_rng(0)
    z = np.arange(360) % K
    x = rng.normal(size=(360, D)) * (1 + z[:, None]) + np.eye(K, D)[z]
    x = x.astype("float32")
    inputs = keras.Input((D,))
    hidden = layers.Dense(D, name="one")(inputs)
    hidden = layers.Dense(D, "tanh", name="two")(hidden)
    model = keras.Model(inputs, layers.Dense(1)(hidden))
    options = {"z_dim": K, "layers": ["one", "two"], "verbose": 0}
    data = batches(x, z)
    more = {} if method == "soft_quadratic" else {"rank": 2}
    scrubbed = scrub(model, data, method=method, **more, **options)
    linear = scrub(model, data, svd_tol=1e-6, **options)
    kinds = {type(v).__name__ for v in scrubbed.erasers.values()}
    soft = method == "soft_quadratic"
    assert kinds == {"SoftQuadraticLayer" if soft else "LeaceLayer"}
    before = class_gaps(model, x, z, ["one", "two"])
    after, leace = (
        class_gaps(each.model, x, z, ["one", "two"])
        for each in (scrubbed, linear)
    )
    for path in ("one", "two"):
        assert after[path][0] < 1e-4 * before[path][0]
        if not soft:
            assert after[path][1] < 0.7 * leace[path][1]
    # What it moved is no Gaussian in the layer after.
    assert after["one"][1] < leace["one"][1]
    want = scrubbed.predict(x, verbose=0)
    scrubbed.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), want, atol=1e-5)


def test_soft_quadratic_scrubbing_reads_the_model_once_and_heeds_masks():
    x, z, _ = tokens_with_padding()
    inputs = keras.Input((T,), dtype="int32")
    hidden = Counting(name="first")(inputs)
    hidden = layers.Embedding(WORDS, D, mask_zero=True)(hidden)
    hidden = layers.Dense(D, name="dense")(hidden)
    model = keras.Model(inputs, layers.LayerNormalization(name="norm")(hidden))
    data = batches(x, z)
    options = {"z_dim": K, "verbose": 0, "method": "soft_quadratic"}
    Counting.counts.clear()
    scrubbed = scrub(model, data, layers=["dense", "norm"], **options)
    assert Counting.counts == {"first": len(list(data))}
    keep = np.asarray(x) > 0
    ids = np.broadcast_to(np.reshape(z, (-1, 1)), keep.shape)[keep]
    rows = outputs(scrubbed.model, x, ["dense"])["dense"][keep]
    means = np.stack([rows[ids == k].mean(0) for k in range(K)])
    np.testing.assert_allclose(means, [means[0]] * K, atol=1e-5)
    with pytest.raises(ValueError, match="'dense': `cache_bytes` must have"):
        scrub(model, data, layers=["dense"], cache_bytes=100, **options)


def tokens_with_padding():
    rng = np.random.default_rng(0)
    z = np.arange(60) % K
    x = rng.integers(1, WORDS, (60, T))
    x[:, 4:] = 0
    return x, z, None


def test_max_rank_of_scrubbing_is_said_of_each_layer():
    model, x, z = make("tiny")
    with pytest.warns(UserWarning, match="'norm': max_rank=1 leaves"):
        scrubbed = scrub(model, batches(x, z), max_rank=1, **OPTIONS)
    for eraser in scrubbed.erasers.values():
        assert np.linalg.matrix_rank(eraser.proj_left) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "mmd"}, "`rank` must be given exactly"),
        ({"rank": 2}, "`rank` must be given exactly"),
        ({"method": "covariance", "rank": D}, "'norm': `rank` must be below"),
        ({"method": "mmd", "rank": 0}, "`rank`"),
        ({"method": "mmd", "rank": 1, "max_rank": 1}, "`max_rank` is no opt"),
        ({"method": "soft_quadratic", "affine": False}, "`affine` is no opt"),
        ({"method": "soft_quadratic", "svd_tol": 0}, "`svd_tol` is no option"),
        ({"method": "soft_quadratic", "z_dim": 1}, "`z_dim`"),
        ({"max_rank": -1}, "`max_rank`"),
    ],
)
def test_options_of_other_methods_are_refused(options, message):
    model, x, z = make("tiny")
    options = {"z_dim": K, "verbose": 0, **options}
    with pytest.raises(ValueError, match=message):
        scrub(model, batches(x, z), **options)


def test_other_methods_need_class_ids():
    model, x, z = make("tiny")
    data = batches(x, np.eye(K, dtype="float32")[z])
    with pytest.raises(ValueError, match="'norm': `z` must be integer class"):
        scrub(model, data, z_dim=K, method="soft_quadratic", verbose=0)


def test_the_summary_shows_the_erasers():
    *_, scrubbed = make_scrubbed("nested")
    lines = []
    scrubbed.summary(print_fn=lines.append, line_length=120)
    text = "".join(lines)
    assert "eraser_inner_layer_normalization" in text
    assert "eraser_each_norm" in text


def test_a_clean_pass_leaves_later_layers_a_trace():
    model, x, z = make("subclassed")
    data = batches(x, z)
    at_once = scrub(model, data, sequential=False, **OPTIONS)
    found = covariances(at_once.model, x, z)
    first, *_, last = at_once.erasers
    assert found[first] < 1e-6 < 1e-4 < found[last]


def assert_same(a, b):
    """Erasers erase the same: their factors may be turned."""
    for one, other in zip(a.erasers.values(), b.erasers.values(), strict=True):
        rows = np.random.default_rng(0).normal(size=(20, D)).astype("float32")
        np.testing.assert_allclose(one(rows), other(rows), atol=1e-3)


@keras.saving.register_keras_serializable("test_scrubbing")
class Counting(layers.Layer):
    """Counts the batches that reach it."""

    counts: ClassVar = {}

    def call(self, x):
        def count(value):
            self.counts[self.name] = self.counts.get(self.name, 0) + 1
            return value

        return tf.ensure_shape(tf.numpy_function(count, [x], x.dtype), x.shape)


def test_each_batch_runs_as_deep_as_it_must():
    def norm(x):
        return layers.LayerNormalization()(layers.Dense(D)(x))

    inputs = keras.Input((D,))
    x = norm(Counting(name="first")(inputs))
    x = norm(Counting(name="second")(x))
    outputs = Counting(name="after")(x)
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    data = batches(rng.normal(size=(N, D)), rng.integers(0, K, N), size=16)
    results = []
    for options, counts in (
        ({}, {"first": 3, "second": 3}),
        ({"cache_bytes": 0}, {"first": 6, "second": 3}),
        # Room for the first batch only.
        ({"cache_bytes": 1200}, {"first": 6, "second": 3}),
        ({"sequential": False}, {"first": 3, "second": 3}),
    ):
        Counting.counts.clear()
        scrubbed = scrub(model, data, **OPTIONS, **options)
        assert Counting.counts == counts, options
        if "sequential" not in options:
            results.append(scrubbed)
    for other in results[1:]:
        assert_same(results[0], other)


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_labels_and_weights_may_come_in_several_dtypes(cache_bytes):
    model, x, z = make("tiny")
    weight = np.arange(N) % 2
    parts = np.split(np.arange(N), 4)
    kinds = [
        (np.int64, np.float64),
        (np.uint8, np.int32),
        (np.int32, np.float32),
        (lambda ids: np.eye(K, dtype="float32")[ids], np.float64),
    ]
    mixed = [
        (
            x[part],
            z[part].astype(z_dtype)
            if isinstance(z_dtype, type)
            else z_dtype(z[part]),
            weight[part].astype(weight_dtype),
        )
        for part, (z_dtype, weight_dtype) in zip(parts, kinds, strict=True)
    ]
    alike = [(x[part], z[part], weight[part]) for part in parts]
    options = {**OPTIONS, "cache_bytes": cache_bytes}
    assert_same(scrub(model, alike, **options), scrub(model, mixed, **options))


def test_labels_of_examples_count_for_all_tokens():
    model, x, _ = make("tiny")
    z = np.arange(N) % K
    spread = np.repeat(z[:, None], T, axis=1)
    forms = (z, spread, np.eye(K, dtype="float32")[z], np.eye(K)[spread])
    want, *others = (
        scrub(model, batches(x, labels), **OPTIONS) for labels in forms
    )
    for other in others:
        assert_same(want, other)


def test_numbers_are_a_concept_of_one_column():
    model, x, z = make("tiny")
    want, other = (
        scrub(model, batches(x, labels), z_dim=1, verbose=0)
        for labels in (z, z[..., None].astype("float32"))
    )
    assert_same(want, other)
    for eraser in want.erasers.values():
        assert eraser.proj_left.shape == (D, 1)


def test_weights_leave_padding_out():
    model, x, z = make("tiny")
    weight = np.ones((N, T), "float32")
    weight[:, 4:] = 0
    other = z.copy()
    other[:, 4:] = (other[:, 4:] + 1) % K
    a, b, c = (
        scrub(model, batches(*data), **OPTIONS)
        for data in ((x, z, weight), (x, other, weight), (x, other))
    )
    assert_same(a, b)
    assert not np.allclose(a(x), c(x), atol=1e-2)


def test_a_mask_counts_only_without_weights():
    model, x, z, by_mask = make_scrubbed("functional")
    real = x["tokens"] > 0
    weighted = [
        scrub(model, batches(x, z, weight), **OPTIONS)
        for weight in (real, np.ones_like(real, "float32"))
    ]
    assert_same(by_mask, weighted[0])
    assert not np.allclose(
        by_mask(x)["pooled"],
        weighted[1](x)["pooled"],
        atol=1e-4,
    )


def test_the_task_survives_where_it_is_preserved():
    model, x, z = make("nested")
    task = x % 2
    scrubbed = scrub(model, batches(x, (z, task)), preserve_dim=2, **OPTIONS)
    path = next(iter(scrubbed.erasers))
    for labels, kept in ((z, False), (task, True)):
        was, now = (
            covariances(m, x, labels)[path] for m in (model, scrubbed.model)
        )
        np.testing.assert_allclose(now, was if kept else 0, atol=1e-5)


def test_the_result_trains():
    model, x, z = make("nested")
    scrubbed = scrub(model, batches(x, z), **OPTIONS)
    before = [e.get_weights() for e in scrubbed.erasers.values()]
    kernel = scrubbed.model.layers[-1].kernel.numpy()
    scrubbed.compile("adam", "mse", jit_compile=False)
    scrubbed.fit(x, z[..., None].repeat(2, -1), verbose=0)
    assert np.abs(scrubbed.model.layers[-1].kernel - kernel).max() > 1e-5
    equal([e.get_weights() for e in scrubbed.erasers.values()], before)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(scrubbed(x) ** 2)
    gradients = tape.gradient(loss, scrubbed.trainable_variables)
    assert all(g is not None for g in gradients)


def test_the_result_exports(tmp_path):
    _, x, _, scrubbed = make_scrubbed("functional")
    scrubbed.export(str(tmp_path), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    served, want = loaded.serve(x), scrubbed(x)
    for name in want:
        np.testing.assert_allclose(served[name], want[name], atol=1e-5)


def test_a_sequential_that_never_ran_is_scrubbed_and_exported(tmp_path):
    model = keras.Sequential([keras.Input((D,)), layers.LayerNormalization()])
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(N, D)).astype("f"), rng.integers(0, K, N)
    scrubbed = scrub(model, batches(x, z), **OPTIONS)
    scrubbed.export(str(tmp_path), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.serve(x), scrubbed(x), atol=1e-5)
    for each in (model, scrubbed):
        erased = random_scrub(each, 1)(x)
        assert np.linalg.matrix_rank(erased, tol=1e-3) < D


def test_scrubbing_twice_erases_both_concepts(tmp_path):
    _, x, _, once = make_scrubbed("nested")
    other = (x // 7) % K
    twice = scrub(once, batches(x, other), **OPTIONS)
    assert list(twice.erasers) == [f"model/{p}" for p in once.erasers]
    twice.save(tmp_path / "twice.keras")
    loaded = keras.models.load_model(tmp_path / "twice.keras")
    last = list(once.erasers)[-1]
    assert covariances(loaded.model.model, x, other)[last] < 1e-6
    equal(loaded(x), twice(x))


def test_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, x, z = make("nested")
    finally:
        keras.config.set_dtype_policy("float32")
    scrubbed = scrub(model, batches(x, z), **OPTIONS)
    found, left = (covariances(m, x, z) for m in (model, scrubbed.model))
    for path, eraser in scrubbed.erasers.items():
        assert eraser.compute_dtype == "float16"
        assert {v.dtype for v in eraser.weights} == {"float32"}
        assert left[path] < 5e-3 * found[path]


def test_random_scrubbing_takes_as_much_but_not_the_concept():
    model, x, z, real = make_scrubbed("nested")
    before = model(x)
    control = random_scrub(model, K - 1, seed=3)
    assert list(control.erasers) == list(real.erasers)
    left = covariances(control.model, x, z)
    for path, eraser in control.erasers.items():
        hidden = np.random.default_rng(0).normal(size=(50, D))
        assert np.linalg.matrix_rank(eraser(hidden), tol=1e-3) == D - K + 1
        assert left[path] > 1e-2
    equal(
        control.get_weights(), random_scrub(model, K - 1, seed=3).get_weights()
    )
    equal(model(x), before)
    model, x, _ = make("subclassed")
    assert len(random_scrub(model, 1, x=x).erasers) == 4
    for arguments, message in (
        ({"rank": 1}, "`x`, a batch, must be given"),
        ({"rank": 0, "x": x}, "^`rank` must be an integer of at least 1"),
        ({"rank": 2.5, "x": x}, "^`rank` must be .* Received: rank=2.5"),
        ({"rank": True, "x": x}, "^`rank` must be .* Received: rank=True"),
        ({"rank": 9, "x": x}, "^`rank` must be at most .*: 8.* rank=9$"),
    ):
        with pytest.raises(ValueError, match=message):
            random_scrub(model, **arguments)


def test_a_layer_that_runs_twice_has_one_eraser():
    norm = layers.LayerNormalization(name="shared")
    inputs = keras.Input((D,))
    outputs = norm(layers.Dense(D)(norm(inputs)))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(N, D)), rng.integers(0, K, N)
    with pytest.warns(UserWarning, match=r"run several times.*\['shared'\]"):
        scrubbed = scrub(model, batches(x, z), **OPTIONS)
    assert list(scrubbed.erasers) == ["shared"]


def test_a_concept_that_is_not_there_is_said():
    model, x, z = make("tiny")
    with pytest.warns(UserWarning, match="erases nothing"):
        scrub(model, batches(x, np.zeros_like(z)), **OPTIONS)


def test_what_svd_tol_leaves_is_said_of_each_layer():
    model, x, z = make("nested")
    x, z = np.tile(x, (8, 1)), np.tile(z, (8, 1))
    options = OPTIONS | {"svd_tol": 0.2}
    with pytest.warns(UserWarning) as caught:
        scrubbed = scrub(model, batches(x, z), **options)
    (message,) = [str(w.message) for w in caught if w.category is UserWarning]
    left = covariances(scrubbed.model, x, z)
    for path in scrubbed.erasers:
        assert left[path] > 1e-3
        assert f"\n{path!r}: svd_tol=0.2 leaves" in message
    with pytest.warns(UserWarning, match=r"\n'each/norm': .* share 2 directio"):
        scrub(model, batches(x, (z, z)), preserve_dim=K, **OPTIONS)


def test_boolean_labels_are_classes():
    model, x, z = make("tiny")
    want, *others = (
        scrub(model, batches(x, labels), z_dim=2, verbose=0)
        for labels in (
            (z > 0).astype(int),
            z > 0,
            np.stack([z == 0, z > 0], -1).astype("f"),
        )
    )
    for other in others:
        assert_same(want, other)


class Interrupted:
    """Batches that are interrupted in the second pass."""

    def __init__(self, x, z):
        self.x, self.z, self.left = x, z, 5

    def __iter__(self):
        for i in range(2):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            yield self.x[i::2], self.z[i::2]


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_an_interrupt_leaves_the_model_unharmed(
    cache_bytes, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model, x, z = make("nested")
    before = model(x)
    data = Interrupted(x, z)
    if cache_bytes:
        data.left = 3
    with pytest.raises(KeyboardInterrupt):
        scrub(model, data, cache_bytes=cache_bytes, **OPTIONS)
    equal(model(x), before)
    assert not list(tmp_path.iterdir())
    assert not any("call" in vars(v) for v in sublayers(model).values())


def test_layers_are_chosen_by_name_pattern_and_predicate():
    model, x, z = make("subclassed")
    for chosen, paths in (
        ("blocks/1/first", ["blocks/1/first"]),
        (["blocks/?/first"], ["blocks/0/first", "blocks/1/first"]),
        (["embed", "*/branches/second"], 3),
        (model.embed.name, ["embed"]),
        (lambda layer: isinstance(layer, layers.Dense), 2),
    ):
        found = list(random_scrub(model, 1, layers=chosen, x=x).erasers)
        assert found == paths or len(found) == paths
    with pytest.raises(ValueError, match=r"'blocks/1/frist'.*blocks/1/first"):
        scrub(model, batches(x, z), z_dim=K, layers="blocks/1/frist")
    with pytest.raises(ValueError, match="true for no layer"):
        scrub(model, batches(x, z), z_dim=K, layers=lambda layer: False)


def test_progress_tells_batches_and_layers(capsys):
    model, x, z = make("nested")
    scrub(model, batches(x, z), z_dim=K, verbose=1)
    shown = capsys.readouterr().out
    assert "6/6" in shown
    for done in range(3):
        assert f"{done}/2 layers done" in shown
    scrub(model, batches(x, z), **OPTIONS)
    assert not capsys.readouterr().out


def test_errors_name_what_is_wrong():
    model, x, z = make("tiny")
    data = batches(x, z)
    unbuilt = keras.Sequential([layers.Dense(2)])
    for arguments, error, message in (
        ((3, data), TypeError, "`model` must be a keras.Model"),
        ((unbuilt, data), ValueError, "`model` must be built"),
        ((model, data.repeat()), ValueError, "`dataset` must be finite"),
        ((model, iter([(x, z)])), TypeError, "read again"),
        ((model, []), ValueError, "`dataset` is empty"),
        ((model, [x]), ValueError, r"must yield \(x, z\)"),
        ((model, x), TypeError, "Received: ndarray"),
        ((model, [(x, z), (x, z, z)]), ValueError, "all batches .* weights"),
        ((model, [(x, z), (x[:, :3], z)]), ValueError, "`x` must be of the"),
        (
            (model, [(x, z[:, :3])]),
            ValueError,
            r"At the layer 'norm': `z` must be class ids.*\(48, 3",
        ),
        ((model, [(x, z + 1)]), ValueError, "class ids outside"),
        (
            (model, [(x, z, np.ones((T, N)))]),
            ValueError,
            "`sample_weight` must be numbers",
        ),
        ((model, [(x, z, np.zeros(N))]), ValueError, "two samples"),
    ):
        with pytest.raises(error, match=message):
            scrub(*arguments, **OPTIONS)
    single = tf.data.Dataset.from_tensor_slices((x, z))
    with pytest.raises(ValueError, match=r"in batches: use `data.batch"):
        scrub(model, single, **OPTIONS)
    with pytest.raises(TypeError, match=r"`layers` must be .* layers=5"):
        scrub(model, data, z_dim=K, layers=5, verbose=0)
    for options, message in (
        ({"z_dim": 0}, "`z_dim` must be an integer of at least 1"),
        ({"z_dim": K, "cache_bytes": "x"}, "`cache_bytes` must be a number"),
        ({"z_dim": K, "cache_bytes": -1}, "`cache_bytes` must be a number"),
        ({"z_dim": K, "method": "inlp"}, "`method` must be one of"),
        ({"z_dim": K, "preserve_dim": 2}, r"`z` must be a tuple"),
    ):
        with pytest.raises(ValueError, match=message):
            scrub(model, data, **options, verbose=0)
    with pytest.raises(ValueError, match=r"no layer: \['nowhere'\]"):
        ScrubbedModel(model, {"nowhere": LeaceLayer(2)})
    with pytest.raises(NotImplementedError, match="no longer erase"):
        make_scrubbed("tiny")[-1].quantize("int8")


def test_what_cannot_be_scrubbed_is_said():
    inputs = keras.Input((T, D))
    stepwise = layers.RNN(NormalizedCell(), return_sequences=True)
    model = keras.Model(inputs, stepwise(inputs))
    x = np.zeros((N, T, D), "float32")
    with pytest.raises(ValueError, match="inside a loop"):
        random_scrub(model, 1)
    pair = keras.Model(inputs, layers.LSTM(2, return_state=True)(inputs))
    with pytest.raises(ValueError, match="must return one floating-point"):
        scrub(pair, [(x, x[:, 0, 0])], z_dim=1, layers="lstm*", verbose=0)

    class Nameless(keras.Model):
        def __init__(self, size):
            super().__init__()
            self.dense = layers.Dense(size.value)

        def call(self, x):
            return self.dense(x)

    class Size:
        value = 2

    model = Nameless(Size())
    model(x)
    with pytest.raises(ValueError, match="that Keras can save and load"):
        scrub(model, [(x, x[:, 0, 0])], z_dim=1, verbose=0)


@keras.saving.register_keras_serializable("test_scrubbing")
class NormalizedCell(layers.Layer):
    """A recurrent cell with a normalization."""

    state_size = output_size = D

    def build(self, shape):
        self.norm = layers.LayerNormalization()
        self.norm.build(shape)

    def call(self, x, states):
        x = self.norm(x + states[0])
        return x, [x]
