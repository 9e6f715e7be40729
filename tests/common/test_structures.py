"""Tests of giving one structure the containers of another."""

import collections
import re

import keras
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.structures import alike, is_alike

Point = collections.namedtuple("Point", ["b", "a"])
Other = collections.namedtuple("Other", ["a", "b"])
Ordered = collections.OrderedDict


def as_x(value, template):
    return alike(value, template, "value", "template")


@pytest.mark.parametrize(
    ("value", "template", "expected"),
    [
        ({"a": 1, "b": 2}, Ordered(b=0, a=0), Ordered(b=2, a=1)),
        (Ordered(b=2, a=1), {"a": 0, "b": 0}, {"a": 1, "b": 2}),
        (Ordered(a=1, b=2), Ordered(b=0, a=0), Ordered(b=2, a=1)),
        ([1, (2, 3)], (0, [0, 0]), (1, [2, 3])),
        ((2, 1), Point(0, 0), Point(b=2, a=1)),
        (Other(a=1, b=2), Point(0, 0), Point(b=2, a=1)),
        ({"a": 1, "b": 2}, Point(0, 0), Point(b=2, a=1)),
        (
            {"x": {"a": 1, "b": (2, 3)}},
            Ordered(x=Ordered(b=Point(0, 0), a=0)),
            Ordered(x=Ordered(b=Point(2, 3), a=1)),
        ),
        (1, 0, 1),
        ((1, None), [0, None], [1, None]),
    ],
)
def test_parts_match_by_name_or_position(value, template, expected):
    found = as_x(value, template)
    assert found == expected
    assert is_alike(found, template)
    # What a model sees: Keras' order of the parts.
    assert keras.tree.flatten(found) == keras.tree.flatten(expected)


@pytest.mark.parametrize(
    ("value", "template"),
    [
        ({"a": 1}, {"a": 0, "b": 0}),
        ({"a": 1, "b": 2, "c": 3}, {"a": 0, "b": 0}),
        ((1, 2), {"a": 0, "b": 0}),
        ((1, 2, 3), (0, 0)),
        (Other(1, 2), collections.namedtuple("Third", ["a", "c"])(0, 0)),
        ({"a": (1, 2)}, {"a": 0}),
        (1, (0,)),
        ((1,), 0),
    ],
)
def test_other_parts_are_refused(value, template):
    with pytest.raises(ValueError, match="same names") as error:
        as_x(value, template)
    assert re.match("`value` must have .*`template`", str(error.value))


def test_orders_of_keys_are_told_apart():
    assert is_alike(Ordered(a=1, b=2), Ordered(a=0, b=0))
    assert not is_alike(Ordered(a=1, b=2), Ordered(b=0, a=0))
    assert not is_alike({"a": 1}, Ordered(a=1))
    assert not is_alike({"x": (1,)}, {"x": [1]})


def test_leaves_of_any_kind_pass_through():
    ragged = tf.ragged.constant([[1], []])
    sparse = tf.sparse.from_dense([[1]])
    found = as_x({"r": ragged, "s": sparse}, Ordered(s=0, r=0))
    assert list(found) == ["s", "r"]
    assert found["r"] is ragged
    assert found["s"] is sparse


def test_attrs_classes():
    attr = pytest.importorskip("attr")
    pair = attr.make_class("pair", ["b", "a"])
    found = as_x({"a": 1, "b": 2}, pair(0, 0))
    assert found == pair(b=2, a=1)
    assert is_alike(found, pair(0, 0))


def test_lists_become_tensors_where_a_tensor_is_wanted():
    found = as_x([1.0, 2.0], tf.zeros([2]))
    assert found.numpy().tolist() == [1.0, 2.0]
