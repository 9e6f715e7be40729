"""What less unfairness costs in quality, over methods and their settings."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
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
    digest,
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
class TradeoffMethod:
    """One way to less unfairness, at one setting or several.

    Args:
        build: Returns a compiled `keras.Model` to train on `data`; or, without
            `data`, anything that is ready to be measured, such as a model that
            is trained, erased or post-processed already. It takes the setting,
            or nothing where there are no settings.
        settings: What to build with, one after the other: weights of a
            penalty, targets, ranks of an eraser.
        data: What `model.fit` takes and can be read again for each model.
    """

    build: Callable[..., Any]
    settings: Iterable[Any] | None = None
    data: Any = None


@dataclasses.dataclass(frozen=True)
class TradeoffRow(Row):
    """The figures of one method at one setting, over all seeds.

    Args:
        name: The method and its setting; the weight alone where weights of one
            penalty are compared.
        method: The method.
        setting: Its setting, or `None`.
        seeds: Number of models.
        quality: Mean quality.
        unfairness: Mean unfairness.
        quality_loss: Mean of what each seed's model loses in quality against
            the first row's of that seed. Its interval is about seeds alone,
            and NaN with one seed.
        pareto: Whether no other row is as good in both means and better in
            one.
        chosen: Whether this row has the lowest mean unfairness of those whose
            mean quality loss is within the limit.
    """

    name: Any
    method: str
    setting: Any
    seeds: int
    quality: Estimate
    unfairness: Estimate
    quality_loss: Estimate
    pareto: bool
    chosen: bool

    @property
    def loss_weight(self) -> Any:
        """The setting, where it is the weight of a penalty."""
        return self.setting

    @property
    def flip_rate(self) -> Estimate:
        """The unfairness, where it is a flip rate."""
        return self.unfairness


@dataclasses.dataclass(frozen=True, repr=False)
class Tradeoff(Table[TradeoffRow]):
    """Quality against unfairness, a row for each model; `repr` is a table.

    Args:
        rows: One `TradeoffRow` for each method and setting; quality is lost
            against the first.
        confidence: Level of the intervals.
        max_quality_loss: The limit that decided which row was chosen.
        measure_of_unfairness: What unfairness is, for the chart.
    """

    max_quality_loss: float = 0.0
    measure_of_unfairness: str = "flip rate"

    measures: ClassVar[str] = (
        "Quality and unfairness of models by method and setting, such as the "
        "weight of a penalty (0 is the plain model). The chosen one is the "
        "least unfair of those that lose no more quality than the limit "
        "allows."
    )
    caveat: ClassVar[str] = (
        "The front and the choice are those of the means, which vary with "
        "seeds and data: read the intervals. Figures of a setting that was "
        "chosen on these data flatter it; report it on data that chose "
        "nothing. A small figure of one kind of unfairness says nothing of "
        "the others, and a flip rate of zero is not equal treatment."
    )
    columns: ClassVar[tuple[str, ...]] = (
        "name",
        "seeds",
        "quality",
        "unfairness",
        "quality_loss",
        "pareto",
        "chosen",
    )
    plotted: ClassVar[dict[str, str]] = {
        "quality": "quality",
        "unfairness": "unfairness",
    }

    @property
    def chosen(self) -> TradeoffRow:
        """The row that was chosen."""
        return next(row for row in self.rows if row.chosen)

    def plot(self, axes: Any = None) -> Any:
        """Draws quality against unfairness, with intervals and the front.

        Each method has its color, and a line through its settings.

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
            (row.unfairness.value, row.quality.value)
            for row in self.rows
            if row.pareto
        )
        axes.plot(
            *zip(*front, strict=True), "--", color="0.5", label="Pareto front"
        )
        by_method: dict[str, list[TradeoffRow]] = {}
        for row in self.rows:
            by_method.setdefault(row.method, []).append(row)
        colors = itertools.cycle(COLORS)
        for method, rows in by_method.items():
            _draw_method(axes, method, rows, next(colors))
        chosen = self.chosen
        axes.plot(
            [chosen.unfairness.value],
            [chosen.quality.value],
            "D",
            markersize=11,
            markerfacecolor="none",
            color="0.2",
            label="chosen",
        )
        limit = self.rows[0].quality.value - self.max_quality_loss
        axes.axhline(limit, color="0.4", linestyle=":", label="limit")
        unfairness, qualities = (
            [end for row in self.rows for end in getattr(row, name)]
            for name in ("unfairness", "quality")
        )
        keep_within_shares(axes, "x", unfairness)
        keep_within_shares(axes, "y", [*qualities, limit])
        axes.set_xlabel(
            f"{self.measure_of_unfairness} "
            f"({100 * self.confidence:g} % intervals)"
        )
        axes.set_ylabel("quality")
        tidy(axes, grid="both")
        axes.legend(frameon=False)
        return axes


def _draw_method(axes, method, rows, color):
    values = [(row.unfairness.value, row.quality.value) for row in rows]
    if len(rows) > 1:
        axes.plot(*zip(*values, strict=True), "-", color=color, linewidth=1)
    for k, row in enumerate(rows):
        x, y = row.unfairness, row.quality
        axes.errorbar(
            [x.value],
            [y.value],
            xerr=[[x.value - x.low], [x.high - x.value]],
            yerr=[[y.value - y.low], [y.high - y.value]],
            fmt="o",
            markersize=5,
            capsize=3,
            color=color,
            clip_on=False,
            label=None if k or not method else method.replace("$", r"\$"),
        )
        if row.setting is not None:
            axes.annotate(
                _text(row.setting),
                (x.value, y.value),
                xytext=(6, -12 if k % 2 else 6),
                textcoords="offset points",
            )


def tradeoff(
    methods: Callable[[float], Any] | Mapping[str, Any],
    data: Any = None,
    loss_weights: Iterable[float] | None = None,
    *,
    measure: Callable[[Any], tuple[Any, Any]],
    seeds: Iterable[int] = (0,),
    epochs: int = 1,
    fit_options: Mapping[str, Any] | None = None,
    max_quality_loss: float = 0.01,
    confidence: float = 0.95,
    measure_of_unfairness: str = "flip rate",
    directory: str | os.PathLike | None = None,
    configuration: Any = None,
    verbose: int | str = "auto",
) -> Tradeoff:
    """Builds a model for each method, setting and seed, and measures them.

    The result shows the models that were built, on the data they were measured
    on. The front of the means is not the front of what is possible; with one
    seed it is largely the noise of training. Choose a setting on validation
    data, and report it on data that chose nothing. A small figure of one kind
    of unfairness says nothing of the others.

    An interval joins two sources of error in quadrature: that of the
    measurement, which the seeds share and which is therefore not divided by
    their number, and that of the mean over seeds, from Student's t. With one
    seed it is that of the measurement alone and says nothing about training.
    Where all measured values lie between 0 and 1, the figure is taken for a
    share, and its intervals end there. Two seeds say little: expect intervals
    that are nearly as wide as what is possible. Where seeds agree to the last
    digit and `measure` gives no intervals, there is none.

    Args:
        methods: A `TradeoffMethod` (or its `build` alone) by name; quality is
            lost against the first one, at its first setting. Or one function
            that takes the weight of a penalty and returns a compiled model to
            train on `data`; it is called for 0 as well, the plain model.
        data: Only with such a function: what `model.fit` takes and can be read
            again for each model, a dataset of packed inputs.
        loss_weights: Only with such a function: weights; 0 is added.
        measure: Takes a trained model, or whatever a method builds without
            data, and returns its quality, the larger the better, and its
            unfairness, 0 or larger, the smaller the better: a flip rate, the
            size of a gap between groups. Both are `Estimate`s at level
            `confidence`, or plain numbers, which have no interval with one
            seed.
        seeds: Seeds to build every model with. Each is set with
            `keras.utils.set_random_seed` before the model is built.
        epochs: Epochs of each training.
        fit_options: More arguments for `model.fit`.
        max_quality_loss: The chosen row loses at most this much quality.
        confidence: Level of the intervals.
        measure_of_unfairness: What unfairness is, for the chart.
        directory: Where each model's figures are kept, in a file of their own,
            written when they are complete. Called again after an interruption,
            or with more methods, settings or seeds, only what is missing is
            built.
        configuration: What else decides the figures and cannot be seen from
            here, as JSON: sizes that `build` reads, the version of the data. A
            directory with another configuration, other epochs, options or
            source text of `measure` is refused. A method whose `build` has
            another source text is built anew; where weights of one penalty
            are compared, it is refused as well.
        verbose: `0` or `False` for no progress bar, otherwise as in
            `keras.Model.fit`.

    Returns:
        A row for each method and setting.

    Raises:
        ValueError: If methods, a weight or a seed are not usable, a figure is
            NaN or unfairness negative, or `directory` holds figures of another
            configuration.
        TypeError: If a method with data does not build a compiled Keras model,
            `measure` does not return two figures, or data can be read only
            once.

    Examples:
        ```python
        def plain():
            return compiled(network())


        def with_target(target):
            loss = RateGapLoss()
            return compiled(MinDiffModel(network(), loss, AtMost(target)))


        def measure(model):
            scores = model.predict(x)
            gap = evaluation.group_metrics(labels, scores, groups)...
            return evaluation.auc(labels, scores), abs(gap)


        result = tradeoff(
            {
                "plain": TradeoffMethod(plain, data=batches),
                "at most": TradeoffMethod(with_target, [0.02, 0.05], packed),
                "post-processed": fit_threshold_optimizer,
            },
            measure=measure,
            measure_of_unfairness="gap of selection rates",
            seeds=(0, 1),
        )
        print(result.chosen.name)
        ```

    References:
        The limit and the sweep are how Garg et al. 2018, "Counterfactual
        Fairness in Text Classification through Robustness", arXiv 1809.10610,
        section 5, compare weights.
    """
    points = _points(methods, data, loss_weights)
    seeds = _seeds(seeds)
    normal_quantile(confidence)  # Refuses a bad level before any work.
    if not max_quality_loss >= 0:
        raise ValueError(
            "`max_quality_loss` must not be negative. "
            f"Received: max_quality_loss={max_quality_loss}"
        )
    fit_options = {"epochs": epochs, "verbose": 0, **(fit_options or {})}
    shared = {"fit": fit_options, "given": configuration, "level": confidence}
    functions = (methods, measure) if callable(methods) else (measure,)
    done = RunDirectory(directory, shared, functions)
    bar = progress_bar(len(points) * len(seeds), verbose, "model")
    runs: list[list[tuple[Estimate, Estimate]]] = []
    for point in points:
        runs.append([])
        for seed in seeds:
            name = f"{point.file},seed={seed}"
            figures = done.read(name)
            if figures is None:
                keras.utils.set_random_seed(seed)
                model = _built(point, fit_options)
                figures = [list(f) for f in _figures(measure(model), name)]
                done.write(name, figures)
            quality, unfairness = (Estimate(*figure) for figure in figures)
            runs[-1].append((quality, unfairness))
            bar.add(1)
    rows = _summary(points, runs, confidence, max_quality_loss)
    return Tradeoff(rows, confidence, max_quality_loss, measure_of_unfairness)


@dataclasses.dataclass(frozen=True)
class _Point:
    """One row to come."""

    name: Any
    label: str
    setting: Any
    method: TradeoffMethod
    file: str


def _points(methods, data, loss_weights) -> list[_Point]:
    if callable(methods):
        if data is None or loss_weights is None:
            raise ValueError(
                "`data` and `loss_weights` must be given with one function "
                "that takes a weight; several methods go into a dict."
            )
        method = TradeoffMethod(methods, _weights(loss_weights), data)
        _check_readable(data, "data")
        return [
            _Point(w, "", w, method, f"loss_weight={w!r}")
            for w in method.settings or ()
        ]
    if not isinstance(methods, Mapping) or not methods:
        raise ValueError(
            "`methods` must be a function, or a dict of `TradeoffMethod`s by "
            f"name with at least one. Received: methods={methods!r}"
        )
    if data is not None or loss_weights is not None:
        raise ValueError(
            "`data` and `loss_weights` have no meaning with a dict of "
            "methods: each `TradeoffMethod` has its own."
        )
    points = []
    for label, method in methods.items():
        if callable(method):
            method = TradeoffMethod(method)
        if not isinstance(method, TradeoffMethod):
            raise ValueError(
                "`methods` must hold TradeoffMethods or functions. "
                f"Received: {method!r} for {label!r}"
            )
        _check_readable(method.data, f"data of {label!r}")
        settings = [None] if method.settings is None else list(method.settings)
        if not settings or len({*map(repr, settings)}) < len(settings):
            raise ValueError(
                f"`settings` of {label!r} must be different ones, and at "
                f"least one. Received: settings={settings}"
            )
        for setting in settings:
            name = label if setting is None else f"{label} {_text(setting)}"
            file = f"{label},{setting!r}" if setting is not None else label
            file = re.sub(r"[^\w=.,+-]+", "_", file)
            file = f"method={file},build={digest(method.build)}"
            points.append(_Point(name, label, setting, method, file))
    return points


def _text(setting: Any) -> str:
    return f"{setting:g}" if isinstance(setting, float) else str(setting)


def _check_readable(data: Any, name: str) -> None:
    if isinstance(data, Iterator):
        raise TypeError(
            f"`{name}` must be readable again for each model, such as a "
            f"dataset. Received: {type(data).__name__}"
        )


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


def _built(point: _Point, fit_options) -> Any:
    """Returns what a point's method builds, trained where it has data."""
    method, setting = point.method, point.setting
    model = method.build() if setting is None else method.build(setting)
    if method.data is None:
        return model
    if not isinstance(model, keras.Model) or not model.compiled:
        raise TypeError(
            "`build` must return a compiled keras.Model where there are data "
            f"to train it on. Received: {model!r} for {point.name!r}"
        )
    model.fit(method.data, **fit_options)
    return model


def _figures(measured: Any, name: str) -> tuple[Estimate, Estimate]:
    """Returns quality and unfairness with intervals, NaN if unknown."""
    try:
        quality, unfairness = measured
        estimates: Any = tuple(
            Estimate(*map(float, figure))
            if isinstance(figure, tuple)
            else Estimate(float(figure), math.nan, math.nan)
            for figure in (quality, unfairness)
        )
    except (TypeError, ValueError) as error:
        raise TypeError(
            "`measure` must return quality and unfairness, each an Estimate "
            f"or a number. Received: {measured!r}"
        ) from error
    quality, unfairness = (estimate.value for estimate in estimates)
    if not math.isfinite(quality) or not 0 <= unfairness < math.inf:
        raise ValueError(
            "`measure` must return a finite quality and an unfairness of 0 or "
            f"larger, as the size of a gap is. Received: quality {quality} "
            f"and unfairness {unfairness} at {name}"
        )
    return estimates


def _summary(points, runs, confidence, limit) -> tuple[TradeoffRow, ...]:
    plain = [quality.value for quality, _ in runs[0]]
    limits = [
        _limits(figures[k] for each in runs for figures in each) for k in (0, 1)
    ]
    widest = limits[0][1] - limits[0][0]
    columns: list[dict[str, Any]] = []
    for figures in runs:
        qualities, unfair = zip(*figures, strict=True)
        losses = [
            Estimate(before - quality.value, math.nan, math.nan)
            for before, quality in zip(plain, qualities, strict=True)
        ]
        columns.append(
            {
                "seeds": len(figures),
                "quality": _over_seeds(qualities, confidence, limits[0]),
                "unfairness": _over_seeds(unfair, confidence, limits[1]),
                "quality_loss": _over_seeds(
                    losses, confidence, (-widest, widest)
                ),
            }
        )
    costs = [(-c["quality"].value, c["unfairness"].value) for c in columns]
    within = [
        k for k, c in enumerate(columns) if c["quality_loss"].value <= limit
    ]
    # Of equal figures the better quality, so that it is on the front.
    chosen = min(within, key=lambda k: (costs[k][1], costs[k][0], k))
    return tuple(
        TradeoffRow(
            name=point.name,
            method=point.label,
            setting=point.setting,
            **columns[k],
            pareto=not any(_dominates(c, costs[k]) for c in costs),
            chosen=k == chosen,
        )
        for k, point in enumerate(points)
    )


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
