"""A model's graph, cut into the stages between the layers to scrub."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras.scrubbing.model import hook


class Run(NamedTuple):
    """One run of a layer in a forward pass, as tensors of the graph.

    Attributes:
        hidden: What the layer returned.
        mask: The Keras mask of the layer's first argument, or `None`.
    """

    hidden: tf.Tensor
    mask: tf.Tensor | None


class Stage(NamedTuple):
    """A part of the forward pass, up to layers none of which needs another.

    Attributes:
        paths: Of the layers.
        run: Takes the list of tensors that the stage before left; returns for
            every path the runs of its layer, and the list of tensors that the
            next stage starts from.
        skip: The same from the inputs of the model, without that list.
        leaves_state: Whether there is a next stage.
    """

    paths: list[str]
    run: Callable[[list], tuple[dict[str, list[Run]], list]]
    skip: Callable[[list], dict[str, list[Run]]]
    leaves_state: bool


class Graph:
    """The forward pass of a model, traced once.

    An eraser is put behind each layer while tracing; what it erases is in its
    weights, so that the one graph serves before and after it is fitted.

    Args:
        model: A built model.
        layers: Layers of it by path.
        specs: `tf.TensorSpec`s of the model's argument, nested likewise.
        make_eraser: Of a path and a hidden tensor, returns a layer that changes
            nothing yet.

    Attributes:
        erasers: By path, in the order in which the layers first run; layers
            that do not run have none.
        runs: The runs of every layer, likewise.

    Raises:
        ValueError: If a layer to scrub returns anything but one floating-point
            tensor `[..., x_dim]`, or runs inside of a loop.
    """

    def __init__(
        self,
        model: keras.Model,
        layers: dict[str, keras.layers.Layer],
        specs: Any,
        make_eraser: Callable[[str, tf.Tensor], keras.layers.Layer],
    ):
        self.erasers: dict[str, keras.layers.Layer] = {}
        self.runs: dict[str, list[Run]] = {}

        def marking(path):
            def mark(hidden, *args, **kwargs):
                _check(path, hidden)
                # One tensor of its own, at which the graph can be cut.
                hidden = tf.identity(hidden)
                first = keras.tree.flatten((args, kwargs))[0]
                mask = getattr(first, "_keras_mask", None)
                self.runs.setdefault(path, []).append(Run(hidden, mask))
                if path not in self.erasers:
                    with tf.init_scope():
                        self.erasers[path] = make_eraser(path, hidden)
                return self.erasers[path](hidden)

            return mark

        inference = {}
        if "training" in inspect.signature(model.call).parameters:
            inference["training"] = False

        def forward(x):
            self._inputs = keras.tree.flatten(x)
            undo = [hook(layer, marking(p)) for p, layer in layers.items()]
            try:
                model(x, **inference)
            finally:
                for off in undo:
                    off()

        self._function = tf.compat.v1.wrap_function(forward, [specs])
        for path, runs in self.runs.items():
            if any(r.hidden.graph is not self._function.graph for r in runs):
                raise ValueError(
                    f"The layer at {path!r} runs inside of a loop of the "
                    "graph, where it cannot be scrubbed: leave it out."
                )
        self._data = self._find_data()

    def _find_data(self):
        """Operations whose results depend on the inputs."""
        data = {t.op for t in self._inputs}
        for op in self._function.graph.get_operations():
            if any(t.op in data for t in op.inputs):
                data.add(op)
        return data

    def _upstream(self, tensors):
        """Operations on the inputs that the tensors need, theirs included."""
        found, queue = set(), [t.op for t in tensors]
        while queue:
            op = queue.pop()
            if op in self._data and op not in found:
                found.add(op)
                queue.extend(t.op for t in op.inputs)
        return found

    def _tensors(self, groups):
        runs = [
            r for paths in groups for path in paths for r in self.runs[path]
        ]
        masks = [run.mask for run in runs if run.mask is not None]
        return [run.hidden for run in runs] + masks

    @property
    def runs_once(self) -> bool:
        """Whether every layer runs once, so that no stage reaches back."""
        return all(len(runs) == 1 for runs in self.runs.values())

    def stages(self) -> list[Stage]:
        """The stages in the order in which they run."""
        groups = []
        for path in self.runs:
            needed = self._upstream(self._tensors([[path]]))
            if groups and not needed & {
                run.hidden.op for p in groups[-1] for run in self.runs[p]
            }:
                groups[-1].append(path)
            else:
                groups.append([path])
        return [
            self._stage(paths, groups[:i], groups[i + 1 :])
            for i, paths in enumerate(groups)
        ]

    def all_at_once(self) -> list[Stage]:
        """One stage for all layers."""
        return [self._stage(list(self.runs), [], [])]

    def _live(self, groups, later):
        """Tensors that are there after `groups` and needed thereafter."""
        if not groups:
            return self._inputs
        before = self._upstream(self._tensors(groups))
        before |= {t.op for t in self._inputs}
        wanted = self._tensors(later)
        for op in self._upstream(wanted) - before:
            wanted.extend(op.inputs)
        return _unique(t for t in wanted if t.op in before)

    def _stage(self, paths, earlier, later):
        feeds = self._live(earlier, [paths, *later])
        live = self._live([*earlier, paths], later)
        wanted = self._tensors([paths])
        advance = self._computation(feeds, [*wanted, *live])
        from_inputs = self._computation(self._inputs, wanted)

        def runs(values):
            return {
                path: [
                    Run(*(t if t is None else values[t.ref()] for t in run))
                    for run in self.runs[path]
                ]
                for path in paths
            }

        def run(state):
            values = advance(state)
            return runs(values), [values[t.ref()] for t in live]

        return Stage(
            paths, run, lambda inputs: runs(from_inputs(inputs)), bool(later)
        )

    def _computation(self, feeds, fetches):
        """A function from values of `feeds` to those of both, by reference.

        Cutting it out of the graph takes a while and waits until it is needed.
        """
        fed = {t.ref() for t in feeds}
        fetches = [t for t in _unique(fetches) if t.ref() not in fed]
        prune = functools.cache(lambda: self._function.prune(feeds, fetches))

        def compute(values):
            values = [*values, *prune()(*values)]
            names = (t.ref() for t in [*feeds, *fetches])
            return dict(zip(names, values, strict=True))

        return compute


def _unique(tensors):
    return list({t.ref(): t for t in tensors}.values())


def _check(path, hidden):
    if (
        not tf.is_tensor(hidden)
        or not hidden.dtype.is_floating
        or hidden.shape.rank is None
        or hidden.shape.rank < 2
        or hidden.shape[-1] is None
    ):
        raise ValueError(
            f"The layer at {path!r} cannot be scrubbed: it must return one "
            "floating-point tensor of shape [..., x_dim] with x_dim known. "
            f"Received: {hidden}"
        )
