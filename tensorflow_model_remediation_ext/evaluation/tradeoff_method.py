"""The methods that a tradeoff compares, and the rows they make."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.common.checks import number
from tensorflow_model_remediation_ext.evaluation.run_directory import (
    digest,
    digest_of,
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
class Point:
    """One row to come."""

    name: Any
    label: str
    setting: Any
    method: TradeoffMethod
    file: str


def points_of(
    methods: Any, data: Any, loss_weights: Iterable[float] | None
) -> list[Point]:
    """Returns the rows to come, checked.

    Args:
        methods: See `tradeoff`.
        data: See `tradeoff`.
        loss_weights: See `tradeoff`.

    Raises:
        ValueError: If methods, settings or weights are not usable.
        TypeError: If data can be read only once.
    """
    if callable(methods):
        if data is None or loss_weights is None:
            raise ValueError(
                "`data` and `loss_weights` must be given with one function "
                "that takes a weight; several methods go into a dict."
            )
        method = TradeoffMethod(methods, _weights(loss_weights), data)
        _check_readable(data, "data")
        return [
            Point(w, "", w, method, f"loss_weight={w!r}")
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
    return [
        point
        for label, method in methods.items()
        for point in _points_of_method(label, method)
    ]


def _points_of_method(label: str, method: Any) -> list[Point]:
    """Returns the rows of one method, checked: one for each setting."""
    if callable(method):
        method = TradeoffMethod(method)
    if not isinstance(method, TradeoffMethod):
        raise ValueError(
            "`methods` must hold TradeoffMethods or functions. "
            f"Received: {method!r} for {label!r}"
        )
    _check_readable(method.data, f"data of {label!r}")
    settings = [None]
    if method.settings is not None:
        settings = [
            # NumPy's numbers as plain ones, which JSON and files know.
            each.item() if isinstance(each, np.generic) else each
            for each in method.settings
        ]
    if not settings or len({*map(repr, settings)}) < len(settings):
        raise ValueError(
            f"`settings` of {label!r} must be different ones, and at "
            f"least one. Received: settings={settings}"
        )
    points = []
    for setting in settings:
        name, file = label, label
        if setting is not None:
            name, file = f"{label} {as_text(setting)}", f"{label},{setting!r}"
        readable = re.sub(r"[^\w=.,+-]+", "_", file)
        if readable != file:
            # Names that become the same text still have files of their own.
            readable += f",{digest_of(file)}"
        file = f"method={readable},build={digest(method.build)}"
        points.append(Point(name, label, setting, method, file))
    return points


def _check_readable(data: Any, name: str) -> None:
    if isinstance(data, Iterator):
        raise TypeError(
            f"`{name}` must be readable again for each model, such as a "
            f"dataset. Received: {type(data).__name__}"
        )


def _weights(loss_weights: Iterable[float]) -> list[float]:
    given = [number("loss_weights", weight) for weight in loss_weights]
    if not given or min(given) < 0:
        raise ValueError(
            "`loss_weights` must be finite and not negative, and at least "
            f"one. Received: loss_weights={given}"
        )
    return sorted({0.0, *given})


def as_text(setting: Any) -> str:
    """Returns a setting as tables and charts show it."""
    return f"{setting:g}" if isinstance(setting, float) else str(setting)
