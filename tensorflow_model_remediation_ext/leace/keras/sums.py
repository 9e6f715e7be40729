"""Sums of products of one batch: the arithmetic under `Moments`."""

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# Widest block of the symmetric product. Blocks skip nearly half of it; narrower
# ones would lose more to the overhead of small products than they skip.
BLOCK = 128


class Sums(NamedTuple):
    """Weighted sums of `x - center_x` and `z - center_z` over some rows.

    The fields are NumPy arrays or tensors. Sums around the same centers add up
    field by field; `shift` moves them to other centers.

    Attributes:
        n: `[]`, the weight total.
        x: `[x_dim]`.
        z: `[z_dim]`.
        xz: `[x_dim, z_dim]`.
        xx: `[blocks, width, width]`, the upper blocks of the symmetric
            `[x_dim, x_dim]` product, see `Blocks`; `[0, 0, 0]` untracked.
        zz: `[z_dim, z_dim]`.
    """

    n: Any
    x: Any
    z: Any
    xz: Any
    xx: Any
    zz: Any


class Blocks:
    """The square blocks on and above the diagonal of a `[size, size]` matrix.

    Args:
        size: Of the matrix; blocks are of one width and padded by zeros.
    """

    def __init__(self, size: int):
        self.size = size
        self.count = -(-size // BLOCK)
        self.width = -(-size // self.count)
        self.rows, self.columns = np.triu_indices(self.count)
        self.diagonal = np.flatnonzero(self.rows == self.columns)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of all blocks, stacked."""
        return len(self.rows), self.width, self.width

    def split(self, values):
        """The last axis, `[..., size]`, in `count` parts of `width`."""
        more = self.count * self.width - self.size
        if isinstance(values, np.ndarray):
            if more:
                pad = [(0, 0)] * (values.ndim - 1) + [(0, more)]
                values = np.pad(values, pad)
            return np.split(values, self.count, axis=-1)
        if more:
            pad = [[0, 0]] * (values.shape.rank - 1) + [[0, more]]
            values = tf.pad(values, pad)
        return tf.split(values, self.count, axis=-1)

    def gram(self, rows, dtype):
        """The blocks of `rows^T rows`, for an array or a tensor `[n, size]`.

        NumPy's BLAS multiplies float64 two to three times as fast as TensorFlow
        on a CPU; in float32 they are equals.
        """
        parts = self.split(rows)
        pairs = list(enumerate(zip(self.rows, self.columns, strict=True)))
        if isinstance(rows, np.ndarray):
            blocks = np.empty(self.shape, rows.dtype)
            for index, (i, j) in pairs:
                np.matmul(parts[i].T, parts[j], out=blocks[index])
            return blocks.astype(dtype.as_numpy_dtype, copy=False)
        return tf.stack(
            [
                tf.cast(tf.matmul(parts[i], parts[j], transpose_a=True), dtype)
                for _, (i, j) in pairs
            ]
        )

    def outer(self, a, b):
        """The blocks of `a b^T`, for two vectors `[size]`."""
        stack = np.stack if isinstance(a, np.ndarray) else tf.stack
        a, b = self.split(a), self.split(b)
        left = stack([a[i] for i in self.rows])
        right = stack([b[j] for j in self.columns])
        return left[:, :, None] * right[:, None, :]

    def assemble(self, blocks: np.ndarray) -> np.ndarray:
        """The full symmetric matrix."""
        padded = self.count * self.width
        full = np.empty((padded, padded), blocks.dtype)
        for block, i, j in zip(blocks, self.rows, self.columns, strict=True):
            i, j = i * self.width, j * self.width
            full[j : j + self.width, i : i + self.width] = block.T
            full[i : i + self.width, j : j + self.width] = block
        if padded > self.size:
            full = np.ascontiguousarray(full[: self.size, : self.size])
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

    xx = sums.xx
    if xx.shape[0]:
        blocks = Blocks(x.shape[0])
        xx = xx + blocks.outer(sums.x, dx) + blocks.outer(dx, x)
    zz = sums.zz + outer(sums.z, dz) + outer(dz, z)
    xz = sums.xz + outer(sums.x, dz) + outer(dx, z)
    return Sums(sums.n, x, z, xz, xx, zz)


def batch_sums(
    x, z, weight, center_x, center_z, dtype
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
        root of their weight, whose gram matrix is `xx`; and `[2]`, the number
        of class ids out of range and of weights that are not positive or zero.
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
    n = tf.reduce_sum(weight)
    center = tf.cast(center_z, dtype)
    xx = tf.zeros([0, 0, 0], dtype)
    if z.dtype == tf.int64:
        # Per-class sums in place of a product with the one-hot matrix.
        valid = (z >= 0) & (z < z_dim)
        faults[0] = tf.math.count_nonzero(~valid)
        z = tf.where(valid, z, -1)
        rows = delta
        if weight is not root:
            rows *= tf.cast(root, x.dtype)[:, None]
        per_class, counts = (
            tf.cast(tf.math.unsorted_segment_sum(values, z, z_dim), dtype)
            for values in (rows, weight)
        )
        sum_x = tf.reduce_sum(per_class, axis=0)
        xz, zz = tf.transpose(per_class), tf.linalg.diag(counts)
        sums = Sums(n, sum_x, counts, xz, xx, zz)
        sums = shift(sums, tf.zeros_like(sum_x), -center)
    else:
        # Few columns: in float64 they cost nothing, and stay exact.
        root = root[:, None]
        right = tf.concat([root, (z - center) * root], axis=1)
        with_x = tf.matmul(delta, tf.cast(right, x.dtype), transpose_a=True)
        with_x = tf.cast(with_x, dtype)
        with_z = tf.matmul(right, right, transpose_a=True)
        sums = Sums(
            n=n,
            x=with_x[:, 0],
            z=with_z[0, 1:],
            xz=with_x[:, 1:],
            xx=xx,
            zz=with_z[1:, 1:],
        )
    return sums, delta, tf.cast(tf.stack(faults), dtype)


def checks(sums: Sums, faults) -> list:
    """Whether weights, class ids, `x`, `z` and their products are fine.

    A NaN or infinity anywhere in a batch shows in its sums, so that the rows
    need no pass of their own. No entry of a symmetric product is larger than
    the largest of its diagonal.
    """

    def finite(values):
        return tf.reduce_all(tf.math.is_finite(values))

    x_is_fine = finite(sums.x)
    if sums.xx.shape[0]:
        diagonal = Blocks(sums.x.shape[0]).diagonal
        x_is_fine &= finite(tf.linalg.diag_part(tf.gather(sums.xx, diagonal)))
    return [
        (faults[1] == 0) & finite(sums.n),
        faults[0] == 0,
        x_is_fine,
        finite(sums.z),
        finite(sums.xz),
    ]


@functools.lru_cache(maxsize=64)
def compiled_batch_sums(x_dim, z_dim, x_dtype, ids, weighted, dtype, xx):
    """`batch_sums` and `checks`, traced once for every batch size.

    Args:
        x_dim: Columns of `x`.
        z_dim: Columns or classes of `z`.
        x_dtype: Of `x`.
        ids: Whether `z` holds class ids.
        weighted: Whether weights are passed, as the last argument.
        dtype: Of the sums.
        xx: Whether to compute the product `xx` too.

    Returns:
        A function of `x, z, center_x, center_z[, weight]`, returning the sums,
        the centered rows, and the `[5]` checks.
    """

    def weighted_step(x, z, center_x, center_z, weight):
        sums, delta, faults = batch_sums(
            x, z, weight, center_x, center_z, dtype
        )
        if xx:
            sums = sums._replace(xx=Blocks(x_dim).gram(delta, dtype))
        return sums, delta, tf.stack(checks(sums, faults))

    # A signature with an optional argument would make TensorFlow print all
    # tensors into a message at every call.
    def step(x, z, center_x, center_z):
        return weighted_step(x, z, center_x, center_z, None)

    spec = tf.TensorSpec
    specs = [
        spec([None, x_dim], x_dtype),
        spec([None], tf.int64) if ids else spec([None, z_dim], dtype),
        spec([x_dim], tf.float32),
        spec([z_dim], tf.float32),
    ]
    if weighted:
        step = weighted_step
        specs.append(spec([None], dtype))
    return tf.function(step, autograph=False).get_concrete_function(*specs)
