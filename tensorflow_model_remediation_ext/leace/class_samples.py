"""Rows of every class to draw from, out of a stream of any length."""

from typing import Any

import numpy as np


class ClassSamples:
    """Keeps rows of each class, at most so many, and draws from them.

    Of more rows than there is room for, each has the same chance to be kept.

    Args:
        num_classes: Number of classes.
        room: Most rows of a class to keep, `None` for all.
        seed: Of the choice.
    """

    def __init__(
        self, num_classes: int, room: int | None = None, seed: int = 0
    ):
        self._room, self._rng = room, np.random.default_rng(seed)
        # Rows, weights, and random numbers, the smallest of which are kept.
        self._kept: list[tuple | None] = [None] * num_classes

    def add(self, x: Any, ids: Any, weight: Any = None) -> None:
        """Adds `[n, d]` rows, `[n]` class ids and weights, or `None`.

        Rows of weight zero are left out.
        """
        x, ids = np.asarray(x), np.asarray(ids)
        weight = np.ones(len(ids)) if weight is None else np.asarray(weight)
        mark = self._rng.random(len(ids))
        for k in range(len(self._kept)):
            mine = (ids == k) & (weight > 0)
            rows = x[mine], weight[mine], mark[mine]
            kept = self._kept[k]
            if kept is not None:
                rows = tuple(map(np.concatenate, zip(kept, rows, strict=True)))
            if self._room is not None and len(rows[0]) > self._room:
                first = np.argpartition(rows[2], self._room)[: self._room]
                rows = tuple(part[first] for part in rows)
            self._kept[k] = rows

    def draw(self, each: int, rng: np.random.Generator) -> np.ndarray:
        """Returns `[classes, each, d]` rows, with replacement, by weight."""
        drawn = []
        for rows in self._kept:
            assert rows is not None  # Classes were checked to have rows.
            x, weight, _ = rows
            drawn.append(x[rng.choice(len(x), each, p=weight / weight.sum())])
        return np.stack(drawn)
