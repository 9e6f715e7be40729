import functools
from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import (
    flag,
    function_of_one,
    number,
)


@pytest.mark.parametrize(
    "value", [2, 0.5, np.float32(0.5), np.int64(3), Fraction(1, 2)]
)
def test_numbers_of_any_kind_are_floats(value):
    found = number("x", value)
    assert type(found) is float and found == value


@pytest.mark.parametrize(
    "value", [float("nan"), np.inf, "0.5", None, {1: 0.2}, True, [0.5], 1j]
)
def test_what_is_no_finite_number_is_named(value):
    with pytest.raises(ValueError, match=r"`x` must.*Received: x="):
        number("x", value)


def test_flags_are_booleans_and_nothing_else():
    assert flag("x", np.bool_(True)) is True and flag("x", False) is False
    for value in (1, 0.5, None, "no", [True]):
        with pytest.raises(ValueError, match=r"`x` must.*Received: x="):
            flag("x", value)


@pytest.mark.parametrize(
    "function",
    [len, np.sqrt, str.upper, functools.partial(pow, 2), tf.strings.upper]
    + [lambda x, y=1: x, lambda *x: x, tf.function(lambda x: x)]
    + [keras.layers.Dense(1), str],
)
def test_functions_of_one_argument(function):
    function_of_one("f", function, "an `x`")


@pytest.mark.parametrize(
    "function", ["text", None, lambda x, y: x, lambda: 1, lambda *, x: x]
)
def test_what_cannot_be_called_with_one_argument_is_named(function):
    with pytest.raises(TypeError, match=r"`f` must.*an `x`. Received"):
        function_of_one("f", function, "an `x`")
