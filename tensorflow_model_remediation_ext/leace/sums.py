"""Sums of products of one batch: the arithmetic under `Moments`."""

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# Rows of a strip of the symmetric product: strips skip nearly half of it, and
# narrower ones would lose more to small products than they skip.
STRIP = 256


class Sums(NamedTuple):
    """Weighted sums of `x - center_x` and `z - center_z` over some rows.

    The fields are NumPy arrays or tensors. Sums around the same centers add up
    field by field; `shift` moves them to other centers.

    Attributes:
        n: `[]`, the weight total.
        x: `[x_dim]`.
        z: `[z_dim]`.
        xz: `[x_dim, z_dim]`.
        xx: The symmetric `[x_dim, x_dim]` product in strips, rows `i:j` from
            column `i` on for each of `spans`; an empty list where untracked.
        squares: `[x_dim]`, the diagonal of `xx`, tracked in any case.
        zz: `[z_dim, z_dim]`.
    """

    n: Any
    x: Any
    z: Any
    xz: Any
    xx: list
    squares: Any
    zz: Any


def spans(size: int) -> list[tuple[int, int]]:
    """First and last row of each strip of a `[size, size]` matrix."""
    return [(i, min(i + STRIP, size)) for i in range(0, size, STRIP)]


def gram(rows, dtype) -> list:
    """The strips of `rows^T rows`, for an array or a tensor `[n, size]`.

    NumPy's BLAS multiplies float64 two to three times as fast as TensorFlow on
    a CPU, where in float32 they are equals.
    """
    ends = spans(rows.shape[1])
    if isinstance(rows, np.ndarray):
        return [rows[:, i:j].T @ rows[:, i:] for i, j in ends]
    parts = tf.split(rows, [j - i for i, j in ends], axis=1)
    strips = []
    for index, left in enumerate(parts):
        # TensorFlow multiplies square blocks faster than a whole strip.
        blocks = [
            tf.matmul(left, right, transpose_a=True) for right in parts[index:]
        ]
        strips.append(tf.cast(tf.concat(blocks, axis=1), dtype))
    return strips


def with_gram(sums: "Sums", rows, dtype) -> "Sums":
    """The sums with `xx`, and `squares` from its diagonal."""
    xx = gram(rows, dtype)
    if isinstance(rows, np.ndarray):
        squares = np.concatenate([np.diagonal(strip) for strip in xx])
    else:
        squares = tf.concat([tf.linalg.diag_part(strip) for strip in xx], 0)
    return sums._replace(xx=xx, squares=squares)


def outer(a, b):
    """`a b^T` for two vectors, arrays or tensors."""
    return a[:, None] * b[None, :]


def assemble(strips: list[np.ndarray]) -> np.ndarray:
    """The full symmetric matrix."""
    size = strips[0].shape[1]
    full = np.empty((size, size), strips[0].dtype)
    for (i, j), strip in zip(spans(size), strips, strict=True):
        full[i:j, i:] = strip
        full[j:, i:j] = strip[:, j - i :].T
    return full


def shift(sums: Sums, dx, dz) -> Sums:
    """The same rows' sums around `center_x - dx` and `center_z - dz`.

    With `x - (c - d) = (x - c) + d` every product gains rank-one terms. This is
    the pairwise update of Chan, Golub and LeVeque (1979), written for any
    centers instead of for the means.
    """
    x = sums.x + sums.n * dx
    z = sums.z + sums.n * dz

    xx = [
        strip + outer(sums.x[i:j], dx[i:]) + outer(dx[i:j], x[i:])
        for strip, (i, j) in zip(sums.xx, spans(x.shape[0]), strict=False)
    ]
    squares = sums.squares + (sums.x + x) * dx
    zz = sums.zz + outer(sums.z, dz) + outer(dz, z)
    xz = sums.xz + outer(sums.x, dz) + outer(dx, z)
    return Sums(sums.n, x, z, xz, xx, squares, zz)


def batch_sums(
    x, z, weight, center_x, center_z, dtype, with_squares
) -> tuple[Sums, tf.Tensor, tf.Tensor]:
    """Sums of one batch around given centers, without the product `xx`.

    Args:
        x: `[n, x_dim]`, float32 or float64; products are taken in its dtype.
        z: `[n, z_dim]` of dtype `dtype`, or `[n]` int64 class ids.
        weight: `[n]` of dtype `dtype`, or `None`.
        center_x: `[x_dim]` float32.
        center_z: `[z_dim]` float32.
        dtype: That of the sums returned.
        with_squares: Whether to compute `squares`; zeros otherwise, as
            `with_gram` has them for nothing.

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
    squares = tf.zeros_like(center_x, dtype)
    if with_squares:
        # TensorFlow adds up columns faster as a product.
        ones = tf.ones(tf.shape(delta)[:1], x.dtype)
        squares = tf.linalg.matvec(tf.square(delta), ones, transpose_a=True)
        squares = tf.cast(squares, dtype)
    center = tf.cast(center_z, dtype)
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
        sums = Sums(n, sum_x, counts, xz, [], squares, zz)
        sums = shift(sums, tf.zeros_like(sum_x), -center)
    else:
        # Few columns: in float64 they cost nothing, and stay exact.
        root = root[:, None]
        right = tf.concat([root, (z - center) * root], axis=1)
        with_x = tf.matmul(tf.cast(right, x.dtype), delta, transpose_a=True)
        with_x = tf.cast(with_x, dtype)
        with_z = tf.matmul(right, right, transpose_a=True)
        sums = Sums(
            n=n,
            x=with_x[0],
            z=with_z[0, 1:],
            xz=tf.transpose(with_x[1:]),
            xx=[],
            squares=squares,
            zz=with_z[1:, 1:],
        )
    return sums, delta, tf.cast(tf.stack(faults), dtype)


def checks(sums: Sums, faults) -> list:
    """Whether weights, class ids, `x`, `z` and their products are fine.

    A NaN or infinity anywhere in a batch shows in its sums, so that the rows
    need no pass of their own.
    """

    def finite(values):
        return tf.reduce_all(tf.math.is_finite(values))

    return [
        (faults[1] == 0) & finite(sums.n),
        faults[0] == 0,
        # No product of two features is larger than their squares.
        finite(sums.x) & finite(sums.squares),
        finite(sums.z),
        finite(sums.xz),
    ]


@functools.lru_cache(maxsize=64)
def compiled_batch_sums(
    x_dim, z_dim, x_dtype, ids, weighted, dtype, xx, with_squares
):
    """`batch_sums` and `checks`, traced once for every batch size.

    Args:
        x_dim: Columns of `x`.
        z_dim: Columns or classes of `z`.
        x_dtype: Of `x`.
        ids: Whether `z` holds class ids.
        weighted: Whether weights are passed, as the last argument.
        dtype: Of the sums.
        xx: Whether to compute the product `xx` too.
        with_squares: See `batch_sums`.

    Returns:
        A function of `x, z, center_x, center_z[, weight]`, returning the sums,
        the centered rows, and the `[5]` checks.
    """

    def weighted_step(x, z, center_x, center_z, weight):
        sums, delta, faults = batch_sums(
            x, z, weight, center_x, center_z, dtype, with_squares
        )
        if xx:
            sums = with_gram(sums, delta, dtype)
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
