"""A target for a figure of unfairness, in place of the weight of a penalty.

Training finds the weight by dual ascent. Once a step, the hard decisions of
the batch are added to running counts, which reach back a tenth of the steps so
far. For gaps of rates it is a twentieth: they are read off many rows, and where
many decisions are near the threshold, counts that lag make the weight swing.
`u` is how far the figure that is read off them is above the target, in units of
the target and at most 1 either way; a running gap between rates is too noisy
for units below .07, and so is one of flips for units below four of its standard
errors. The weight follows it:

    z      <- max(0, z + rate * u)        rate = 5 / (step + 100)
    weight  = 0.1 * (exp(z + u) - 1)      0 where that is negative

So the weight starts at 0, grows by a factor that does not depend on the scale
of the penalty, and settles as the rate falls, as in stochastic approximation.
The rate falls no further once the counts reach back the most, 400 steps, so
that the weight can follow what changes later. The second term of the exponent
is a brake: while the figure falls towards the target, it takes back what the
weight has gained too much, as the model and the counts lag. A gap with a sign
has a `z` for either side; its weight is the difference of the two.

References:
    Cotter et al. 2019, "Two-Player Games for Efficient Non-Convex Constrained
    Optimization" (arXiv 1804.06500): a gradient through a smooth proxy, a
    multiplier that follows the true figure. Stooke et al. 2020, "Responsive
    Safety in Reinforcement Learning by PID Lagrangian Methods" (arXiv
    2007.03964): the damping.
"""

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from tensorflow_model_remediation_ext.common import replicas
from tensorflow_model_remediation_ext.common.checks import is_number
from tensorflow_model_remediation_ext.common.configs import PACKAGE

# Running counts reach back a share of the steps so far, taken to be this many
# at least; and so many steps at most.
_FIRST, _LONGEST = 200.0, 400.0
_RATE, _DELAY = 5.0, 100.0
_SCALE, _MOST = 0.1, 12.0
# Standard errors that differences are measured in at least.
_UNSURE = 4.0
# Standard errors above the target from which on it is not met.
_NOT_MET = 2.0


@keras.saving.register_keras_serializable(package=PACKAGE)
class AtMost:
    """A target that stands where a `loss_weight` is taken.

    Training finds the weight of the penalty that brings a figure of the
    training data down to the target: how often decisions on pairs flip, or
    how far apart the rates of groups are. Where the figure is below the
    target without any penalty, the weight stays 0.

    Each step, `u` is how far the figure, read off running counts of decisions,
    is above the target: in units of the target, or of .07 for a gap of rates
    with a smaller one, and at most 1 either way. The weight is
    `0.1 * (exp(z + u) - 1)`, never below 0, where `z` starts at 0 and changes
    by `5 / (step + 100) * u`, and from some thousands of steps on no slower. Of
    flips, which are rare, the figure is taken 1.5 standard errors too high, and
    the unit is four standard errors where these are more than the target.

    Decisions count as the model will make them, without dropout and with the
    moving averages of batch normalization. For that a model with such layers
    runs once more on the data of the penalty in each step, without gradients.

    What it promises is the training figure: the one on data held out is
    often larger, and its interval tells how much. The figure that is met is
    that of the running counts: give it a few hundred steps, and decay the
    learning rate (as by `keras.optimizers.schedules.CosineDecay`), or the last
    step's model may be some way off it.

    Args:
        target: What the figure is to be at most, greater than 0. For a gap
            with a sign, its size.
        metric: The figure: for pairs a `FlipRate` (the default) or a
            `CounterfactualGap`, for groups a `RateGap` (the default for
            `RateGapLoss`, with its threshold and groups; required for other
            losses).

    Raises:
        ValueError: If `target` is not a finite number greater than 0.

    Examples:
        >>> AtMost(0.02)
        AtMost(0.02)

    References:
        Cotter et al. 2019, "Two-Player Games for Efficient Non-Convex
        Constrained Optimization" (arXiv 1804.06500).
    """

    def __init__(self, target: float, metric: Any = None):
        if not is_number(target) or target <= 0:
            raise ValueError(
                "`target` must be a finite number greater than 0: a figure "
                "of exactly 0 cannot be trained for, take a small one. "
                f"Received: target={target!r}"
            )
        self.target = float(target)
        self.metric = metric

    def __repr__(self) -> str:
        metric = "" if self.metric is None else f", {self.metric!r}"
        return f"AtMost({self.target:g}{metric})"

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {
            "target": self.target,
            "metric": keras.saving.serialize_keras_object(self.metric),
        }

    @classmethod
    def from_config(cls, config: dict) -> "AtMost":
        """Makes the target that `get_config` described."""
        metric = keras.saving.deserialize_keras_object(config["metric"])
        return cls(config["target"], metric)


class TargetKeeper(keras.layers.Layer):
    """Finds the weight of one penalty, step by step.

    Its variables are saved with those of the model that holds it.

    Args:
        metric: Has `counts_shape`, `counts(*update)`, `figures(counts)` and
            `standard_errors(counts)`: counts add up over batches, one or more
            figures are read off their sum. `least_unit` is what differences
            are measured in where the target is smaller, `margin` how many
            standard errors below the target are steered for, `reach` the share
            of the steps so far that the running counts are about.
        signed: Whether the penalty has a sign for each figure, and so is
            pulled either way.
        name: Name of the layer.
    """

    def __init__(self, metric: Any, signed: bool, name: str):
        super().__init__(name=name, dtype="float32", trainable=False)
        self.signed = signed
        # Not the metric itself: Keras would take it for one of the model's.
        self._count, self._figures_of = metric.counts, metric.figures
        self._errors_of = metric.standard_errors
        self._margin, self._least_unit = metric.margin, metric.least_unit
        self._reach = metric.reach
        figures = metric.counts_shape[0] if signed else 1
        # A column of weights that pull down, and one of those that pull up.
        signs = [[1.0], [-1.0]] if signed else [[1.0]]
        self._signs = np.array(signs, "float32")
        self._steps = self._variable((), "steps")
        # Steps since there was a weight.
        self._idle = self._variable((), "idle")
        # Steps whose counts were not numbers.
        self._lost = self._variable((), "lost")
        self._counts = self._variable(metric.counts_shape, "counts")
        self._z = self._variable((len(signs), figures), "exponents")
        self._weights = self._variable((figures,), "weights")
        self.built = True

    def _variable(self, shape, name):
        return self.add_weight(
            shape=shape,
            initializer="zeros",
            trainable=False,
            dtype="float32",
            name=name,
            # All replicas compute the same.
            aggregation="only_first_replica",
        )

    def weigh(self, value: Any, signed: Any) -> Any:
        """Returns what a penalty adds to the loss, a scalar.

        Args:
            value: The penalty, a scalar.
            signed: Its values with their signs, if it has signs.

        Raises:
            ValueError: If those are missing.
        """
        if self.signed and signed is None:
            raise ValueError(
                "A target for a gap must be about one output: name it with "
                "`outputs`, choose it with `predictions_transform`, or use "
                "`signed=False`."
            )
        values = ops.cast(signed if self.signed else value, "float32")
        return ops.sum(ops.convert_to_tensor(self._weights) * values)

    @property
    def multiplier(self) -> Any:
        """The weight, a scalar: of several, the largest in size."""
        return _largest(ops.convert_to_tensor(self._weights))

    @property
    def running(self) -> Any:
        """The running figure, a scalar: of several, the largest in size."""
        return _largest(self._figures_of(ops.convert_to_tensor(self._counts)))

    @property
    def started(self) -> bool:
        """Whether a step of training has been seen."""
        return float(ops.convert_to_numpy(self._steps)) > 0

    def update(self, updates: list[tuple], target: float) -> tuple[Any, Any]:
        """Takes a step of training into account.

        A batch whose counts are not finite, as for predictions that are not
        numbers, is counted as lost and leaves all else as it was.

        Args:
            updates: Arguments of the metric's `counts`, for each output.
            target: The target.

        Returns:
            `multiplier` and `running`, as they are now.
        """
        batch = sum(ops.cast(self._count(*each), "float32") for each in updates)
        batch = replicas.total(ops.stop_gradient(batch))
        usable = ops.all(ops.isfinite(batch))
        batch = ops.where(usable, batch, 0.0)
        step = ops.cast(usable, "float32")
        steps = self._steps + step
        window = self._window(steps)
        counts = self._counts + step / window * (batch - self._counts)
        figures = self._figures_of(counts)
        u = self._excess(figures, counts, window, target)
        slowest = self._reach / _LONGEST
        rate = step * _RATE * ops.maximum(1.0 / (steps + _DELAY), slowest)
        z = ops.clip(self._z + rate * u, 0.0, _MOST)
        each = ops.expm1(ops.clip(z + u, 0.0, _MOST))
        weights = ops.sum(ops.multiply(_SCALE * self._signs, each), axis=0)
        idle = ops.where(ops.any(weights != 0), 0.0, self._idle + step)
        for variable, value in (
            (self._steps, steps),
            (self._idle, idle),
            (self._lost, self._lost + 1.0 - step),
            (self._counts, counts),
            (self._z, z),
            (self._weights, weights),
        ):
            variable.assign(value)
        return _largest(weights), _largest(figures)

    def _excess(self, figures, counts, window, target):
        """How far figures are above the target, for each `z`."""
        unit = max(target, self._least_unit)
        if self._margin:
            errors = self._standard_errors(counts, window)
            target = target - ops.minimum(self._margin * errors, target / 2)
            unit = ops.maximum(unit, _UNSURE * errors)
        if self.signed:
            excess = ops.multiply(self._signs, figures) - target
        else:
            excess = ops.max(ops.abs(figures) - target, keepdims=True)
        return ops.clip(excess / unit, -1.0, 1.0)

    def _standard_errors(self, counts, window):
        """Standard errors of the figures that are read off running counts."""
        # Of an exponential mean; of a plain one, as at first, half of it.
        return self._errors_of(counts * (2.0 * window - 1.0))

    def _window(self, steps):
        """How many steps the running counts reach back, at least one."""
        share = self._reach * ops.maximum(steps, _FIRST)
        return ops.clip(steps, 1.0, ops.minimum(share, _LONGEST))

    @property
    def progress(self) -> np.ndarray:
        """How many steps of training were seen, and how many lost: `[2]`."""
        counts = (self._steps, self._lost)
        return np.array([float(ops.convert_to_numpy(each)) for each in counts])

    def warn_of(self, target: float, name: str, before: Any = 0.0) -> None:
        """Warns of a target that was not met, or that asked for nothing.

        Or whose steps were lost, as predictions in them were not numbers.

        Args:
            target: The target.
            name: What to call the penalty.
            before: The `progress` that was made before: steps that were lost
                then are not told again.
        """
        seen, lost = self.progress - before
        if lost > 0:
            warnings.warn(
                f"In {lost:.0f} of {seen + lost:.0f} steps of training the "
                f"target of {name} was not followed: a prediction for the "
                "penalty's data, or a weight, was not a number (NaN). Look "
                "for NaN in the data, or lower the learning rate.",
                stacklevel=4,
            )
        if not self.started:
            return
        counts = ops.convert_to_tensor(self._counts)
        window = self._window(ops.convert_to_tensor(self._steps))
        figures, errors = (
            np.ravel(ops.convert_to_numpy(each))
            for each in (
                self._figures_of(counts),
                self._standard_errors(counts, window),
            )
        )
        # Of several, the one that is above the target most surely.
        surest = np.abs(figures) - _NOT_MET * errors
        missed = figures[np.argmax(surest)]
        figure, weight, steps, idle = (
            float(ops.convert_to_numpy(each))
            for each in (
                self.running,
                self.multiplier,
                self._steps,
                self._idle,
            )
        )
        if surest.max() > target:
            warnings.warn(
                f"The target of {name} was not met: at the end of training "
                f"its running figure is {missed:.4g}, the target "
                f"{target:.4g} (multiplier {weight:.3g}). Train longer, or "
                "ask for less.",
                stacklevel=4,
            )
        elif lost <= 0 and 2 * idle > steps and abs(figure) < target:
            warnings.warn(
                f"The target of {name} asks for nothing: the running figure "
                f"is {figure:.4g} without any penalty, the target "
                f"{target:.4g}.",
                stacklevel=4,
            )


def _largest(values):
    if values.shape[0] == 1:
        return values[0]
    return ops.take(values, ops.argmax(ops.abs(values)))
