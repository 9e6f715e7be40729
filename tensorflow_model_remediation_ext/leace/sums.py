"""Sums of products of one batch: the arithmetic under `Moments`."""

import functools
import importlib
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# Rows of a strip of the symmetric product: strips skip nearly half of it, and
# narrower ones would lose more to small products than they skip.
STRIP = 256
# Columns of a square product in NumPy. Its BLAS computes one half, and NumPy
# copies it to the other, which in larger squares misses the cache.
SQUARE = 1024
# Classes up to which a product with their one-hot columns is faster than sums
# by class.
FEW_CLASSES = 64


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
        squares: `[x_dim]`, the diagonal of `xx`, tracked even without it.
        zz: `[z_dim, z_dim]`.
    """

    n: Any
    x: Any
    z: Any
    xz: Any
    xx: list
    squares: Any
    zz: Any


class Checks(NamedTuple):
    """Whether a batch may be added, or what to say where it may not.

    Attributes:
        weights: Weights are finite and not negative.
        class_ids: Class ids are in range.
        x: `x` and its squares are finite.
        z: `z` and its squares are finite.
        products: The products of both are finite.
    """

    weights: Any
    class_ids: Any
    x: Any
    z: Any
    products: Any

    def first_failing(self, messages: "Checks") -> str:
        """Returns the message of the first check that fails."""
        failing = zip(self, messages, strict=True)
        return next(message for fine, message in failing if not fine)


class BatchKind(NamedTuple):
    """What a compiled computation of batch sums depends on.

    Attributes:
        x_dim: Columns of `x`.
        z_dim: Columns or classes of `z`.
        x_dtype: Of `x`, that of products.
        dtype: Of the sums.
        class_ids: Whether `z` holds class ids.
        weighted: Whether weights are given.
        squares: Whether to compute `Sums.squares` by themselves.
        gram: Whether to compute `Sums.xx`, and `squares` from its diagonal.
    """

    x_dim: int
    z_dim: int
    x_dtype: tf.DType
    dtype: tf.DType
    class_ids: bool
    weighted: bool
    squares: bool
    gram: bool


def spans(size: int, width: int = STRIP) -> list[tuple[int, int]]:
    """Returns the first and last row of each strip of a square matrix."""
    return [(i, min(i + width, size)) for i in range(0, size, width)]


def with_gram(sums: Sums, rows: Any, dtype: tf.DType) -> Sums:
    """Returns the sums with `xx`, and `squares` from its diagonal.

    Args:
        sums: Without `xx`.
        rows: `[n, x_dim]` tensor or float64 array, whose `rows^T rows` is
            wanted.
        dtype: Of the products of a tensor; those of an array keep its own.
    """
    if isinstance(rows, np.ndarray):
        xx = _gram_in_numpy(rows)
        squares = np.concatenate([np.diagonal(strip) for strip in xx])
    else:
        xx = _gram(rows, dtype)
        squares = tf.concat([tf.linalg.diag_part(strip) for strip in xx], 0)
    return sums._replace(xx=xx, squares=squares)


def _gram(rows, dtype):
    """The strips of `rows^T rows` for a tensor."""
    parts = tf.split(rows, [j - i for i, j in spans(rows.shape[1])], axis=1)
    strips = []
    for index, left in enumerate(parts):
        # TensorFlow multiplies square blocks faster than a whole strip.
        blocks = [
            tf.matmul(left, right, transpose_a=True) for right in parts[index:]
        ]
        strips.append(tf.cast(tf.concat(blocks, axis=1), dtype))
    return strips


def _gram_in_numpy(rows):
    """The strips of `rows^T rows` for a float64 array, views of products.

    BLAS has a routine for the product of a matrix with its own transpose that
    takes half of the time. SciPy hands out the half that it computes; NumPy
    copies it to the other half first.
    """
    size = rows.shape[1]
    blas = _scipy_blas()
    if blas is not None:
        product = blas.dsyrk(1.0, rows.T, lower=1).T
        for i, j in spans(size):
            square = product[i:j, i:j]
            np.copyto(square, square.T.copy(), where=_below(j - i))
        return [product[i:j, i:] for i, j in spans(size)]
    strips = []
    for a, b in spans(size, SQUARE):
        part = rows[:, a:b]
        product = np.empty((b - a, size - a), rows.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # It is checked.
            np.matmul(part.T, part, out=product[:, : b - a])
            np.matmul(part.T, rows[:, b:], out=product[:, b - a :])
        strips += [product[i:j, i:] for i, j in spans(b - a)]
    return strips


@functools.cache
def _below(size):
    """Returns what is below the diagonal of a square."""
    return np.tri(size, k=-1, dtype=bool)


@functools.cache
def _scipy_blas():
    """Returns SciPy's module of BLAS routines, or `None` without SciPy."""
    try:
        return importlib.import_module("scipy.linalg.blas")
    except ImportError:
        return None


def outer(a, b):
    """Returns `a b^T` for two vectors, arrays or tensors."""
    return a[:, None] * b[None, :]


def assemble(strips: list[np.ndarray]) -> np.ndarray:
    """Returns the full symmetric matrix."""
    size = strips[0].shape[1]
    full = np.empty((size, size), strips[0].dtype)
    for (i, j), strip in zip(spans(size), strips, strict=True):
        full[i:j, i:] = strip
        full[j:, i:j] = strip[:, j - i :].T
    return full


def shift(sums: Sums, dx, dz) -> Sums:
    """Returns the same rows' sums around `center_x - dx`, `center_z - dz`.

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
    x, z, weight, center_x, center_z, dtype, *, squares
) -> tuple[Sums, tf.Tensor, tf.Tensor]:
    """Returns sums of one batch around given centers, without `xx`.

    Args:
        x: `[n, x_dim]`, float32 or float64; products are taken in its dtype.
        z: `[n, z_dim]` of dtype `dtype`, or `[n]` int64 class ids.
        weight: `[n]` of dtype `dtype`, or `None`.
        center_x: `[x_dim]` float32.
        center_z: `[z_dim]` float32.
        dtype: That of the sums returned.
        squares: Whether to compute `Sums.squares`; zeros otherwise, as
            `with_gram` has them for nothing.

    Returns:
        The sums with an empty `xx`; the centered rows, scaled by the square
        root of their weight, whose gram matrix is `xx`; and `[2]`, the number
        of weights that are negative or NaN, and of class ids out of range.
    """
    z_dim = center_z.shape[0]
    out_of_range = bad_weights = tf.zeros([], tf.int64)
    centered = x - tf.cast(center_x, x.dtype)
    if weight is None:
        weight = root = tf.ones(tf.shape(centered)[:1], dtype)
    else:
        bad_weights = tf.math.count_nonzero(~(weight >= 0.0))
        root = tf.sqrt(weight)
        # A row of weight zero is left out even if it holds NaN.
        centered = tf.math.multiply_no_nan(
            centered, tf.cast(root, x.dtype)[:, None]
        )
    n = tf.reduce_sum(weight)
    of_squares = tf.zeros_like(center_x, dtype)
    if squares:
        # TensorFlow adds up columns faster as a product.
        ones = tf.ones(tf.shape(centered)[:1], x.dtype)
        of_squares = tf.linalg.matvec(
            tf.square(centered), ones, transpose_a=True
        )
        of_squares = tf.cast(of_squares, dtype)
    center = tf.cast(center_z, dtype)
    if z.dtype == tf.int64:
        valid = (z >= 0) & (z < z_dim)
        out_of_range = tf.math.count_nonzero(~valid & (weight != 0.0))
        z = tf.where(valid, z, -1)
        rows = centered
        if weight is not root:
            rows *= tf.cast(root, x.dtype)[:, None]
        per_class = tf.cast(_sums_by_class(rows, z, z_dim), dtype)
        counts = tf.math.unsorted_segment_sum(weight, z, z_dim)
        sum_x = tf.reduce_sum(per_class, axis=0)
        xz, zz = tf.transpose(per_class), tf.linalg.diag(counts)
        sums = Sums(n, sum_x, counts, xz, [], of_squares, zz)
        sums = shift(sums, tf.zeros_like(sum_x), -center)
    else:
        # Few columns: in float64 they cost nothing, and stay exact.
        root = root[:, None]
        columns = tf.math.multiply_no_nan(z - center, root)
        right = tf.concat([root, columns], axis=1)
        with_x = tf.matmul(tf.cast(right, x.dtype), centered, transpose_a=True)
        with_x = tf.cast(with_x, dtype)
        with_z = tf.matmul(right, right, transpose_a=True)
        sums = Sums(
            n=n,
            x=with_x[0],
            z=with_z[0, 1:],
            xz=tf.transpose(with_x[1:]),
            xx=[],
            squares=of_squares,
            zz=with_z[1:, 1:],
        )
    faults = tf.stack([bad_weights, out_of_range])
    return sums, centered, tf.cast(faults, dtype)


def _sums_by_class(rows, z, z_dim):
    """Returns `[z_dim, x_dim]`, sums of the rows of each class id."""
    if z_dim > FEW_CLASSES:
        return tf.math.unsorted_segment_sum(rows, z, z_dim)
    one_hot = tf.one_hot(z, z_dim, dtype=rows.dtype)
    return tf.matmul(one_hot, rows, transpose_a=True)


def checks_of(sums: Sums, faults) -> Checks:
    """Returns whether weights, class ids, `x`, `z` and products are fine.

    A NaN or infinity anywhere in a batch shows in its sums, so that the rows
    need no pass of their own.

    Args:
        sums: Of the batch, or with it.
        faults: As from `batch_sums`.
    """

    def finite(values):
        return tf.reduce_all(tf.math.is_finite(values))

    return Checks(
        weights=(faults[0] == 0) & finite(sums.n),
        class_ids=faults[1] == 0,
        # No product of two features is larger than their squares.
        x=finite(sums.x) & finite(sums.squares),
        z=finite(sums.z) & finite(tf.linalg.diag_part(sums.zz)),
        products=finite(sums.xz),
    )


@functools.lru_cache(maxsize=64)
def compiled_batch_sums(kind: BatchKind):
    """Returns `batch_sums` and `checks_of`, traced once for every batch size.

    Args:
        kind: What the computation depends on.

    Returns:
        A function of `x, z, center_x, center_z[, weight]`, returning the sums,
        the centered rows, and the checks as one tensor.
    """

    def weighted_step(x, z, center_x, center_z, weight):
        sums, centered, faults = batch_sums(
            x, z, weight, center_x, center_z, kind.dtype, squares=kind.squares
        )
        if kind.gram:
            sums = with_gram(sums, centered, kind.dtype)
        return sums, centered, tf.stack(checks_of(sums, faults))

    # A signature with an optional argument would make TensorFlow print all
    # tensors into a message at every call.
    def step(x, z, center_x, center_z):
        return weighted_step(x, z, center_x, center_z, None)

    spec = tf.TensorSpec
    ids, columns = spec([None], tf.int64), spec([None, kind.z_dim], kind.dtype)
    specs = [
        spec([None, kind.x_dim], kind.x_dtype),
        ids if kind.class_ids else columns,
        spec([kind.x_dim], tf.float32),
        spec([kind.z_dim], tf.float32),
    ]
    if kind.weighted:
        step = weighted_step
        specs.append(spec([None], kind.dtype))
    return tf.function(step, autograph=False).get_concrete_function(*specs)
