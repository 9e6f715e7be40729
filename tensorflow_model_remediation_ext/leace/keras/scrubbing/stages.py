"""A model's forward pass, cut into the stages between the layers to scrub."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.layers import hook, run_as_python
from tensorflow_model_remediation_ext.common.masks import mask_of
from tensorflow_model_remediation_ext.leace.keras.scrubbing.graphs import Graph

CONSTANT = "its output does not depend on the inputs of the model"
_INSIDE = "it runs inside a loop, or a function of its own, of the graph"


class Run(NamedTuple):
    """One run of a layer in a forward pass, as tensors.

    Attributes:
        hidden: What the layer returned.
        mask: The Keras mask of the layer's first argument, or `None`.
    """

    hidden: tf.Tensor
    mask: tf.Tensor | None


class Forward(NamedTuple):
    """The forward pass of a model, traced once, with erasers in it.

    What an eraser erases is in its weights, so that the one graph serves before
    and after it is fitted.

    Attributes:
        graph: The graph.
        runs: The runs of each layer by path, in the order of their first ones.
        erasers: The erasers by path.
        refused: Why layers that run cannot be scrubbed, by path.
        last: The path of the layer whose first run is the last, or `None`.
    """

    graph: Graph
    runs: dict[str, list[Run]]
    erasers: dict[str, keras.layers.Layer]
    refused: dict[str, str]
    last: str | None

    def runs_once(self) -> bool:
        """Says whether every layer runs once: then no stage reaches back."""
        return all(len(runs) == 1 for runs in self.runs.values())


class Stage(NamedTuple):
    """A part of the forward pass, up to layers none of which needs another.

    Its functions are cut out of the graph when they are asked for: that takes a
    while, and memory for as long as they are held.

    Attributes:
        paths: Of the layers.
        resume: Returns a function from the tensors that the stage before left
            to the runs of each layer by path and the tensors that the next
            stage starts from.
        restart: Returns a function from the inputs of the model to the runs.
        leaves_state: Whether there is a next stage.
    """

    paths: list[str]
    resume: Callable[[], Callable[[list], tuple[dict[str, list[Run]], list]]]
    restart: Callable[[], Callable[[list], dict[str, list[Run]]]]
    leaves_state: bool


def trace(
    model: keras.Model,
    layers: dict[str, keras.layers.Layer],
    specs: Any,
    make_eraser: Callable[[str, tf.Tensor], keras.layers.Layer],
) -> Forward:
    """Runs a model once, symbolically, with an eraser after each layer.

    Args:
        model: A built model.
        layers: Layers of it by path.
        specs: `tf.TensorSpec`s of the model's argument, nested likewise.
        make_eraser: Takes a path and a hidden tensor and returns a layer that
            changes nothing yet.

    Returns:
        The forward pass. Every layer that runs is in `runs` or in `refused`.
    """
    runs: dict[str, list[Run]] = {}
    erasers: dict[str, keras.layers.Layer] = {}
    refused: dict[str, str] = {}
    order: dict[str, None] = {}

    def marking(path, graph):
        def mark(hidden, *args, **kwargs):
            order.setdefault(path)
            inside = graph is not tf.compat.v1.get_default_graph()
            why = _INSIDE if inside else _why_not(hidden)
            if why is not None:
                refused.setdefault(path, why)
            if path in refused:
                return hidden
            # One tensor of its own, at which the graph can be cut.
            hidden = tf.identity(hidden)
            mask = mask_of(keras.tree.flatten((args, kwargs))[0])
            runs.setdefault(path, []).append(Run(hidden, mask))
            if path not in erasers:
                with tf.init_scope():
                    erasers[path] = make_eraser(path, hidden)
            return erasers[path](hidden)

        return mark

    inference = {}
    if "training" in inspect.signature(model.call).parameters:
        inference["training"] = False

    def forward(x):
        graph = tf.compat.v1.get_default_graph()
        undo = [run_as_python(model)]
        undo += [hook(v, marking(path, graph)) for path, v in layers.items()]
        try:
            model(x, **inference)
        finally:
            for off in reversed(undo):
                off()

    graph = Graph(forward, specs)
    for path, each in runs.items():
        if not any(graph.varies(run.hidden) for run in each):
            refused.setdefault(path, CONSTANT)
    kept = [path for path in runs if path not in refused]
    return Forward(
        graph,
        {path: runs[path] for path in kept},
        {path: erasers[path] for path in kept},
        refused,
        list(order)[-1] if order else None,
    )


def _why_not(hidden):
    """Says why what a layer returned cannot be scrubbed, or `None`."""
    if (
        not tf.is_tensor(hidden)
        or not hidden.dtype.is_floating
        or hidden.shape.rank is None
        or hidden.shape.rank < 2
        or hidden.shape[-1] is None
    ):
        return (
            "it must return one floating-point tensor of shape [..., x_dim] "
            f"with x_dim known, and returns {hidden}"
        )
    return None


def stages(forward: Forward, sequential: bool = True) -> list[Stage]:
    """Cuts a forward pass into stages, in the order in which they run.

    Args:
        forward: The forward pass.
        sequential: Whether each layer is to run with the erasers of all layers
            that it needs; otherwise there is one stage for all.
    """
    graph, runs = forward.graph, forward.runs
    wanted = {path: _tensors(each) for path, each in runs.items()}
    groups = graph.order(wanted) if sequential else [list(runs)]
    parts = graph.parts([[t for p in g for t in wanted[p]] for g in groups])

    def stage(paths, part):
        fetches = [tensor for path in paths for tensor in wanted[path]]

        def found(values):
            known = {t.ref(): v for t, v in zip(fetches, values, strict=False)}
            return {
                path: [
                    Run(*(t if t is None else known[t.ref()] for t in run))
                    for run in runs[path]
                ]
                for path in paths
            }

        def resume():
            function = graph.function(part.feeds, [*fetches, *part.live])

            def run(state):
                values = function(*state)
                return found(values), values[len(fetches) :]

            return run

        def restart():
            function = graph.function(graph.inputs, fetches)
            return lambda inputs: found(function(*inputs))

        return Stage(paths, resume, restart, paths is not groups[-1])

    return [stage(*each) for each in zip(groups, parts, strict=True)]


def _tensors(runs):
    masks = [run.mask for run in runs if run.mask is not None]
    return [run.hidden for run in runs] + masks
