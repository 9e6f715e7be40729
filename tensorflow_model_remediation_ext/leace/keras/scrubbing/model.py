"""A Keras model with erasers behind some of its layers."""

import functools
from collections.abc import Callable
from typing import Any

import keras

from tensorflow_model_remediation_ext.common.layers import sublayers
from tensorflow_model_remediation_ext.leace.keras.layer import LeaceLayer


def hook(
    layer: keras.layers.Layer, after: Callable[..., Any]
) -> Callable[[], None]:
    """Lets `after(outputs, *args, **kwargs)` replace a layer's outputs.

    Replacing `call` on the instance works wherever the layer runs, be it inside
    of layers whose code is not ours. It does not show in the layer's config:
    whoever rebuilds the layer has to hook it again.

    Args:
        layer: The layer.
        after: Gets what `call` returned and its arguments.

    Returns:
        A function that takes the hook off again, if it is the last one.
    """
    inner = layer.call
    before = vars(layer).get("call")

    @functools.wraps(inner)
    def call(*args, **kwargs):
        return after(inner(*args, **kwargs), *args, **kwargs)

    def undo():
        if before is None:
            del layer.call
        else:
            layer.call = before

    layer.call = call
    return undo


def inputs_of(model: keras.Model) -> Any:
    """The symbolic inputs of a model, nested as it takes them.

    Returns:
        They, or `None` for a subclassed model, which does not know.
    """
    if isinstance(model, ScrubbedModel):
        return inputs_of(model.model)
    if not hasattr(model, "inputs"):
        return None
    # The `input` of a Sequential is there only after a symbolic call.
    sequential = isinstance(model, keras.Sequential)
    return model.inputs[0] if sequential else model.input


@keras.saving.register_keras_serializable(
    package="tensorflow_model_remediation_ext"
)
class ScrubbedModel(keras.Model):
    """What `scrub` returns: a model that erases behind some of its layers.

    It takes what the model takes and returns what it returns. The erasers are
    layers of it, hence in its summary, weights and saved file; the model proper
    is its attribute `model`. That one erases too, as does every model made of
    its layers, but a copy made from its config alone does not: copy and save
    the `ScrubbedModel`.

    Args:
        model: A built model. Its layers are changed: from now on they erase.
        erasers: Built `LeaceLayer`s by the path of the layer in `model` they
            come after, see `common.layers.sublayers`.
        **kwargs: Of `keras.Model`.

    Raises:
        ValueError: If there is no layer at a path.
    """

    def __init__(
        self,
        model: keras.Model,
        erasers: dict[str, LeaceLayer],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        layers = sublayers(model)
        missing = [path for path in erasers if path not in layers]
        if missing:
            raise ValueError(
                f"`erasers` has paths at which there is no layer: {missing}"
            )
        self.supports_masking = True
        self.model = model
        self._paths = tuple(erasers)
        self._erasers = list(erasers.values())
        for path, eraser in erasers.items():
            hook(layers[path], _erasing(eraser))

    @property
    def erasers(self) -> dict[str, LeaceLayer]:
        """The erasers by the path of the layer they come after."""
        return dict(zip(self._paths, self._erasers, strict=True))

    def build(self, input_shape):
        """Nothing is left to build."""

    def call(self, inputs, training=None):
        """Runs the model; `training` reaches it as Keras passes it on."""
        if isinstance(inputs, dict):
            # An exported function gets dicts of a class of Keras' own, which
            # functional models warn of.
            inputs = dict(inputs)
        return self.model(inputs)

    def compute_mask(self, inputs, previous_mask=None):
        """The outputs have the masks that the model gave them, if any."""
        return None

    def export(self, filepath, *args, input_signature=None, **kwargs):
        """As `keras.Model.export`, with the signature of the model inside."""
        inputs = inputs_of(self)
        if input_signature is None and inputs is not None:
            input_signature = [
                keras.tree.map_structure(
                    lambda t: keras.InputSpec(
                        dtype=t.dtype, shape=t.shape, name=t.name
                    ),
                    inputs,
                )
            ]
        return super().export(
            filepath, *args, input_signature=input_signature, **kwargs
        )

    def quantize(self, *args, **kwargs):
        """Not supported.

        Raises:
            NotImplementedError: Always: a quantized layer runs other code than
                the one that erases.
        """
        raise NotImplementedError(
            "A ScrubbedModel cannot be quantized: its layers would no longer "
            "erase."
        )

    def get_config(self) -> dict[str, Any]:
        """The model, the erasers and their places."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "model": keras.saving.serialize_keras_object(self.model),
            "erasers": {
                path: keras.saving.serialize_keras_object(eraser)
                for path, eraser in self.erasers.items()
            },
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A model like that of `get_config`, erasers in place."""
        config = dict(config)

        def load(value):
            return keras.saving.deserialize_keras_object(
                value, custom_objects=custom_objects
            )

        model = load(config.pop("model"))
        erasers = {p: load(v) for p, v in config.pop("erasers").items()}
        return cls(model, erasers, **config)


def _erasing(eraser):
    return lambda hidden, *args, **kwargs: eraser(hidden)
