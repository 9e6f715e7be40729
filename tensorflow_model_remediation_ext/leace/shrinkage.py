"""Optimal linear shrinkage of sample covariance matrices."""

from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.leace import arrays


def optimal_linear_shrinkage(S_n: Any, n: Any) -> Any:
    """Shrinks sample covariance matrices toward a multiple of the identity.

    Returns `alpha * S_n + (1 - alpha) * trace(S_n) / p * I`, where `alpha` is
    the distribution-free estimate that minimizes the expected Frobenius error
    as `p` and `n` grow together with `p / n` bounded. It assumes rows that are
    independent with finite moments a little above the fourth. On correlated
    rows `n` overstates what the data say, and the result is shrunk too little.

    `alpha` is kept within [0, 1], where the optimum lies, so that the result is
    always positive semidefinite.

    Args:
        S_n: `[..., p, p]` sample covariance matrices with denominator `n`, an
            array or tensor of real numbers.
        n: Sample sizes, a number or `[...]`, one for each matrix.

    Returns:
        `[..., p, p]` of the dtype of `S_n`, or float64 for integers: an array
        for an array, a tensor for a tensor.

    Raises:
        ValueError: If `S_n` does not hold square matrices of real numbers, or a
            number of `n` is not positive.

    Examples:
        >>> import numpy as np
        >>> S = np.diag([1.0, 2.0, 9.0])
        >>> float(np.trace(optimal_linear_shrinkage(S, n=20)))
        12.0

    References:
        - [Bodnar, Gupta and Parolya, On the Strong Convergence of the Optimal
          Linear Shrinkage Estimator for Large Dimensional Covariance Matrix,
          2014](https://arxiv.org/abs/1308.2608), equations 4.3 and 4.4.
    """
    in_tensorflow = tf.is_tensor(S_n) or isinstance(S_n, tf.Variable)
    S_n, n = arrays.floats("S_n", S_n), arrays.floats("n", n)
    p = S_n.shape[-1] if len(S_n.shape) >= 2 else None
    if p is None or S_n.shape[-2] != p:
        raise ValueError(
            "`S_n` must be of shape [..., p, p]. Received: S_n of shape "
            f"{tuple(S_n.shape)}"
        )
    # Squares of half precision overflow.
    wide, dtype = tf.cast(S_n, arrays.working_dtype(S_n)), S_n.dtype
    if not in_tensorflow:
        return _shrunk_array(wide.numpy(), n.numpy()).astype(
            dtype.as_numpy_dtype
        )
    n = tf.cast(n, wide.dtype)
    with arrays.require((tf.reduce_all(n > 0), "`n` must be positive.")):
        diagonal = tf.linalg.diag_part(wide)
    mean = tf.reduce_mean(diagonal, axis=-1)
    scaled = tf.math.divide_no_nan(wide, mean[..., None, None])
    square_norm = tf.reduce_sum(tf.square(scaled), axis=(-2, -1))
    alpha = _intensity(square_norm, p, n, tf.where, tf.clip_by_value)
    diagonal = alpha[..., None] * diagonal + ((1 - alpha) * mean)[..., None]
    shrunk = tf.linalg.set_diag(alpha[..., None, None] * wide, diagonal)
    return tf.cast(shrunk, dtype)


def _shrunk_array(S_n, n):
    """`optimal_linear_shrinkage` in NumPy."""
    n = n.astype(S_n.dtype)
    if not np.all(n > 0):
        raise ValueError(f"`n` must be positive. Received: n={n}")
    diagonal = np.diagonal(S_n, axis1=-2, axis2=-1)
    mean = diagonal.mean(-1)
    scaled = S_n / np.where(mean > 0, mean, 1)[..., None, None]
    square_norm = np.einsum("...ij,...ij->...", scaled, scaled)
    alpha = _intensity(square_norm, S_n.shape[-1], n, np.where, np.clip)
    added = ((1 - alpha) * mean)[..., None]
    shrunk = alpha[..., None, None] * S_n
    index = np.arange(S_n.shape[-1])
    shrunk[..., index, index] = alpha[..., None] * diagonal + added
    return shrunk


def shrink_strips(strips: list[np.ndarray], n: float) -> None:
    """Turns a scatter matrix into its shrunk covariance, in place.

    What `optimal_linear_shrinkage` does, in fewer passes.

    Args:
        strips: The upper triangle of `n` times a sample covariance, in strips
            (`Sums.xx`).
        n: Sample size.
    """
    p, square_norm = strips[0].shape[1], 0.0
    mean = sum(np.trace(strip) for strip in strips) / p
    for strip in strips:
        strip /= mean if mean > 0 else 1.0
        block = strip[:, : len(strip)]
        # What is to the right of the block is below the diagonal once more.
        square_norm += 2 * np.vdot(strip, strip) - np.square(block).sum()
    alpha = _intensity(square_norm, p, n, np.where, np.clip)
    for strip in strips:
        strip *= alpha * (mean / n)
        index = np.arange(len(strip))
        strip[index, index] += (1 - alpha) * (mean / n)


def _intensity(square_norm, p, n, where, clip):
    """Returns the factor of a matrix.

    Args:
        square_norm: Of the matrix, divided by the mean of its diagonal: the
            squares of any other might overflow, or be lost.
        p: Its size, and its trace.
        n: Sample size.
        where: Of NumPy or TensorFlow.
        clip: Likewise.
    """
    # Squared Frobenius distance to the target; zero for a multiple of the
    # identity, which stays as it is with any alpha.
    spread = square_norm - p
    isotropic = spread <= square_norm * 1e-15
    one = spread * 0 + 1
    ratio = p**2 / n / where(isotropic, one, spread)
    return where(isotropic, one, 1 - clip(ratio, 0.0, 1.0))
