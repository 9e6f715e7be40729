"""The Keras layer: adapting, refusing, saving, running elsewhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    LeaceFitter,
    LeaceLayer,
    SoftQuadraticLayer,
)

N, D = 120, 6


def make_data(k=3):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, k, N)
    x = rng.normal(size=(N, D)) + 2 * rng.normal(size=(k, D))[ids] + 5
    return x.astype("float32"), ids


@pytest.fixture
def data():
    return make_data()


class Batches(keras.utils.PyDataset):
    def __init__(self, x, z):
        super().__init__()
        self.x, self.z = x, z

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.x[index::4], self.z[index::4]


SOURCES = {
    "arrays": lambda x, z: (x, z),
    "tensors": lambda x, z: (tf.constant(x), tf.constant(z)),
    "tf.data": lambda x, z: (
        tf.data.Dataset.from_tensor_slices((x, z)).batch(50),
    ),
    "PyDataset": lambda x, z: (Batches(x, z),),
    "generator": lambda x, z: (((x[i::3], z[i::3]) for i in range(3)),),
    "weighted batches": lambda x, z: ([(x, z, np.full(len(x), 2.0))],),
}


@pytest.mark.parametrize("source", SOURCES)
def test_adapts_to_data_in_any_form(data, source):
    x, ids = data
    layer = LeaceLayer(3, dtype="float64", shrinkage=False)
    layer.adapt(*SOURCES[source](x.astype("float64"), ids))
    want = LeaceEraser.fit(x.astype("float64"), ids, shrinkage=False)
    np.testing.assert_allclose(layer(x), want(x.astype("float64")), atol=1e-10)
    assert not layer.trainable_weights and len(layer.weights) == 4


def test_adapting_again_forgets(data):
    x, ids = data
    once, twice = LeaceLayer(3), LeaceLayer(3)
    twice.adapt(-3 * x, ids[::-1])
    for layer in (once, twice):
        layer.adapt(x, ids)
    np.testing.assert_array_equal(once(x), twice(x))


def test_every_adapt_looks_at_its_own_classes(tmp_path, data):
    x, ids = data
    unbuilt, built, loaded = (LeaceLayer() for _ in range(3))
    for layer in (built, loaded):
        layer.adapt(x, ids % 2)
    model = keras.Sequential([keras.Input((D,)), loaded])
    model.save(tmp_path / "model.keras")
    (loaded,) = keras.models.load_model(tmp_path / "model.keras").layers
    binary = LeaceEraser.fit(x, ids % 2)
    of_eraser = LeaceLayer(eraser=binary)
    of_eraser(x)
    for layer in (built, loaded, of_eraser):
        before = layer(x)
        with pytest.raises(ValueError, match=r"rank 2, .* built for z_dim=1"):
            layer.adapt(x, ids)
        with pytest.raises(ValueError, match="`z_dim`, the number of classes"):
            layer.adapt([(x, ids)])
        np.testing.assert_array_equal(layer(x), before)
    wide = LeaceLayer(eraser=LeaceEraser.fit(x, ids))
    np.testing.assert_allclose(wide(x), LeaceEraser.fit(x, ids)(x), atol=1e-5)
    for layer in (unbuilt, wide, LeaceLayer(eraser=binary)):
        layer.adapt(x, ids)
        want = LeaceEraser.fit(x, ids)(x)
        np.testing.assert_allclose(layer(x), want, atol=1e-5)


@pytest.mark.parametrize("z_dim", [None, 3, 5])
def test_takes_a_fitted_eraser(data, z_dim):
    x, ids = data
    eraser = LeaceEraser.fit(x, ids)
    layer = LeaceLayer(z_dim, eraser=eraser)
    np.testing.assert_allclose(layer(x), eraser(x), atol=1e-5)
    plain = LeaceEraser(eraser.proj_left, eraser.proj_right)
    layer = LeaceLayer(z_dim, eraser=plain)
    np.testing.assert_allclose(layer(x), plain(x), atol=1e-5)


@pytest.mark.parametrize("shape", [(N, D), (4, 30, D), (2, 3, 20, D)])
def test_any_rank_and_any_of_its_axes(data, shape):
    x, ids = data
    layer = LeaceLayer()
    layer.adapt(x.reshape(shape), ids.reshape(shape[:-1]))
    erased = layer(x.reshape(shape))
    assert erased.shape == shape
    flat = LeaceLayer(eraser=LeaceEraser.fit(x, ids))(x)
    np.testing.assert_allclose(np.reshape(erased, (N, D)), flat, atol=1e-5)


def test_refuses_to_run_until_it_has_learned(data):
    x, ids = data
    inputs = keras.Input((D,))
    layer = LeaceLayer(3)
    model = keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))
    model.compile("sgd", "mse")
    for run in (
        lambda: model(x),
        lambda: model.predict(x, verbose=0),
        lambda: model.fit(x, ids, verbose=0),
        lambda: tf.function(model)(x),
    ):
        with pytest.raises(RuntimeError, match="does not know yet what"):
            run()
    copy = keras.models.clone_model(model)
    layer.adapt(x, ids)
    want = model.predict(x, verbose=0)
    with pytest.raises(RuntimeError, match="does not know yet what"):
        copy.predict(x, verbose=0)
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy.predict(x, verbose=0), want)


def test_training_leaves_it_as_it_is(data):
    x, ids = data
    layer = LeaceLayer(3)
    layer.adapt(x, ids)
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=True)
    before = layer.get_weights()
    model.fit(x, ids, verbose=0)
    model.trainable = True
    model.fit(x, ids, verbose=0)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_rounds_but_erases(data, policy):
    x, ids = data
    layer = LeaceLayer(3, dtype=policy)
    layer.adapt(x, ids)
    erased = layer(x)
    dtype = policy.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(erased.dtype) == dtype
    assert all(v.dtype == "float32" for v in layer.weights)
    want = LeaceEraser.fit(x, ids)(tf.cast(x, dtype))
    step = 2e-3 if dtype == "float16" else 2e-2
    np.testing.assert_allclose(
        tf.cast(erased, tf.float32), tf.cast(want, tf.float32), atol=10 * step
    )


def test_passes_masks_on(data):
    x, ids = data
    layer = LeaceLayer(3)
    layer.adapt(x, ids)
    model = keras.Sequential(
        [keras.layers.Masking(), layer, keras.layers.GlobalAveragePooling1D()]
    )
    sequences = x.reshape(12, 10, D).copy()
    sequences[:, 5:] = 0
    np.testing.assert_allclose(
        model(sequences),
        np.mean(layer(sequences[:, :5]), axis=1),
        atol=1e-5,
    )


def test_weights_round_trip(tmp_path, data):
    x, ids = data

    def build():
        layer = LeaceLayer(3, svd_tol=0.1, affine=False)
        head = keras.layers.Dense(1)
        model = keras.Sequential([keras.Input((D,)), layer, head])
        return model, layer

    model, layer = build()
    layer.adapt(x, ids)
    path = str(tmp_path / "model.weights.h5")
    model.save_weights(path)
    again, _ = build()
    again.load_weights(path)
    np.testing.assert_array_equal(again(x), model(x))
    copy = LeaceLayer.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.svd_tol, copy.affine) == (0.1, False)


@keras.saving.register_keras_serializable("test_layer")
class Holder(keras.layers.Layer):
    """Its config does not say how many classes there are."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.erase = LeaceLayer()

    def build(self, shape):
        if not self.erase.built:
            self.erase.build(shape)

    def call(self, inputs):
        return self.erase(inputs)


def test_loads_without_being_told_its_z_dim(tmp_path, data):
    x, ids = data
    model = keras.Sequential([keras.Input((D,)), Holder()])
    model.layers[0].erase.adapt(x, ids)  # It has room for all concepts.
    early = Holder()
    early.erase.adapt(x, ids)
    narrow = keras.Sequential([keras.Input((D,)), early])
    want = LeaceEraser.fit(x, ids)(x)
    for each in (model, narrow):
        each.save(tmp_path / "model.keras")
        each.save_weights(tmp_path / "model.weights.h5")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        other = keras.Sequential([keras.Input((D,)), Holder()])
        other.load_weights(tmp_path / "model.weights.h5")
        for found in (each, loaded, other):
            np.testing.assert_allclose(found(x), want, atol=1e-5)
        erase = loaded.layers[0].erase
        erase.adapt(x, ids % 2)
        binary = LeaceEraser.fit(x, ids % 2)(x)
        np.testing.assert_allclose(erase(x), binary, atol=1e-5)


def test_exports(tmp_path, data):
    x, ids = data
    layer = LeaceLayer(3)
    layer.adapt(x, ids)
    model = keras.Sequential([keras.Input((D,)), layer])
    model.export(str(tmp_path / "exported"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(loaded.serve(x), model(x), atol=1e-6)


def test_says_what_it_learned_when_a_graph_or_a_checkpoint_asks(tmp_path, data):
    x, ids = data
    empty, layer = LeaceLayer(3), LeaceLayer(3)
    layer.adapt(x, ids)
    empty.build((None, D))
    for run in (tf.function(empty), tf.function(empty, jit_compile=True)):
        with pytest.raises(RuntimeError, match="does not know yet what"):
            run(tf.constant(x))
    # A graph of before, with the weights of after, leaves nothing through.
    traced = tf.function(layer)
    want = traced(x)
    weights = layer.get_weights()
    layer.set_weights(empty.get_weights())
    assert np.isnan(traced(x)).all()
    with pytest.raises(RuntimeError, match="does not know yet what"):
        layer(x)
    layer.set_weights(weights)
    np.testing.assert_array_equal(traced(x), want)
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "ckpt"))
    tf.train.Checkpoint(layer=empty).read(path).assert_consumed()
    np.testing.assert_array_equal(empty(x), layer(x))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_pure_half_precision_computes_in_single_precision(data, dtype):
    x, ids = data
    pure, mixed = (
        LeaceLayer(3, dtype=dtype),
        LeaceLayer(3, dtype=f"mixed_{dtype}"),
    )
    for layer in (pure, mixed):
        layer.adapt(x, ids)
    assert {v.dtype for v in pure.weights} == {"float32"}
    assert keras.backend.standardize_dtype(pure(x).dtype) == dtype
    np.testing.assert_array_equal(
        tf.cast(pure(x), "float32"), tf.cast(mixed(x), "float32")
    )


def test_bad_data_are_named(data):
    x, ids = data
    layer = LeaceLayer()
    for arguments, error, message in (
        ((x,), ValueError, "z=None, data of type ndarray"),
        (({"x": x}.keys(),), ValueError, r"must yield \(x, z\)"),
        ((7,), TypeError, "`data` must be .* Received: int"),
        (([],), ValueError, "`data` is empty"),
        (([(x, ids)],), ValueError, "`z_dim`, the number of classes"),
        (([(x, ids)], ids), TypeError, "`data` must be an array .* list"),
        (
            (tf.data.Dataset.from_tensors((x, ids)), ids),
            TypeError,
            "`data` must be an array or tensor where `z` is given. .*Dataset",
        ),
        ((x, ids[:3]), ValueError, "`z` must have as many rows"),
        ((x, np.full((N, 1), np.nan)), ValueError, "`z` holds NaN"),
        ((x, ids[:, None, None]), ValueError, "`z` must be of shape"),
        (
            (tf.data.Dataset.from_tensors((x, ids)).repeat(),),
            ValueError,
            "`data` must be finite",
        ),
    ):
        with pytest.raises(error, match=message):
            layer.adapt(*arguments)
    with pytest.raises(ValueError, match="`z` must be given with"):
        layer.adapt([(x, ids)], sample_weight=np.ones(N))
    with pytest.raises(RuntimeError, match="does not know yet what"):
        layer(x)


@pytest.mark.parametrize("kind", [LeaceLayer, SoftQuadraticLayer])
def test_what_is_not_dense_is_refused_with_a_way_out(data, kind):
    x, ids = data
    layer = kind(2)
    layer.adapt(x, ids % 2)
    rows = tf.RaggedTensor.from_row_lengths
    for values, labels, way in (
        (tf.sparse.from_dense(x), ids, "sparse: make it dense"),
        (rows(x, [1, 3] * 30), rows(ids, [1, 3] * 30), "ragged: pad it"),
    ):
        batches = tf.data.Dataset.from_tensors((values, labels))
        for name, use in (
            ("inputs", lambda values=values: layer(values)),
            ("data", lambda v=values, z=labels: kind(2).adapt(v, z)),
            ("x", lambda batches=batches: kind(2).adapt(batches)),
        ):
            with pytest.raises(
                ValueError, match=f"`{name}` must be a dense .* {way}"
            ):
                use()
    with pytest.raises(ValueError, match=r"`inputs` must be a dense .*sparse"):
        layer(keras.Input((D,), sparse=True))


def test_options_are_checked(data):
    x, ids = data
    eraser = LeaceEraser.fit(x, ids)
    for options, error, message in (
        ({"z_dim": 0}, ValueError, "`z_dim` must be an integer of at least 1"),
        ({"method": "inlp"}, ValueError, "`method` must be one of"),
        ({"svd_tol": -1}, ValueError, "`svd_tol` must be a number"),
        ({"svd_tol": "a"}, ValueError, "`svd_tol` must be a number"),
        (
            {"eraser": eraser, "affine": False},
            ValueError,
            "`eraser` must have no bias where `affine` is false",
        ),
        ({"eraser": "x"}, TypeError, "`eraser` must be a LeaceEraser"),
        ({"z_dim": 1, "eraser": eraser}, ValueError, "`eraser` is of rank 2"),
    ):
        with pytest.raises(error, match=message):
            LeaceLayer(**options)
    with pytest.raises(ValueError, match="The eraser is for x_dim=6"):
        LeaceLayer(eraser=eraser)(np.zeros((3, 5), "float32"))
    layer = LeaceLayer(eraser=eraser)
    with pytest.raises(ValueError, match="is not built: construct it with"):
        layer.set_eraser(eraser)
    layer(x)
    narrow = LeaceEraser.fit(x[:, :5], ids)
    for other, error, message in (
        (3, TypeError, "`eraser` must be a LeaceEraser. Received: eraser=3"),
        (narrow, ValueError, "must be for x_dim=6.* for x_dim=5"),
    ):
        with pytest.raises(error, match=message):
            layer.set_eraser(other)
    with pytest.raises(ValueError, match=r"expected axis -1 .* value 6"):
        layer(x[:, :5])
    with pytest.raises(ValueError, match=r"must be of shape \[..., x_dim\]"):
        LeaceLayer(2).build((5,))


def test_adapting_fits_what_the_fitter_fits(data):
    x, ids = data
    options = {"method": "orth", "affine": False, "svd_tol": 0.1}
    layer = LeaceLayer(3, **options, dtype="float64")
    layer.adapt(x.astype("float64"), ids, sample_weight=np.arange(N))
    fitter = LeaceFitter.fit(
        x.astype("float64"), ids, sample_weight=np.arange(N), **options
    )
    np.testing.assert_allclose(
        layer(x), fitter.eraser(x.astype("float64")), atol=1e-10
    )


def test_a_task_to_preserve_is_refused(data):
    x, ids = data
    batches = tf.data.Dataset.from_tensor_slices((x, (ids, ids))).batch(32)
    message = "`z` must be one array.* whose `eraser` a LeaceLayer takes"
    for layer in (LeaceLayer(), LeaceLayer(3)):
        with pytest.raises(ValueError, match=message):
            layer.adapt(batches)
        with pytest.raises(ValueError, match=message):
            layer.adapt(x, (ids, ids))
    with pytest.raises(ValueError, match="`z` must be one array"):
        LeaceFitter(D, 3).fit_dataset(batches, verbose=0)
    # Rows of columns, and ids, may come as tuples.
    few = tuple(ids[:30].tolist())
    LeaceFitter(D, 3).update(x[:30], few)
    LeaceFitter(D, 3).update(x[:3], ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)))
