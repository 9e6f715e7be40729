"""Tests of counting, choosing and comparing rows."""

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.rows import (
    changed_rows,
    keep_rows,
    row_count,
    take_rows,
)


def kinds():
    dense = tf.constant([[0, 1], [2, 0], [0, 0], [3, 4]])
    return {
        "dense": dense,
        "ragged": tf.ragged.constant([[1], [], [2, 3], [4]]),
        "sparse": tf.sparse.from_dense(dense),
    }


def to_lists(structure):
    def to_list(tensor):
        if isinstance(tensor, tf.RaggedTensor):
            return tensor.to_list()
        if isinstance(tensor, tf.SparseTensor):
            return tf.sparse.to_dense(tensor).numpy().tolist()
        return tensor.numpy().tolist()

    return {name: to_list(tensor) for name, tensor in structure.items()}


@pytest.mark.parametrize("mask", [[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_keep_rows(mask):
    kept = to_lists(keep_rows(kinds(), tf.constant(mask) == 1))
    for name, rows in to_lists(kinds()).items():
        expected = [row for row, m in zip(rows, mask, strict=True) if m]
        assert kept[name] == expected


def test_take_rows_needs_enough_of_them():
    assert row_count(take_rows(kinds(), 3)) == 3
    with pytest.raises(tf.errors.InvalidArgumentError, match="missing"):
        take_rows(kinds(), 5)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ([1.0, np.nan, np.nan], [2.0, np.nan, 1.0], [True, False, True]),
        ([[b"a", b"b"], [b"c", b"d"]], [[b"a", b"b"], [b"c", b""]], [0, 1]),
        (np.zeros([2, 3]), np.zeros([2, 4]), [True, True]),
        (np.zeros([0, 3]), np.zeros([0, 3]), []),
    ],
)
def test_changed_rows_of_dense_tensors(before, after, changed):
    result = changed_rows(tf.constant(before), tf.constant(after))
    assert result.numpy().tolist() == [bool(c) for c in changed]


def test_changed_rows_of_ragged_tensors():
    before = tf.ragged.constant([[[1], []], [[2, 3]], [[]], [[4]], [[0]]])
    after = tf.ragged.constant([[[1], []], [[2, 9]], [], [[4]], [[0, 0]]])
    result = changed_rows(before, after)
    assert result.numpy().tolist() == [False, True, True, False, True]


def test_changed_rows_of_sparse_tensors():
    before = tf.sparse.from_dense([[1, 0], [0, 2], [0, 0], [3, 0]])
    after = tf.sparse.from_dense([[1, 0], [2, 0], [0, 0], [4, 0]])
    result = changed_rows(before, after)
    assert result.numpy().tolist() == [False, True, False, True]
