"""What less unfairness costs in quality, over methods and their settings."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import keras

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    whole,
)
from tensorflow_model_remediation_ext.common.progress import progress_bar
from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    normal_quantile,
)
from tensorflow_model_remediation_ext.evaluation.over_seeds import (
    limits_of,
    mean_over_seeds,
)
from tensorflow_model_remediation_ext.evaluation.run_directory import (
    RunDirectory,
)
from tensorflow_model_remediation_ext.evaluation.tradeoff_method import (
    Point,
    points_of,
)
from tensorflow_model_remediation_ext.evaluation.tradeoff_table import (
    Tradeoff,
    TradeoffRow,
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
        ValueError: If methods, a weight, a seed or epochs are not usable, a
            figure is NaN or unfairness negative, or `directory` holds figures
            of another configuration.
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
    points = points_of(methods, data, loss_weights)
    seeds = _seeds(seeds)
    normal_quantile(confidence)  # Refuses a bad level before any work.
    if not (isinstance(max_quality_loss, Real) and max_quality_loss >= 0):
        raise ValueError(
            "`max_quality_loss` must be a number that is not negative. "
            f"Received: max_quality_loss={max_quality_loss!r}"
        )
    epochs = whole("epochs", epochs, 1)
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


def _seeds(seeds: Iterable[int]) -> list[int]:
    try:
        given = [checked_seed("seeds", seed) for seed in seeds]
    except (TypeError, ValueError):
        given = []
    if not given or len(set(given)) < len(given):
        raise ValueError(
            "`seeds` must be different integers from 0 to 2**32 - 1, and at "
            "least one. "
            f"Received: seeds={seeds!r}"
        )
    return given


def _built(point: Point, fit_options) -> Any:
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
        limits_of(figures[k] for each in runs for figures in each)
        for k in (0, 1)
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
                "quality": mean_over_seeds(qualities, confidence, limits[0]),
                "unfairness": mean_over_seeds(unfair, confidence, limits[1]),
                "quality_loss": mean_over_seeds(
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
