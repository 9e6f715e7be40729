"""A Keras model with erasers after some of its layers."""

import contextlib
from typing import Any

import keras

from tensorflow_model_remediation_ext.common.exporting import export
from tensorflow_model_remediation_ext.common.layers import (
    hook,
    inputs_of,
    run_as_python,
    sublayers,
)
from tensorflow_model_remediation_ext.common.raw_data import RawDataModel
from tensorflow_model_remediation_ext.leace.keras.erasing_layer import (
    ErasingLayer,
)


def symbolic_inputs(model: keras.Model) -> Any:
    """Returns the inputs of a model, or of the one that was scrubbed."""
    while isinstance(model, ScrubbedModel):
        model = model.model
    return inputs_of(model)


@keras.saving.register_keras_serializable(
    package="tensorflow_model_remediation_ext"
)
class ScrubbedModel(RawDataModel):
    """What `scrub` returns: a model that erases after some of its layers.

    It takes what the model takes and returns what it returns. The erasers are
    layers of it, hence in its summary, weights and saved file. Save it, export
    it and copy it like any Keras model.

    Its attribute `model` is the model itself, which erases, too, wherever its
    layers run. But its config and its own weights know nothing of the erasers:
    it refuses `save`, `save_weights`, `save_to_preset` and whatever else would
    write them, and so do the models and layers in it. A model of KerasHub that
    generates text does so here, with the erasers in place:
    `scrubbed.generate(...)`. A task of KerasHub takes raw strings or images in
    `fit`, `evaluate` and `predict` here as it did before.

    Args:
        model: A built model. Its layers are changed: from now on they erase.
        erasers: Built layers that erase, by the path of the layer in `model`
            that they come after, see `common.layers.sublayers`.
        **kwargs: Of `keras.Model`.

    Raises:
        ValueError: If there is no layer at a path.
    """

    def __init__(
        self,
        model: keras.Model,
        erasers: dict[str, ErasingLayer],
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
        run_as_python(model)
        for path, eraser in erasers.items():
            hook(layers[path], _erasing(path, eraser))
        _guard(model, [layers[path] for path in erasers])

    @property
    def inner_model(self) -> keras.Model:
        """The model, whose preprocessor is that of this one."""
        return self.model

    @property
    def erasers(self) -> dict[str, ErasingLayer]:
        """The erasers by the path of the layer they come after."""
        return dict(zip(self._paths, self._erasers, strict=True))

    def __getattr__(self, name):
        """Finds `generate` where the model has it."""
        if name == "generate":
            return getattr(self.model, name)
        find = getattr(super(), "__getattr__", None)
        if find is None:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )
        return find(name)

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
        """Exports as `keras.Model.export`, with the signature of the model.

        The SavedModel of a KerasHub task takes raw data too, as from a wrapper.
        """
        if input_signature is not None:
            kwargs["input_signature"] = input_signature
        return export(self, filepath, self._export, *args, **kwargs)

    def _export(self, filepath, *args, input_signature=None, **kwargs):
        inputs = symbolic_inputs(self)
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
        """Returns the model, the erasers and their places."""
        order = list(sublayers(self.model))
        with _unguarded(self.model):
            model = keras.saving.serialize_keras_object(self.model)
        # How the model itself was compiled is not used here, and KerasHub's
        # tasks, compiled as they are made, would warn of it when loaded.
        model.pop("compile_config", None)
        return {
            "name": self.name,
            "trainable": self.trainable,
            "model": model,
            "erasers": {
                path: keras.saving.serialize_keras_object(eraser)
                for path, eraser in self.erasers.items()
            },
            # Names may change when the model is rebuilt, the order does not.
            "places": [order.index(path) for path in self._paths],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Returns a model like that of `get_config`, erasers in place."""
        config = dict(config)

        def load(value):
            return keras.saving.deserialize_keras_object(
                value, custom_objects=custom_objects
            )

        model = load(config.pop("model"))
        erasers = {p: load(v) for p, v in config.pop("erasers").items()}
        # Version 0.1.0 wrote no places.
        places = config.pop("places", None)
        if places is not None:
            paths = list(sublayers(model))
            erasers = {
                paths[i]: eraser
                for i, eraser in zip(places, erasers.values(), strict=True)
            }
        return cls(model, erasers, **config)


def _erasing(path, eraser):
    def erase(hidden, *args, **kwargs):
        # With a cache, as in `generate`, layers return (hidden, cache).
        if not isinstance(hidden, (tuple, list)):
            return eraser(hidden)
        first, *rest = hidden
        if keras.tree.is_nested(first) or len(first.shape) < 2:
            raise ValueError(
                f"The layer at {path!r} must return a tensor, or one and more. "
                f"Received: {hidden}"
            )
        return type(hidden)([eraser(first), *rest])

    return erase


def _guard(model, erased):
    """Lets a model and what is inside it write nothing without erasers.

    That is whatever has a layer with an eraser in it, and such layers: what is
    rebuilt from their configs would not erase.
    """
    erased = {id(layer) for layer in erased}
    for layer in (model, *sublayers(model).values()):
        inside = {id(v) for v in (layer, *sublayers(layer).values())}
        if layer is model or inside & erased:
            for name in ("get_config", "save_weights", "quantize"):
                if hasattr(layer, name):
                    setattr(layer, name, _refusal(name))


@contextlib.contextmanager
def _unguarded(model):
    """Lets those that `_guard` guards write their configs for a while."""
    held = [
        (layer, vars(layer)["get_config"])
        for layer in (model, *sublayers(model).values())
        if "get_config" in vars(layer)
    ]
    for layer, _ in held:
        del layer.get_config
    try:
        yield
    finally:
        for layer, refuse in held:
            layer.get_config = refuse


def _refusal(name):
    def refuse(*args, **kwargs):
        raise NotImplementedError(
            f"`{name}` inside a ScrubbedModel would leave the erasers out: "
            "save, copy and clone the ScrubbedModel itself."
        )

    return refuse
