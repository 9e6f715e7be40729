"""The base of the losses on groups of rows."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common import transforms
from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.common.configs import (
    constructor_config,
    snake_case,
)
from tensorflow_model_remediation_ext.min_diff import kernels
from tensorflow_model_remediation_ext.min_diff.kernels import MinDiffKernel
from tensorflow_model_remediation_ext.min_diff.members import (
    both_groups,
    grouped_rows,
)


class MinDiffLoss(keras.losses.Loss):
    """Base class of the losses on groups of rows.

    A loss is called as `loss(membership, predictions, sample_weight=None)`
    and returns a scalar. Subclasses implement `call` of the same arguments,
    which compares two groups and gets them prepared: membership `[n, 1]` of
    0.0 and 1.0, predictions `[n, columns]`, at least float32, and weights
    `[n, 1]` that sum to 1. Positions that Keras masks weigh nothing. A batch
    without a second group gives 0 and no gradient, whatever `call` returns.
    Register a subclass with `@keras.saving.register_keras_serializable()`,
    so that models that use it can be loaded.

    Args:
        membership_transform: Applied to the membership first: a callable,
            registered with Keras, or `None`.
        predictions_transform: Applied to the predictions first: `None`,
            `"logit"`, `"sigmoid"`, `"softmax"`, or a callable from a float
            tensor to a float tensor, registered with Keras.
        membership_kernel: Kept for subclasses: a `MinDiffKernel`, its name or
            `None`.
        predictions_kernel: The same, for predictions.
        name: Name of the loss; default: the class name in snake case.
        groups: Number of groups. With two, membership 1 is the sensitive one.
            With more, membership is a class id, and the figure is the largest
            of each group against the rest.

    Raises:
        ValueError: If an argument is not usable; or, when called, if shapes
            do not fit, an id is not one of `groups`, or a weight is negative
            or not finite. Where values cannot be seen (a graph, `jax.jit`),
            the loss is NaN instead.

    Examples:
        ```python
        @keras.saving.register_keras_serializable()
        class MeanGapLoss(MinDiffLoss):
            def call(self, membership, predictions, sample_weight=None):
                ones = keras.ops.sum(membership * sample_weight)
                mean = keras.ops.sum(membership * sample_weight * predictions)
                rest = keras.ops.sum(sample_weight * predictions) - mean
                return keras.ops.abs(mean / ones - rest / (1 - ones))
        ```

    References:
        Prost et al. 2019, "Toward a better trade-off between performance and
        fairness with kernel-based distribution matching" (arXiv 1910.11779).
    """

    def __init__(
        self,
        membership_transform: Callable | None = None,
        predictions_transform: str | Callable | None = None,
        membership_kernel: str | MinDiffKernel | None = None,
        predictions_kernel: str | MinDiffKernel | None = None,
        name: str | None = None,
        *,
        groups: int = 2,
    ):
        super().__init__(name=name or snake_case(type(self).__name__))
        self.groups = whole("groups", groups, least=2)
        self.membership_transform = transforms.restored(membership_transform)
        self.predictions_transform = transforms.restored(predictions_transform)
        self._transforms = [
            transforms.get(membership_transform),
            transforms.get(predictions_transform, "predictions_transform"),
        ]
        self.membership_kernel = kernels.get(
            membership_kernel, "membership_kernel"
        )
        self.predictions_kernel = kernels.get(
            predictions_kernel, "predictions_kernel"
        )

    def __call__(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the loss, a scalar.

        Args:
            membership: Group of each row, `[batch]` or `[batch, 1]`: integer,
                boolean or float.
            predictions: `[batch]` or `[batch, ..., columns]`. Positions of a
                sequence count as rows of the group of their sequence.
            sample_weight: `[batch]`, `[batch, 1]`, or the shape of the
                predictions without the last axis; default 1.

        Raises:
            ValueError: See the class.
        """
        figures = self.compare_groups(
            self.call, membership, predictions, sample_weight
        )
        return figures[0] if len(figures) == 1 else ops.max(ops.stack(figures))

    def compare_groups(
        self,
        call: Callable,
        membership: Any,
        predictions: Any,
        sample_weight: Any = None,
    ) -> list:
        """Returns a figure of each group against the rest.

        Args:
            call: Gets what `call` gets, and returns a scalar.
            membership: See `__call__`.
            predictions: See `__call__`.
            sample_weight: See `__call__`.

        Returns:
            One scalar for two groups, otherwise one for each group.
        """
        to_groups, to_predictions = self._transforms
        rows = grouped_rows(
            to_groups(membership),
            predictions,
            sample_weight,
            self.groups,
            self.name,
            to_predictions,
        )
        weight = ops.divide_no_nan(rows.weight, ops.sum(rows.weight))
        figures = []
        for k in range(rows.membership.shape[1]):
            membership = rows.membership[:, k : k + 1]
            groups = both_groups(membership) * weight
            alone = ops.any(ops.sum(groups, axis=0) <= 0)
            sums = ops.matmul(ops.transpose(groups), rows.predictions)
            usable = ops.isfinite(ops.sum(sums))
            # Of the inputs, too: a zero gradient of the figure alone would be
            # multiplied by infinity on its way back.
            predictions = ops.where(
                alone, ops.stop_gradient(rows.predictions), rows.predictions
            )
            figure = call(membership, predictions, weight)
            figure = ops.where(alone, ops.zeros_like(figure), figure)
            # What is not a number must not pass for no difference.
            figures.append(ops.where(usable, figure, float("nan")))
        return figures

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the difference between two groups, a scalar."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement "
            "`call(membership, predictions, sample_weight)`."
        )

    def get_config(self) -> dict:
        """Returns the arguments of the constructor.

        Raises:
            ValueError: If a subclass takes an argument that it does not save,
                or if a transform is a callable that is not registered.
        """
        return constructor_config(self, self._arguments_by_name(), MinDiffLoss)

    def _arguments_by_name(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "groups": self.groups,
            "membership_transform": transforms.serialize(
                self.membership_transform
            ),
            "predictions_transform": transforms.serialize(
                self.predictions_transform
            ),
            "membership_kernel": serialize(self.membership_kernel),
            "predictions_kernel": serialize(self.predictions_kernel),
        }


class ConfiguredLoss(MinDiffLoss):
    """A loss whose config holds only the arguments that its class names."""

    _arguments: tuple[str, ...] = ()

    def _arguments_by_name(self) -> dict:
        config = super()._arguments_by_name()
        config = {"kernel": config["predictions_kernel"], **config}
        kept = ("name", "groups", *self._arguments)
        return {key: config[key] for key in kept if key in config}
