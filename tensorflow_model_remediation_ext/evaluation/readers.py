"""Readers: classifiers that look for a concept in a representation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from tensorflow_model_remediation_ext.evaluation.tables import extra

Preparation = Callable[[np.ndarray], np.ndarray]

# Directions with less than this share of the largest standard deviation are
# rounding errors of what an eraser returned.
_ROUNDING = 1e-6


class Reader:
    """One kind of classifier, on features that are prepared for it.

    Args:
        name: One of `READERS`; any name where `model` is given.
        seed: Seed of what is random in it.
        model: A classifier with scikit-learn's interface to use on
            standardized features, instead of a known one.
    """

    def __init__(self, name: str, seed: int, model: Any = None):
        self._prepare_for, self._model = standardize, model
        if model is None:
            self._prepare_for, make = _KINDS[name]
            self._model = make(seed)

    def read(
        self, x: np.ndarray, z: np.ndarray, x_new: np.ndarray, classes: int
    ) -> np.ndarray:
        """Trains on rows, and returns scores of other rows.

        Args:
            x: `[n, d]` rows to train on.
            z: `[n]` their class ids.
            x_new: `[m, d]` rows to read.
            classes: Number of classes.

        Returns:
            `[m, classes]`: the larger, the more likely the class. Classes that
            were not trained on are less likely than any other.
        """
        exceptions = extra("sklearn.exceptions", "A reader")
        prepare = self._prepare_for(x)
        present = np.unique(z)
        scores = np.full((len(x_new), classes), -np.inf)
        if len(present) == 1:
            scores[:, present] = 0.0
            return scores
        with warnings.catch_warnings():
            # Training ends after a number of steps that is part of the kind.
            warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
            self._model.fit(prepare(x), z)
            if hasattr(self._model, "predict_proba"):
                found = self._model.predict_proba(prepare(x_new))
            else:
                found = self._model.decision_function(prepare(x_new))
        found = np.asarray(found, np.float64)
        if found.ndim == 1:
            found = np.stack([-found, found], axis=1)
        scores[:, present] = found
        return scores


def readers_by_name(
    readers: Sequence[str] | Mapping[str, Callable[[int], Any]],
) -> dict[str, Callable[[int], Reader]]:
    """Returns functions of a seed that make the readers.

    Args:
        readers: Names out of `READERS`, or functions of a seed by name that
            return a classifier with scikit-learn's interface.

    Raises:
        ValueError: If there are none, or a name is unknown.
        TypeError: If they are neither names nor functions.
    """
    if isinstance(readers, str) or not readers:
        raise ValueError(
            "`readers` must be a sequence of names or a mapping, and not "
            f"empty. Received: readers={readers!r}"
        )
    if isinstance(readers, Mapping):
        for name, make in readers.items():
            if not callable(make):
                raise TypeError(
                    "`readers` must map names to functions of a seed. "
                    f"Received: readers[{name!r}]={make!r}"
                )
        return {
            str(name): _given(str(name), make) for name, make in readers.items()
        }
    unknown = [name for name in readers if name not in _KINDS]
    if unknown:
        raise ValueError(
            f"`readers` must be among {READERS}. Received: {unknown}"
        )
    return {name: _known(name) for name in readers}


def _known(name):
    return lambda seed: Reader(name, seed)


def _given(name, make):
    return lambda seed: Reader(name, seed, make(seed))


def standardize(x: np.ndarray) -> Preparation:
    """Returns a function that gives features mean 0 and variance 1."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    # What varies by rounding alone is constant.
    varies = scale > 1e-12 * np.abs(x).max(axis=0, initial=0.0)
    inverse = np.divide(1.0, scale, where=varies, out=np.zeros_like(scale))
    return lambda rows: (rows - mean) * inverse


def whiten(x: np.ndarray) -> Preparation:
    """Returns a function that gives every direction variance 1.

    A concept that was moved into directions of little variance, instead of
    out, comes to light.
    """
    first = standardize(x)
    rows = first(x)
    values, basis = np.linalg.eigh(rows.T @ rows / len(rows))
    kept = values > values[-1] * _ROUNDING**2
    # Where nothing varies, one feature that does not is left.
    kept[-1] = True
    basis = basis[:, kept] / np.sqrt(np.maximum(values[kept], 1e-12))
    return lambda rows: first(rows) @ basis


def rank(x: np.ndarray) -> Preparation:
    """Returns a function that makes every feature normal by its ranks.

    Few rows of huge values then cannot hide how the others differ.
    """
    grid = np.linspace(0, 1, min(len(x), 200) + 2)[1:-1]
    normal = np.array([NormalDist().inv_cdf(p) for p in grid])
    quantiles = np.quantile(x, grid, axis=0)

    def prepare(rows):
        columns = []
        for values, points in zip(rows.T, quantiles.T, strict=True):
            # Equal values get the middle of their ranks.
            low = np.interp(values, points, normal)
            high = -np.interp(-values, -points[::-1], -normal[::-1])
            columns.append((low + high) / 2)
        return np.stack(columns, axis=1)

    return prepare


def _as_they_are(x):
    return lambda rows: rows


def _logistic(seed):
    linear = extra("sklearn.linear_model", "A reader")
    return linear.LogisticRegression(C=0.1, max_iter=1_000)


def _network(layers, seed):
    networks = extra("sklearn.neural_network", "A reader")
    return networks.MLPClassifier(
        layers,
        alpha=1.0,
        learning_rate_init=2e-3,
        max_iter=60,
        random_state=seed,
    )


def _svm(seed):
    return extra("sklearn.svm", "A reader").SVC(
        C=2.0, decision_function_shape="ovr"
    )


def _boosting(seed):
    ensemble = extra("sklearn.ensemble", "A reader")
    return ensemble.HistGradientBoostingClassifier(
        max_iter=100,
        max_leaf_nodes=15,
        max_features=0.3,
        early_stopping=False,
        random_state=seed,
    )


_KINDS: dict[str, tuple[Callable, Callable]] = {
    "linear": (standardize, _logistic),
    "whitened linear": (whiten, _logistic),
    "network": (standardize, lambda seed: _network((128,), seed)),
    "deep network": (rank, lambda seed: _network((64, 64), seed)),
    "svm": (standardize, _svm),
    "trees": (_as_they_are, _boosting),
}
READERS = tuple(_KINDS)
