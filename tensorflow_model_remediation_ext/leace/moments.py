"""Streamed first and second moments, the statistics under every fitter."""

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace import fitting
from tensorflow_model_remediation_ext.leace.sums import (
    Sums,
    assemble,
    batch_sums,
    checks,
    compiled_batch_sums,
    outer,
    shift,
    spans,
    with_gram,
)

_TINY = np.finfo(np.float64).tiny


# A feature that varies by less than this share of its mean is constant: what
# varies is the rounding of sums.
_CONSTANT = 1e-9


def _center(rows, weight, reduce_sum):
    """Weighted mean of `rows`, rounded to float32.

    It is the very value of a constant float32 feature, whose products around
    it are then zero.
    """
    rows = tf.cast(rows, tf.float64)
    ones = tf.ones(tf.shape(rows)[:1]) if weight is None else weight
    ones = tf.cast(ones, rows.dtype)
    total = tf.linalg.matvec(rows, ones, transpose_a=True)
    total, n = reduce_sum([total, tf.reduce_sum(ones)])
    return tf.cast(tf.math.divide_no_nan(total, n), tf.float32)


class Moments(tf.Module):
    """Streamed, weighted moments of `x`, and of `x` with `z`.

    Sums are kept around a center rather than around the running mean: adding a
    batch then needs no correction of the `[x_dim, x_dim]` sum, and centering
    still keeps float32 products exact far from the origin. The center is the
    first batch's mean and moves to the running mean whenever the weight total
    has doubled since it last moved.

    Sample weights count rows: weight two is the row twice, weight zero is the
    row left out, and `n` is the sum of the weights.

    Args:
        x_dim: Size of the last axis of `x`.
        z_dim: Size of the last axis of `z`, or the number of classes. Zero
            keeps the moments of `x` alone.
        xx: Whether to track the second moment of `x`.
        dtype: Of the accumulators, `"float32"` or `"float64"`.
        name: Name of the module.
    """

    def __init__(
        self,
        x_dim: int,
        z_dim: int = 0,
        *,
        xx: bool = True,
        dtype: str = "float64",
        name: str | None = None,
    ):
        super().__init__(name=name)
        if dtype not in ("float32", "float64", tf.float32, tf.float64):
            raise ValueError(
                f"`dtype` must be float32 or float64. Received: dtype={dtype!r}"
            )
        self.dtype = tf.as_dtype(dtype)
        self.x_dim = whole("x_dim", x_dim, 1)
        self.z_dim = whole("z_dim", z_dim, 0)
        self.z_name = "z"  # What to call z in an error.

        def zeros(shape, variable_name, dtype=self.dtype):
            # Every replica adds the same, already reduced sums.
            return tf.Variable(
                tf.zeros(shape, dtype),
                trainable=False,
                name=variable_name,
                synchronization=tf.VariableSynchronization.ON_WRITE,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

        self._n = zeros([], "n")
        self._n_at_center = zeros([], "n_at_center")
        self._center_x = zeros([x_dim], "center_x", tf.float32)
        self._center_z = zeros([z_dim], "center_z", tf.float32)
        self._x = zeros([x_dim], "sum_x")
        self._z = zeros([z_dim], "sum_z")
        self._xz = zeros([x_dim, z_dim], "sum_xz")
        self._xx = [
            zeros([j - i, x_dim - i], f"sum_xx_{i}")
            for i, j in (spans(x_dim) if xx else [])
        ]
        self._squares = zeros([x_dim], "sum_squares")
        self._zz = zeros([z_dim, z_dim], "sum_zz")

    # Reading. Unnormalized sums around the mean, as float64 NumPy arrays.

    @property
    def n(self) -> float:
        """Sum of the weights of all rows so far."""
        return float(self._n.numpy())

    @property
    def mean_x(self) -> np.ndarray:
        """`[x_dim]`, zeros before the first row."""
        return self._center_x.numpy() + self._x.numpy() / max(self.n, _TINY)

    @property
    def mean_z(self) -> np.ndarray:
        """`[z_dim]`, zeros before the first row."""
        return self._center_z.numpy() + self._z.numpy() / max(self.n, _TINY)

    def scatter_strips(self) -> list[np.ndarray]:
        """`scatter_xx` in strips, see `Sums.xx`; they are the caller's."""
        if not self._xx:
            raise ValueError("The second moment of `x` is not tracked.")
        x, mean_x, strips = self._x.numpy(), self.mean_x, []
        mean = x / max(self.n, _TINY)
        for strip, (i, j) in zip(self._xx, spans(self.x_dim), strict=True):
            strip = strip.numpy() - outer(x[i:j], mean[i:])
            index = np.arange(j - i)
            squares = strip[index, index]
            strip[index, index] = self._varying(squares, mean_x[i:j])
            strips.append(strip)
        return strips

    @property
    def scatter_xx(self) -> np.ndarray:
        """`[x_dim, x_dim]`: the sum of `w (x - mean_x) (x - mean_x)^T`."""
        return assemble(self.scatter_strips())

    @property
    def squares_x(self) -> np.ndarray:
        """`[x_dim]`: the diagonal of `scatter_xx`, tracked in any case."""
        x = self._x.numpy()
        squares = self._squares.numpy() - x**2 / max(self.n, _TINY)
        return self._varying(squares, self.mean_x)

    @property
    def squares_z(self) -> np.ndarray:
        """`[z_dim]`: the diagonal of `scatter_zz`."""
        return self._varying(self.scatter_zz.diagonal(), self.mean_z)

    def _varying(self, squares, mean):
        """Sums of squares, zero where they are those of a constant."""
        constant = squares <= self.n * (_CONSTANT * mean) ** 2
        return np.where(constant, 0.0, squares)

    @property
    def scatter_xz(self) -> np.ndarray:
        """`[x_dim, z_dim]`: the sum of `w (x - mean_x) (z - mean_z)^T`."""
        mean_z = self._z.numpy() / max(self.n, _TINY)
        return self._xz.numpy() - outer(self._x.numpy(), mean_z)

    @property
    def scatter_zz(self) -> np.ndarray:
        """`[z_dim, z_dim]`: the sum of `w (z - mean_z) (z - mean_z)^T`."""
        z = self._z.numpy()
        return self._zz.numpy() - outer(z, z / max(self.n, _TINY))

    # Writing.

    def update(self, x, z=None, sample_weight=None) -> None:
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
                weight, NaN or infinity.
            tf.errors.InvalidArgumentError: On such values in graph mode.
        """
        x, z, weight = self._as_rows(x, z, sample_weight)
        replica = tf.distribute.get_replica_context()
        # A strategy of one replica, too, forbids assignments in a condition.
        distributed = replica is not None and tf.distribute.has_strategy()
        if tf.executing_eagerly() and not distributed:
            self._update_eagerly(x, z, weight)
        else:
            self._update_in_graph(
                x, z, weight, replica if distributed else None
            )

    def merge(self, other: "Moments") -> None:
        """Adds the rows that `other`, of the same sizes, has seen."""
        if not isinstance(other, Moments):
            raise TypeError(f"`other` must be a Moments. Received: {other!r}")
        mine, theirs = ((m.x_dim, m.z_dim, bool(m._xx)) for m in (self, other))
        if mine != theirs:
            raise ValueError(
                "`other` must track the same moments (x_dim, z_dim, xx). "
                f"Received: {theirs}, expected {mine}"
            )
        if other.n == 0:
            return
        center_x, center_z = other._center_x, other._center_z
        sums = tf.nest.map_structure(
            lambda value: tf.cast(value, self.dtype), other._sums()
        )
        if self.n > 0:
            center_x, center_z = self._center_x, self._center_z
            sums = shift(
                sums,
                self._difference(other._center_x, center_x),
                self._difference(other._center_z, center_z),
            )
        self._add(sums, tf.identity(center_x), tf.identity(center_z))
        self._recenter()

    def _as_rows(self, x, z, weight):
        """Rows of `x`, `z`, weights in one dtype, checked as far as known."""
        x = fitting.features(x, self.x_dim)
        leading, dtype = x.shape[:-1], fitting.working_dtype(x)
        x = tf.reshape(tf.cast(x, dtype), [-1, self.x_dim])
        if self.z_dim == 0:
            if z is not None:
                raise ValueError("`z` is given, but z_dim is 0.")
            z = tf.zeros([tf.shape(x)[0], 0], self.dtype)
        else:
            z = fitting.columns_or_ids("z", z, self.z_dim, leading, self.dtype)
        if weight is not None:
            weight = fitting.weights(weight, leading, self.dtype)
        return x, z, weight

    def _messages(self, z) -> list[str]:
        bound = "or values whose squares overflow"
        ids = z if z.dtype == tf.int64 else tf.zeros([0], tf.int64)
        return [
            "`sample_weight` must be finite and not negative.",
            fitting.in_range(self.z_name, ids, self.z_dim)[1],
            f"`x` holds NaN, infinity {bound}.",
            f"`{self.z_name}` holds NaN, infinity {bound}.",
            f"The products of `x` and `{self.z_name}` overflow.",
        ]

    def get_state(self) -> list[np.ndarray]:
        """All statistics as arrays, to send elsewhere."""
        return [variable.numpy() for variable in self.variables]

    def set_state(self, state: list[np.ndarray]) -> None:
        """Replaces the statistics by those of `get_state` of a like module.

        Raises:
            ValueError: If they are not of the same number and shapes.
        """
        received = [np.shape(value) for value in state]
        wanted = [tuple(variable.shape) for variable in self.variables]
        if received != wanted:
            raise ValueError(
                "`state` must be that of a module of the same sizes, arrays of "
                f"shapes {wanted}. Received: state with shapes {received}"
            )
        for variable, value in zip(self.variables, state, strict=True):
            variable.assign(value)

    def fingerprint(self) -> bytes:
        """Changes with the statistics, however they came to change.

        An update may run inside a graph and a checkpoint be restored without
        any Python of ours.
        """
        parts = [*self._sums()._replace(xx=[]), self._center_x, self._center_z]
        parts += [tf.linalg.diag_part(strip) for strip in self._xx]
        return b"".join(p.numpy().tobytes() for p in tf.nest.flatten(parts))

    def _sums(self) -> Sums:
        return Sums(
            n=self._n,
            x=self._x,
            z=self._z,
            xz=self._xz,
            xx=list(self._xx),
            squares=self._squares,
            zz=self._zz,
        )

    def _difference(self, a, b):
        return tf.cast(a, self.dtype) - tf.cast(b, self.dtype)

    def _add(self, sums, center_x, center_z):
        self._center_x.assign(center_x)
        self._center_z.assign(center_z)
        for variable, value in zip(
            tf.nest.flatten(self._sums()), tf.nest.flatten(sums), strict=True
        ):
            variable.assign_add(tf.cast(value, self.dtype))

    def _centers(self, x, z, weight, reduce_sum):
        """Centers from the first batch."""
        center_x = _center(x, weight, reduce_sum)
        if z.dtype == tf.int64:
            return center_x, tf.zeros_like(self._center_z)
        return center_x, _center(z, weight, reduce_sum)

    def _update_eagerly(self, x, z, weight):
        if self.n > 0:
            centers = self._center_x.value(), self._center_z.value()
        else:
            centers = self._centers(x, z, weight, lambda values: values)
        in_numpy = x.dtype == tf.float64 and "CPU" in x.device
        step = compiled_batch_sums(
            self.x_dim,
            self.z_dim,
            x.dtype,
            z.dtype == tf.int64,
            weight is not None,
            self.dtype,
            bool(self._xx) and not in_numpy,
            not self._xx,
        )
        weights = () if weight is None else (weight,)
        sums, delta, fine = step(x, z, *centers, *weights)
        fine = fine.numpy()
        if self._xx and in_numpy:
            sums = with_gram(sums, np.asarray(delta), self.dtype)
            fine[2] &= np.isfinite(sums.squares).all()
        if not fine.all():
            raise ValueError(self._messages(z)[fine.argmin()])
        self._add(sums, *centers)
        if self.n >= 2 * self._n_at_center.numpy():
            self._recenter()

    def _update_in_graph(self, x, z, weight, replica):
        def reduce_sum(values):
            if replica is None:
                return values
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, values)

        def first():
            return self._centers(x, z, weight, reduce_sum)

        centers = self._center_x.value(), self._center_z.value()
        if replica is None:
            centers = tf.cond(self._n > 0, lambda: centers, first)
        else:
            centers = tuple(
                tf.where(self._n > 0, old, new)
                for old, new in zip(centers, first(), strict=True)
            )
        sums, delta, faults = batch_sums(
            x, z, weight, *centers, self.dtype, not self._xx
        )
        if self._xx:
            sums = with_gram(sums, delta, self.dtype)
        if replica is not None:
            flat = reduce_sum(tf.nest.flatten((sums, faults)))
            sums, faults = tf.nest.pack_sequence_as((sums, faults), flat)
        asserts = [
            tf.debugging.Assert(fine, [message])
            for fine, message in zip(
                checks(sums, faults), self._messages(z), strict=True
            )
        ]
        with tf.control_dependencies([a for a in asserts if a is not None]):
            self._add(sums, *centers)
        if replica is None:
            tf.cond(
                self._n >= 2 * self._n_at_center,
                self._recenter,
                lambda: None,
            )

    def _recenter(self):
        """Moves the center to the running mean, rounded to float32."""
        n = tf.maximum(self._n, _TINY)
        centers, moves = [], []
        for center, total in (
            (self._center_x, self._x),
            (self._center_z, self._z),
        ):
            mean = tf.cast(center, self.dtype) + total / n
            centers.append(tf.cast(mean, tf.float32))
            moves.append(self._difference(center, centers[-1]))
        sums = shift(self._sums(), *moves)
        for variable, value in zip(
            tf.nest.flatten(self._sums()), tf.nest.flatten(sums), strict=True
        ):
            if variable is not self._n:
                variable.assign(value)
        self._center_x.assign(centers[0])
        self._center_z.assign(centers[1])
        self._n_at_center.assign(self._n)
