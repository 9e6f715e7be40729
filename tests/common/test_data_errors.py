"""Tests of errors in data, which reach the user as one sentence."""

import keras
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.data_errors import (
    in_plain_words,
    repeat_or_fail,
    require,
)

SENTENCE = "Nothing is there: `data['señora']` is empty."
Dataset = tf.data.Dataset


def test_data_are_repeated():
    data = repeat_or_fail(Dataset.range(2), SENTENCE)
    assert list(data.take(5).as_numpy_iterator()) == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("compiled", [False, True])
def test_the_sentence_is_all_of_the_error(compiled):
    data = repeat_or_fail(Dataset.range(2).filter(lambda x: x > 5), SENTENCE)

    @in_plain_words
    def read(data):
        """Reads."""
        iterator = iter(data)
        if not compiled:
            return next(iterator)
        return tf.function(lambda: next(iterator))()

    assert read.__doc__ == "Reads."
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        read(data)
    assert str(error.value) == SENTENCE
    # Without what led to it: that is the wall of text.
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or not error.value.__context__


def test_other_errors_pass_through():
    @in_plain_words
    def fail():
        keras.ops.convert_to_numpy(tf.gather([1], 5))

    with pytest.raises(tf.errors.InvalidArgumentError, match="indices"):
        fail()


def test_what_is_required_is_said_with_the_number():
    def check(x):
        with require(x < 3, "Numbers must be below 3. Received:", x):
            return tf.identity(x)

    data = Dataset.range(5).map(check)

    @in_plain_words
    def read():
        return list(data.as_numpy_iterator())

    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        read()
    assert error.value.message == "Numbers must be below 3. Received: 3"
