"""An affine eraser that also removes what a kernel shows."""

from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    whole,
)
from tensorflow_model_remediation_ext.common.progress import progress_bar
from tensorflow_model_remediation_ext.leace import arrays, labels
from tensorflow_model_remediation_ext.leace.after_leace import (
    AfterLeace,
    warned,
)
from tensorflow_model_remediation_ext.leace.class_samples import ClassSamples
from tensorflow_model_remediation_ext.leace.leace import LeaceEraser
from tensorflow_model_remediation_ext.leace.options import tolerance
from tensorflow_model_remediation_ext.leace.quadratic import QuadraticFitter

# Widths of the kernels, as shares of the median distance of the first batch.
_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


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
    x = arrays.rows("x", x)
    classes = QuadraticFitter.fit(x, z, sample_weight)
    samples = ClassSamples(classes.num_classes)
    weight = None
    if sample_weight is not None:
        weight = labels.weights(sample_weight, x.shape[:-1], tf.float64)
    ids = tf.reshape(tf.cast(labels.labels("z", z), tf.int64), [-1])
    samples.add(tf.reshape(x, [-1, classes.x_dim]), ids, weight)
    return warned(
        mmd_eraser_of(
            classes,
            samples,
            rank,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            verbose=verbose,
        )
    )


def mmd_eraser_of(
    classes: QuadraticFitter,
    samples: ClassSamples,
    rank: int,
    *,
    steps: int = 100,
    batch_size: int = 384,
    learning_rate: float = 0.02,
    seed: int = 0,
    verbose: int | str = 0,
) -> LeaceEraser:
    """Returns the `mmd_eraser` for what a fitter has seen.

    Args:
        classes: The means and covariances of the classes.
        samples: Rows of the classes to learn from.
        rank: As in `mmd_eraser`.
        steps: As in `mmd_eraser`.
        batch_size: As in `mmd_eraser`.
        learning_rate: As in `mmd_eraser`.
        seed: As in `mmd_eraser`.
        verbose: As in `mmd_eraser`.

    Raises:
        ValueError: If a class has fewer than two rows, or options are out of
            range.
    """
    whole("steps", steps, 1)
    tolerance("learning_rate", learning_rate, positive=True)
    after = AfterLeace(classes, rank)
    k = classes.num_classes
    each = whole("batch_size", batch_size, 2 * k) // k
    rng = np.random.default_rng(checked_seed("seed", seed))
    basis = tf.Variable(after.directions(after.sigmas), dtype=tf.float32)
    optimizer = _Adam(basis, learning_rate)
    widths = None
    bar = progress_bar(steps, verbose, "step")
    for _ in range(steps):
        rows = after.rows(samples.draw(each, rng))
        batch = tf.constant(rows, tf.float32)
        if widths is None:
            rows = tf.reshape(_project(batch, basis), [-1, batch.shape[-1]])
            distances = _distances(rows).numpy()
            median = np.median(distances[np.triu_indices(len(distances), 1)])
            widths = tf.constant(
                np.square(_WIDTHS) * max(median, 1e-12), tf.float32
            )
        optimizer.apply(_gradient(batch, basis.value(), widths))
        bar.add(1)
    basis = np.linalg.qr(basis.numpy().astype(np.float64))[0]
    return after.eraser(basis, basis.T)


def _project(batch, basis):
    orthonormal = tf.linalg.qr(basis)[0]
    inner = tf.einsum("knd,dr->knr", batch, orthonormal)
    return batch - tf.einsum("knr,dr->knd", inner, orthonormal)


def _distances(rows):
    """`[n, n]` squared distances."""
    squares = tf.reduce_sum(tf.square(rows), axis=1)
    products = tf.matmul(rows, rows, transpose_b=True)
    return tf.maximum(squares[:, None] + squares - 2 * products, 0.0)


# The gradient of a QR decomposition needs known shapes: one trace for each.
@tf.function(autograph=False)
def _gradient(batch, basis, widths):
    """Of the mean discrepancy between two classes, unbiased."""
    classes, each, size = tf.unstack(tf.shape(batch))
    k, n = tf.cast(classes, batch.dtype), tf.cast(each, batch.dtype)
    with tf.GradientTape() as tape:
        tape.watch(basis)
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
