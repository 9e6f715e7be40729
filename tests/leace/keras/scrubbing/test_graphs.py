"""Parts of a traced graph, which rely on `tf.compat.v1.wrap_function`."""

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras.scrubbing.graphs import Graph

SPEC = tf.TensorSpec([None, 3])


def traced():
    """Doubles, counts down in a loop, adds a variable."""
    kept, variable = {}, tf.Variable([1.0, 2.0, 3.0])

    def function(x):
        kept["double"] = 2 * x
        kept["constant"] = tf.zeros_like(x) + variable
        (kept["loop"],) = tf.while_loop(
            lambda y: tf.reduce_sum(y) > 0.0,
            lambda y: [y - 1.0],
            [kept["double"]],
        )
        kept["sum"] = kept["loop"] + variable

    return Graph(function, SPEC), kept, variable


def test_private_wrap_function_traces_once_and_parts_run_alone():
    """Breaks where the graph, its captures or functions are kept elsewhere."""
    graph, kept, variable = traced()
    assert graph.varies(kept["sum"]) and not graph.varies(kept["constant"])
    (x,) = graph.inputs
    value = np.ones((1, 3), "float32")
    whole = graph.function([x], [kept["double"], kept["sum"]])
    np.testing.assert_array_equal(whole(value)[1], [[1, 2, 3]])
    rest = graph.function([kept["double"]], [kept["sum"], kept["double"]])
    for found, want in zip(rest(value), ([[1, 2, 3]], value), strict=True):
        np.testing.assert_array_equal(found, want)
    variable.assign([0.0, 0.0, 0.0])
    np.testing.assert_array_equal(rest(value)[0], [[0, 0, 0]])


def test_a_part_holds_nothing_from_before_its_feeds():
    graph, kept, _ = traced()
    part, used, _ = graph._part({kept["loop"].ref(): 0}, [kept["sum"]])
    assert len(used) == 1 and used[0] is kept["loop"]
    assert not any("While" in node.op for node in part.node)
    assert not part.library.function


def test_stages_need_only_what_the_ones_before_left():
    kept = []

    def function(x):
        shared = tf.tanh(x)
        a, b = shared + 1.0, shared + 2.0  # Neither needs the other.
        c = a * b + shared
        kept.extend([a, b, c])

    graph = Graph(function, SPEC)
    a, b, c = kept
    assert graph.order({"a": [a], "b": [b], "c": [c]}) == [["a", "b"], ["c"]]
    first, second = graph.parts([[a, b], [c]])
    assert len(first.feeds) == 1 and first.feeds[0] is graph.inputs[0]
    assert not second.live and len(second.feeds) == 3
    value = tf.constant([[0.5, 0.0, -1.0]])
    left = graph.function(first.feeds, first.live)(value)
    np.testing.assert_array_equal(
        graph.function(second.feeds, [c])(*left)[0],
        graph.function(graph.inputs, [c])(value)[0],
    )
