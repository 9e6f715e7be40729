"""What a smaller flip rate costs in quality, over weights of the penalty."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import keras
import numpy as np

from tensorflow_model_remediation_ext.common.progress import progress_bar
from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    normal_quantile,
)
from tensorflow_model_remediation_ext.evaluation.run_directory import (
    RunDirectory,
)
from tensorflow_model_remediation_ext.evaluation.tables import (
    COLORS,
    Row,
    Table,
    extra,
    keep_within_shares,
    new_axes,
    tidy,
)


@dataclasses.dataclass(frozen=True)
class TradeoffRow(Row):
    """The figures of one weight, over all seeds.

    Args:
        loss_weight: The weight; 0 is the plain model.
        seeds: Number of models trained.
        quality: Mean quality.
        flip_rate: Mean flip rate.
        quality_loss: Mean of what each seed's model loses in quality against
            the plain model of that seed. Its interval is about seeds alone,
            and NaN with one seed.
        pareto: Whether no other weight is as good in both means and better in
            one.
        chosen: Whether this weight has the lowest mean flip rate of those
            whose mean quality loss is within the limit.
    """

    loss_weight: float
    seeds: int
    quality: Estimate
    flip_rate: Estimate
    quality_loss: Estimate
    pareto: bool
    chosen: bool


@dataclasses.dataclass(frozen=True, repr=False)
class Tradeoff(Table[TradeoffRow]):
    """Quality against flip rate, a row for each weight; `repr` is a table.

    Args:
        rows: One `TradeoffRow` for each weight, in ascending order, the first
            for 0.
        confidence: Level of the intervals.
        max_quality_loss: The limit that decided which weight was chosen.
    """

    max_quality_loss: float = 0.0

    measures: ClassVar[str] = (
        "Quality and flip rate of models trained with several weights of the "
        "penalty; 0 is the plain model. The chosen weight flips least of those "
        "that lose no more quality than the limit allows."
    )
    caveat: ClassVar[str] = (
        "The front and the chosen weight are those of the means, which vary "
        "with seeds and data: read the intervals. Figures of a weight that "
        "was chosen on these data flatter it; report it on data that chose "
        "nothing. A flip rate of zero is not equal treatment."
    )
    _columns: ClassVar[tuple[str, ...]] = (
        "loss_weight",
        "seeds",
        "quality",
        "flip_rate",
        "quality_loss",
        "pareto",
        "chosen",
    )
    _plotted: ClassVar[dict[str, str]] = {
        "quality": "quality",
        "flip_rate": "flip rate",
    }

    @property
    def chosen(self) -> TradeoffRow:
        """The row of the chosen weight."""
        return next(row for row in self.rows if row.chosen)

    def plot(self, axes: Any = None) -> Any:
        """Draws quality against flip rate, with intervals and the front.

        Args:
            axes: matplotlib `Axes` to draw on; a new figure's by default.

        Returns:
            The `Axes`; its figure is `axes.figure`.

        Raises:
            ImportError: If matplotlib is missing.
        """
        if axes is None:
            axes = new_axes(height=4)
        front = sorted(
            (row.flip_rate.value, row.quality.value)
            for row in self.rows
            if row.pareto
        )
        axes.plot(
            *zip(*front, strict=True), "--", color="0.5", label="Pareto front"
        )
        for k, row in enumerate(self.rows):
            x, y = row.flip_rate, row.quality
            axes.errorbar(
                [x.value],
                [y.value],
                xerr=[[x.value - x.low], [x.high - x.value]],
                yerr=[[y.value - y.low], [y.high - y.value]],
                fmt="D" if row.chosen else "o",
                markersize=8 if row.chosen else 5,
                capsize=3,
                color=COLORS[1] if row.chosen else COLORS[0],
                label="chosen" if row.chosen else None,
                clip_on=False,
            )
            axes.annotate(
                f"{row.loss_weight:g}",
                (x.value, y.value),
                xytext=(6, -12 if k % 2 else 6),
                textcoords="offset points",
            )
        limit = self.rows[0].quality.value - self.max_quality_loss
        axes.axhline(limit, color="0.4", linestyle=":", label="limit")
        rates, qualities = (
            [end for row in self.rows for end in getattr(row, name)]
            for name in ("flip_rate", "quality")
        )
        keep_within_shares(axes, "x", rates)
        keep_within_shares(axes, "y", [*qualities, limit])
        axes.set_xlabel(f"flip rate ({100 * self.confidence:g} % intervals)")
        axes.set_ylabel("quality")
        tidy(axes, grid="both")
        axes.legend(frameon=False)
        return axes


def tradeoff(
    build_model: Callable[[float], keras.Model],
    data: Any,
    loss_weights: Iterable[float],
    *,
    measure: Callable[[keras.Model], tuple[Any, Any]],
    seeds: Iterable[int] = (0,),
    epochs: int = 1,
    fit_options: Mapping[str, Any] | None = None,
    max_quality_loss: float = 0.01,
    confidence: float = 0.95,
    directory: str | os.PathLike | None = None,
    configuration: Any = None,
    verbose: int | str = "auto",
) -> Tradeoff:
    """Trains a model for each weight and seed, and measures what it costs.

    The sweep shows the models that were trained, on the data they were
    measured on. The front of the means is not the front of what is possible;
    with one seed it is largely the noise of training. Choose a weight on
    validation data, and report it on data that chose nothing. A flip rate of
    zero is not equal treatment.

    An interval joins two sources of error in quadrature: that of the
    measurement, which the seeds share and which is therefore not divided by
    their number, and that of the mean over seeds, from Student's t. With one
    seed it is that of the measurement alone and says nothing about training.
    Where all measured values lie between 0 and 1, the figure is taken for a
    share, and its intervals end there. Two seeds say little: expect intervals
    that are nearly as wide as what is possible. Where seeds agree to the last
    digit and `measure` gives no intervals, there is none.

    Args:
        build_model: Takes a weight and returns a compiled model to train. It is
            called for 0 as well, the plain model that quality is lost against.
        data: What `model.fit` takes and can be read again for each model: a
            dataset of packed inputs.
        loss_weights: Weights of the penalty; 0 is added.
        measure: Takes a trained model and returns its quality, the larger the
            better, and its flip rate: `Estimate`s at level `confidence`, or
            plain numbers, which have no interval with one seed.
        seeds: Seeds to train every weight with. Each is set with
            `keras.utils.set_random_seed` before the model is built.
        epochs: Epochs of each training.
        fit_options: More arguments for `model.fit`.
        max_quality_loss: The chosen weight loses at most this much quality.
        confidence: Level of the intervals.
        directory: Where each model's figures are kept, in a file of their own,
            written when they are complete. Called again after an interruption,
            or with more weights or seeds, only what is missing is trained.
        configuration: Whatever else decides the figures and cannot be seen from
            here, as JSON: sizes that `build_model` reads, the version of the
            data. A directory with another configuration, other epochs, options
            or source text of the two functions is refused.
        verbose: `0` or `False` for no progress bar, otherwise as in
            `keras.Model.fit`.

    Returns:
        A row for each weight.

    Raises:
        ValueError: If a weight or seed is not usable, a figure is NaN, or
            `directory` holds figures of another configuration.
        TypeError: If `build_model` does not return a compiled Keras model,
            `measure` not two figures, or `data` can be read only once.

    Examples:
        ```python
        def build_model(loss_weight):
            model = CounterfactualModel(network(), loss_weight=loss_weight)
            model.compile("adam", "binary_crossentropy")
            return model


        def measure(model):
            one, other = map(model.predict, pairs)
            rate = evaluation.flips(one, other)["overall"].flip_rate
            return evaluation.auc(labels, model.predict(texts)), rate


        result = tradeoff(
            build_model, packed, [0.3, 1, 3], measure=measure, seeds=(0, 1)
        )
        print(result.chosen.loss_weight)
        ```

    References:
        The limit and the sweep are how Garg et al. 2018, "Counterfactual
        Fairness in Text Classification through Robustness", arXiv 1809.10610,
        section 5, compare weights.
    """
    weights = _weights(loss_weights)
    seeds = _seeds(seeds)
    normal_quantile(confidence)  # Refuses a bad level before any work.
    if not max_quality_loss >= 0:
        raise ValueError(
            "`max_quality_loss` must not be negative. "
            f"Received: max_quality_loss={max_quality_loss}"
        )
    if isinstance(data, Iterator):
        raise TypeError(
            "`data` must be readable again for each model, such as a dataset. "
            f"Received: {type(data).__name__}"
        )
    fit_options = {"epochs": epochs, "verbose": 0, **(fit_options or {})}
    done = RunDirectory(
        directory,
        {"fit": fit_options, "given": configuration, "level": confidence},
        (build_model, measure),
    )
    bar = progress_bar(len(weights) * len(seeds), verbose, "model")
    runs: dict[float, list[tuple[Estimate, Estimate]]] = {}
    for weight in weights:
        for seed in seeds:
            name = f"loss_weight={weight!r},seed={seed}"
            figures = done.read(name)
            if figures is None:
                keras.utils.set_random_seed(seed)
                model = _train(build_model, weight, data, fit_options)
                figures = [list(f) for f in _figures(measure(model), name)]
                done.write(name, figures)
            quality, flip_rate = (Estimate(*figure) for figure in figures)
            runs.setdefault(weight, []).append((quality, flip_rate))
            bar.add(1)
    return _summary(runs, confidence, max_quality_loss)


def _weights(loss_weights: Iterable[float]) -> list[float]:
    given = [float(weight) for weight in loss_weights]
    if not given or not all(0 <= w < math.inf for w in given):
        raise ValueError(
            "`loss_weights` must be finite and not negative, and at least "
            f"one. Received: loss_weights={given}"
        )
    return sorted({0.0, *given})


def _seeds(seeds: Iterable[int]) -> list[int]:
    given = list(seeds)
    if not given or len(set(given)) < len(given):
        raise ValueError(
            "`seeds` must be different integers, and at least one. "
            f"Received: seeds={given}"
        )
    return given


def _train(build_model, weight, data, fit_options) -> keras.Model:
    model = build_model(weight)
    if not isinstance(model, keras.Model) or not model.compiled:
        raise TypeError(
            "`build_model` must return a compiled keras.Model. "
            f"Received: {model!r} for the weight {weight}"
        )
    model.fit(data, **fit_options)
    return model


def _figures(measured: Any, name: str) -> tuple[Estimate, Estimate]:
    """Returns quality and flip rate, each with its interval, NaN if unknown."""
    try:
        quality, flip_rate = measured
        estimates: Any = tuple(
            Estimate(*map(float, figure))
            if isinstance(figure, tuple)
            else Estimate(float(figure), math.nan, math.nan)
            for figure in (quality, flip_rate)
        )
    except (TypeError, ValueError) as error:
        raise TypeError(
            "`measure` must return quality and flip rate, each an Estimate or "
            f"a number. Received: {measured!r}"
        ) from error
    for estimate, what in zip(estimates, ("quality", "flip rate"), strict=True):
        if not math.isfinite(estimate.value):
            raise ValueError(
                f"`measure` must return finite figures. Received: {what} "
                f"{estimate.value} at {name}"
            )
    return estimates


def _summary(runs, confidence, max_quality_loss) -> Tradeoff:
    plain = [quality.value for quality, _ in runs[0.0]]
    limits = [
        _limits(figures[k] for each in runs.values() for figures in each)
        for k in (0, 1)
    ]
    widest = limits[0][1] - limits[0][0]
    columns: dict[float, dict[str, Any]] = {}
    for weight, figures in runs.items():
        qualities, rates = zip(*figures, strict=True)
        losses = [
            Estimate(before - quality.value, math.nan, math.nan)
            for before, quality in zip(plain, qualities, strict=True)
        ]
        columns[weight] = {
            "seeds": len(figures),
            "quality": _over_seeds(qualities, confidence, limits[0]),
            "flip_rate": _over_seeds(rates, confidence, limits[1]),
            "quality_loss": _over_seeds(losses, confidence, (-widest, widest)),
        }
    points = {
        weight: (-c["quality"].value, c["flip_rate"].value)
        for weight, c in columns.items()
    }
    within = [
        w
        for w, c in columns.items()
        if c["quality_loss"].value <= max_quality_loss
    ]
    # Of equal flip rates the better quality, so that it is on the front.
    chosen = min(within, key=lambda w: (points[w][1], points[w][0], w))
    rows = tuple(
        TradeoffRow(
            loss_weight=weight,
            **c,
            pareto=not any(
                _dominates(p, points[weight]) for p in points.values()
            ),
            chosen=weight == chosen,
        )
        for weight, c in columns.items()
    )
    return Tradeoff(rows, confidence, max_quality_loss)


def _dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


def _limits(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Returns what a figure lies between: 0 and 1 if it looks like a share."""
    share = all(0 <= estimate.value <= 1 for estimate in estimates)
    return (0.0, 1.0) if share else (-math.inf, math.inf)


def _over_seeds(
    estimates: Iterable[Estimate],
    confidence: float,
    limits: tuple[float, float],
) -> Estimate:
    """Averages over seeds; joins the errors of measurement and of training."""
    value, low, high = np.array(list(estimates)).T
    mean, n = value.mean(), len(value)
    below, above = (value - low).mean(), (high - value).mean()
    if n > 1:
        stats = extra("scipy.stats", "An interval over several seeds")
        spread = stats.t.ppf((1 + confidence) / 2, n - 1)
        # What differs by a rounding alone tells nothing of other seeds.
        same = np.allclose(value, value[0], rtol=1e-9, atol=1e-12)
        spread *= 0.0 if same else value.std(ddof=1) / math.sqrt(n)
        # Plain numbers come without an error of measurement.
        below, above = (
            math.hypot(half, spread)
            if half == half
            else (spread if spread else math.nan)
            for half in (below, above)
        )
    low, high = np.clip([mean - below, mean + above], *limits)
    return Estimate(float(mean), float(low), float(high))
