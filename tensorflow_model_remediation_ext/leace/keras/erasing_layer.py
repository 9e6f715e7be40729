"""What layers that erase have in common: weights, adapting, loading."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tensorflow_model_remediation_ext.leace import arrays
from tensorflow_model_remediation_ext.leace.keras.adapted import (
    Adapted,
    require_adapted,
)
from tensorflow_model_remediation_ext.leace.keras.adapting import (
    labeled_rows,
    require_labels,
)


class ErasingLayer(keras.layers.Layer):
    """A layer without trainable weights, whose weights are those of an eraser.

    A subclass names the class of its erasers, the shapes of its weights, and
    how to fit. It hands a fitted `eraser` to `_start_with`, and runs
    `_require_adapted` first in `call`.

    Args:
        **kwargs: Of `keras.layers.Layer`.
    """

    eraser_class: type

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self._initial: dict[str, np.ndarray] = {}

    def _shapes(self, x_dim: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights by name; the first begins with `x_dim`."""
        raise NotImplementedError

    def _filled_up(
        self, values: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Values of weights for the room that the layer has."""
        raise NotImplementedError

    def _has_room(self) -> bool:
        """Whether the layer was built without knowing the concept's size."""
        raise NotImplementedError

    def _fitted_to_rows(self, x, z, weight) -> Any:
        """A fitter that has seen these rows."""
        raise NotImplementedError

    def _fitted_to_batches(self, data, verbose) -> Any:
        """A fitter that has seen these batches."""
        raise NotImplementedError

    def _take_size(self, fitter) -> None:
        """Sizes a layer that is not built for what was fitted."""
        raise NotImplementedError

    def _start_with(self, eraser: Any) -> None:
        """Lets the layer have learned when it is built."""
        self._initial = self._values(eraser)

    def _values(self, eraser):
        return self._filled_up(
            {
                name: getattr(eraser, name).numpy()
                for name in self._shapes(1)
                if getattr(eraser, name) is not None
            }
        )

    def _require_eraser(self, eraser):
        kind = self.eraser_class.__name__
        if not isinstance(eraser, self.eraser_class):
            raise TypeError(
                f"`eraser` must be a {kind}. Received: eraser={eraser!r}"
            )

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer; only here are symbolic inputs seen, too.

        Raises:
            ValueError: If `inputs` are sparse or ragged.
        """
        arrays.require_dense("inputs", inputs)
        return super().__call__(inputs, *args, **kwargs)

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        x_dim = input_shape[-1]
        if len(input_shape) < 2 or x_dim is None:
            raise ValueError(
                "Inputs must be of shape [..., x_dim] with x_dim known. "
                f"Received: input_shape={input_shape}"
            )
        initial = self._initial
        if initial and len(next(iter(initial.values()))) != x_dim:
            raise ValueError(
                f"The eraser is for x_dim={len(next(iter(initial.values())))}. "
                f"Received: input_shape={input_shape}"
            )
        # Half precision would leave traces of the concept.
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        for name, shape in self._shapes(x_dim).items():
            setattr(self, name, self._weight(name, shape, dtype))
        self.adapted = Adapted(bool(initial), dtype)
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: x_dim})
        self.built = True

    def _weight(self, name, shape, dtype):
        def initializer(shape, dtype=None):
            if name not in self._initial:
                return ops.zeros(shape, dtype)
            return ops.convert_to_tensor(self._initial[name], dtype)

        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=False,
            autocast=False,
        )

    def _adapt(self, data, z, sample_weight, verbose):
        require_labels(data, z, sample_weight)
        if z is not None:
            rows = labeled_rows(data, z, sample_weight)
            fitter = self._fitted_to_rows(*rows)
        else:
            fitter = self._fitted_to_batches(data, verbose)
        eraser = fitter.eraser
        if not self.built:
            self._initial = {}
            self._take_size(fitter)
            self.build((None, fitter.x_dim))
        self.set_eraser(eraser)

    def set_eraser(self, eraser: Any) -> None:
        """Replaces what a built layer erases.

        Args:
            eraser: A fitted eraser of the layer's kind and size.

        Raises:
            TypeError: If it is of another class.
            ValueError: If it does not fit, or the layer is not built.
        """
        self._require_eraser(eraser)
        if not self.built:
            raise ValueError(
                f"The layer {self.name!r} is not built: construct it with "
                "`eraser`, or adapt or call it first."
            )
        self._require_fitting(eraser)
        for name, value in self._values(eraser).items():
            getattr(self, name).assign(value)
        self.adapted.assign(np.ones([]))

    def _require_fitting(self, eraser) -> None:
        """Refuses an eraser of another size than that of a built layer."""
        raise NotImplementedError

    def _require_adapted(self):
        require_adapted(self, self.adapted)

    def load_own_variables(self, store):
        """Loads weights, also those of a layer with less room."""
        keys = map(str, range(len(store.keys())))
        values = {key: np.asarray(store[key]) for key in keys}
        if self.built and self._has_room() and len(values) == len(self.weights):
            # Its size may be told by no config: that of a layer around it.
            names = list(self._shapes(1))
            named = dict(zip(names, values.values(), strict=False))
            filled = self._filled_up(named)
            values |= {str(i): filled[name] for i, name in enumerate(names)}
        # Before any is set: half of another eraser erases nothing.
        for variable, value in zip(self.weights, values.values(), strict=False):
            if tuple(variable.shape) != value.shape:
                raise ValueError(
                    f"Weights of {self.name!r} must be those of a layer of the "
                    f"same sizes: {variable.name!r} of shape "
                    f"{tuple(variable.shape)}. Received: shape {value.shape}"
                )
        super().load_own_variables(values)

    def compute_output_shape(self, input_shape):
        """The shape of the inputs."""
        return input_shape
