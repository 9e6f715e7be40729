"""The erasers that `scrub` can put after a layer, and how each is fitted."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace.after_leace import (
    lost,
    require_rank,
)
from tensorflow_model_remediation_ext.leace.class_samples import ClassSamples
from tensorflow_model_remediation_ext.leace.covariance import (
    covariance_eraser_of,
)
from tensorflow_model_remediation_ext.leace.keras.erasing_layer import (
    ErasingLayer,
)
from tensorflow_model_remediation_ext.leace.keras.layer import LeaceLayer
from tensorflow_model_remediation_ext.leace.keras.scrubbing.copying import (
    eraser_layer,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.passes import (
    Batch,
    Spool,
)
from tensorflow_model_remediation_ext.leace.keras.soft_quadratic_layer import (
    SoftQuadraticLayer,
)
from tensorflow_model_remediation_ext.leace.leace import (
    LeaceEraser,
    LeaceFitter,
)
from tensorflow_model_remediation_ext.leace.leftovers import Leftover
from tensorflow_model_remediation_ext.leace.mmd import mmd_eraser_of
from tensorflow_model_remediation_ext.leace.options import (
    METHODS as LINEAR,
)
from tensorflow_model_remediation_ext.leace.options import LeaceOptions
from tensorflow_model_remediation_ext.leace.quadratic import QuadraticFitter
from tensorflow_model_remediation_ext.leace.soft_quadratic import (
    SoftQuadraticEraser,
    SoftQuadraticFitter,
)

AFFINE = ("covariance", "mmd")
METHODS = (*LINEAR, *AFFINE, "soft_quadratic")
# Options of LEACE that its layer has, and that other methods have.
_LAYER = ("affine", "shrinkage", "svd_tol", "max_rank")
_OWN = {"soft_quadratic": ("max_rank", "preserve_dim")}
# Rows of each class that "mmd" keeps to learn from: a hundred batches of 384
# draw fewer.
_SAMPLES = 16_384


class LayerFitter(Protocol):
    """What fits the eraser after one layer.

    Attributes:
        x_dim: Size of the last axis.
        z_dim: Number of columns or classes of the concept.
        preserve_dim: The same of the task, or zero.
    """

    x_dim: int
    z_dim: int
    preserve_dim: int

    def update(self, x: Any, *labels: Any, sample_weight: Any) -> Any:
        """Adds rows."""

    def eraser_and_leftovers(self) -> tuple[Any, list[Leftover]]:
        """Returns the eraser, and what to know about it."""


class Method:
    """How to erase after every layer.

    Args:
        name: One of `METHODS`.
        z_dim: Number of columns or classes of the concept.
        rank: Directions that an affine method removes after those of LEACE.
        **options: Those of LEACE.

    Raises:
        ValueError: If an option is out of range, or not one of the method.
    """

    def __init__(self, name: str, z_dim: int, rank: int | None, **options: Any):
        if name not in METHODS:
            raise ValueError(
                f"`method` must be one of {METHODS}. Received: method={name!r}"
            )
        self._name, self._z_dim = name, whole("z_dim", z_dim)
        self._rank, self._options = 0, options
        linear = name if name in LINEAR else LINEAR[0]
        checked = LeaceOptions(linear, **options)
        if (rank is not None) != (name in AFFINE):
            raise ValueError(
                f"`rank` must be given exactly with one of {AFFINE}. "
                f"Received: rank={rank} with method={name!r}"
            )
        if name in LINEAR:
            return
        usual, own = vars(LeaceOptions()), {"method", *_OWN.get(name, ())}
        for option, value in vars(checked).items():
            if option not in own and value != usual[option]:
                raise ValueError(
                    f"`{option}` is no option of method={name!r}. Received: "
                    f"{option}={value!r}"
                )
        whole("z_dim", z_dim, 2)
        if rank is not None:
            self._rank = whole("rank", rank)

    def layer(self, path: str, hidden: tf.Tensor) -> ErasingLayer:
        """Returns a layer for what comes out at a path, that changes nothing.

        Raises:
            ValueError: If the rank is too high for it.
        """
        d, k = hidden.shape[-1], self._z_dim
        projection = np.zeros([d, 0]), np.zeros([0, d])
        if self._name in LINEAR:
            options = {name: self._options[name] for name in _LAYER}
            bias = np.zeros(d) if options["affine"] else None
            return eraser_layer(
                path,
                hidden,
                LeaceLayer,
                z_dim=k,
                eraser=LeaceEraser(*projection, bias),
                method=self._name,
                **options,
            )
        if self._name == "soft_quadratic":
            nothing = SoftQuadraticEraser(
                mean_x=np.zeros(d),
                kernel=np.zeros((d, k)),
                bias=np.zeros(k),
                maps=np.zeros((k, d, d)),
                offsets=np.zeros((k, d)),
            )
            return eraser_layer(
                path,
                hidden,
                SoftQuadraticLayer,
                eraser=nothing,
                max_rank=self._options["max_rank"],
            )
        require_rank(self._rank, d)
        return eraser_layer(
            path,
            hidden,
            LeaceLayer,
            z_dim=self._rank + k - 1,
            eraser=LeaceEraser(*projection, np.zeros(d)),
        )

    def fitter(self, x_dim: int, spool: Callable[[], Spool]) -> LayerFitter:
        """Returns what fits an eraser.

        Args:
            x_dim: Number of features.
            spool: Makes a file for rows that are read often.
        """
        k = self._z_dim
        if self._name in LINEAR:
            return LeaceFitter(x_dim, k, self._name, **self._options)
        if self._name == "soft_quadratic":
            return _OnDisk(x_dim, k, spool(), self._options)
        return _OfClasses(x_dim, k, self._name, self._rank)


class _OfClasses:
    """Fits an affine eraser to the means and covariances of the classes."""

    preserve_dim = 0

    def __init__(self, x_dim, z_dim, name, rank):
        self.x_dim, self.z_dim, self._rank = x_dim, z_dim, rank
        self._classes = QuadraticFitter(x_dim, z_dim)
        self._samples = None
        if name == "mmd":
            self._samples = ClassSamples(z_dim, _SAMPLES)

    def update(self, x, *labels, sample_weight=None):
        (z,) = labels
        _require_ids(z)
        self._classes.update(x, z, sample_weight)
        if self._samples is not None:
            self._samples.add(x, z, sample_weight)

    def eraser_and_leftovers(self):
        if self._samples is None:
            eraser = covariance_eraser_of(self._classes, self._rank)
        else:
            eraser = mmd_eraser_of(self._classes, self._samples, self._rank)
        return eraser, lost(eraser)


class _OnDisk:
    """Keeps the rows in a file, which soft quadratic erasure reads often."""

    def __init__(self, x_dim, z_dim, spool, options):
        self.x_dim, self.z_dim = x_dim, z_dim
        self.preserve_dim = options["preserve_dim"]
        self._spool = spool
        self._options = {name: options[name] for name in _OWN["soft_quadratic"]}

    def update(self, x, *labels, sample_weight=None):
        _require_ids(labels[0])
        weight = [] if sample_weight is None else [sample_weight]
        if not self._spool.write(Batch([x], [*labels], weight, [])):
            raise ValueError(
                "`cache_bytes` must have room for the outputs of a layer with "
                "method='soft_quadratic', which reads them often."
            )

    def __iter__(self) -> Iterator[tuple]:
        for (x,), labels, weight, _ in self._spool:
            z = tuple(labels) if self.preserve_dim else labels[0]
            yield (x, z, *weight)

    def eraser_and_leftovers(self):
        fitter = SoftQuadraticFitter(self.x_dim, self.z_dim, **self._options)
        found = fitter.eraser_and_leftovers(self)
        self._spool.delete()
        return found


def _require_ids(z):
    if not z.dtype.is_integer:
        raise ValueError(
            "`z` must be integer class ids with this method. Received: z of "
            f"dtype {z.dtype.name}"
        )
