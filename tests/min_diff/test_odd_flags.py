"""A text that says "False" is not taken for a flag that is set."""

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor
from tensorflow_model_remediation_ext.min_diff.keras import utils
from tensorflow_model_remediation_ext.min_diff.losses import (
    GaussianKernel,
    MMDLoss,
    RateGapLoss,
)


@pytest.mark.parametrize("value", ["False", 0, 1, [], None])
def test_flags(value):
    data = tf.data.Dataset.from_tensor_slices(
        ({"g": ["a", "b"], "x": [1.0, 2.0]}, [0, 1])
    ).batch(2)
    for name, make in (
        ("unbiased", lambda v: MMDLoss(unbiased=v)),
        ("tile_input", lambda v: GaussianKernel(tile_input=v)),
        (
            "keep_group",
            lambda v: utils.build_min_diff_dataset(
                data, group="g", keep_group=v
            ),
        ),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be True or"):
            make(value)


@pytest.mark.parametrize("value", ["False", 0, 1, np.array([True, False])])
def test_flags_that_may_be_none(value):
    with pytest.raises(ValueError, match="`signed` must be None, True"):
        RateGapLoss(signed=value)
    with pytest.raises(TypeError, match="`whole_words` must be `None`"):
        TermEditor(["gay"], whole_words=value)
