"""How classes are saved: their package, their names, their arguments."""

import inspect
import re
from typing import Any

import keras

# What Keras registers the classes under, and saved models hold.
PACKAGE = "tensorflow_model_remediation_ext"


def snake_case(name: str) -> str:
    """Returns the name of a class in snake case, as Keras names losses."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name).lower()


def constructor_config(
    instance: Any, config: dict[str, Any], base: Any
) -> dict[str, Any]:
    """Returns what the constructor of a subclass takes of a configuration.

    A subclass whose `__init__` takes fewer arguments than its base sets the
    others itself, and does so again when it is loaded.

    Args:
        instance: What is being saved.
        config: Arguments of the base class by name.
        base: The class whose `get_config` this serves. Where a subclass has one
            of its own, that may add the arguments of its own.

    Raises:
        ValueError: If the constructor takes an argument that nothing saves.
    """
    cls = type(instance)
    parameters = inspect.signature(cls.__init__).parameters.values()
    named = {
        p.name
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    } - {"self"}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        config = {name: each for name, each in config.items() if name in named}
    missing = sorted(named - set(config))
    if missing and cls.get_config is base.get_config:
        raise ValueError(
            f"{cls.__name__} must override `get_config` and add {missing} to "
            "what `super().get_config()` returns: saved without, it could not "
            f"be loaded as it is. Received: {list(config)}"
        )
    return config


def serialized_loss(loss: Any) -> Any:
    """Returns a loss, or a dict of them, as `serialize_keras_object` does.

    With all its arguments: Keras leaves the `delta` of `Huber` out.

    Args:
        loss: A `keras.losses.Loss`, or a dict of them.
    """
    if isinstance(loss, dict):
        return {name: serialized_loss(each) for name, each in loss.items()}
    saved = keras.saving.serialize_keras_object(loss)
    taken = inspect.signature(type(loss).__init__).parameters
    for name, value in getattr(loss, "_fn_kwargs", {}).items():
        if name in taken:
            saved["config"].setdefault(name, value)
    return saved
