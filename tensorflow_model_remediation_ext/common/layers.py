"""The layers of a model, wherever they are nested, and a choice of them."""

import difflib
import fnmatch
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras


def sublayers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """All layers inside of a model by their path, outer ones first.

    A path is made of the names of layers where a Sequential or functional model
    holds them and of attributes elsewhere: both are the same after loading,
    which generated names are not.

    Args:
        model: A built model.

    Returns:
        Layers by paths such as `"transformer_layer_0/_feedforward_layer_norm"`.
        A layer that is reached on several paths has the first one.
    """
    found, seen = {}, {id(model)}

    def visit(layer, prefix):
        for name, child in _children(layer):
            if id(child) not in seen:
                seen.add(id(child))
                found[prefix + name] = child
                visit(child, f"{prefix}{name}/")

    visit(model, "")
    return found


def _children(
    layer: keras.layers.Layer,
) -> Iterator[tuple[str, keras.layers.Layer]]:
    if isinstance(layer, keras.Model) and hasattr(layer, "inputs"):
        yield from ((child.name, child) for child in layer.layers)
    # PyTorch, as a backend, keeps layers out of an object's own attributes.
    attributes = {**vars(layer), **vars(layer).get("_modules", {})}
    for name in sorted(set(attributes) - _bookkeeping()):
        yield from _layers_in(name, attributes[name])


@functools.cache
def _bookkeeping():
    """Attributes that every layer has, the list of all its layers among them.

    Those that one layer has inside of it come with the first one.
    """
    layer = keras.layers.Wrapper(keras.layers.Identity())
    return frozenset(vars(layer)) - {"layer"}


def _layers_in(
    name: str, value: Any
) -> Iterator[tuple[str, keras.layers.Layer]]:
    if isinstance(value, keras.layers.Layer):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _layers_in(f"{name}/{index}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _layers_in(f"{name}/{key}", item)


def select(
    model: keras.Model,
    layers: str | Iterable[str] | Callable[[keras.layers.Layer], bool] | None,
) -> tuple[dict[str, keras.layers.Layer], bool]:
    """The layers that a choice means, see `scrub`.

    Args:
        model: A built model.
        layers: Names, paths and `fnmatch` patterns of them; a predicate; or
            `None` for the default.

    Returns:
        Layers by path, and whether the one that runs last is to be left out.

    Raises:
        ValueError: If a name or the predicate matches no layer.
    """
    found = {
        path: layer
        for path, layer in sublayers(model).items()
        if not isinstance(layer, keras.layers.InputLayer)
    }
    if layers is None:
        norms = {p: v for p, v in found.items() if _is_normalization(v)}
        if norms:
            return norms, False
        return {p: v for p, v in found.items() if _is_weighted(p, found)}, True
    if callable(layers):
        chosen = {path for path, layer in found.items() if layers(layer)}
        if not chosen:
            raise ValueError("`layers` is true for no layer of the model.")
    else:
        patterns = [layers] if isinstance(layers, str) else layers
        chosen = set().union(*(_matches(p, found) for p in patterns))
    return {p: layer for p, layer in found.items() if p in chosen}, False


def _matches(pattern, found):
    matches = {
        path
        for path, layer in found.items()
        if fnmatch.fnmatchcase(layer.name, pattern)
        or fnmatch.fnmatchcase(path, pattern)
    }
    if not matches:
        names = sorted({layer.name for layer in found.values()} | set(found))
        near = difflib.get_close_matches(pattern, names, n=5, cutoff=0.4)
        raise ValueError(
            f"`layers` names {pattern!r}, which matches the name or path of no "
            f"layer. Near it: {near or names}"
        )
    return matches


def _is_normalization(layer):
    """By the name of its class, if it is an innermost layer.

    Many a model brings a normalization of its own, no subclass of those of
    Keras, and many a block is named after the normalization inside of it.
    """
    return (
        "norm" in type(layer).__name__.lower()
        and not any(_children(layer))
        # Scales raw features.
        and not isinstance(layer, keras.layers.Normalization)
    )


def _is_weighted(path, found):
    """Whether a layer has weights and is not inside of any but models."""
    parts = path.split("/")
    outer = ("/".join(parts[:i]) for i in range(1, len(parts)))
    return (
        bool(found[path].weights)
        and not isinstance(found[path], keras.Model)
        and all(
            isinstance(found.get(p), (keras.Model, type(None))) for p in outer
        )
    )
