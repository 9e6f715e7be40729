"""Tests of recognizing batches and of regrouping them."""

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import (
    Layout,
    batch_size,
    count_rows,
    declared_batch_size,
    layout_of,
    regroup,
    require_batches,
)
from tensorflow_model_remediation_ext.common.rows import keep_rows

Dataset = tf.data.Dataset


def to_lists(structure):
    def to_list(tensor):
        if isinstance(tensor, tf.RaggedTensor):
            return tensor.to_list()
        if isinstance(tensor, tf.SparseTensor):
            return tf.sparse.to_dense(tensor).numpy().tolist()
        return tensor.numpy().tolist()

    return {name: to_list(tensor) for name, tensor in structure.items()}


@pytest.mark.parametrize("size", [None, 3])
def test_regroup_keeps_every_row_in_order(size):
    rows = {"ragged": tf.ragged.range(tf.range(10)), "dense": tf.range(10)}
    data = Dataset.from_tensor_slices(rows).batch(4)
    sized = data.map(
        lambda r: (
            tf.constant(4, tf.int64),
            keep_rows(r, r["dense"] > 4),
        )
    )
    batches = [to_lists(b) for b in regroup(sized, size)]
    wanted = [[5, 6, 7, 8], [9]] if size is None else [[5, 6, 7], [8, 9]]
    assert [b["dense"] for b in batches] == wanted
    assert [len(r) for b in batches for r in b["ragged"]] == [5, 6, 7, 8, 9]


def test_batch_sizes_and_layouts_are_recognized():
    numbers = Dataset.range(10)
    vectors = Dataset.from_tensor_slices(np.zeros([10, 3]))
    texts = Dataset.from_tensor_slices(["a", "b"])
    assert batch_size(numbers) is None
    assert batch_size(numbers.batch(4).shuffle(2).prefetch(1)) == 4
    assert batch_size(numbers.batch(4).map(lambda x: x[:2])) is None
    assert batch_size(numbers.batch(5, drop_remainder=True)) == 5
    for data in (numbers, vectors, texts):
        assert layout_of(data) is Layout.EXAMPLES
        assert layout_of(data.batch(2)) is Layout.BATCHES
        static = data.batch(2, drop_remainder=True)
        assert layout_of(static) is Layout.BATCHES


def test_a_weight_decides_on_the_layout():
    texts = Dataset.from_tensor_slices(["a", "b"]).batch(2)
    scalar, vector = (tf.TensorSpec(shape) for shape in ([], [None]))
    assert layout_of(texts, scalar) is Layout.EXAMPLES
    assert layout_of(texts.unbatch(), vector) is Layout.BATCHES
    assert layout_of(texts, tf.TensorSpec(None)) is Layout.BATCHES


def test_the_private_operation_still_answers():
    """If this fails, TensorFlow changed what `declared_batch_size` asks."""
    rows = Dataset.range(10)
    assert declared_batch_size(rows.batch(4).prefetch(1)) == 4
    assert declared_batch_size(rows.padded_batch(3).repeat()) == 3
    assert declared_batch_size(rows) is None
    assert declared_batch_size(rows.batch(4).map(lambda x: x)) is None


def test_rows_are_counted():
    counts = Dataset.range(10).batch(4).map(lambda x: tf.size(x, tf.int64))
    assert count_rows(counts) == 10
    assert count_rows(counts.take(0)) == 0


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (lambda: Dataset.from_tensor_slices(np.ones(4)), r"shape=\(\)"),
        (
            lambda: Dataset.from_tensor_slices(np.ones((4, 2), "float32")),
            r"shape=\(2,\)",
        ),
        (
            lambda: Dataset.from_tensors((np.ones((4, 2)), np.ones(3))),
            r"shape=\(4, 2\)",
        ),
    ],
)
def test_batches_are_required(elements, message):
    message = f"`data` must be batched.*Received.*{message}"
    with pytest.raises(ValueError, match=message):
        require_batches(elements(), "data")


def test_batches_pass():
    for rows in (np.ones(4), np.ones((4, 2))):
        require_batches(Dataset.from_tensor_slices(rows).batch(2), "data")
