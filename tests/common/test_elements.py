"""Tests of what the elements of datasets hold."""

import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.elements import (
    as_one_argument,
    check_dataset,
    tensor_specs,
    unpack,
)

Dataset = tf.data.Dataset


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (1, (1, None, None)),
        ((1,), (1, None, None)),
        ((1, 2), (1, 2, None)),
        ((1, 2, 3), (1, 2, 3)),
        ({"a": 1}, ({"a": 1}, None, None)),
    ],
)
def test_unpack(element, expected):
    assert unpack(element) == expected


@pytest.mark.parametrize("element", [(), (1, 2, 3, 4)])
def test_unpack_refuses_other_lengths(element):
    with pytest.raises(ValueError, match=f"{len(element)} components"):
        unpack(element)


def test_an_element_is_one_argument():
    data = Dataset.from_tensors((1, 2))
    assert next(iter(as_one_argument(data).map(lambda e: e[1]))) == 2


def test_check_dataset():
    check_dataset(Dataset.range(1), "x")
    with pytest.raises(TypeError, match=r"`x` must be.*list"):
        check_dataset([1], "x")
    with pytest.raises(ValueError, match="`x` is empty"):
        check_dataset(Dataset.range(0), "x")


def test_tensor_specs_leave_out_none():
    data = Dataset.from_tensors((1, None, tf.ragged.constant([[1]])))
    kinds = [type(spec) for spec in tensor_specs(data.element_spec)]
    assert kinds == [tf.TensorSpec, tf.RaggedTensorSpec]
