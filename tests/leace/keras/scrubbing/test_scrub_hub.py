"""Scrubbing KerasHub's backbones, whose layers rebuild their normalizations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.layers import hook, sublayers
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.leace.keras import scrub

keras_hub = pytest.importorskip(
    "keras_hub", reason="keras-hub is not installed (extra [hub])"
)

N, T, K = 40, 6, 3
SIZES = {"vocabulary_size": 30, "num_layers": 1, "hidden_dim": 8}
SIZES |= {"intermediate_dim": 16}
HEADS = {"num_heads": 2, "max_sequence_length": T}
BACKBONES = {
    "Bert": (HEADS, 3),
    "GPT2": (HEADS, 3),
    # A quarter of each head is rotated, and that in pairs.
    "GPTNeoX": (HEADS | {"num_heads": 1}, 3),
    "Llama": ({"num_query_heads": 2, "num_key_value_heads": 1}, 3),
    "Gemma": (
        {"num_query_heads": 2, "num_key_value_heads": 1, "head_dim": 4},
        3,
    ),
    # A fourth one normalizes relative positions, which know no token.
    "DebertaV3": (HEADS | {"bucket_size": 4}, 3),
}


def make(name):
    keras.utils.set_random_seed(0)
    options, _ = BACKBONES[name]
    backbone = getattr(keras_hub.models, f"{name}Backbone")
    model = backbone(**SIZES, **options)
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 30, (N, T)).astype("int32")
    padding = np.ones((N, T), "int32")
    padding[::2, 4:] = 0
    x = {"token_ids": tokens, "padding_mask": padding}
    if name == "Bert":
        x["segment_ids"] = np.zeros_like(tokens)
    return model, x, tokens % K, padding


def covariances(model, paths, x, z, weight):
    """Largest covariance with one-hot `z` after each layer, over tokens."""
    found, undo = {}, []
    for path in paths:

        def record(hidden, *args, path=path, **kwargs):
            found[path] = hidden.numpy()
            return hidden

        undo.append(hook(sublayers(model)[path], record))
    model(x)
    for off in reversed(undo):
        off()
    target = np.eye(K)[z[weight > 0]]
    return {
        path: np.abs(np.cov(h[weight > 0].T, target.T)[:-K, -K:]).max()
        for path, h in found.items()
    }


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_lose_the_concept_for_good(name, tmp_path):
    model, x, z, weight = make(name)
    before = keras.tree.flatten(model(x))
    data = tf.data.Dataset.from_tensor_slices((x, z, weight)).batch(16)
    scrubbed = scrub(model, data, z_dim=K, svd_tol=1e-6, verbose=0)
    paths = list(scrubbed.erasers)
    assert len(paths) == BACKBONES[name][1]
    # In the order in which they run, not in which they are listed.
    inner = [p.split("/")[-1] for p in paths if "/" in p]
    assert ["attention" in p for p in inner] == [True, False]
    found = covariances(model, paths, x, z, weight)
    left = covariances(scrubbed.model, paths, x, z, weight)
    for path in paths:
        assert left[path] < 1e-5 * found[path]
    for a, b in zip(before, keras.tree.flatten(model(x)), strict=True):
        np.testing.assert_array_equal(a, b)
    scrubbed.save(tmp_path / "scrubbed.keras")
    loaded = keras.models.load_model(tmp_path / "scrubbed.keras")
    assert covariances(loaded.model, paths, x, z, weight) == left


def test_padding_is_left_out_without_weights():
    model, x, z, padding = make("Bert")
    found = []
    for more in ((), (padding,)):
        data = tf.data.Dataset.from_tensor_slices((x, z, *more)).batch(16)
        scrubbed = scrub(
            model, data, z_dim=K, layers="*feedforward_layer_norm", verbose=0
        )
        found.append([e.get_weights() for e in scrubbed.erasers.values()])
    for a, b in zip(*map(keras.tree.flatten, found), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_text_is_generated_with_the_erasers_in_place(tmp_path):
    backbone, x, z, _ = make("GPT2")
    model = keras_hub.models.GPT2CausalLM(backbone)
    data = tf.data.Dataset.from_tensor_slices((x, z)).batch(16)
    scrubbed = scrub(model, data, z_dim=K, svd_tol=1e-6, verbose=0)
    scrubbed.model.compile(sampler="greedy", jit_compile=False)
    prompt = {name: v[:4].copy() for name, v in x.items()}
    prompt["padding_mask"][:, 3:] = 0
    found = scrubbed.generate(prompt, stop_token_ids=None)["token_ids"]
    np.testing.assert_array_equal(found[:, :3], prompt["token_ids"][:, :3])
    # Each token is the likeliest, for the erased model, after those before.
    whole = {"token_ids": found, "padding_mask": np.ones_like(found)}
    likeliest = np.argmax(scrubbed(whole), -1)
    np.testing.assert_array_equal(found[:, 3:], likeliest[:, 2:-1])
    assert not hasattr(scrubbed, "save_to_preset")
    with pytest.raises(NotImplementedError, match="leave the erasers out"):
        scrubbed.model.save_to_preset(str(tmp_path / "preset"))
    with pytest.raises(NotImplementedError, match="leave the erasers out"):
        scrubbed.model.backbone.save_to_preset(str(tmp_path / "preset"))


def test_a_scrubbed_task_takes_raw_strings(make_task, tmp_path):
    rng = np.random.default_rng(0)
    words = ["the", "gay", "old", "man", "woman", "was", "here"]
    texts = np.array(
        [" ".join(rng.permutation(words)[:4]) for _ in range(64)], object
    )
    z = np.array(["gay" in text for text in texts]) * 1
    task = make_task(texts)
    data = tf.data.Dataset.from_tensor_slices((texts, z)).batch(16)
    task.fit(data, shuffle=False, verbose=0)
    scrubbed = scrub(
        task,
        data,
        z_dim=2,
        layers=["*layer_norm*", "pooled_dense"],
        svd_tol=1e-6,
        verbose=0,
    )
    *_, last = scrubbed.erasers
    assert last.endswith("pooled_dense")
    tokens = task.preprocessor(tf.constant(texts))
    expected = scrubbed(tokens).numpy()
    # No linear reader of the layer before the head finds the concept, so the
    # logits do not covary with it.
    before, after = (
        abs(np.cov(logits[:, 0], z)[0, 1])
        for logits in (task.predict(texts, verbose=0), expected)
    )
    assert after < 1e-3 * before
    for x in (texts, data.map(lambda x, z: x), tokens):
        np.testing.assert_allclose(
            scrubbed.predict(x, verbose=0), expected, atol=1e-5
        )
    np.testing.assert_allclose(
        scrubbed.predict_on_batch(tf.constant(texts)), expected, atol=1e-5
    )
    scrubbed.save(tmp_path / "scrubbed.keras")
    loaded = keras.models.load_model(tmp_path / "scrubbed.keras")
    np.testing.assert_allclose(
        loaded.predict(texts, verbose=0), expected, atol=1e-5
    )

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loaded.compile("sgd", loss, run_eagerly=True)
    for arguments in ((data,), (texts, z)):
        score = loaded.evaluate(*arguments, verbose=0)
        assert score == pytest.approx(float(loss(z, expected)), rel=1e-4)
    logs = loaded.fit(
        data.take(1), validation_data=(texts, z), verbose=0, shuffle=False
    )
    assert set(logs.history) == {"loss", "val_loss"}

    # Pairing trains what was scrubbed, on raw strings.
    packed = pack_counterfactual_data(
        data, build_counterfactual_data(data, ["gay"])
    )
    wrapped = CounterfactualModel(scrubbed)
    wrapped.compile("sgd", loss, run_eagerly=True)
    logs = wrapped.fit(packed.take(1), verbose=0, shuffle=False).history
    assert logs["counterfactual_loss"][0] > 0
