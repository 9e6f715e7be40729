"""The layers of a model, and what of Keras' insides they rely on."""

import keras
import numpy as np
import pytest

from tensorflow_model_remediation_ext.common import layers as model_layers

layers = keras.layers


class Block(layers.Layer):
    def __init__(self):
        super().__init__()
        self.items = [layers.Dense(2), {"norm": layers.LayerNormalization()}]

    def build(self, shape):
        self.items[0].build(shape)
        self.items[1]["norm"].build((*shape[:-1], 2))

    def call(self, x):
        return self.items[1]["norm"](self.items[0](x))


def make():
    inputs = keras.Input((3,), name="in")
    inner = keras.Sequential([layers.Dense(3, name="narrow")], name="inner")
    outputs = inner(inputs)
    block = Block()
    block.wrapped = layers.TimeDistributed(layers.Dense(1))
    return keras.Model(inputs, block(outputs)), block


def test_private_a_layer_holds_its_layers_in_attributes():
    """Breaks where Keras keeps layers, or lists of them, in another place."""
    model, block = make()
    name = block.name
    assert list(model_layers.sublayers(model)) == [
        "in",
        "inner",
        "inner/narrow",
        name,
        f"{name}/items/0",
        f"{name}/items/1/norm",
        f"{name}/wrapped",
        f"{name}/wrapped/layer",
    ]
    unbuilt = keras.Sequential([layers.Dense(1, name="only")])
    assert list(model_layers.sublayers(unbuilt)) == ["only"]


def test_private_a_layer_runs_what_its_attribute_call_holds():
    """Breaks where Keras no longer calls `self.call`."""
    layer = layers.Dense(2)
    x = np.ones((1, 3), "float32")
    want = np.array(layer(x))
    once = model_layers.hook(layer, lambda y, *args, **kwargs: y + 1)
    twice = model_layers.hook(layer, lambda y, *args, **kwargs: 2 * y)
    np.testing.assert_allclose(layer(x), 2 * (want + 1))
    twice()
    np.testing.assert_allclose(layer(x), want + 1)
    once()
    np.testing.assert_allclose(layer(x), want)
    assert "call" not in vars(layer)


def test_private_a_scope_of_shape_inference_is_known():
    """Breaks where a symbolic scope no longer knows the one outside."""
    seen = []

    class Asking(layers.Layer):
        def call(self, x):
            seen.append(model_layers.inferring_shapes())
            return x

    layer = Asking()
    layer(keras.Input((3,)))
    layer(np.ones((1, 3)))
    assert seen == [True, False]
    assert not model_layers.inferring_shapes()


def test_chooses_by_names_paths_their_ends_and_layers():
    model, block = make()
    dense = f"{block.name}/items/0"
    for chosen in (
        "narrow",
        "inner/narrow",
        ["inn?r/narrow"],
        model.get_layer("inner").get_layer("narrow"),
    ):
        found, but_last = model_layers.select(model, chosen)
        assert list(found) == ["inner/narrow"] and not but_last
    assert list(model_layers.select(model, "items/0")[0]) == [dense]
    assert model_layers.find(model, "items/0") == dense
    assert model_layers.find(model, block.items[0].path) == dense
    with pytest.raises(ValueError, match="2 layers named"):
        model_layers.find(model, "*inner*")
    with pytest.raises(ValueError, match="`layer` must be a layer of"):
        model_layers.find(model, "nowhere")


def test_a_path_means_its_layer_even_if_others_have_that_name():
    inner = keras.Sequential(
        [keras.Input((3,)), layers.LayerNormalization(name="norm")],
        name="block",
    )
    inputs = keras.Input((3,))
    outputs = layers.LayerNormalization(name="norm")(inner(inputs))
    model = keras.Model(inputs, outputs)
    assert model_layers.find(model, "norm") == "norm"
    assert model_layers.find(model, "block/norm") == "block/norm"
    assert set(model_layers.select(model, "norm")[0]) == {"norm", "block/norm"}


def test_twins_are_found_in_order():
    model, _ = make()
    other, _ = make()
    twins = model_layers.twins(model, other)
    assert twins == list(model_layers.sublayers(other).values())
    with pytest.raises(ValueError, match="must be rebuilt"):
        model_layers.twins(model, keras.Sequential([layers.Dense(1)]))
