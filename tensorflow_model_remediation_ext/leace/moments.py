"""Streamed first and second moments, the statistics under every fitter."""

from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.leace import arrays, labels
from tensorflow_model_remediation_ext.leace.centered_sums import (
    TINY,
    CenteredSums,
    first_center,
)
from tensorflow_model_remediation_ext.leace.sums import (
    BatchKind,
    Checks,
    assemble,
    batch_sums,
    checks_of,
    compiled_batch_sums,
    outer,
    spans,
    with_gram,
)
from tensorflow_model_remediation_ext.leace.variation import variation

# Smaller squares are lost in float32.
_SMALLEST = float(np.finfo(np.float32).tiny)


class Moments(CenteredSums):
    """Streamed, weighted moments of `x`, and of `x` with `z`.

    Sample weights count rows: weight two is the row twice, weight zero is the
    row left out, and `n` is the sum of the weights.

    Args:
        *args: See `CenteredSums`.
        z_names: What to call the labels in an error.
        **kwargs: See `CenteredSums`.
    """

    def __init__(
        self, *args: Any, z_names: tuple[str, ...] = ("z",), **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        self._z_names = " or ".join(f"`{name}`" for name in z_names)

    # Reading. Unnormalized sums around the mean, as float64 NumPy arrays.

    @property
    def mean_x(self) -> np.ndarray:
        """`[x_dim]`, zeros before the first row."""
        return self._center_x.numpy() + self._x.numpy() / max(self.n, TINY)

    @property
    def mean_z(self) -> np.ndarray:
        """`[z_dim]`, zeros before the first row."""
        return self._center_z.numpy() + self._z.numpy() / max(self.n, TINY)

    def scatter_strips(self) -> list[np.ndarray]:
        """Returns `scatter_xx` in strips, see `Sums.xx`, for the caller."""
        if not self._xx:
            raise ValueError("The second moment of `x` is not tracked.")
        x = np.asarray(self._x.numpy(), np.float64)
        mean, varying, strips = x / max(self.n, TINY), self.squares_x > 0, []
        for strip, (i, j) in zip(self._xx, spans(self.x_dim), strict=True):
            strip = np.asarray(strip.numpy(), np.float64)
            strip -= outer(x[i:j], mean[i:])
            index = np.arange(j - i)
            strip[index, index] *= varying[i:j]
            strips.append(strip)
        return strips

    @property
    def scatter_xx(self) -> np.ndarray:
        """`[x_dim, x_dim]`: the sum of `w (x - mean_x) (x - mean_x)^T`."""
        return assemble(self.scatter_strips())

    @property
    def squares_x(self) -> np.ndarray:
        """`[x_dim]`: the diagonal of `scatter_xx`, always tracked."""
        return self._variation(self._x, self._squares.numpy(), self.mean_x)[0]

    @property
    def squares_z(self) -> np.ndarray:
        """`[z_dim]`: the diagonal of `scatter_zz`."""
        return self.scatter_zz.diagonal()

    @property
    def lost_x(self) -> np.ndarray:
        """`[x_dim]`: what varies too little beside its mean to be seen.

        These features are taken for constant, and are not, or at least not
        beyond doubt.
        """
        return self._variation(self._x, self._squares.numpy(), self.mean_x)[1]

    @property
    def lost_z(self) -> np.ndarray:
        """`[z_dim]`: the same of columns of `z`."""
        return self._variation(self._z, np.diagonal(self._zz), self.mean_z)[1]

    def _variation(self, total, squares, mean):
        return variation(
            np.asarray(total.numpy(), np.float64),
            np.asarray(squares, np.float64),
            mean,
            max(self.n, TINY),
            self.dtype.name,
        )

    @property
    def scatter_xz(self) -> np.ndarray:
        """`[x_dim, z_dim]`: the sum of `w (x - mean_x) (z - mean_z)^T`."""
        mean_z = self._z.numpy() / max(self.n, TINY)
        scatter = self._xz.numpy() - outer(self._x.numpy(), mean_z)
        # Squares that float32 is too coarse for tell of no constant: some
        # layers have units that are scaled to nearly nothing.
        unseen = np.abs(self._squares.numpy()) <= self.n * _SMALLEST
        return scatter * outer(
            unseen | (self.squares_x > 0), self.squares_z > 0
        )

    @property
    def scatter_zz(self) -> np.ndarray:
        """`[z_dim, z_dim]`: the sum of `w (z - mean_z) (z - mean_z)^T`."""
        z = self._z.numpy()
        scatter = self._zz.numpy() - outer(z, z / max(self.n, TINY))
        squares = np.diagonal(self._zz)
        varying = self._variation(self._z, squares, self.mean_z)[0] > 0
        return scatter * outer(varying, varying)

    # Writing.

    def update(self, x: Any, z: Any = None, sample_weight: Any = None) -> None:
        """Adds rows; either all of them or, on an error, none.

        Under a distribution strategy, each replica passes its own rows and
        every replica holds the statistics of all of them.

        Args:
            x: `[..., x_dim]` array or tensor.
            z: `[..., z_dim]`, or integer class ids `[...]` where `z_dim > 1`,
                or `[...]` where `z_dim == 1`. Not given where `z_dim == 0`.
            sample_weight: `[...]`, non-negative, or `None` for ones.

        Raises:
            ValueError: On a wrong rank, size, dtype or class id, a negative
                weight, NaN or infinity; on several replicas, if this was not
                created within the scope of their strategy.
            tf.errors.InvalidArgumentError: On such values in graph mode.
        """
        x, z, weight = self._as_rows(x, z, sample_weight)
        replica = tf.distribute.get_replica_context()
        # A strategy of one replica, too, forbids assignments in a condition.
        distributed = replica is not None and tf.distribute.has_strategy()
        if distributed:
            self._require_scope()
        if tf.executing_eagerly() and not distributed:
            self._update_eagerly(x, z, weight)
        else:
            self._update_in_graph(
                x, z, weight, replica if distributed else None
            )

    def _as_rows(self, x, z, weight):
        """Rows of `x`, `z`, weights in one dtype, checked as far as known."""
        x = arrays.features(x, self.x_dim, least_rank=2)
        leading, dtype = x.shape[:-1], arrays.working_dtype(x)
        x = tf.reshape(tf.cast(x, dtype), [-1, self.x_dim])
        if self.z_dim == 0:
            if z is not None:
                raise ValueError("`z` is given, but z_dim is 0.")
            z = tf.zeros([tf.shape(x)[0], 0], self.dtype)
        else:
            z = labels.columns_or_ids("z", z, self.z_dim, leading, self.dtype)
        if weight is not None:
            weight = labels.weights(weight, leading, self.dtype)
        return x, z, weight

    def _messages(self, z, weight) -> Checks:
        """What to say where a check fails."""
        bound = "or values whose squares overflow"
        ids = z if z.dtype == tf.int64 else tf.zeros([0], tf.int64)
        return Checks(
            weights=labels.weights_fault(weight),
            class_ids=labels.in_range("z", ids, self.z_dim)[1],
            x=f"`x` holds NaN, infinity {bound}.",
            z=f"{self._z_names} holds NaN, infinity {bound}.",
            products=f"The products of `x` and {self._z_names} overflow.",
        )

    def _first_centers(self, x, z, weight, reduce_sum):
        center_x = first_center(x, weight, reduce_sum)
        if z.dtype == tf.int64:
            return center_x, tf.zeros_like(self._center_z)
        return center_x, first_center(z, weight, reduce_sum)

    def _update_eagerly(self, x, z, weight):
        # Little besides the product may cost anything: variables are read and
        # assigned as seldom as can be.
        n = self.n
        if n > 0:
            centers = self._center_x.value(), self._center_z.value()
        else:
            centers = self._first_centers(x, z, weight, lambda values: values)
        # NumPy multiplies rows in float64 by themselves in half of the time.
        # In float32 it takes as long, and then its threads look for work for
        # a while, at the cost of what runs next, such as a model.
        in_numpy = (
            bool(self._xx) and x.dtype == tf.float64 and "CPU" in x.device
        )
        kind = BatchKind(
            self.x_dim,
            self.z_dim,
            x_dtype=x.dtype,
            dtype=self.dtype,
            class_ids=z.dtype == tf.int64,
            weighted=weight is not None,
            squares=not self._xx,
            gram=bool(self._xx) and not in_numpy,
        )
        weights = () if weight is None else (weight,)
        step = compiled_batch_sums(kind)
        sums, centered, fine = step(x, z, *centers, *weights)
        fine = Checks(*fine.numpy())
        if in_numpy:
            sums = with_gram(sums, np.asarray(centered), self.dtype)
        fine = self._with_room(fine, sums)
        if not all(fine):
            messages = self._messages(z, weight)
            raise ValueError(fine.first_failing(messages))
        self._add(sums, None if n > 0 else centers)
        if n + sums.n.numpy() >= 2 * self._n_at_center.numpy():
            self._recenter()

    def _with_room(self, fine, sums):
        """Checks that sums stay finite, too, in the dtype that keeps them.

        No product is larger than the squares of both of its factors.
        """
        limits = np.finfo(self.dtype.name)
        held = self._sums()

        def fits(variable, more, read=np.asarray):
            # What is lost beside the largest number adds up to no larger one:
            # reading what there is would take longer.
            if (more <= limits.max * limits.eps / 4).all():
                return True
            with np.errstate(over="ignore", invalid="ignore"):
                return (read(variable) + more <= limits.max).all()

        return fine._replace(
            weights=fine.weights and fits(held.n, np.asarray(sums.n)),
            x=fine.x and fits(held.squares, np.asarray(sums.squares)),
            z=fine.z
            and fits(held.zz, np.asarray(sums.zz).diagonal(), np.diagonal),
        )

    def _update_in_graph(self, x, z, weight, replica):
        def reduce_sum(values):
            if replica is None:
                return values
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, values)

        def first():
            return self._first_centers(x, z, weight, reduce_sum)

        centers = self._center_x.value(), self._center_z.value()
        if replica is None:
            centers = tf.cond(self._n > 0, lambda: centers, first)
        else:
            centers = tuple(
                tf.where(self._n > 0, old, new)
                for old, new in zip(centers, first(), strict=True)
            )
        sums, centered, faults = batch_sums(
            x, z, weight, *centers, self.dtype, squares=not self._xx
        )
        if self._xx:
            sums = with_gram(sums, centered, self.dtype)
        if replica is not None:
            flat = reduce_sum(tf.nest.flatten((sums, faults)))
            sums, faults = tf.nest.pack_sequence_as((sums, faults), flat)
        held = self._sums()
        totals = sums._replace(
            n=held.n + sums.n,
            squares=held.squares + sums.squares,
            zz=held.zz + sums.zz,
        )
        fine = checks_of(totals, faults)
        messages = self._messages(z, weight)
        with arrays.require(*zip(fine, messages, strict=True)):
            self._add(sums, centers)
        if replica is None:
            tf.cond(
                self._n >= 2 * self._n_at_center,
                self._recenter,
                lambda: None,
            )
