"""A Keras layer that erases a concept by the class that it predicts."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from tensorflow_model_remediation_ext.leace import fitting
from tensorflow_model_remediation_ext.leace.keras.adapted import (
    Adapted,
    require_adapted,
)
from tensorflow_model_remediation_ext.leace.keras.adapting import (
    MaskedBatches,
    labeled_rows,
    require_labels,
)
from tensorflow_model_remediation_ext.leace.soft_quadratic import (
    SoftQuadraticEraser,
    SoftQuadraticFitter,
)

_VALUES = ("mean_x", "kernel", "bias", "maps", "offsets")


@keras.saving.register_keras_serializable(
    package="tensorflow_model_remediation_ext"
)
class SoftQuadraticLayer(keras.layers.Layer):
    """Erases a concept from the last axis of its inputs, beyond linear readers.

    The layer does what a `SoftQuadraticEraser` does, and needs no label to do
    it. It learns in `adapt`, or comes with a fitted `eraser`. It has no
    trainable weights, and before it has learned it refuses to run.

    What is guaranteed is linear and in sample: class means of its outputs are
    equal on the data that it was adapted to. What is left to nonlinear readers
    was only measured; it is far less than after a `LeaceLayer`, but not
    nothing. Layers trained after it may find that. Adapt it again after
    changing the layers before it. It computes in float32 or more, whatever its
    dtype policy, and holds `num_classes * x_dim**2` weights.

    Args:
        num_classes: Number of classes. May be left out where `adapt` with
            arrays or `eraser` say it before the layer is first called.
        eraser: A fitted `SoftQuadraticEraser`.
        shrinkage: See `SoftQuadraticFitter`.
        regularization: Likewise.
        max_rank: Likewise.
        **kwargs: Of `keras.layers.Layer`.

    Input shape: `[..., x_dim]`, of rank two or more.

    Output shape: the same.

    Raises:
        ValueError: On options out of range.
        RuntimeError: When run before it was adapted.

    Examples:
        >>> x = np.random.randn(256, 16).astype("float32")
        >>> z = np.random.randint(0, 2, 256)
        >>> y = np.random.randint(0, 2, 256)
        >>> body = keras.Sequential([keras.layers.Dense(8, "relu")])
        >>> erase = SoftQuadraticLayer(num_classes=2)
        >>> erase.adapt(body(x), z)
        >>> body.trainable = False
        >>> model = keras.Sequential(
        ...     [body, erase, keras.layers.Dense(1, "sigmoid")]
        ... )
        >>> model.compile("adam", "binary_crossentropy")
        >>> history = model.fit(x, y, verbose=0)
    """

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        eraser: SoftQuadraticEraser | None = None,
        shrinkage: float = 0.1,
        regularization: float | None = None,
        max_rank: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self._options: dict[str, Any] = {
            "shrinkage": shrinkage,
            "regularization": regularization,
            "max_rank": max_rank,
        }
        # A trial run of the checks that the fitter makes.
        SoftQuadraticFitter(
            1, 2 if num_classes is None else num_classes, **self._options
        )
        self.num_classes = num_classes
        self._initial: dict[str, np.ndarray] = {}
        if eraser is not None:
            _require_eraser(eraser)
            found = int(eraser.bias.shape[0])
            if num_classes not in (None, found):
                raise ValueError(
                    f"`eraser` must be of num_classes={num_classes}. Received: "
                    f"an eraser of {found} classes"
                )
            self.num_classes = found
            self._initial = _values(eraser)

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        x_dim, k = input_shape[-1], self.num_classes
        if len(input_shape) < 2 or x_dim is None:
            raise ValueError(
                "Inputs must be of shape [..., x_dim] with x_dim known. "
                f"Received: input_shape={input_shape}"
            )
        if k is None:
            raise ValueError(
                "`num_classes` is not known yet: give it to "
                "SoftQuadraticLayer, or adapt the layer before it is first "
                "called."
            )
        initial = self._initial
        if initial and len(initial["mean_x"]) != x_dim:
            raise ValueError(
                f"The eraser is for x_dim={len(initial['mean_x'])}. "
                f"Received: input_shape={input_shape}"
            )
        # Half precision would leave traces of the concept.
        dtype = "float64" if self.variable_dtype == "float64" else "float32"

        def weight(name, shape):
            def initializer(shape, dtype=None):
                if name not in initial:
                    return ops.zeros(shape, dtype)
                return ops.convert_to_tensor(initial[name], dtype)

            return self.add_weight(
                name=name,
                shape=shape,
                initializer=initializer,
                dtype=dtype,
                trainable=False,
                autocast=False,
            )

        self.mean_x = weight("mean_x", (x_dim,))
        self.kernel = weight("kernel", (x_dim, k))
        self.bias = weight("bias", (k,))
        self.maps = weight("maps", (k, x_dim, x_dim))
        self.offsets = weight("offsets", (k, x_dim))
        self.adapted = Adapted(bool(initial), dtype)
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: x_dim})
        self.built = True

    def adapt(
        self,
        data: Any,
        z: Any = None,
        *,
        sample_weight: Any = None,
        verbose: int | str = 0,
    ) -> None:
        """Learns what to erase; what was learned before is forgotten.

        Args:
            data: `[..., x_dim]` inputs of this layer, as an array or tensor,
                together with `z`. Or batches `(x, z)` or
                `(x, z, sample_weight)` that can be read
                `SoftQuadraticFitter.PASSES` times: a `tf.data.Dataset`, a
                `keras.utils.PyDataset` or a list. Where there are no weights,
                the Keras mask of a tensor counts. A `tf.data.Dataset` keeps no
                masks: let it yield weights.
            z: `[...]` class ids, or booleans; only with an array.
            sample_weight: `[...]`, zero for rows to leave out; only with an
                array.
            verbose: `0` for silence, otherwise as in `keras.Model.fit`.

        Raises:
            TypeError: If `data` is of another type, or can be read only once.
            ValueError: On wrong shapes or values, or other classes than those
                that the layer was built for.
        """
        require_labels(data, z, sample_weight)
        if z is not None:
            x, z, weight = labeled_rows(data, z, sample_weight)
            fitter = SoftQuadraticFitter.fit(
                x,
                z,
                sample_weight=weight,
                num_classes=self.num_classes,
                **self._options,
            )
        else:
            fitter = self._fitted_to(data, verbose)
        if not self.built:
            self.num_classes, self._initial = fitter.num_classes, {}
            self.build((None, fitter.x_dim))
        self.set_eraser(fitter.eraser)

    def _fitted_to(self, batches, verbose):
        if self.num_classes is None:
            raise ValueError(
                "`num_classes` must be given to SoftQuadraticLayer to adapt "
                "to batches."
            )
        if isinstance(batches, Iterator):
            raise TypeError(
                "`data` is read several times: give a tf.data.Dataset or "
                "another iterable that can be read again. Received: data of "
                f"type {type(batches).__name__}"
            )
        batches = MaskedBatches(batches)
        first = next(fitting.batches(batches, 0, "data"))
        return SoftQuadraticFitter(
            first[0].shape[-1], self.num_classes, **self._options
        ).fit_dataset(batches, verbose)

    def set_eraser(self, eraser: SoftQuadraticEraser) -> None:
        """Replaces what a built layer erases.

        Args:
            eraser: Of the layer's `x_dim` and `num_classes`.

        Raises:
            TypeError: If it is not a `SoftQuadraticEraser`.
            ValueError: If it does not fit, or the layer is not built.
        """
        _require_eraser(eraser)
        if not self.built:
            raise ValueError(
                f"The layer {self.name!r} is not built: construct it with "
                "`eraser`, or adapt or call it first."
            )
        values = _values(eraser)
        mine, theirs = tuple(self.kernel.shape), values["kernel"].shape
        if mine != theirs:
            raise ValueError(
                "`eraser` must be of the layer's (x_dim, num_classes), "
                f"{mine}. Received: an eraser of {theirs}"
            )
        for name, value in values.items():
            getattr(self, name).assign(value)
        self.adapted.assign(np.ones([]))

    def call(self, inputs):
        """Erases the concept from `inputs`."""
        require_adapted(self, self.adapted)
        rows = ops.cast(inputs, self.kernel.dtype)
        delta = rows - self.mean_x
        p = ops.softmax(ops.matmul(delta, self.kernel) + self.bias)
        moved = ops.matmul(p, self.offsets)
        for k in range(self.num_classes):
            moved = moved + p[..., k : k + 1] * ops.matmul(delta, self.maps[k])
        # Divided by one, or 0 / 0 = NaN in what was traced with other weights.
        return ops.cast(rows + moved / self.adapted, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """The shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments; what was learned is in the weights."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            **self._options,
        }


def _values(eraser):
    return {name: getattr(eraser, name).numpy() for name in _VALUES}


def _require_eraser(eraser):
    if not isinstance(eraser, SoftQuadraticEraser):
        raise TypeError(
            "`eraser` must be a SoftQuadraticEraser. Received: "
            f"eraser={eraser!r}"
        )
