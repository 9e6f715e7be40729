"""A TensorFlow graph that was traced once, and functions made of its parts."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import tensorflow as tf

# They know how large a tensor is, and nothing of what is in it.
_OF_SHAPE = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}


class Part(NamedTuple):
    """What one stage of the graph is given, and what it leaves to the next.

    Attributes:
        feeds: Tensors that the stage before left, or the inputs.
        live: Tensors that are known after it and needed later.
    """

    feeds: list[tf.Tensor]
    live: list[tf.Tensor]


class Graph:
    """The graph of a function that runs no operation that is not asked for.

    `tf.compat.v1.wrap_function` traces such a graph. Its own `prune` copies all
    operations that a part depends on, even those before its feeds: the cost of
    cutting a model to pieces would be quadratic in the number of its layers.

    Args:
        function: Takes the nested arguments and calls what is to be traced.
        specs: `tf.TensorSpec`s of the arguments.

    Attributes:
        inputs: The tensors that stand for the arguments, flat.
    """

    def __init__(self, function: Callable[..., None], specs: Any):
        self._function = tf.compat.v1.wrap_function(function, [specs])
        captured = self._function.captured_inputs
        count = len(self._function.inputs) - len(captured)
        self.inputs = list(self._function.inputs[:count])
        self._captured = {
            inner.op: (inner, outer)
            for inner, outer in zip(
                self._function.inputs[count:], captured, strict=True
            )
        }
        definition = self._function.graph.as_graph_def()
        self._nodes = {node.name: node for node in definition.node}
        self._library = {
            f.signature.name: f for f in definition.library.function
        }
        # In the order of their making, hence inputs first.
        self._ops = self._function.graph.get_operations()
        self._data = self._reached(set())
        self._varying = self._reached(_OF_SHAPE)

    def _reached(self, stops):
        """Returns the operations that the inputs reach."""
        found = {tensor.op for tensor in self.inputs}
        for op in self._ops:
            if op.type not in stops and any(t.op in found for t in op.inputs):
                found.add(op)
        return found

    def varies(self, tensor: tf.Tensor) -> bool:
        """Says whether a tensor depends on the values of the inputs."""
        return tensor.op in self._varying

    def order(self, wanted: dict[Any, list[tf.Tensor]]) -> list[list[Any]]:
        """Returns groups of keys, none of which needs another of its group.

        Args:
            wanted: By key, in the order of their making, the tensors of each;
                the first one is made first.
        """
        owner = {t.op: key for key, tensors in wanted.items() for t in tensors}
        groups: list[list[Any]] = []
        group_of: dict[Any, int] = {}
        # The last group that the result of an operation depends on.
        last: dict[tf.Operation, int] = {}
        for op in self._ops:
            if op not in self._data:
                continue
            last[op] = max((last.get(t.op, -1) for t in op.inputs), default=-1)
            key = owner.get(op)
            if key is None:
                continue
            if key not in group_of:
                if self._last(wanted[key], last) == len(groups) - 1:
                    groups.append([])
                groups[-1].append(key)
                group_of[key] = len(groups) - 1
            last[op] = max(last[op], group_of[key])
        return groups

    def _last(self, tensors, last):
        """Returns the last group that tensors depend on, made or not."""
        found, seen, queue = -1, set(), [tensor.op for tensor in tensors]
        while queue:
            op = queue.pop()
            if op in last:
                found = max(found, last[op])
            elif op in self._data and op not in seen:
                seen.add(op)
                queue.extend(t.op for t in op.inputs)
        return found

    def parts(self, groups: list[list[tf.Tensor]]) -> list[Part]:
        """Cuts the graph into one part for each group of tensors.

        Args:
            groups: What is wanted of each part.
        """
        inputs = {tensor.op for tensor in self.inputs}
        # The first part that needs an operation, which therefore runs it.
        runs_in: dict[tf.Operation, int] = {}
        for i in reversed(range(len(groups))):
            runs_in |= {t.op: i for t in groups[i] if t.op in self._data}
        # The last part that needs a tensor.
        used_in = {t.ref(): i for i, group in enumerate(groups) for t in group}
        for op in reversed(self._ops):
            part = runs_in.get(op)
            if part is None or op in inputs:
                continue
            for tensor in op.inputs:
                if tensor.op in self._data:
                    before = runs_in.get(tensor.op, part)
                    runs_in[tensor.op] = min(before, part)
                    key = tensor.ref()
                    used_in[key] = max(used_in.get(key, part), part)
        live: list[list[tf.Tensor]] = [[] for _ in groups]
        for key, until in used_in.items():
            op = key.deref().op
            for i in range(
                0 if op in inputs else runs_in.get(op, until), until
            ):
                live[i].append(key.deref())
        feeds = [self.inputs, *live[:-1]]
        return [Part(*each) for each in zip(feeds, live, strict=True)]

    def function(
        self, feeds: list[tf.Tensor], fetches: list[tf.Tensor]
    ) -> Callable[..., list[tf.Tensor]]:
        """Returns a function from values of some tensors to those of others.

        Args:
            feeds: On which, with variables and constants, the others depend.
            fetches: The others.
        """
        fed = {tensor.ref(): i for i, tensor in enumerate(feeds)}
        computed = [t for t in fetches if t.ref() not in fed]
        part, used, captured = self._part(fed, computed)
        names = [tensor.name for tensor in computed]

        def run(*values):
            given = {t.name: values[fed[t.ref()]] for t in used}
            given |= {
                inner.name: tf.identity(outer) for inner, outer in captured
            }
            found = tf.graph_util.import_graph_def(
                part, given, return_elements=names, name="part"
            )
            results = {ref: values[i] for ref, i in fed.items()}
            results |= zip((t.ref() for t in computed), found, strict=True)
            return [results[t.ref()] for t in fetches]

        # A concrete one: TensorFlow takes functions of one source for one that
        # is traced again and again, and warns.
        return tf.function(
            run,
            input_signature=[tf.TensorSpec(t.shape, t.dtype) for t in feeds],
            autograph=False,
        ).get_concrete_function()

    def _part(self, fed, fetches):
        """Returns a definition, and the feeds and captures that it uses."""
        nodes: dict[str, Any] = {}
        used, captured = {}, {}
        queue = [tensor.op for tensor in fetches]
        while queue:
            op = queue.pop()
            if op in self._captured:
                captured[op.name] = self._captured[op]
            elif op.name not in nodes:
                nodes[op.name] = self._nodes[op.name]
                for tensor in op.inputs:
                    if tensor.ref() in fed:
                        used[tensor.ref()] = tensor
                    else:
                        queue.append(tensor.op)
        part = tf.compat.v1.GraphDef()
        for node in nodes.values():
            copy = part.node.add()
            copy.CopyFrom(node)
            copy.attr.pop("_class", None)  # Colocation with what is not here.
            copy.input[:] = [
                name
                for name in node.input
                if not name.startswith("^") or name[1:] in nodes
            ]
        part.library.function.extend(self._called(nodes.values()))
        return part, list(used.values()), list(captured.values())

    def _called(self, nodes: Iterable[Any]):
        """Returns the functions that nodes call, and those that these call."""
        found: dict[str, Any] = {}
        queue = list(nodes)
        while queue:
            for value in queue.pop().attr.values():
                for function in (value.func, *value.list.func):
                    name = function.name
                    if name in self._library and name not in found:
                        found[name] = self._library[name]
                        queue.extend(found[name].node_def)
        return found.values()
