import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.datasets import LabeledText

DATA = LabeledText([f"comment {i}" for i in range(100)], [0, 1] * 50)


def test_split_parts_the_rows_in_order():
    train, test = DATA.split(0.3, seed=1)
    assert (len(train), len(test)) == (70, 30)
    assert set(train.texts) | set(test.texts) == set(DATA.texts)
    for part in (train, test):
        numbers = np.array([int(text.split()[1]) for text in part.texts])
        assert (np.diff(numbers) > 0).all()
        assert (part.labels == numbers % 2).all()


def test_split_follows_its_seed():
    held_out = [list(DATA.split(seed=seed)[1].texts) for seed in (1, 1, 2)]
    assert held_out[0] == held_out[1] != held_out[2]


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_split_leaves_no_part_empty(fraction):
    train, test = LabeledText(["a", "b"], [0, 1]).split(fraction)
    assert len(train) == len(test) == 1


def test_arrays_feed_a_dataset():
    ds = tf.data.Dataset.from_tensor_slices((DATA.texts, DATA.labels))
    text, label = next(iter(ds.batch(2)))
    assert list(text.numpy()) == [b"comment 0", b"comment 1"]
    assert list(label.numpy()) == [0, 1]


@pytest.mark.parametrize("fraction", [0, 1, 1.5, float("nan")])
def test_split_refuses_fractions(fraction):
    with pytest.raises(ValueError, match="test_fraction"):
        DATA.split(fraction)


def test_refuses_what_cannot_be_split_or_paired():
    with pytest.raises(ValueError, match="two rows"):
        LabeledText(["a"], [1]).split()
    with pytest.raises(ValueError, match=r"\(2,\).*\(1,\)"):
        LabeledText(["a", "b"], [1])


@pytest.mark.parametrize("labels", [[0.9, 0.2], [2, 1], [1, -1], [0, np.nan]])
def test_refuses_labels_that_are_no_classes(labels):
    with pytest.raises(ValueError, match="`labels` must hold zeros and ones"):
        LabeledText(["a", "b"], labels)
    assert LabeledText(["a", "b"], [True, 0.0]).labels.tolist() == [1, 0]


@pytest.mark.parametrize("text", [1, None, b"a"])
def test_refuses_texts_that_are_no_strings(text):
    with pytest.raises(TypeError, match="`texts` must hold strings"):
        LabeledText([text, "b"], [0, 1])
