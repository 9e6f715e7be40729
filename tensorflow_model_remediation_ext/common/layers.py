"""The layers of a model: walking, naming, choosing and hooking them.

What Keras does not promise about layers is relied on here and nowhere else:
that a layer holds its layers in attributes, that it runs what stands in its
attribute `call`, and that a scope of shape inference knows the one outside it.
"""

import difflib
import fnmatch
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import keras

Layers: TypeAlias = (
    str
    | keras.layers.Layer
    | Iterable[str | keras.layers.Layer]
    | Callable[[keras.layers.Layer], bool]
    | None
)


def sublayers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Returns all layers inside a model by their path, outer ones first.

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


def acts_otherwise_in_training(model: keras.Model) -> bool:
    """Returns whether a layer in a model drops out or keeps moving averages.

    That is one that takes `training`, and has a random state or another
    variable that is not trained.

    Args:
        model: A built model.
    """
    return any(
        bool(layer.non_trainable_variables)
        and "training" in inspect.signature(layer.call).parameters
        for layer in sublayers(model).values()
        if not isinstance(layer, keras.Model)
    )


def _children(
    layer: keras.layers.Layer,
) -> Iterator[tuple[str, keras.layers.Layer]]:
    # A Sequential that is not built has no inputs.
    if isinstance(layer, keras.Sequential) or (
        isinstance(layer, keras.Model) and hasattr(layer, "inputs")
    ):
        yield from ((child.name, child) for child in layer.layers)
    # PyTorch, as a backend, keeps layers out of an object's own attributes.
    attributes = {**vars(layer), **vars(layer).get("_modules", {})}
    # What a task of KerasHub prepares its data with is no part of the model,
    # and has other layers once it has run.
    aside = getattr(layer, "preprocessor", None)
    # A Sequential that was built has a functional model of the same layers.
    for name in sorted(set(attributes) - _bookkeeping() - {"_functional"}):
        if aside is None or attributes[name] is not aside:
            yield from _layers_in(name, attributes[name])


@functools.cache
def _bookkeeping():
    """Returns the attributes that every layer has, the list of its layers too.

    A layer with a layer in it has more of them.
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


def twins(model: keras.Model, copy: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of a copy in the order of `sublayers(model)`.

    A layer that does not keep its name has another path in the copy. The order
    stays.

    Args:
        model: A built model.
        copy: A model made from its config.

    Raises:
        ValueError: If the copy is made of other layers.
    """
    found, others = sublayers(model), sublayers(copy)
    types, other_types = (
        [type(layer).__name__ for layer in each.values()]
        for each in (found, others)
    )
    if types != other_types:
        raise ValueError(
            "`model` must be rebuilt from its config as it is. Received: a "
            f"model with the layers {list(found)}, rebuilt with the layers "
            f"{list(others)}"
        )
    return list(others.values())


def find(model: keras.Model, layer: str | keras.layers.Layer) -> str:
    """Returns the path of the one layer that is meant.

    Args:
        model: A built model.
        layer: A layer, or its name or path, as `select` takes them.

    Raises:
        ValueError: If no layer is meant, or several are.
    """
    found = sublayers(model)
    if isinstance(layer, str) and layer in found:
        return layer
    paths = _matches(layer, found, "layer")
    if len(paths) > 1:
        raise ValueError(
            f"{model.name!r} has {len(paths)} layers named {layer!r}: give the "
            f"layer itself, or one of the paths {paths}"
        )
    return paths[0]


def select(
    model: keras.Model, layers: Layers
) -> tuple[dict[str, keras.layers.Layer], bool]:
    """Returns the layers that a choice means.

    Args:
        model: A built model.
        layers: Layers, or names, paths and `fnmatch` patterns of them; a
            predicate; or `None` for the default, see `scrub`. A path may leave
            out its beginning: `"block/norm"` is also
            `"encoder/block/norm"` where nothing else is called so. Keras' own
            `layer.path` is taken, too.

    Returns:
        Layers by path, and whether to leave out the one that runs last.

    Raises:
        TypeError: If it is none of these.
        ValueError: If a name, a layer or the predicate matches no layer.
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
    # A layer can be called like a predicate.
    if isinstance(layers, (str, keras.layers.Layer)):
        layers = [layers]
    if callable(layers):
        chosen = {path for path, layer in found.items() if layers(layer)}
        if not chosen:
            raise ValueError("`layers` is true for no layer of the model.")
    elif not isinstance(layers, Iterable):
        raise TypeError(
            "`layers` must be layers, their names, paths or patterns, or a "
            f"predicate on layers. Received: layers={layers!r}"
        )
    else:
        chosen = {p for each in layers for p in _matches(each, found)}
    return {p: layer for p, layer in found.items() if p in chosen}, False


def _matches(wanted, found, argument="layers"):
    """Returns the paths that a layer, a name, a path or a pattern means."""
    if isinstance(wanted, keras.layers.Layer):
        matches = [path for path, layer in found.items() if layer is wanted]
        wanted = wanted.name
    elif isinstance(wanted, str):
        matches = _named(found, wanted, lambda p, v: (v.name, p)) or _named(
            found, f"*/{wanted}", lambda p, v: (f"/{p}", f"/{v.path}")
        )
    else:
        raise TypeError(
            f"`{argument}` must be made of layers, names and paths. Received: "
            f"{wanted!r}"
        )
    if not matches:
        names = sorted({layer.name for layer in found.values()} | set(found))
        near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.4)
        raise ValueError(
            f"`{argument}` must be a layer of the model, or the name or path "
            f"of one. Received: {wanted!r}. "
            + (f"Near it: {near}" if near else f"There are: {names[:20]}")
        )
    return matches


def _named(found, pattern, names):
    return [
        path
        for path, layer in found.items()
        if any(fnmatch.fnmatchcase(n, pattern) for n in names(path, layer))
    ]


def _is_normalization(layer):
    """Says so by the name of its class, if no layer is inside it.

    Many models bring a normalization of their own that is not a subclass of
    those of Keras, and many blocks are named after the normalization in them.
    """
    return (
        "norm" in type(layer).__name__.lower()
        and not any(_children(layer))
        # Scales raw features.
        and not isinstance(layer, keras.layers.Normalization)
    )


def _is_weighted(path, found):
    """Says whether a layer has weights and only models around it."""
    parts = path.split("/")
    outer = ("/".join(parts[:i]) for i in range(1, len(parts)))
    return (
        bool(found[path].weights)
        and not isinstance(found[path], keras.Model)
        and all(
            isinstance(found.get(p), (keras.Model, type(None))) for p in outer
        )
    )


def hook(
    layer: keras.layers.Layer, after: Callable[..., Any]
) -> Callable[[], None]:
    """Lets `after(outputs, *args, **kwargs)` replace a layer's outputs.

    Replacing `call` on the instance works wherever the layer runs, even inside
    layers whose code is not ours. It does not show in the layer's config:
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


def run_as_python(model: keras.Model) -> Callable[[], None]:
    """Lets what is a `tf.function` in a model run as the function it is of.

    A `tf.function` that was traced before a layer inside it was hooked runs
    without the hook, and says nothing.

    Args:
        model: A built model, the `call` of which, or of layers in it, may be
            decorated.

    Returns:
        A function that undoes it.
    """
    undo = []
    for layer in (model, *sublayers(model).values()):
        function = getattr(layer.call, "python_function", None)
        if function is None:
            continue
        if "call" in vars(layer):
            undo.append(functools.partial(setattr, layer, "call", layer.call))
        else:
            undo.append(functools.partial(delattr, layer, "call"))
        layer.call = function

    def undo_all():
        for step in undo:
            step()

    return undo_all


def inputs_of(model: keras.Model) -> Any:
    """Returns the symbolic inputs of a model, nested as it takes them.

    A subclassed model does not know them: it has `None`.
    """
    if not hasattr(model, "inputs"):
        return None
    # The `input` of a Sequential is there only after a symbolic call.
    sequential = isinstance(model, keras.Sequential)
    return model.inputs[0] if sequential else model.input


def by_name(model: keras.Model, inputs: Any) -> Any:
    """Returns inputs in the mapping that a model was built with.

    Keras reads a `dict` sorted by key and an `OrderedDict` in its order. So a
    model built with one takes the features of the other in the wrong places.
    Features with the names of a model's inputs mean those.

    Args:
        model: Any model.
        inputs: What it is to be called with.

    Returns:
        The inputs, in a mapping like that of the model where both are mappings
        with the same names; anything else as it is.
    """
    wanted = inputs_of(model)
    if not isinstance(wanted, dict) or not isinstance(inputs, dict):
        return inputs
    if set(wanted) != set(inputs):
        return inputs
    return type(wanted)((name, inputs[name]) for name in wanted)


def inferring_shapes() -> bool:
    """Says whether Keras runs a layer only to see what shapes come out."""
    with keras.SymbolicScope() as scope:
        return scope.original_scope is not None
