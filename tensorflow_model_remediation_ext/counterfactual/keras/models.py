"""The model that learns not to react to identity terms."""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

import keras

from tensorflow_model_remediation_ext.common.comparing import compare
from tensorflow_model_remediation_ext.common.configs import PACKAGE
from tensorflow_model_remediation_ext.common.data_errors import usable_weight
from tensorflow_model_remediation_ext.common.objectives import (
    argument_name,
    by_objective,
    unwrap,
)
from tensorflow_model_remediation_ext.common.remediation_model import (
    Penalty,
    RemediationModel,
)
from tensorflow_model_remediation_ext.counterfactual import losses
from tensorflow_model_remediation_ext.counterfactual.keras.metrics import (
    CounterfactualGap,
    FlipRate,
)
from tensorflow_model_remediation_ext.counterfactual.keras.packed import (
    as_packed,
)


@keras.saving.register_keras_serializable(package=PACKAGE)
class CounterfactualModel(RemediationModel):
    """Trains a Keras model with counterfactual logit pairing (CLP).

    Wrap a model before `compile` and `fit` it on data from
    `pack_counterfactual_data`. The loss becomes

        `loss = original_loss + loss_weight * counterfactual_loss`

    where `original_loss` is the compiled loss plus regularization losses, and
    `counterfactual_loss` compares the predictions on both halves of the
    pairs. All three are logged, `counterfactual_loss` before weighting.
    Otherwise the model is used like the one it wraps: callbacks,
    `jit_compile`, mixed precision, `tf.distribute` and saving included.
    `evaluate` and `predict` take packed and plain data alike; `export` exports
    the wrapped model.

    A KerasHub task with its preprocessor takes packed raw strings or images:
    the preprocessor is applied to every part of them, once.

    The sum holds for each batch; over an epoch, for data whose batches have a
    pair for each example, as packed ones do. `val_loss` holds the penalty where
    validation data are packed.

    The pairs do not touch the state of the wrapped model: batch statistics
    are learned from the data alone, and both halves of a pair see the same
    dropout mask. That holds for randomness that Keras draws, on each of its
    backends, and not for what a layer draws in another way, as by `tf.random`.

    Callbacks that monitor one of the added figures cannot know which way is
    better: give them `mode="min"`.

    CLP holds for the terms it was trained with, on data like those it was
    trained on. It does not make groups be treated equally, nor does it touch
    what a text says of a group in other words.

    Args:
        original_model: The `keras.Model` to wrap: trained in place, compiled
            or not, trained or not.
        loss: Penalty on pairs: a `CounterfactualLoss`, its name (such as
            `"pairwise_mse_loss"`), or a Keras loss that is 0 for identical
            predictions and never negative; or a dict of them by objective.
            Each must reduce to a scalar. Default:
            `PairwiseMSELoss()`. For a model that ends in a sigmoid,
            `PairwiseMSELoss(transform="logit")` pairs logits, as in the
            paper. With several outputs, the penalty is the sum over outputs.
        loss_weight: Weight of the penalty, a target (`AtMost(0.005)`: at
            most one decision in 200 flips) that training finds the weight
            for, or a dict of either by objective.
        outputs: Names or positions of the outputs that are paired. Default:
            those that have a loss in `compile`.
        **kwargs: Passed to `keras.Model`, e.g. `name`.

    Raises:
        TypeError: If `original_model`, `loss` or a metric has the wrong type.
        ValueError: If a weight is negative or not finite, if the objectives
            differ, if `loss` does not measure a difference, if data given
            to `fit` were not packed, or if no output has a loss and `outputs`
            is not given.

    Examples:
        ```python
        data = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(64)
        pairs = build_counterfactual_data(data, ["gay", "muslim"])
        packed = pack_counterfactual_data(data, pairs)

        model = CounterfactualModel(original_model, loss_weight=1.0)
        model.compile(
            "adam",
            "binary_crossentropy",
            counterfactual_metrics=[FlipRate()],
        )
        model.fit(packed, epochs=2)
        ```

    References:
        Garg et al. 2018, "Counterfactual Fairness in Text Classification
        through Robustness" (arXiv 1809.10610), section 4.3.
    """

    penalty_name = "counterfactual"
    packed_by = "pack_counterfactual_data"
    target_metrics = (FlipRate, CounterfactualGap)
    parts_to_run = 2
    replaced_methods = MappingProxyType(
        {
            "compute_counterfactual_loss": "override `compute_penalty`",
            "compute_total_loss": "override `compute_loss`",
            "update_metrics": (
                "override `compute_metrics`, or give `compile` metrics"
            ),
        }
    )

    def __init__(
        self,
        original_model: keras.Model,
        loss: Any = None,
        loss_weight: Any = 1.0,
        *,
        outputs: str | int | Iterable[str | int] | None = None,
        **kwargs: Any,
    ):
        resolved = {
            objective: losses.get(each)
            for objective, each in by_objective(loss, "loss").items()
        }
        super().__init__(
            original_model,
            unwrap(resolved),
            loss_weight,
            outputs=outputs,
            **kwargs,
        )

    def compile(
        self, *args: Any, counterfactual_metrics: Any = None, **kwargs: Any
    ) -> None:
        """Configures training, as `keras.Model.compile`.

        Args:
            *args: As in `keras.Model.compile`.
            counterfactual_metrics: Metrics over the pairs, such as
                `FlipRate()`: one, a list, or a dict of lists by objective.
                Their `update_state` is called with `original`,
                `counterfactual`, `sample_weight`, for each output in turn.
                With several objectives each has its own copy, named
                `<objective>_<name>`.
            **kwargs: As in `keras.Model.compile`.
        """
        super().compile(*args, penalty_metrics=counterfactual_metrics, **kwargs)

    def default_target_metric(self, loss: Any) -> FlipRate:
        """Returns a flip rate: what pairing is for.

        A loss that takes the sigmoid of what the model returns is about
        logits, whose decisions change at 0.
        """
        logits = getattr(loss, "transform", None) == "sigmoid"
        return FlipRate(threshold=0.0 if logits else 0.5)

    def unpack(self, batch: Any) -> tuple[Any, Any] | None:
        """Splits `CounterfactualPackedInputs`."""
        packed = as_packed(batch)
        if packed is None:
            return None
        return packed

    def usable(self, objective: str, inputs: Any) -> Any:
        """Returns pairs whose weights are known to be usable."""
        name = argument_name("counterfactual_data", objective)
        original_x, counterfactual_x, *weight = inputs
        weight = [usable_weight(each, name) for each in weight]
        return (original_x, counterfactual_x, *weight)

    def compute_penalty(
        self, inputs: Any, loss: Any, training: bool
    ) -> Penalty:
        """Compares the predictions on both halves of the pairs."""
        original_x, counterfactual_x, weight = (
            keras.utils.unpack_x_y_sample_weight(inputs)
        )
        originals = self.predict_for_penalty(original_x, training)
        counterfactuals = self.predict_for_penalty(counterfactual_x, training)
        values, updates = [], []
        for name, original in originals.items():
            losses.check_columns(loss, original)
            pair = compare(
                original, counterfactuals[name], weight, "counterfactual_data"
            )
            values.append(
                loss(
                    pair.original,
                    pair.counterfactual,
                    pair.weight_for(loss.reduction),
                )
            )
            updates.append((pair.original, pair.counterfactual, pair.weight))
        rows = keras.ops.shape(updates[0][0])[0]
        return Penalty(sum(values), rows, updates)
