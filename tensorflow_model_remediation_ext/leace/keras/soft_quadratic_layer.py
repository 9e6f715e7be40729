"""A Keras layer that erases a concept by the class that it predicts."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tensorflow_model_remediation_ext.leace import arrays, fitting
from tensorflow_model_remediation_ext.leace.keras.adapting import (
    MaskedBatches,
)
from tensorflow_model_remediation_ext.leace.keras.erasing_layer import (
    ErasingLayer,
)
from tensorflow_model_remediation_ext.leace.soft_quadratic import (
    SoftQuadraticEraser,
    SoftQuadraticFitter,
)
from tensorflow_model_remediation_ext.leace.soft_quadratic_rows import (
    require_rereadable,
)

# Classes that there is room for where the layer is called before anything says
# how many there are.
_ROOM = 20
# A bias with which a class has probability zero in float32.
_NEVER = -1e9


@keras.saving.register_keras_serializable(
    package="tensorflow_model_remediation_ext"
)
class SoftQuadraticLayer(ErasingLayer):
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
        num_classes: Number of classes. May be left out: `adapt` with arrays
            counts them, and `eraser` knows. Where neither says it before the
            layer is first called, it has room for 20 classes, with the weights
            and the work of so many.
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

    eraser_class = SoftQuadraticEraser

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        eraser: SoftQuadraticEraser | None = None,
        shrinkage: float | None = None,
        regularization: float | None = None,
        max_rank: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
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
        if eraser is not None:
            self._require_eraser(eraser)
            found = int(eraser.bias.shape[0])
            if num_classes not in (None, found):
                raise ValueError(
                    f"`eraser` must be of num_classes={num_classes}. Received: "
                    f"an eraser of {found} classes"
                )
            self.num_classes = found
            self._start_with(eraser)

    def _shapes(self, x_dim):
        k = _ROOM if self.num_classes is None else self.num_classes
        return {
            "mean_x": (x_dim,),
            "kernel": (x_dim, k),
            "bias": (k,),
            "maps": (k, x_dim, x_dim),
            "offsets": (k, x_dim),
        }

    def _has_room(self):
        return self.num_classes is None

    def _filled_up(self, values):
        """Values for more classes, none of which is ever predicted."""
        if self.num_classes is not None:
            return values
        more = _ROOM - len(values["bias"])
        if more < 0:
            raise ValueError(
                f"The layer was first called before it was adapted, and has "
                f"room for {_ROOM} classes: give SoftQuadraticLayer "
                f"`num_classes`. Received: {len(values['bias'])} classes"
            )
        return {
            "mean_x": values["mean_x"],
            "kernel": np.pad(values["kernel"], ((0, 0), (0, more))),
            "bias": np.pad(values["bias"], (0, more), constant_values=_NEVER),
            "maps": np.pad(values["maps"], ((0, more), (0, 0), (0, 0))),
            "offsets": np.pad(values["offsets"], ((0, more), (0, 0))),
        }

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
        self._adapt(data, z, sample_weight, verbose)

    def _take_size(self, fitter):
        self.num_classes = fitter.num_classes

    def _fitted_to_rows(self, x, z, weight):
        return SoftQuadraticFitter.fit(
            x,
            z,
            sample_weight=weight,
            num_classes=self.num_classes,
            **self._options,
        )

    def _fitted_to_batches(self, data, verbose):
        if self.num_classes is None:
            raise ValueError(
                "`num_classes` must be given to SoftQuadraticLayer to adapt "
                "to batches."
            )
        require_rereadable("data", data)
        batches = MaskedBatches(data)
        first = next(fitting.batches(batches, 0, "data"))
        x = arrays.numbers("x", first[0])
        return SoftQuadraticFitter(
            x.shape[-1], self.num_classes, **self._options
        ).fit_dataset(batches, verbose)

    def _require_fitting(self, eraser):
        x_dim, k = eraser.kernel.shape
        if x_dim != self.kernel.shape[0] or self.num_classes not in (None, k):
            raise ValueError(
                "`eraser` must be of the layer's (x_dim, num_classes), "
                f"{(self.kernel.shape[0], self.num_classes)}. Received: an "
                f"eraser of {(x_dim, k)}"
            )

    def call(self, inputs):
        """Erases the concept from `inputs`."""
        self._require_adapted()
        rows = ops.cast(inputs, self.kernel.dtype)
        delta = rows - self.mean_x
        p = ops.softmax(ops.matmul(delta, self.kernel) + self.bias)
        moved = ops.matmul(p, self.offsets)
        for k in range(self.maps.shape[0]):
            moved = moved + p[..., k : k + 1] * ops.matmul(delta, self.maps[k])
        # Divided by one, or 0 / 0 = NaN in what was traced with other weights.
        return ops.cast(rows + moved / self.adapted, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments; what was learned is in the weights."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            **self._options,
        }
