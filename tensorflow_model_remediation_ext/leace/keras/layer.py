"""A Keras layer that erases a concept from what passes through it."""

import itertools
from typing import Any

import keras
import numpy as np
from keras import ops

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace import arrays, fitting, labels
from tensorflow_model_remediation_ext.leace.keras.adapting import (
    MaskedBatches,
)
from tensorflow_model_remediation_ext.leace.keras.erasing_layer import (
    ErasingLayer,
)
from tensorflow_model_remediation_ext.leace.leace import (
    LeaceEraser,
    LeaceFitter,
)
from tensorflow_model_remediation_ext.leace.options import LeaceOptions

# Rows of an array to adapt to at once: enough for a fast product, few enough
# for the temporary not to matter.
_ROWS = 4096


@keras.saving.register_keras_serializable(
    package="tensorflow_model_remediation_ext"
)
class LeaceLayer(ErasingLayer):
    """Erases a concept, linearly, from the last axis of its inputs.

    The layer learns in `adapt`, or comes with a fitted `eraser`. It has no
    trainable weights. Whether it has learned is one of its weights, saved,
    loaded and set with the others; before it has, it refuses to run. It guards
    against linear readers of its outputs on the data it was adapted to:
    nonlinear readers, and nonlinear layers trained after it, may still find the
    concept. Adapt it again after changing the layers before it. It computes in
    float32 or more, whatever its dtype policy.

    Args:
        z_dim: Number of columns or classes of the concept. May be left out:
            every `adapt` then looks at its own labels. Where neither `adapt`
            nor `eraser` say it before the layer is first called, it has room
            for any concept: `2 * x_dim**2` weights.
        eraser: A fitted `LeaceEraser`.
        method: `"leace"` or `"orth"`, see `LeaceFitter`.
        affine: Whether erasure keeps the mean of the inputs. With `eraser` it
            does if that has a bias, which `False` forbids.
        shrinkage: Whether to shrink the covariance of the inputs.
        svd_tol: Singular values up to this are not erased, see `LeaceFitter`.
        max_rank: Most directions to erase, see `LeaceFitter`. Where it leaves
            some of the concept, linear readers are not blind.
        **kwargs: Of `keras.layers.Layer`.

    Input shape: `[..., x_dim]`, of rank two or more.

    Output shape: the same.

    Raises:
        ValueError: On options out of range.
        RuntimeError: When run before it was adapted.

    Examples:
        A concept `z` is kept from the head of a classifier:

        >>> x = np.random.randn(256, 16).astype("float32")
        >>> z = np.random.randint(0, 2, 256)
        >>> y = np.random.randint(0, 2, 256)
        >>> body = keras.Sequential([keras.layers.Dense(8, "relu")])
        >>> erase = LeaceLayer(z_dim=2)
        >>> erase.adapt(body(x), z)
        >>> body.trainable = False
        >>> model = keras.Sequential(
        ...     [body, erase, keras.layers.Dense(1, "sigmoid")]
        ... )
        >>> model.compile("adam", "binary_crossentropy")
        >>> history = model.fit(x, y, verbose=0)

        The same in the functional API, adapting last:

        >>> inputs = keras.Input((16,))
        >>> hidden = body(inputs)
        >>> erase = LeaceLayer(z_dim=2)
        >>> outputs = keras.layers.Dense(1, "sigmoid")(erase(hidden))
        >>> model = keras.Model(inputs, outputs)
        >>> erase.adapt(body(x), z)
        >>> model(x).shape
        TensorShape([256, 1])

    References:
        - [Belrose et al., LEACE: Perfect linear concept erasure in closed
          form, 2023](https://arxiv.org/abs/2306.03819), theorem 4.3.
    """

    eraser_class = LeaceEraser

    def __init__(
        self,
        z_dim: int | None = None,
        *,
        eraser: LeaceEraser | None = None,
        method: str = "leace",
        affine: bool = True,
        shrinkage: bool = True,
        svd_tol: float = 0.01,
        max_rank: int | None = None,
        **kwargs: Any,
    ):
        # Of a layer's config: its number of weights, inferred once, does not
        # say how many classes there are the next time.
        self._z_dim_inferred = kwargs.pop("z_dim_inferred", z_dim is None)
        super().__init__(**kwargs)
        self.method, self.affine, self.shrinkage = method, affine, shrinkage
        self.svd_tol, self.max_rank = svd_tol, max_rank
        LeaceOptions(**self._options())  # Checks them.
        if z_dim is not None:
            whole("z_dim", z_dim)
        self.z_dim = z_dim
        if eraser is not None:
            self._require_eraser(eraser)
            if eraser.bias is not None and not affine:
                raise ValueError(
                    "`eraser` must have no bias where `affine` is false. "
                    f"Received: affine={affine}, eraser.bias={eraser.bias}"
                )
            if self.z_dim is None:
                self.z_dim = max(eraser.proj_left.shape[1], 1)
            self.affine = eraser.bias is not None
            self._start_with(eraser)

    def _options(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "affine": self.affine,
            "shrinkage": self.shrinkage,
            "svd_tol": self.svd_tol,
            "max_rank": self.max_rank,
        }

    def _shapes(self, x_dim):
        shapes = {
            "proj_left": (x_dim, self.z_dim),
            "proj_right": (self.z_dim, x_dim),
        }
        return {**shapes, "bias": (x_dim,)} if self.affine else shapes

    def _has_room(self):
        return self._z_dim_inferred

    def _filled_up(self, values):
        """Values for a rank known beforehand, more of it zeros."""
        rank = values["proj_left"].shape[1]
        more = self.z_dim - rank
        if more < 0:
            raise ValueError(
                f"`eraser` is of rank {rank}, but the layer was built for "
                f"z_dim={self.z_dim}: give LeaceLayer a larger `z_dim`."
            )
        left, right = values["proj_left"], values["proj_right"]
        return {
            **values,
            "proj_left": np.pad(left, ((0, 0), (0, more))),
            "proj_right": np.pad(right, ((0, more), (0, 0))),
        }

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        if self.z_dim is None:  # No concept has more directions than that.
            self.z_dim = input_shape[-1]
        self.bias = None
        super().build(input_shape)

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
                `(x, z, sample_weight)`: a `tf.data.Dataset`, a
                `keras.utils.PyDataset` or an iterable. Where there are no
                weights, the Keras mask of a tensor counts: what an `Embedding`
                with `mask_zero=True` masks is left out. A `tf.data.Dataset`
                keeps no masks: let it yield weights.
            z: `[..., z_dim]`, or class ids `[...]`; only with an array.
            sample_weight: `[...]`, zero for rows to leave out; only with an
                array.
            verbose: `0` for silence, otherwise as in `keras.Model.fit`.

        Raises:
            TypeError: If `data` is of another type.
            ValueError: On wrong shapes or values, no data, or if the concept
                has more directions than the layer was built for.
        """
        self._adapt(data, z, sample_weight, verbose)

    def _take_size(self, fitter):
        self.z_dim = fitter.z_dim

    def _fitted_to_rows(self, x, z, weight):
        z_dim = self.z_dim
        if self._z_dim_inferred:
            z_dim = labels.inferred_size("z", z, x, weight)
        fitter = self._fitter(x, z_dim)
        for i in range(0, x.shape[0], _ROWS):
            rows = slice(i, i + _ROWS)
            some = None if weight is None else weight[rows]
            fitter.update(x[rows], z[rows], sample_weight=some)
        return fitter

    def _fitted_to_batches(self, data, verbose):
        batches = MaskedBatches(data, verbose)
        batches = fitting.batches(batches, 0, "data")
        first = next(batches)
        x, z_dim = arrays.numbers("x", first[0]), self.z_dim
        z = labels.labels("z", first[1])
        if self._z_dim_inferred:
            if z.dtype.is_integer and z.shape.rank < x.shape.rank:
                raise ValueError(
                    "`z_dim`, the number of classes, must be given to "
                    "LeaceLayer to adapt to batches of class ids."
                )
            z_dim = labels.inferred_size("z", z, x)
        fitter = self._fitter(x, z_dim)
        fitting.update_all(fitter.update, itertools.chain([first], batches))
        return fitter

    def _fitter(self, x, z_dim):
        x_dim = self.proj_left.shape[0] if self.built else x.shape[-1]
        return LeaceFitter(x_dim, z_dim, **self._options())

    def _require_fitting(self, eraser):
        x_dims = eraser.proj_left.shape[0], self.proj_left.shape[0]
        if x_dims[0] != x_dims[1]:
            raise ValueError(
                f"`eraser` must be for x_dim={x_dims[1]}, as the layer is. "
                f"Received: an eraser for x_dim={x_dims[0]}"
            )
        if (eraser.bias is not None) != self.affine:
            raise ValueError(
                "`eraser` must have a bias exactly if the layer is affine. "
                f"Received: affine={self.affine}, eraser.bias={eraser.bias}"
            )

    def call(self, inputs):
        """Erases the concept from `inputs`."""
        self._require_adapted()
        # The bias is subtracted where it is small: after the projection.
        wide = ops.cast(inputs, self.proj_left.dtype)
        inner = ops.matmul(wide, ops.transpose(self.proj_right))
        if self.bias is not None:
            inner = inner - ops.matmul(self.proj_right, self.bias)
        # Divided by one, or 0 / 0 = NaN in what was traced with other weights.
        inner = inner / self.adapted
        erased = wide - ops.matmul(inner, ops.transpose(self.proj_left))
        return ops.cast(erased, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments; what was learned is in the weights."""
        return {
            **super().get_config(),
            "z_dim": self.z_dim,
            **self._options(),
            "z_dim_inferred": self._z_dim_inferred,
        }
