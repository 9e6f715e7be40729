"""Variables that hold weighted sums of products around a movable center."""

from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace.arrays import cast_to_tensor
from tensorflow_model_remediation_ext.leace.options import accumulator_dtype
from tensorflow_model_remediation_ext.leace.sums import Sums, shift, spans

# What stands for no rows where sums are divided. No dtype of sums rounds it to
# zero.
TINY = float(np.finfo(np.float32).tiny)


class CenteredSums(tf.Module):
    """Sums over all rows so far of `x - center_x` and `z - center_z`.

    Sums are kept around a center rather than around the running mean: adding a
    batch then needs no correction of the `[x_dim, x_dim]` sum, and centering
    still keeps float32 products exact far from the origin. The center is the
    first batch's mean and moves to the running mean whenever the weight total
    has doubled since it last moved.

    The names of the variables are those of checkpoints and of the order in
    `get_state`: both outlive this version.

    Args:
        x_dim: Size of the last axis of `x`.
        z_dim: Size of the last axis of `z`, or the number of classes. Zero
            keeps the sums of `x` alone.
        xx: Whether to track the products of features.
        dtype: Of the sums, `"float32"` or `"float64"`.
        name: Name of the module.

    Raises:
        ValueError: On sizes or a dtype out of range.
    """

    def __init__(
        self,
        x_dim: int,
        z_dim: int = 0,
        *,
        xx: bool = True,
        dtype: Any = "float64",
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.dtype = tf.as_dtype(accumulator_dtype(dtype))
        self.x_dim = whole("x_dim", x_dim, 1)
        self.z_dim = whole("z_dim", z_dim, 0)

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

    @property
    def n(self) -> float:
        """Sum of the weights of all rows so far."""
        return float(self._n.numpy())

    def get_state(self) -> list[np.ndarray]:
        """Returns all sums as arrays, to send elsewhere."""
        return [variable.numpy() for variable in self.variables]

    @property
    def state_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the arrays of `get_state`."""
        return [tuple(variable.shape) for variable in self.variables]

    def set_state(self, state: list[np.ndarray]) -> None:
        """Replaces the sums by those of `get_state` of a like module.

        Raises:
            ValueError: If they are not of the same number and shapes.
        """
        received = [np.shape(value) for value in state]
        if received != self.state_shapes:
            raise ValueError(
                "`state` must be that of a module of the same sizes, arrays of "
                f"shapes {self.state_shapes}. Received: state with shapes "
                f"{received}"
            )
        for variable, value in zip(self.variables, state, strict=True):
            variable.assign(value)

    def fingerprint(self) -> bytes:
        """Returns what changes with the sums, however they came to change.

        An update may run inside a graph and a checkpoint be restored without
        any Python of ours.
        """
        parts = [*self._sums()._replace(xx=[]), self._center_x, self._center_z]
        parts += [tf.linalg.diag_part(strip) for strip in self._xx]
        return b"".join(p.numpy().tobytes() for p in tf.nest.flatten(parts))

    def merge(self, other: "CenteredSums") -> None:
        """Adds the rows that `other`, of the same sizes, has seen.

        Raises:
            TypeError: If `other` is of another type.
            ValueError: If it tracks other sums, or sums of both overflow.
        """
        self.add_shifted(self.shifted(other))

    def shifted(self, other: "CenteredSums") -> tuple[Sums, tuple] | None:
        """Returns what `merge` adds, for `add_shifted`, and adds nothing.

        Args:
            other: As in `merge`.

        Returns:
            Sums, and the centers that they are around; `None` for no rows.

        Raises:
            TypeError: As from `merge`.
            ValueError: As from `merge`.
        """
        if not isinstance(other, CenteredSums):
            kind = type(self).__name__
            raise TypeError(f"`other` must be a {kind}. Received: {other!r}")
        mine, theirs = ((m.x_dim, m.z_dim, bool(m._xx)) for m in (self, other))
        if mine != theirs:
            raise ValueError(
                "`other` must track the same moments (x_dim, z_dim, xx). "
                f"Received: {theirs}, expected {mine}"
            )
        if other.n == 0:
            return None
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
        held = tf.nest.flatten(self._sums())
        for mine, more in zip(held, tf.nest.flatten(sums), strict=True):
            if not np.isfinite(mine + more).all():
                raise ValueError(
                    f"`other` has sums that overflow {self.dtype.name}, alone "
                    "or with those here. Received: other with sums in "
                    f"{other.dtype.name}"
                )
        return sums, (tf.identity(center_x), tf.identity(center_z))

    def add_shifted(self, more: tuple[Sums, tuple] | None) -> None:
        """Adds what `shifted` returned."""
        if more is not None:
            self._add(*more)
            self._recenter()

    def _require_scope(self) -> None:
        """Refuses replicas of a strategy that does not know the variables.

        Each replica would add the sums of all to the same variables.

        Raises:
            ValueError: If there are several replicas, and this was not created
                within the scope of their strategy.
        """
        strategy = tf.distribute.get_strategy()
        if (
            strategy.num_replicas_in_sync > 1
            and not strategy.extended.variable_created_in_scope(self._n)
        ):
            raise ValueError(
                "A fitter that is updated on several replicas must be created "
                "within `strategy.scope()`. Received: one created outside of "
                f"it, and {strategy.num_replicas_in_sync} replicas"
            )

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

    def _add(self, sums, centers=None):
        """Adds sums around the centers that are, or that are to be."""
        if centers is not None:
            self._center_x.assign(centers[0])
            self._center_z.assign(centers[1])
        for variable, value in zip(
            tf.nest.flatten(self._sums()), tf.nest.flatten(sums), strict=True
        ):
            if isinstance(value, np.ndarray):
                value = cast_to_tensor(value, self.dtype)
            # In eager mode, reading back would cost more than adding.
            variable.assign_add(tf.cast(value, self.dtype), read_value=False)

    def _recenter(self):
        """Moves the center to the running mean, rounded to float32."""
        n = tf.maximum(self._n, TINY)
        centers, moves = [], []
        for center, total in (
            (self._center_x, self._x),
            (self._center_z, self._z),
        ):
            mean = tf.cast(center, self.dtype) + total / n
            centers.append(_as_center(mean))
            moves.append(self._difference(center, centers[-1]))
        sums = shift(self._sums(), *moves)
        for variable, value in zip(
            tf.nest.flatten(self._sums()), tf.nest.flatten(sums), strict=True
        ):
            if variable is not self._n:
                variable.assign(value, read_value=False)
        self._center_x.assign(centers[0])
        self._center_z.assign(centers[1])
        self._n_at_center.assign(self._n)


def first_center(rows, weight, reduce_sum):
    """Returns the weighted mean of rows, rounded to float32.

    It is the very value of a constant float32 feature, whose products around
    it are then zero.

    Args:
        rows: `[n, size]`.
        weight: `[n]`, or `None` for ones.
        reduce_sum: Adds a list of tensors up over replicas.
    """
    rows = tf.cast(rows, tf.float64)
    ones = tf.ones(tf.shape(rows)[:1], rows.dtype)
    if weight is not None:
        ones = tf.cast(weight, rows.dtype)
        rows = tf.where(ones[:, None] == 0, tf.zeros([], rows.dtype), rows)
    total = tf.linalg.matvec(rows, ones, transpose_a=True)
    total, n = reduce_sum([total, tf.reduce_sum(ones)])
    return _as_center(tf.math.divide_no_nan(total, n))


def _as_center(mean):
    """Rounds to float32: any center is right, but it must be finite."""
    largest = tf.cast(tf.float32.max, mean.dtype)
    return tf.cast(tf.clip_by_value(mean, -largest, largest), tf.float32)
