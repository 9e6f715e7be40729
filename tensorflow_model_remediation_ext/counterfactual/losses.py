"""Penalties on the difference of paired predictions."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tensorflow_model_remediation_ext.common import transforms
from tensorflow_model_remediation_ext.common.comparing import compare
from tensorflow_model_remediation_ext.common.configs import (
    PACKAGE,
    constructor_config,
    snake_case,
)


class CounterfactualLoss(keras.losses.Loss):
    """Base class of the losses on pairs of predictions.

    A loss is called as `loss(original, counterfactual, sample_weight=None)`
    and must be 0 for identical predictions. Subclasses implement
    `call(original, counterfactual)`, which gets two float tensors of one
    shape, at least of rank 2, and returns one value an example: the last axis
    reduced. Register a subclass with
    `@keras.saving.register_keras_serializable()`, so that models that use it
    can be loaded.

    Args:
        transform: Applied to both predictions first: `None`, `"logit"` (for
            a model that ends in a sigmoid, pairs logits as in the paper),
            `"sigmoid"`, `"softmax"` (for a model that ends in logits, pair
            probabilities), or a callable from a float tensor to a float
            tensor of the same shape, registered with Keras.
        name: Name of the loss; default: the class name in snake case.
        reduction: As in `keras.losses.Loss`. The default,
            `"sum_over_batch_size"`, is the weighted sum over pairs divided by
            the number of pairs.
        dtype: As in `keras.losses.Loss`.

    Raises:
        TypeError: If the `call` of a subclass takes a `sample_weight`.
        ValueError: When called on predictions of different shapes.

    Examples:
        ```python
        @keras.saving.register_keras_serializable()
        class PairwiseMaxLoss(CounterfactualLoss):
            def call(self, original, counterfactual):
                return keras.ops.max(
                    keras.ops.abs(original - counterfactual), axis=-1
                )
        ```

    References:
        Garg et al. 2018, "Counterfactual Fairness in Text Classification
        through Robustness" (arXiv 1809.10610), section 4.3.
    """

    def __init__(
        self,
        transform: str | Callable | None = None,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ):
        super().__init__(
            name=name or _scope_name(type(self).__name__),
            reduction=reduction,
            dtype=dtype,
        )
        if "sample_weight" in inspect.signature(self.call).parameters:
            raise TypeError(
                f"`{type(self).__name__}.call` must take `original` and "
                "`counterfactual` alone, and return a value for each pair: "
                "Keras weighs and reduces them. Received: a `call` that takes "
                "`sample_weight`, which it would never be given."
            )
        self.transform = transforms.restored(transform)
        self._transform = transforms.get(transform, "transform")

    def __call__(
        self, original: Any, counterfactual: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the loss: a scalar, or one value a pair if not reduced.

        Args:
            original: Predictions on the original inputs, `[batch, ...]`.
            counterfactual: Predictions on their counterfactuals, same shape.
                Positions that Keras masks in one of the two do not count.
            sample_weight: Weight of each pair, `[batch]`, or the shape of the
                predictions without the last axis.

        Raises:
            ValueError: If the shapes do not fit.
        """
        pair = compare(
            original, counterfactual, sample_weight, self.name, self.dtype
        )
        return super().__call__(
            self._transform(pair.original),
            self._transform(pair.counterfactual),
            pair.weight_for(self.reduction),
        )

    def call(self, original: Any, counterfactual: Any) -> Any:
        """Returns the penalty of each pair, `[batch, ...]`."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement "
            "`call(original, counterfactual)`."
        )

    def get_config(self) -> dict:
        """Returns the arguments of the constructor.

        Raises:
            ValueError: If a subclass takes an argument that it does not save,
                or if `transform` is a callable that is not registered.
        """
        config = {
            **super().get_config(),
            "dtype": self.dtype,
            "transform": transforms.serialize(self.transform),
        }
        return constructor_config(self, config, CounterfactualLoss)


@keras.saving.register_keras_serializable(package=PACKAGE)
class PairwiseMSELoss(CounterfactualLoss):
    """Mean squared difference of paired predictions.

    Args:
        transform: Applied to both predictions first, see
            `CounterfactualLoss`.
        name: Name of the loss; default: the class name in snake case.
        reduction: As in `keras.losses.Loss`.
        dtype: As in `keras.losses.Loss`.

    Examples:
        >>> loss = PairwiseMSELoss()
        >>> float(loss([[0.5], [0.2]], [[0.5], [0.6]]))
        0.08...
    """

    def call(self, original: Any, counterfactual: Any) -> Any:
        """Returns the mean over the last axis of the squared difference."""
        return ops.mean(ops.square(original - counterfactual), axis=-1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class PairwiseAbsoluteDifferenceLoss(CounterfactualLoss):
    """Mean absolute difference of paired predictions.

    This is the counterfactual token fairness gap of the paper: with
    `transform="logit"`, its logit pairing penalty.

    Args:
        transform: Applied to both predictions first, see
            `CounterfactualLoss`.
        name: Name of the loss; default: the class name in snake case.
        reduction: As in `keras.losses.Loss`.
        dtype: As in `keras.losses.Loss`.

    Examples:
        >>> loss = PairwiseAbsoluteDifferenceLoss()
        >>> float(loss([[0.5], [0.25]], [[0.5], [0.75]]))
        0.25

    References:
        Garg et al. 2018 (arXiv 1809.10610), section 4.3.
    """

    def call(self, original: Any, counterfactual: Any) -> Any:
        """Returns the mean over the last axis of the absolute difference."""
        return ops.mean(ops.abs(original - counterfactual), axis=-1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class PairwiseCosineLoss(CounterfactualLoss):
    """Cosine distance of paired predictions: 0 where they point one way.

    It compares directions only: predictions that differ by a positive factor
    have distance 0. Hence one column is refused: there the only directions
    are plus and minus. Rows shorter than 1e-7 count as nearly zero vectors,
    as everywhere in Keras.

    Args:
        transform: Applied to both predictions first, see
            `CounterfactualLoss`.
        name: Name of the loss; default: the class name in snake case.
        reduction: As in `keras.losses.Loss`.
        dtype: As in `keras.losses.Loss`.

    Raises:
        ValueError: When called on predictions with one column.

    Examples:
        >>> loss = PairwiseCosineLoss()
        >>> float(loss([[1.0, 0.0]], [[0.0, 1.0]]))
        1.0
    """

    def call(self, original: Any, counterfactual: Any) -> Any:
        """Returns one minus the cosine over the last axis."""
        if original.shape[-1] == 1:
            raise ValueError(
                "PairwiseCosineLoss needs predictions with two columns or "
                "more: the cosine of two numbers is plus or minus one, so "
                "nothing could be learned from it. Received: shape="
                f"{tuple(original.shape)}. Use PairwiseMSELoss instead."
            )
        # |u - v|^2 / 2 is 1 - cos for unit vectors, and unlike it exactly 0
        # for identical predictions, zero vectors included.
        difference = _direction(original) - _direction(counterfactual)
        return ops.sum(ops.square(difference), axis=-1) / 2.0


def _direction(vectors):
    """Unit vectors; zero vectors stay, and have no gradient."""
    some = ops.any(vectors != 0, axis=-1, keepdims=True)
    unit = ops.normalize(ops.where(some, vectors, 1.0), axis=-1)
    return ops.where(some, unit, 0.0)


def _scope_name(class_name: str) -> str:
    """The name of a class in letters that TensorFlow takes for a scope."""
    name = re.sub(r"[^a-z0-9_]", "", snake_case(class_name)).lstrip("_")
    return name or "loss"


_BY_NAME = {
    snake_case(loss.__name__): loss
    for loss in (
        PairwiseMSELoss,
        PairwiseAbsoluteDifferenceLoss,
        PairwiseCosineLoss,
    )
}


def get(loss: str | keras.losses.Loss | None) -> keras.losses.Loss:
    """Resolves a loss on pairs of predictions.

    Args:
        loss: `None` (`PairwiseMSELoss()`), a name such as
            `"pairwise_mse_loss"` in upper or lower case, a
            `CounterfactualLoss`, or a Keras loss
            (or its class name) that is 0 for identical predictions, such as
            `keras.losses.Huber()`.

    Returns:
        A loss to call as `loss(original, counterfactual, sample_weight)`.

    Raises:
        ValueError: If the name is unknown, if the loss does not reduce to a
            scalar, or if a Keras loss is not 0 for identical predictions or
            is negative for others, so that it would not pair them.
        TypeError: If `loss` is none of these.
    """
    if loss is None:
        return PairwiseMSELoss()
    if isinstance(loss, str):
        if loss.lower() in _BY_NAME:
            return _BY_NAME[loss.lower()]()
        found = getattr(keras.losses, loss, None)
        if not (isinstance(found, type) and issubclass(found, keras.Loss)):
            raise ValueError(
                f"`loss` must be one of {sorted(_BY_NAME)}, the name of a "
                f"class in keras.losses, or a loss. Received: loss={loss!r}"
            )
        loss = found()
    if not isinstance(loss, keras.losses.Loss):
        raise TypeError(
            "`loss` must be a CounterfactualLoss, a keras.losses.Loss or the "
            f"name of one. Received: {loss!r} of type {type(loss).__name__}"
        )
    if loss.reduction in (None, "none"):
        raise ValueError(
            "`loss` must reduce to a scalar, as by "
            '`reduction="sum_over_batch_size"`. Received: '
            f"{loss.name} with reduction={loss.reduction!r}"
        )
    if not isinstance(loss, CounterfactualLoss):
        _check_compares(loss)
    return loss


def _check_compares(loss):
    """Raises unless a Keras loss is a distance on rows of probabilities."""
    same, other = map(
        ops.convert_to_tensor, ([[0.3, 0.7], [0.6, 0.4]], [[0.8, 0.2]] * 2)
    )
    try:
        value = float(ops.max(ops.abs(loss(same, same))))
        least = min(float(loss(same, other)), float(loss(other, same)))
    except Exception as error:
        raise ValueError(
            "`loss` must take two arrays of predictions of one shape, and "
            f"give a scalar. Received: {loss.name}, which on shape (2, 2) "
            f"raises {type(error).__name__}: {error}"
        ) from error
    if value > 1e-5:
        raise ValueError(
            "`loss` must be 0 for identical predictions, or it does not "
            f"measure their difference. Received: {loss.name}, which is "
            f"{value:.3g} there."
        )
    if least < 0:
        raise ValueError(
            "`loss` must not be negative, or training drives pairs apart. "
            f"Received: {loss.name}, which is {least:.3g} for some."
        )


def check_columns(loss: keras.losses.Loss, predictions: Any) -> None:
    """Raises for a divergence of distributions where there is one column.

    Raises:
        ValueError: If `loss` is negative for some pairs of such predictions.
    """
    one = len(predictions.shape) < 2 or predictions.shape[-1] == 1
    if one and isinstance(loss, keras.losses.KLDivergence):
        raise ValueError(
            f"{loss.name} compares rows of probabilities that sum to 1; for "
            "one column it is negative where predictions rise, and would "
            "train pairs apart. Received: predictions of shape "
            f"{tuple(predictions.shape)}. Use PairwiseMSELoss instead."
        )
