"""What both wrappers have of their base."""

import keras
import numpy as np
import pytest

from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
)
from tensorflow_model_remediation_ext.min_diff.keras import MinDiffModel

WRAPPERS = [CounterfactualModel, lambda model: MinDiffModel(model, "mmd_loss")]


class Holder(keras.Model):
    def __init__(self, layers):
        super().__init__()
        self.parts = {"some": layers}

    def call(self, inputs):
        return self.parts["some"][0](inputs)


def plain():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


@pytest.mark.parametrize("outer", WRAPPERS)
@pytest.mark.parametrize("inner", WRAPPERS)
@pytest.mark.parametrize(
    "hold",
    [
        lambda model: model,
        lambda model: keras.Sequential([keras.Input((2,)), model]),
        lambda model: keras.Sequential([Holder([model])]),
    ],
)
def test_a_wrapper_in_a_wrapper_is_refused(outer, inner, hold):
    """Its penalty would have no part in training."""
    model = hold(inner(plain()))
    with pytest.raises(TypeError, match=r"`original_model`.*Received: \w+Mod"):
        outer(model)
    # What it wraps can be wrapped again, and held without a penalty.
    x = np.ones((3, 2), "float32")
    original = plain()
    np.testing.assert_array_equal(
        outer(hold(inner(original).original_model))(x), original(x)
    )
