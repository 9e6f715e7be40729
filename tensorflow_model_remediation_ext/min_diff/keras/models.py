"""The model that learns to treat groups of rows alike."""

import warnings
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common import replicas, transforms
from tensorflow_model_remediation_ext.common.configs import PACKAGE
from tensorflow_model_remediation_ext.common.objectives import (
    align,
    argument_name,
    by_objective,
    unwrap,
)
from tensorflow_model_remediation_ext.common.remediation_model import (
    Penalty,
    RemediationModel,
)
from tensorflow_model_remediation_ext.min_diff import losses
from tensorflow_model_remediation_ext.min_diff.keras.checks import (
    checked_data,
    spread,
    usable_rows,
)
from tensorflow_model_remediation_ext.min_diff.keras.metrics import RateGap
from tensorflow_model_remediation_ext.min_diff.keras.packing import (
    is_packed,
    unpack_original_inputs,
)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MinDiffModel(RemediationModel):
    """Trains a Keras model with MinDiff: equal scores between groups.

    Wrap a model before `compile` and `fit` it on data from
    `pack_min_diff_data`. The loss becomes

        `loss = original_loss + loss_weight * min_diff_loss`

    where `original_loss` is the compiled loss plus regularization losses, and
    `min_diff_loss` compares the predictions on rows of groups. All three are
    logged, `min_diff_loss` before weighting. Otherwise the model is used as
    the one it wraps: callbacks, `jit_compile`, mixed precision,
    `tf.distribute` and saving included. `evaluate` and `predict` take packed
    and plain data alike; `export` exports the wrapped model.

    The rows of the groups do not touch the state of the wrapped model: batch
    statistics are learned from the task's data alone. The group is needed to
    train, not to predict.

    What is equal on the training data is less so on others: measure it there,
    with `evaluation.group_metrics`. Equal rates of decisions are not equal
    errors, nor the other way around.

    Args:
        original_model: The `keras.Model` to wrap: trained in place, compiled
            or not, trained or not.
        loss: Penalty on groups: a `MinDiffLoss`, its name (such as
            `"mmd_loss"`), or a dict of them by objective. With several
            outputs, the penalty is the sum over outputs.
        loss_weight: Weight of the penalty, a target (`AtMost(0.02)`) that
            training finds the weight for, or a dict of either by objective.
        predictions_transform: Applied to what the model returns for the rows
            of the groups: `None`, `"logit"`, `"sigmoid"`, `"softmax"` or a
            callable, registered with Keras where the model is saved. It gets
            all outputs as the model returns them, and returns one tensor.
        outputs: Names or positions of the outputs that the penalty is about.
            Default: those that have a loss in `compile`. Not used with
            `predictions_transform`.
        **kwargs: Passed to `keras.Model`, e.g. `name`.

    Raises:
        TypeError: If `original_model`, `loss` or a metric has the wrong type.
        ValueError: If a weight is negative or not finite, if the objectives
            differ, if a target lacks a metric, or if data given to `fit` were
            not packed.

    Examples:
        ```python
        rows = build_min_diff_dataset(data, group="sex", condition="negatives")
        packed = pack_min_diff_data(data, min_diff_dataset=rows)

        model = MinDiffModel(original_model, RateGapLoss(), AtMost(0.02))
        model.compile(
            "adam", "binary_crossentropy", min_diff_metrics=[RateGap()]
        )
        model.fit(packed, epochs=10)
        ```

    References:
        Prost et al. 2019, "Toward a better trade-off between performance and
        fairness with kernel-based distribution matching" (arXiv 1910.11779).
    """

    penalty_name = "min_diff"
    packed_by = "pack_min_diff_data"
    target_metrics = (RateGap,)
    replaced_methods = MappingProxyType(
        {
            "compute_min_diff_loss": "override `compute_penalty`",
            "compute_total_loss": "override `compute_loss`",
            "unpack_min_diff_data": "override `unpack`",
            "unpack_original_inputs": "override `unpack`",
        }
    )

    def __init__(
        self,
        original_model: keras.Model,
        loss: Any,
        loss_weight: Any = 1.0,
        predictions_transform: str | Callable | None = None,
        *,
        outputs: str | int | Iterable[str | int] | None = None,
        **kwargs: Any,
    ):
        resolved = {
            objective: losses.get(each)
            for objective, each in by_objective(loss, "loss").items()
        }
        self._check_transform(predictions_transform)
        super().__init__(
            original_model,
            unwrap(resolved),
            loss_weight,
            outputs=outputs,
            **kwargs,
        )
        self.predictions_transform = transforms.restored(predictions_transform)

    def compile(
        self, *args: Any, min_diff_metrics: Any = None, **kwargs: Any
    ) -> None:
        """Configures training, as `keras.Model.compile`.

        Args:
            *args: As in `keras.Model.compile`.
            min_diff_metrics: Metrics over the rows of the groups, such as
                `RateGap()`: one, a list, or a dict of lists by objective.
                Their `update_state` is called with `membership`,
                `predictions`, `sample_weight`, for each output in turn. With
                several objectives each has its own copy, named
                `<objective>_<name>`.
            **kwargs: As in `keras.Model.compile`.
        """
        super().compile(*args, penalty_metrics=min_diff_metrics, **kwargs)

    def look_back(self, history: dict[str, list]) -> None:
        """Warns of groups that never met in a batch."""
        for name, values in history.items():
            if name.endswith("min_diff_loss") and not any(values):
                warnings.warn(
                    f"`{name}` was 0 in every epoch: no batch held rows of "
                    "two groups, or the predictions on them were all the "
                    "same. `build_min_diff_dataset(..., group=...)` draws "
                    "rows of every group for each batch.",
                    stacklevel=3,
                )

    def call(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> Any:
        """Runs the wrapped model; packed inputs are looked through."""
        inputs, mask = map(unpack_original_inputs, (inputs, mask))
        return super().call(inputs, training, mask)

    def unpack(self, batch: Any) -> tuple[Any, Any] | None:
        """Splits a batch whose `x` is `MinDiffPackedInputs`."""
        inputs, rest = batch, ()
        if not is_packed(batch):
            if not isinstance(batch, (tuple, list)) or not batch:
                return None
            inputs, *rest = batch
        if not is_packed(inputs):
            return None
        data = checked_data(inputs.min_diff_data, inputs.original_inputs)
        return (inputs.original_inputs, *rest), data

    def usable(self, objective: str, inputs: Any) -> Any:
        """Returns rows whose groups and weights are known to be usable."""
        name = argument_name("min_diff_data", objective)
        return usable_rows(inputs, self._groups_of(objective), name)

    def spread_rows(self, objective: str, inputs: Any, parted: Any) -> Any:
        """Gives each part of the rows its share of every group."""
        return spread(inputs, self._groups_of(objective), parted)

    def _groups_of(self, objective):
        """Returns how many groups the loss of an objective compares."""
        given = by_objective(self.penalty_loss, "loss")
        return given.get(objective, next(iter(given.values()))).groups

    def default_target_metric(self, loss: Any) -> RateGap | None:
        """Returns the figure that a loss is a smooth form of."""
        if not isinstance(loss, losses.RateGapLoss):
            return None
        return RateGap(
            loss.threshold,
            groups=loss.groups,
            predictions_transform=loss.predictions_transform,
        )

    def penalty_has_sign(self, loss: Any) -> bool:
        """Whether a target pulls the penalty either way."""
        return isinstance(loss, losses.RateGapLoss) and loss.signed is not False

    def check_weight(self, loss: Any, weight: float) -> None:
        """Refuses a fixed weight for a gap with a sign."""
        if getattr(loss, "signed", None) is True and weight:
            raise ValueError(
                "`loss_weight` must be a target such as `AtMost(0.02)` for a "
                "loss with `signed=True`: a fixed weight would push the gap "
                f"below zero without end. Received: loss_weight={weight!r}"
            )

    def open_objectives(self, objectives: Iterable[str]) -> None:
        """Checks that metrics have as many groups as the losses, too."""
        super().open_objectives(objectives)
        given = align(self.penalty_loss, objectives, "loss")
        for objective, loss in given.items():
            for metric in self._ledger.metrics[objective]:
                groups = getattr(metric, "groups", loss.groups)
                if groups != loss.groups:
                    raise ValueError(
                        "`min_diff_metrics` must have as many groups as "
                        f"`loss`. Received: {metric.name} with groups="
                        f"{groups}, {loss.name} with groups={loss.groups}"
                    )

    def compute_penalty(
        self, inputs: Any, loss: Any, training: bool
    ) -> Penalty:
        """Compares the predictions on rows of groups."""
        x, membership, weight = keras.utils.unpack_x_y_sample_weight(inputs)
        updates = [
            (membership, predictions, weight)
            for predictions in self._predictions(x, training)
        ]
        # As Keras scales losses.
        scale = 1.0 / replicas.in_sync()
        values, signed = [], None
        if self.penalty_has_sign(loss) and len(updates) == 1:
            signed = scale * ops.stack(loss.signed_gaps(*updates[0]))
        for update in updates:
            values.append(scale * loss(*update))
        return Penalty(sum(values), ops.shape(membership)[0], updates, signed)

    def _predictions(self, x, training):
        if self.predictions_transform is None:
            return list(self.predict_for_penalty(x, training).values())
        transform = transforms.get(
            self.predictions_transform, "predictions_transform"
        )
        return [transform(self.run_for_penalty(x, training))]

    def _arguments_by_name(self) -> dict:
        return {
            **super()._arguments_by_name(),
            "predictions_transform": transforms.serialize(
                self.predictions_transform
            ),
        }

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> "MinDiffModel":
        """Makes the model that `get_config` described."""
        transform = keras.saving.deserialize_keras_object(
            config.get("predictions_transform"), custom_objects=custom_objects
        )
        if transform is not None:
            config = {**config, "predictions_transform": transform}
        return super().from_config(config, custom_objects)

    @staticmethod
    def _check_transform(transform):
        try:
            transforms.get(transform)
        except ValueError as error:
            raise ValueError(
                "`predictions_transform` must be callable, the name of a "
                f"transform or None. Received: {transform!r}"
            ) from error
