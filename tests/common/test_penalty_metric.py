"""Metrics of penalties: saved, loaded, and each with its own penalty."""

import keras
import pytest

from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
)
from tensorflow_model_remediation_ext.counterfactual.keras.metrics import (
    CounterfactualGap,
    FlipRate,
)
from tensorflow_model_remediation_ext.min_diff.keras import MinDiffModel
from tensorflow_model_remediation_ext.min_diff.keras.metrics import RateGap


@keras.saving.register_keras_serializable(package="tests")
class Strict(FlipRate):
    def __init__(self, name="strict"):
        super().__init__(threshold=0.9, name=name)


@keras.saving.register_keras_serializable(package="tests")
class OfThree(RateGap):
    def __init__(self):
        super().__init__(groups=3, name="of_three")


@keras.saving.register_keras_serializable(package="tests")
class Named(CounterfactualGap):
    def __init__(self):
        super().__init__(name="named")


class Forgetful(FlipRate):
    def __init__(self, level, name="forgetful"):
        super().__init__(threshold=level, name=name)


@pytest.mark.parametrize("metric", [Strict(), OfThree(), Named()])
def test_a_subclass_with_fewer_arguments_loads(metric):
    saved = keras.saving.serialize_keras_object(metric)
    again = keras.saving.deserialize_keras_object(saved)
    assert type(again) is type(metric)
    assert again.name == metric.name
    for name in ("threshold", "groups"):
        assert getattr(again, name, None) == getattr(metric, name, None)


def test_an_argument_that_nothing_saves_is_an_error():
    with pytest.raises(
        ValueError, match=r"override `get_config` and add.*leve"
    ):
        Forgetful(0.3).get_config()


@pytest.mark.parametrize(
    ("wrapper", "loss", "argument", "metric"),
    [
        (
            CounterfactualModel,
            "pairwise_mse_loss",
            "counterfactual_metrics",
            RateGap(),
        ),
        (MinDiffModel, "mmd_loss", "min_diff_metrics", Strict()),
        (MinDiffModel, "mmd_loss", "min_diff_metrics", CounterfactualGap()),
    ],
)
def test_metrics_of_another_penalty_are_refused(
    wrapper, loss, argument, metric
):
    """It would take pairs for members and predictions, or the reverse."""
    dense = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = wrapper(dense, loss)
    model.compile("adam", "mse")
    before = model.optimizer
    for given in (metric, [metric]):
        with pytest.raises(TypeError, match=f"`{argument}` must hold .* one"):
            model.compile("sgd", "mse", **{argument: given})
    assert model.optimizer is before
