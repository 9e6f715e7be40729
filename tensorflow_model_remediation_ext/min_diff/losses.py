"""Penalties on the difference between predictions on groups of rows."""

import math
import numbers
import re
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common import transforms
from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.min_diff import kernels
from tensorflow_model_remediation_ext.min_diff.kernels import (
    PACKAGE,
    GaussianKernel,
    LaplacianKernel,
    MinDiffKernel,
)
from tensorflow_model_remediation_ext.min_diff.members import grouped_rows

__all__ = [
    "AbsoluteCorrelationLoss",
    "AdjustedMMDLoss",
    "GaussianKernel",
    "LaplacianKernel",
    "MMDLoss",
    "MinDiffKernel",
    "MinDiffLoss",
    "RateGapLoss",
    "get",
]


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
        super().__init__(name=name or _snake_case(type(self).__name__))
        self.groups = whole("groups", groups, least=2)
        self.membership_transform = membership_transform
        self.predictions_transform = predictions_transform
        self._transforms = [
            transforms.get(each)
            for each in (membership_transform, predictions_transform)
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
        heard = ops.where(rows.weight > 0, rows.predictions, 0.0)
        usable = ops.isfinite(
            ops.sum(heard) + ops.sum(rows.weight) + ops.sum(rows.membership)
        )
        figures = []
        for k in range(rows.membership.shape[1]):
            membership = rows.membership[:, k : k + 1]
            inside = ops.sum(membership * weight)
            alone = ops.logical_or(inside <= 0, inside >= ops.sum(weight))
            # At the way in as well, or 0 times infinity would come back.
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
        """Returns the arguments of the constructor."""
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


class _NamedArguments(MinDiffLoss):
    """A loss whose config holds only the arguments that its class names."""

    _arguments: tuple[str, ...] = ()

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config = {"kernel": config["predictions_kernel"], **config}
        kept = ("name", "groups", *self._arguments)
        return {key: config[key] for key in kept if key in config}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MMDLoss(_NamedArguments):
    """Maximum mean discrepancy of the predictions on two groups, squared.

    It is 0 in the mean where the scores of both groups have one distribution,
    and greater otherwise.

    Args:
        kernel: `"gaussian"`, `"laplacian"`, or a `MinDiffKernel`.
        predictions_transform: See `MinDiffLoss`.
        name: Name of the loss.
        unbiased: Whether rows are compared with other rows alone
            (U-statistic). It needs two rows of each group and is 0 without;
            and it can be negative. Otherwise each row meets itself too, as in
            the predecessor: then the loss is above 0 for groups without any
            difference, by .18 at 8 rows a group and .01 at 128, and lowers
            it by spreading scores.
        groups: See `MinDiffLoss`.

    Examples:
        >>> loss = MMDLoss()
        >>> float(loss([1, 1, 0, 0], [0.9, 0.9, 0.1, 0.1]))
        2.0
        >>> float(loss([1, 1, 1], [0.9, 0.5, 0.1]))
        0.0

    References:
        Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, lemma 6;
        Prost et al. 2019 (arXiv 1910.11779).
    """

    _arguments = ("kernel", "predictions_transform", "unbiased")

    def __init__(
        self,
        kernel: str | MinDiffKernel = "gaussian",
        predictions_transform: str | Callable | None = None,
        name: str | None = None,
        *,
        unbiased: bool = True,
        groups: int = 2,
    ):
        if kernel is None:
            raise TypeError("`kernel` must be a MinDiffKernel. Received: None")
        super().__init__(
            predictions_transform=predictions_transform,
            predictions_kernel=kernels.get(kernel),
            name=name,
            groups=groups,
        )
        self.unbiased = bool(unbiased)

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the squared discrepancy, a scalar."""
        return self._discrepancy(membership, predictions, sample_weight)[0]

    def _discrepancy(self, membership, predictions, weight):
        """Returns the discrepancy, and each group's variance of the mean."""
        similar = self.predictions_kernel(predictions)
        inside, outside = membership * weight, (1.0 - membership) * weight
        means, variances, enough = [], [], True
        for group in (inside, outside):
            total, squares = ops.sum(group), ops.sum(ops.square(group))
            itself = ops.sum(group[:, 0] * ops.diagonal(similar))
            pairs = ops.sum(group * ops.matmul(similar, group))
            count = ops.square(total)
            if self.unbiased:
                alone = ops.sum(ops.square(group[:, 0]) * ops.diagonal(similar))
                pairs = pairs - alone
                # Rounding leaves a trace of a single row's weight.
                count = count - squares
                some = count > 1e-6 * ops.square(total)
                count = ops.where(some, count, 0.0)
                enough = ops.logical_and(some, enough)
            mean = ops.divide_no_nan(pairs, count)
            spread = ops.divide_no_nan(itself, total) - mean
            means.append(mean)
            variances.append(
                ops.divide_no_nan(spread * squares, ops.square(total))
            )
        across = ops.divide_no_nan(
            ops.sum(inside * ops.matmul(similar, outside)),
            ops.sum(inside) * ops.sum(outside),
        )
        figure = means[0] + means[1] - 2.0 * across
        if self.unbiased:
            figure = ops.where(enough, figure, ops.zeros_like(figure))
        return figure, variances[0] + variances[1]

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "unbiased": self.unbiased}


@keras.saving.register_keras_serializable(package=PACKAGE)
class AdjustedMMDLoss(MMDLoss):
    """Maximum mean discrepancy over the variance of the groups' means.

    The variance, plus .01, is that in the space of the kernel; no gradient
    flows through it. So a difference counts more where it is more certain.

    Args:
        kernel: See `MMDLoss`.
        predictions_transform: See `MinDiffLoss`.
        name: Name of the loss.
        unbiased: See `MMDLoss`.
        groups: See `MinDiffLoss`.

    Examples:
        >>> loss = AdjustedMMDLoss()
        >>> round(float(loss([1, 1, 0, 0], [0.9, 0.9, 0.1, 0.1])), 2)
        200.0
    """

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the adjusted discrepancy, a scalar."""
        figure, variance = self._discrepancy(
            membership, predictions, sample_weight
        )
        return figure / (ops.stop_gradient(variance) + 1e-2)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AbsoluteCorrelationLoss(_NamedArguments):
    """Absolute correlation of membership and predictions.

    With several columns, the mean over them. It is 0 where the groups' mean
    predictions are the same, which says nothing of the rest of their
    distributions.

    Args:
        name: Name of the loss.
        groups: See `MinDiffLoss`.

    Examples:
        >>> loss = AbsoluteCorrelationLoss()
        >>> round(float(loss([1, 1, 0, 0], [0.9, 0.9, 0.1, 0.1])), 4)
        1.0

    References:
        Beutel et al. 2019, "Putting Fairness Principles into Practice"
        (arXiv 1901.04562).
    """

    def __init__(self, name: str | None = None, *, groups: int = 2):
        super().__init__(name=name, groups=groups)

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the absolute correlation, a scalar."""

        def centered(values):
            return values - ops.sum(sample_weight * values, axis=0)

        member, score = centered(membership), centered(predictions)
        together = ops.sum(sample_weight * member * score, axis=0)
        variances = ops.sum(
            sample_weight * ops.square(member), axis=0
        ) * ops.sum(sample_weight * ops.square(score), axis=0)
        # Predictions that are all the same have no correlation, and the root
        # no gradient there.
        varied = ops.logical_not(variances <= 0)
        root = ops.sqrt(ops.where(varied, variances, ops.ones_like(variances)))
        return ops.mean(
            ops.where(varied, ops.abs(together) / root, ops.zeros_like(root))
        )


@keras.saving.register_keras_serializable(package=PACKAGE)
class RateGapLoss(_NamedArguments):
    """Difference between the groups' rates of positive decisions, smoothed.

    A decision counts as `sigmoid((prediction - threshold) / temperature)`,
    so that a gradient flows; `min_diff.keras.metrics.RateGap` counts hard
    decisions. Over rows with label 0 the rate is the false positive rate,
    over rows with label 1 the true positive rate: see `condition` in
    `build_min_diff_dataset`.

    Args:
        threshold: Decision threshold, in the unit of the predictions
            (probability or logit).
        temperature: Width of the smoothing, in that unit, greater than 0.
        signed: Whether the loss is the sensitive group's rate minus the
            other's (with more groups: each group's minus that of the rest, of
            which the largest is returned), rather than the size of the
            difference. `None`: the size, and signed under a target
            (`loss_weight=AtMost(...)`), which pulls the gap both ways. The
            size is biased in small batches: it is above 0 where there is no
            difference. A fixed weight cannot be given to a signed loss.
        name: Name of the loss.
        predictions_transform: See `MinDiffLoss`.
        groups: See `MinDiffLoss`.

    Raises:
        ValueError: When called on predictions with several columns: one of
            them must be chosen, by `predictions_transform`.

    Examples:
        >>> loss = RateGapLoss(temperature=0.01)
        >>> float(loss([1, 1, 0, 0], [0.9, 0.1, 0.9, 0.9]))
        0.5
        >>> signed = RateGapLoss(temperature=0.01, signed=True)
        >>> float(signed([1, 1, 0, 0], [0.9, 0.1, 0.9, 0.9]))
        -0.5
    """

    _arguments = (
        "threshold",
        "temperature",
        "signed",
        "predictions_transform",
    )

    def __init__(
        self,
        threshold: float = 0.5,
        temperature: float = 0.05,
        signed: bool | None = None,
        name: str | None = None,
        *,
        predictions_transform: str | Callable | None = None,
        groups: int = 2,
    ):
        super().__init__(
            predictions_transform=predictions_transform,
            name=name,
            groups=groups,
        )
        for what, value, usable in (
            ("threshold", threshold, math.isfinite),
            ("temperature", temperature, lambda t: 0 < t < math.inf),
        ):
            number = isinstance(value, numbers.Real)
            if not number or isinstance(value, bool) or not usable(value):
                raise ValueError(
                    f"`{what}` must be a finite number"
                    f"{' greater than 0' * (what == 'temperature')}. "
                    f"Received: {what}={value!r}"
                )
        if signed not in (None, True, False):
            raise ValueError(
                "`signed` must be None, True or False. "
                f"Received: signed={signed!r}"
            )
        self.threshold = float(threshold)
        self.temperature = float(temperature)
        self.signed = signed

    def signed_gaps(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> list:
        """Returns the gap of each comparison with its sign.

        Args:
            membership: See `MinDiffLoss`.
            predictions: See `MinDiffLoss`.
            sample_weight: See `MinDiffLoss`.

        Returns:
            One scalar for two groups, otherwise one for each group.
        """
        return self.compare_groups(
            self._gap, membership, predictions, sample_weight
        )

    def call(
        self, membership: Any, predictions: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the difference of two rates, a scalar."""
        gap = self._gap(membership, predictions, sample_weight)
        return gap if self.signed else ops.abs(gap)

    def _gap(self, membership, predictions, weight):
        if predictions.shape[-1] != 1:
            raise ValueError(
                f"{self.name} needs predictions of one column: choose one "
                "with `predictions_transform`. Received: shape "
                f"{tuple(predictions.shape)}"
            )
        decisions = ops.sigmoid(
            (predictions - self.threshold) / self.temperature
        )
        rates = [
            ops.divide_no_nan(ops.sum(group * decisions), ops.sum(group))
            for group in (membership * weight, (1.0 - membership) * weight)
        ]
        return rates[0] - rates[1]

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "temperature": self.temperature,
            "signed": self.signed,
        }


def _snake_case(name: str) -> str:
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name).lower()


_BY_NAME = {
    name + ending: loss
    for loss, names in (
        (MMDLoss, ("mmd", "maximum_mean_discrepancy")),
        (AdjustedMMDLoss, ("adjusted_mmd",)),
        (AbsoluteCorrelationLoss, ("abs_corr", "absolute_correlation")),
        (RateGapLoss, ("rate_gap",)),
    )
    for name in names
    for ending in ("", "_loss")
}


def get(loss: Any) -> MinDiffLoss:
    """Resolves a loss on groups of rows.

    Args:
        loss: A `MinDiffLoss`, or a name in any case: `"mmd_loss"` (or
            `"mmd"`), `"adjusted_mmd_loss"`, `"absolute_correlation_loss"` (or
            `"abs_corr"`), `"rate_gap_loss"`.

    Returns:
        A loss to call as `loss(membership, predictions, sample_weight)`.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If `loss` is none of these.
    """
    if isinstance(loss, MinDiffLoss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(
            "`loss` must be a MinDiffLoss or the name (a string) of one. "
            f"Received: loss={loss!r} of type {type(loss).__name__}"
        )
    if loss.lower() not in _BY_NAME:
        raise ValueError(
            f"`loss` must be one of {sorted(_BY_NAME)}. Received: loss={loss!r}"
        )
    return _BY_NAME[loss.lower()]()
