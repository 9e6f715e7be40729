"""Affine erasers that also remove what a covariance or a kernel shows."""

from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.common.progress import progress_bar
from tensorflow_model_remediation_ext.leace import arrays, labels
from tensorflow_model_remediation_ext.leace.leace import (
    LeaceEraser,
    LeaceFitter,
)
from tensorflow_model_remediation_ext.leace.quadratic import QuadraticFitter

# Widths of the kernels, as shares of the median distance of the first batch.
_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def covariance_eraser(
    x: Any,
    z: Any,
    rank: int,
    *,
    sample_weight: Any = None,
    shrinkage: float = 0.1,
) -> LeaceEraser:
    """Removes the directions in which the classes' covariances differ most.

    LEACE comes first. Of what it leaves, whitened, those `rank` directions are
    taken out in which the variances of the classes are furthest apart. This is
    closed form, and like LEACE it moves the data least in the sense of their
    own covariance. The result is an affine eraser: it needs no label, folds
    into a Dense layer, and goes into a `LeaceLayer`.

    Class means agree on the data it was fitted to, so that linear readers are
    blind there. Covariances agree only as far as `rank` directions go, and
    nonlinear readers still find something: measure it with
    `evaluation.leakage`.

    Args:
        x: `[..., x_dim]`, any floating dtype.
        z: `[...]` integer class ids.
        rank: Number of directions to remove, after those of LEACE.
        sample_weight: `[...]` or `None`.
        shrinkage: Share by which the covariance that whitens is moved towards
            a multiple of the identity, in standardized features.

    Returns:
        The eraser, of a rank of up to `rank` and the number of classes less
        one.

    Raises:
        ValueError: On wrong shapes or class ids, NaN or infinity, a class of
            fewer than two rows, or options out of range.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> z = np.arange(400) % 2
        >>> x = rng.normal(size=(400, 8))
        >>> x[:, 0] *= 1 + 3 * z
        >>> erased = covariance_eraser(x, z, rank=1)(x).numpy()
        >>> ratio = erased[z == 1].std(0) / erased[z == 0].std(0)
        >>> bool(ratio.max() < 1.5)
        True

    References:
        The directions are those of Fukunaga and Koontz 1970, "Application of
        the Karhunen-Loève expansion to feature selection and ordering".
    """
    if not 0 < shrinkage <= 1:
        raise ValueError(
            "`shrinkage` must be above 0 and at most 1. Received: "
            f"shrinkage={shrinkage!r}"
        )
    after = _AfterLeace(x, z, rank, sample_weight)
    pooled = np.tensordot(after.shares, after.sigmas, 1)
    identity = np.eye(len(pooled))
    level = np.trace(pooled) / len(pooled)
    factor = np.linalg.cholesky(
        (1 - shrinkage) * pooled + shrinkage * max(level, 1e-300) * identity
    )
    inverse = np.linalg.inv(factor)
    basis = after.directions(inverse @ after.sigmas @ inverse.T)
    return after.eraser(factor @ basis, basis.T @ inverse)


def mmd_eraser(
    x: Any,
    z: Any,
    rank: int,
    *,
    sample_weight: Any = None,
    steps: int = 100,
    batch_size: int = 384,
    learning_rate: float = 0.02,
    seed: int = 0,
    verbose: int | str = 0,
) -> LeaceEraser:
    """Removes the directions in which a kernel tells the classes apart.

    LEACE comes first. Then an orthogonal projection of standardized features
    that takes out `rank` directions is learned, by Adam, so that the maximum
    mean discrepancy between the classes becomes small in what is left: a sum
    over five Gaussian kernels, in batches with equally many rows of each class.
    It starts where covariances differ most. The result is an affine eraser: it
    needs no label, folds into a Dense layer, and goes into a `LeaceLayer`.

    Class means agree on the data it was fitted to, so that linear readers are
    blind there. What is left to nonlinear readers depends on `rank`, and so
    does what is lost for other uses: measure both with `evaluation.leakage`.
    This is the one to take for tables, where trees read a concept after every
    other eraser of this package.

    Args:
        x: `[..., x_dim]`, any floating dtype.
        z: `[...]` integer class ids.
        rank: Number of directions to remove, after those of LEACE.
        sample_weight: `[...]` or `None`; rows are drawn by their weight.
        steps: Steps of Adam.
        batch_size: Rows of a step.
        learning_rate: Of Adam.
        seed: Seed of the batches.
        verbose: `0` for no progress bar, otherwise as in `keras.Model.fit`.

    Returns:
        The eraser, of a rank of up to `rank` and the number of classes less
        one.

    Raises:
        ValueError: On wrong shapes or class ids, NaN or infinity, a class of
            fewer than two rows, or options out of range.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> z = np.arange(400) % 2
        >>> x = rng.normal(size=(400, 8))
        >>> x[:, 0] = np.abs(x[:, 0]) * (2 * z - 1) * (1 + z)
        >>> eraser = mmd_eraser(x, z, rank=1, steps=20)
        >>> eraser.proj_left.shape
        TensorShape([8, 2])

    References:
        - [Gretton et al., A Kernel Two-Sample Test,
          2012](https://jmlr.org/papers/v13/gretton12a.html), for the
          discrepancy and its unbiased estimate.
    """
    whole("steps", steps, 1)
    if not 0 < learning_rate < float("inf"):
        raise ValueError(
            "`learning_rate` must be positive. Received: "
            f"learning_rate={learning_rate!r}"
        )
    after = _AfterLeace(x, z, rank, sample_weight)
    num_classes = len(after.shares)
    each = whole("batch_size", batch_size, 2 * num_classes) // num_classes
    rng = np.random.default_rng(seed)
    start = after.directions(after.sigmas)
    basis = tf.Variable(start, dtype=tf.float32)
    optimizer = _Adam(basis, learning_rate)
    widths = None
    bar = progress_bar(steps, verbose, "step")
    for _ in range(steps):
        batch = tf.constant(after.sample(each, rng), tf.float32)
        if widths is None:
            rows = tf.reshape(_project(batch, basis), [-1, batch.shape[-1]])
            distances = _distances(rows).numpy()
            median = np.median(distances[np.triu_indices(len(distances), 1)])
            widths = tf.constant(
                np.square(_WIDTHS) * max(median, 1e-12), tf.float32
            )
        optimizer.apply(_gradient(batch, basis, widths))
        bar.add(1)
    basis = np.linalg.qr(basis.numpy().astype(np.float64))[0]
    return after.eraser(basis, basis.T)


class _AfterLeace:
    """What LEACE leaves, in units of the features' standard deviations."""

    def __init__(self, x, z, rank, sample_weight):
        x, z = arrays.rows("x", x), labels.labels("z", z)
        classes = QuadraticFitter.fit(x, z, sample_weight)
        whole("rank", rank, 1)
        if rank >= classes.x_dim:
            raise ValueError(
                f"`rank` must be below x_dim={classes.x_dim}. Received: "
                f"rank={rank!r}"
            )
        n, k = classes.n, classes.num_classes
        self._rank, self.shares = rank, n / n.sum()
        self._mean = self.shares @ classes.mean_x
        centers = classes.mean_x - self._mean
        sigmas = classes.sigma_xx
        variance = np.tensordot(self.shares, sigmas, 1).diagonal()
        variance = variance + self.shares @ centers**2
        self._scale = np.sqrt(variance)
        self._inverse = np.divide(
            1.0, self._scale, where=variance > 0, out=np.zeros_like(variance)
        )
        self._rows = tf.reshape(x, [-1, classes.x_dim])
        ids = tf.reshape(tf.cast(z, tf.int64), [-1])
        self._ids, self._weight, weight = ids.numpy(), None, None
        if sample_weight is not None:
            weight = labels.weights(sample_weight, x.shape[:-1], tf.float64)
            self._weight = weight.numpy()
        # All columns together would have a direction of rounding errors.
        columns = tf.one_hot(ids, k, dtype=tf.float64)[:, :-1]
        self._leace = (
            LeaceFitter(classes.x_dim, k - 1, svd_tol=0.0)
            .update(self._standard(self._rows), columns, sample_weight=weight)
            .eraser
        )
        linear = np.asarray(self._leace.P)
        sigmas = sigmas * self._inverse * self._inverse[:, None]
        self.sigmas = linear @ sigmas @ linear.T

    def _standard(self, rows):
        mean, inverse = (
            tf.cast(value, rows.dtype) for value in (self._mean, self._inverse)
        )
        return (rows - mean) * inverse

    def directions(self, sigmas: np.ndarray) -> np.ndarray:
        """`[x_dim, rank]`, in which these `[classes, ...]` differ most."""
        differences = sigmas - np.tensordot(self.shares, sigmas, 1)
        spread = np.tensordot(self.shares, differences @ differences, 1)
        return np.linalg.eigh(spread)[1][:, -self._rank :]

    def sample(self, each: int, rng: np.random.Generator) -> np.ndarray:
        """`[classes, each, x_dim]` standardized rows after LEACE."""
        picked = []
        for k in range(len(self.shares)):
            mine = np.flatnonzero(self._ids == k)
            p = None
            if self._weight is not None:
                p = self._weight[mine]
                p = p / p.sum()
            picked.append(rng.choice(mine, each, p=p))
        rows = tf.gather(self._rows, np.concatenate(picked))
        erased = self._leace(self._standard(rows)).numpy()
        return erased.reshape(len(picked), each, -1)

    def eraser(self, left: np.ndarray, right: np.ndarray) -> LeaceEraser:
        """LEACE, and then `I - left right` of standardized columns."""
        first_left = np.asarray(self._leace.proj_left)
        first_right = np.asarray(self._leace.proj_right)
        left = np.concatenate([first_left, left], axis=1)
        right = np.concatenate(
            [first_right, right - (right @ first_left) @ first_right]
        )
        return LeaceEraser(
            left * self._scale[:, None], right * self._inverse, self._mean
        )


def _project(batch, basis):
    orthonormal = tf.linalg.qr(basis)[0]
    inner = tf.einsum("knd,dr->knr", batch, orthonormal)
    return batch - tf.einsum("knr,dr->knd", inner, orthonormal)


def _distances(rows):
    """`[n, n]` squared distances."""
    squares = tf.reduce_sum(tf.square(rows), axis=1)
    products = tf.matmul(rows, rows, transpose_b=True)
    return tf.maximum(squares[:, None] + squares - 2 * products, 0.0)


@tf.function(autograph=False, reduce_retracing=True)
def _gradient(batch, basis, widths):
    """Of the mean discrepancy between two classes, unbiased."""
    classes, each, size = tf.unstack(tf.shape(batch))
    k, n = tf.cast(classes, batch.dtype), tf.cast(each, batch.dtype)
    with tf.GradientTape() as tape:
        rows = tf.reshape(_project(batch, basis), [-1, size])
        distances = _distances(rows)
        kernel = tf.add_n(
            [tf.exp(-distances / (2 * width)) for width in tf.unstack(widths)]
        )
        blocks = tf.reshape(kernel, [classes, each, classes, each])
        blocks = tf.reduce_sum(blocks, axis=(1, 3))
        # Every row is near itself, which says nothing.
        same = tf.linalg.trace(blocks) - len(_WIDTHS) * k * n
        other = tf.reduce_sum(blocks) - tf.linalg.trace(blocks)
        loss = 2 * same / (k * n * (n - 1))
        loss -= 2 * other / (k * (k - 1) * n * n)
    return tape.gradient(loss, basis)


class _Adam:
    """Adam (Kingma and Ba 2015) for one variable, on any Keras backend."""

    def __init__(self, variable, learning_rate):
        self._variable, self._rate = variable, learning_rate
        self._first = self._second = tf.zeros_like(variable)
        self._step = 0

    def apply(self, gradient):
        self._step += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.999 * self._second + 0.001 * tf.square(gradient)
        first = self._first / (1 - 0.9**self._step)
        second = self._second / (1 - 0.999**self._step)
        self._variable.assign_sub(self._rate * first / (tf.sqrt(second) + 1e-7))
