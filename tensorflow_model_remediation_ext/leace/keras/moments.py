"""Streamed first and second moments, the statistics under every fitter."""

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras import fitting

# Columns of a block row of the symmetric product: narrow enough to skip nearly
# half of it, wide enough to run at the full speed of a matrix product.
BLOCK = 256


class Sums(NamedTuple):
    """Weighted sums of `x - center_x` and `z - center_z` over some rows.

    The fields are NumPy arrays or tensors. Sums around the same centers add up
    field by field; `shift` moves them to other centers. `xx` holds the upper
    block rows of the symmetric `[x_dim, x_dim]` product, see `assemble`.

    Attributes:
        n: `[]`, the weight total.
        x: `[x_dim]`.
        z: `[z_dim]`.
        xz: `[x_dim, z_dim]`.
        xx: Block rows, an empty list where they are not tracked.
        zz: `[z_dim, z_dim]`.
    """

    n: Any
    x: Any
    z: Any
    xz: Any
    xx: list
    zz: Any


def block_rows(size: int) -> list[tuple[int, int]]:
    """Start and end of each block row of a `[size, size]` matrix."""
    return [(i, min(i + BLOCK, size)) for i in range(0, size, BLOCK)]


def assemble(blocks: list) -> np.ndarray:
    """The full symmetric matrix of which `blocks` are the upper block rows."""
    blocks = [np.asarray(block) for block in blocks]
    size = blocks[0].shape[1]
    full = np.empty((size, size), blocks[0].dtype)
    for (start, stop), block in zip(block_rows(size), blocks, strict=True):
        full[start:stop, start:] = block
        full[stop:, start:stop] = block[:, stop - start :].T
    return full


def shift(sums: Sums, dx, dz) -> Sums:
    """The same rows' sums around `center_x - dx` and `center_z - dz`.

    With `x - (c - d) = (x - c) + d` every product gains rank-one terms. This is
    the pairwise update of Chan, Golub and LeVeque (1979), written for any
    centers instead of for the means.
    """
    x = sums.x + sums.n * dx
    z = sums.z + sums.n * dz

    def outer(a, b):
        return a[:, None] * b[None, :]

    xx = [
        block + outer(sums.x[i:j], dx[i:]) + outer(dx[i:j], x[i:])
        for block, (i, j) in zip(sums.xx, block_rows(dx.shape[0]), strict=False)
    ]
    zz = sums.zz + outer(sums.z, dz) + outer(dz, z)
    xz = sums.xz + outer(sums.x, dz) + outer(dx, z)
    return Sums(sums.n, x, z, xz, xx, zz)


def gram(delta) -> list:
    """Upper block rows of `delta^T delta`, for an array or a tensor.

    NumPy's BLAS multiplies float64 two to three times as fast as TensorFlow on
    a CPU; in float32 they are equals.
    """
    rows = block_rows(delta.shape[1])
    if isinstance(delta, np.ndarray):
        return [delta[:, i:j].T @ delta[:, i:] for i, j in rows]
    return [
        tf.matmul(delta[:, i:j], delta[:, i:], transpose_a=True)
        for i, j in rows
    ]


def batch_sums(
    x, z, weight, center_x, center_z, *, dtype="float64"
) -> tuple[Sums, tf.Tensor, tf.Tensor]:
    """Sums of one batch around given centers, without the product `xx`.

    Args:
        x: `[n, x_dim]`, float32 or float64; products are taken in its dtype.
        z: `[n, z_dim]` of dtype `dtype`, or `[n]` int64 class ids.
        weight: `[n]` of dtype `dtype`, or `None`.
        center_x: `[x_dim]` float32.
        center_z: `[z_dim]` float32.
        dtype: That of the sums returned.

    Returns:
        The sums with an empty `xx`; the centered rows, scaled by the square
        root of their weight, whose `gram` is `xx`; and `[2]`, the number of
        class ids out of range and of weights that are not positive or zero.
    """
    z_dim = center_z.shape[0]
    faults = [tf.zeros([], tf.int64), tf.zeros([], tf.int64)]
    delta = x - tf.cast(center_x, x.dtype)
    if weight is None:
        weight = root = tf.ones(tf.shape(delta)[:1], dtype)
    else:
        faults[1] = tf.math.count_nonzero(~(weight >= 0.0))
        root = tf.sqrt(weight)
        delta *= tf.cast(root, x.dtype)[:, None]
    center = tf.cast(center_z, dtype)
    if z.dtype == tf.int64:
        # Per-class sums in place of a product with the one-hot matrix.
        valid = (z >= 0) & (z < z_dim)
        faults[0] = tf.math.count_nonzero(~valid)
        z = tf.where(valid, z, -1)
        rows = (
            delta if weight is root else delta * tf.cast(root, x.dtype)[:, None]
        )
        per_class, counts = (
            tf.cast(tf.math.unsorted_segment_sum(values, z, z_dim), dtype)
            for values in (rows, weight)
        )
        sum_x, n = tf.reduce_sum(per_class, 0), tf.reduce_sum(weight)
        xz, zz = tf.transpose(per_class), tf.linalg.diag(counts)
        sums = Sums(n, sum_x, counts, xz, [], zz)
        sums = shift(sums, tf.zeros_like(sum_x), -center)
    else:
        # Few columns: in float64 they cost nothing, and stay exact.
        root = root[:, None]
        right = tf.concat([root, (z - center) * root], 1)
        with_x = tf.matmul(delta, tf.cast(right, x.dtype), transpose_a=True)
        with_x = tf.cast(with_x, dtype)
        with_z = tf.matmul(right, right, transpose_a=True)
        sums = Sums(
            n=tf.reduce_sum(weight),
            x=with_x[:, 0],
            z=with_z[0, 1:],
            xz=with_x[:, 1:],
            xx=[],
            zz=with_z[1:, 1:],
        )
    return sums, delta, tf.stack(faults)


def _diagonal(block):
    if isinstance(block, np.ndarray):
        return np.diagonal(block)
    return tf.linalg.diag_part(block)


def _finite(*values):
    return tf.reduce_all(
        [tf.reduce_all(tf.math.is_finite(value)) for value in values]
    )


def _checks(sums, faults) -> list:
    """One boolean for each of the messages of `Moments._messages`.

    A NaN or infinity anywhere in a batch shows in its sums, so that the rows
    need no pass of their own. No entry of a symmetric product is larger than
    the largest of its diagonal.
    """
    return [
        (faults[1] == 0) & _finite(sums.n),
        faults[0] == 0,
        _finite(sums.x, *map(_diagonal, sums.xx)),
        _finite(sums.z),
        _finite(sums.xz),
    ]


@functools.lru_cache(maxsize=64)
def _compiled(x_dim, z_dim, x_dtype, ids, weighted, dtype, xx):
    """`batch_sums` with `gram`, traced once for every batch size."""

    def step(x, z, weight, center_x, center_z):
        sums, delta, faults = batch_sums(
            x, z, weight, center_x, center_z, dtype=dtype
        )
        if xx:
            sums = sums._replace(xx=gram(delta))
        return sums, delta, tf.stack(_checks(sums, faults))

    spec = tf.TensorSpec
    return tf.function(step, autograph=False).get_concrete_function(
        spec([None, x_dim], x_dtype),
        spec([None], tf.int64) if ids else spec([None, z_dim], dtype),
        spec([None], dtype) if weighted else None,
        spec([x_dim], tf.float32),
        spec([z_dim], tf.float32),
    )


def _center(rows, weight, reduce_sum):
    """Weighted mean of `rows` in float32: exact enough for a center."""
    ones = tf.ones_like(rows[:, 0]) if weight is None else weight
    ones = tf.cast(ones, rows.dtype)
    total = tf.linalg.matvec(rows, ones, transpose_a=True)
    total, n = reduce_sum([total, tf.reduce_sum(ones)])
    return tf.cast(tf.math.divide_no_nan(total, n), tf.float32)


def _tensor(name, value):
    try:
        value = tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be a dense array or tensor of numbers. Received: "
            f"{name}={value!r}"
        ) from error
    if not (
        value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool
    ):
        raise ValueError(
            f"`{name}` must hold real numbers. Received: {name} of dtype "
            f"{value.dtype.name}"
        )
    return value


def columns_or_ids(name, value, size, leading, dtype) -> tf.Tensor:
    """A concept or label as rows, checked as far as its shape is known.

    Args:
        name: What to call the argument in an error.
        value: `[..., size]`; `[...]` where `size == 1`; integer class ids
            `[...]` where `size > 1`.
        size: Number of columns or classes.
        leading: The shape `[...]`, that of `x` without its last axis.
        dtype: To cast columns to.

    Returns:
        `[n, size]` of dtype `dtype`, or `[n]` int64 class ids.
    """
    value = _tensor(name, value)
    shape, columns = value.shape, leading.concatenate(size)
    if shape.rank == columns.rank and shape.is_compatible_with(columns):
        return tf.reshape(tf.cast(value, dtype), [-1, size])
    if shape.rank == leading.rank and shape.is_compatible_with(leading):
        if size == 1:
            return tf.reshape(tf.cast(value, dtype), [-1, 1])
        if value.dtype.is_integer:
            return tf.reshape(tf.cast(value, tf.int64), [-1])
    or_else = "" if size == 1 else " of integer class ids"
    raise ValueError(
        f"`{name}` must be of shape {columns}, or {leading}{or_else}, as x and "
        f"{name}_dim={size} say. Received: {name} of shape {shape} and dtype "
        f"{value.dtype.name}"
    )


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
        self.dtype = tf.as_dtype(dtype)
        if self.dtype not in (tf.float32, tf.float64):
            raise ValueError(
                f"`dtype` must be float32 or float64. Received: dtype={dtype!r}"
            )
        for argument, size, least in (("x_dim", x_dim, 1), ("z_dim", z_dim, 0)):
            if (
                isinstance(size, bool)
                or not isinstance(size, (int, np.integer))
                or size < least
            ):
                raise ValueError(
                    f"`{argument}` must be an integer of at least {least}. "
                    f"Received: {argument}={size!r}"
                )
        self.x_dim, self.z_dim = int(x_dim), int(z_dim)
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
        rows = block_rows(x_dim) if xx else []
        self._xx = [zeros([j - i, x_dim - i], f"sum_xx_{i}") for i, j in rows]
        self._zz = zeros([z_dim, z_dim], "sum_zz")

    # Reading. Unnormalized sums around the mean, as float64 NumPy arrays.

    @property
    def n(self) -> float:
        """Sum of the weights of all rows so far."""
        return float(self._n)

    @property
    def mean_x(self) -> np.ndarray:
        """`[x_dim]`, zeros before the first row."""
        return self._center_x.numpy() + self._x.numpy() / max(self.n, 1e-300)

    @property
    def mean_z(self) -> np.ndarray:
        """`[z_dim]`, zeros before the first row."""
        return self._center_z.numpy() + self._z.numpy() / max(self.n, 1e-300)

    @property
    def scatter_xx(self) -> np.ndarray:
        """`[x_dim, x_dim]`: the sum of `w (x - mean_x) (x - mean_x)^T`."""
        if not self._xx:
            raise ValueError("The second moment of `x` is not tracked.")
        x = self._x.numpy()
        scaled = x / max(self.n, 1e-300)
        return assemble(
            [
                block.numpy() - np.outer(x[i:j], scaled[i:])
                for block, (i, j) in zip(
                    self._xx, block_rows(self.x_dim), strict=True
                )
            ]
        )

    @property
    def scatter_xz(self) -> np.ndarray:
        """`[x_dim, z_dim]`: the sum of `w (x - mean_x) (z - mean_z)^T`."""
        mean_z = self._z.numpy() / max(self.n, 1e-300)
        return self._xz.numpy() - np.outer(self._x.numpy(), mean_z)

    @property
    def scatter_zz(self) -> np.ndarray:
        """`[z_dim, z_dim]`: the sum of `w (z - mean_z) (z - mean_z)^T`."""
        z = self._z.numpy()
        return self._zz.numpy() - np.outer(z, z / max(self.n, 1e-300))

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
        distributed = replica is not None and replica.num_replicas_in_sync > 1
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
        x = fitting.features(_tensor("x", x), self.x_dim)
        leading, dtype = x.shape[:-1], fitting.working_dtype(x)
        x = tf.reshape(tf.cast(x, dtype), [-1, self.x_dim])
        if self.z_dim == 0:
            if z is not None:
                raise ValueError("`z` is given, but z_dim is 0.")
            z = tf.zeros([tf.shape(x)[0], 0], self.dtype)
        else:
            z = columns_or_ids("z", z, self.z_dim, leading, self.dtype)
        if weight is not None:
            weight = _tensor("sample_weight", weight)
            if not weight.shape.is_compatible_with(leading):
                raise ValueError(
                    f"`sample_weight` must be of shape {leading}, that of x "
                    "without its last axis. Received: sample_weight of shape "
                    f"{weight.shape}"
                )
            weight = tf.reshape(tf.cast(weight, self.dtype), [-1])
        return x, z, weight

    def _messages(self) -> list[str]:
        bound = "or values whose squares overflow"
        return [
            "`sample_weight` must be finite and not negative.",
            f"`{self.z_name}` holds class ids outside of [0, {self.z_dim}).",
            f"`x` holds NaN, infinity {bound}.",
            f"`{self.z_name}` holds NaN, infinity {bound}.",
            f"The products of `x` and `{self.z_name}` overflow.",
        ]

    def fingerprint(self) -> bytes:
        """Changes with the statistics, however they came to change.

        An update may run inside a graph and a checkpoint be restored without
        any Python of ours.
        """
        parts = [*self._sums()[:4], self._zz, self._center_x, self._center_z]
        return b"".join(part.numpy().tobytes() for part in parts)

    def _sums(self) -> Sums:
        return Sums(
            self._n, self._x, self._z, self._xz, list(self._xx), self._zz
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
        step = _compiled(
            self.x_dim,
            self.z_dim,
            x.dtype,
            z.dtype == tf.int64,
            weight is not None,
            self.dtype,
            bool(self._xx) and not in_numpy,
        )
        arguments = [x, z, weight, *centers]
        sums, delta, fine = step(*[a for a in arguments if a is not None])
        fine = fine.numpy()
        if self._xx and in_numpy:
            sums = sums._replace(xx=gram(np.asarray(delta)))
            fine[2] &= all(
                np.isfinite(_diagonal(block)).all() for block in sums.xx
            )
        if not fine.all():
            raise ValueError(self._messages()[fine.argmin()])
        self._add(sums, *centers)
        if self._n >= 2 * self._n_at_center:
            self._recenter()

    def _update_in_graph(self, x, z, weight, replica):
        def reduce_sum(values):
            if replica is None:
                return values
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, values)

        first = self._centers(x, z, weight, reduce_sum)
        centers = [
            tf.where(self._n > 0, old, new)
            for old, new in zip(
                (self._center_x, self._center_z), first, strict=True
            )
        ]
        sums, delta, faults = batch_sums(
            x, z, weight, *centers, dtype=self.dtype
        )
        if self._xx:
            sums = sums._replace(xx=gram(delta))
        if replica is not None:
            flat = reduce_sum(tf.nest.flatten((sums, faults)))
            sums, faults = tf.nest.pack_sequence_as((sums, faults), flat)
        asserts = [
            tf.debugging.Assert(fine, [message])
            for fine, message in zip(
                _checks(sums, faults), self._messages(), strict=True
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
        n = tf.maximum(self._n, np.finfo(np.float64).tiny)
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
