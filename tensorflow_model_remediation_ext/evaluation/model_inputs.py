"""A model's inputs as arrays by name, whose features can be shuffled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.evaluation.checks import require_order
from tensorflow_model_remediation_ext.evaluation.frames import (
    columns_of,
    to_array,
)


class Feature(NamedTuple):
    """What is shuffled at once.

    Attributes:
        name: Its name.
        key: The array that holds it.
        column: Its column there, `None` for all of them.
    """

    name: str
    key: str
    column: int | None


class ModelInputs(NamedTuple):
    """Inputs of a model, taken apart.

    Attributes:
        arrays: Arrays by name, each with a row for each example.
        rebuild: Makes of such arrays what the model takes.
        columns: Names of the columns, if there is one array that has them.
    """

    arrays: dict[str, np.ndarray]
    rebuild: Callable[[dict[str, np.ndarray]], Any]
    columns: list[str] | None

    @classmethod
    def read(cls, x: Any, name: str = "x") -> ModelInputs:
        """Takes inputs apart.

        Args:
            x: An array, a data frame, or a dict or sequence of arrays.
            name: What to call them in an error.

        Raises:
            TypeError: If a data frame holds anything but numbers, or has no
                values yet.
        """
        if isinstance(x, Mapping):
            keys = {str(key): key for key in x}
            return cls(
                {
                    as_text: to_array(x[key], f"{name}[{key!r}]")
                    for as_text, key in keys.items()
                },
                lambda arrays: {
                    keys[as_text]: as_tensor(array)
                    for as_text, array in arrays.items()
                },
                None,
            )
        if isinstance(x, (list, tuple)) and all(np.ndim(a) for a in x):
            # A tuple stays one: a KerasHub task takes segments of text so.
            kind = tuple if isinstance(x, tuple) else list
            return cls(
                {str(k): to_array(a, f"{name}[{k}]") for k, a in enumerate(x)},
                lambda arrays: kind(map(as_tensor, arrays.values())),
                None,
            )
        array, columns = to_array(x, name), None
        named = columns_of(x, name)
        if named is not None and array.dtype == object:
            raise TypeError(
                f"`{name}` must hold numbers only where it is a data frame; "
                "give columns of other types as a dict of arrays. "
                f"Received: columns={list(named)}"
            )
        if array.ndim == 2:
            columns = [*map(str, named or range(array.shape[1]))]
        return cls({"x": array}, lambda a: as_tensor(a["x"]), columns)

    def features(self, names: Sequence[str] | None) -> list[Feature]:
        """Returns what can be shuffled.

        Args:
            names: Names of the columns or arrays; `None` for their own, and
                none of them for no features.

        Raises:
            TypeError: If names do not come in an order.
            ValueError: If there are too many names or too few.
        """
        places: list[tuple[str, int | None]]
        if self.columns is None:
            places, own = [(key, None) for key in self.arrays], [*self.arrays]
        else:
            own = self.columns
            places = [("x", k) for k in range(len(own))]
        require_order(names, "feature_names")
        names = own if names is None else list(names)
        if len(names) not in (0, len(places)):
            raise ValueError(
                f"`feature_names` must be {len(places)} names, or none. "
                f"Received: {names}"
            )
        return [
            Feature(str(name), *place)
            for name, place in zip(names, places, strict=False)
        ]

    def shuffled(
        self, feature: Feature, rng: np.random.Generator
    ) -> ModelInputs:
        """Returns the inputs with one feature shuffled among rows."""
        array = self.arrays[feature.key]
        order = rng.permutation(len(array))
        if feature.column is None:
            array = array[order]
        else:
            column, array = array[order, feature.column], array.copy()
            array[:, feature.column] = column
        return self._replace(arrays={**self.arrays, feature.key: array})

    def edited(self, edit: Callable[[Any], Any], name: str) -> ModelInputs:
        """Returns what a function makes of a copy of the inputs.

        Raises:
            ValueError: If it changes names or shapes.
        """
        copies = {key: array.copy() for key, array in self.arrays.items()}
        edited = ModelInputs.read(edit(self.rebuild(copies)), name)
        wanted, shapes = (
            {key: array.shape for key, array in each.arrays.items()}
            for each in (self, edited)
        )
        if shapes != wanted:
            raise ValueError(
                f"`{name}` must keep the inputs and their shapes, {wanted}. "
                f"Received: {shapes}"
            )
        return self._replace(arrays=edited.arrays)

    def rows(self, chosen: Any) -> ModelInputs:
        """Returns some rows: those of a slice or a mask."""
        arrays = {key: array[chosen] for key, array in self.arrays.items()}
        return self._replace(arrays=arrays)

    def differ(self, other: ModelInputs) -> np.ndarray:
        """Returns which rows differ from those of inputs of equal shapes."""
        differ: Any = False
        for key, array in self.arrays.items():
            before, after = array, other.arrays[key]
            if _is_text(array):
                before, after = (as_tensor(a).numpy() for a in (before, after))
            # NaN differs from itself, but has not changed.
            known = (before == before) | (after == after)
            values = (before != after) & known
            differ = differ | values.reshape(len(array), -1).any(axis=1)
        return differ


def as_tensor(array: np.ndarray) -> Any:
    """Returns text as a tensor, which is how Keras takes it."""
    if array.dtype.kind == "T":
        array = array.astype(object)
    return tf.constant(array) if _is_text(array) else array


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "OSTU"
