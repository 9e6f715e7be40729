"""What varies, what only seems to by the rounding of sums, and by how much."""

import numpy as np

# Sums over equal rows disagree by fewer roundings than this, or than one for
# eight rows, however they come; one by one they come near it.
_ROUNDINGS = 64
# What varies is real where its square is so many times that of rounding.
_CLEAR = 16
# A feature that varies by less than this share of its mean is a constant that
# was rounded in float64 before it came here.
_ROUNDED = 16 * np.finfo(np.float64).eps


def variation(
    total: np.ndarray,
    squares: np.ndarray,
    mean: np.ndarray,
    n: float,
    dtype: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns sums of squares around the mean, zero for what is constant.

    Sums are kept around a center that is the mean, rounded to float32. So the
    rows of a constant are all as far from it as that rounding is, and what is
    left of their squares is the rounding of sums.

    Args:
        total: `[size]` sums of `x - center`.
        squares: `[size]` sums of their squares.
        mean: `[size]`, of `x` itself.
        n: Number of rows.
        dtype: In which sums were added up.

    Returns:
        The sums; and which columns count as constant, but vary by more than
        rounding explains, and by too little to be known.
    """
    left = squares - total**2 / n
    limits = np.finfo(np.float32)
    beyond = np.maximum(np.abs(mean) - limits.max, 0.0)
    apart = beyond + limits.eps * np.abs(mean) + limits.tiny
    roundings = max(_ROUNDINGS, n / 8) * np.finfo(dtype).eps
    rounding = np.minimum(squares, n * apart**2)
    rounding *= min(roundings, 0.1 / _CLEAR)
    rounded = n * (_ROUNDED * mean) ** 2
    constant = left <= np.maximum(_CLEAR * rounding, rounded)
    doubtful = constant & (left > np.maximum(rounding, rounded))
    return np.where(constant, 0.0, left), doubtful


def inverted(scale: np.ndarray) -> np.ndarray:
    """Returns the inverses of what features vary by, zero for constants."""
    return np.divide(1.0, scale, where=scale > 0, out=np.zeros_like(scale))
