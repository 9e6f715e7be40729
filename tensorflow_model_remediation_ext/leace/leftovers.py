"""What a LEACE fit leaves or loses, as values that a caller can act on."""

from typing import Literal, NamedTuple

import numpy as np

from tensorflow_model_remediation_ext.leace.sums import outer


class Leftover(NamedTuple):
    """Something to know about an eraser.

    Attributes:
        kind: `"nothing"` where the concept does not vary with `x` beyond
            `svd_tol`, so that the eraser changes nothing; `"partial"` where
            `svd_tol` or `max_rank` leaves more of the concept in than chance
            does;
            `"constant"` where columns vary too little beside their mean to be
            seen, so that they count as constant;
            `"shared"` where directions of the task to preserve are not kept, as
            the concept has them, too; `"most"` where more than half of the
            dimensions of `x` are erased.
        text: The same for a reader, in sentences.
    """

    kind: Literal["nothing", "partial", "constant", "shared", "most"]
    text: str


def concept_left(
    cross: np.ndarray,
    spread_x: np.ndarray,
    spread_z: np.ndarray,
    n: float,
    rank: int,
    svd_tol: float,
    max_rank: int | None = None,
) -> list[Leftover]:
    """Returns what erasure leaves, if it does nothing or leaves a visible part.

    Args:
        cross: `[x_dim, z_dim]` sums of products of the erased `x` and `z`,
            both centered.
        spread_x: `[x_dim]` roots of the sums of squares of the original `x`.
        spread_z: `[z_dim]` roots of the sums of squares of `z`.
        n: Number of rows.
        rank: Of the erasure.
        svd_tol: What it was told to leave.
        max_rank: To how many directions it was limited, or `None`.
    """
    spread = outer(spread_x, spread_z)
    left = np.divide(np.abs(cross), spread, where=spread > 0, out=0 * spread)
    errors = left.max() * np.sqrt(n)
    # A normal variate is beyond t with less than exp(-t**2 / 2).
    if errors <= np.sqrt(2 * np.log(1000 * left.size)):
        if rank:
            return []
        text = f"The concept does not vary with `x` by more than {svd_tol=}"
        for name, spread in (("z", spread_z), ("x", spread_x)):
            if not spread.any():
                text = (
                    f"`{name}` does not vary, or too little beside its mean to "
                    "be told from rounding. If that is an offset, subtract it "
                    "first"
                )
        return [Leftover("nothing", f"{text}: the eraser changes nothing.")]
    what = "leaves some of the concept"
    if not rank:
        what = "leaves all of the concept, the eraser changes nothing"
    option, way_out = f"svd_tol={svd_tol}", "A lower svd_tol"
    if rank == max_rank:
        option, way_out = f"max_rank={max_rank}", "A higher max_rank"
    text = (
        f"{option} {what}: column (class) "
        f"{left.max(axis=0).argmax()} of `z` and a feature keep a correlation "
        f"of {left.max():.2g}, {errors:.1f} standard errors. {way_out} erases "
        "it."
    )
    return [Leftover("partial", text)]


def taken_for_constant(name: str, lost: np.ndarray) -> list[Leftover]:
    """Returns which columns vary too little beside their mean to be seen.

    Args:
        name: Of the argument.
        lost: `[size]`, whether a column does.
    """
    if not lost.any():
        return []
    text = (
        f"The columns {np.flatnonzero(lost).tolist()} of `{name}` vary too "
        "little beside their mean to be told from rounding, and are taken for "
        "constant. Subtract their offset first."
    )
    return [Leftover("constant", text)]


def task_lost(shared: int) -> list[Leftover]:
    """Returns what `preserve` could not keep: directions that it shares."""
    if not shared:
        return []
    text = (
        f"The concept and the task that `preserve` names share {shared} "
        "direction(s). Erasure wins: the covariance of `x` with the task is "
        "not kept there."
    )
    return [Leftover("shared", text)]


def task_too_dear(lost: int) -> list[Leftover]:
    """Returns what `preserve` could keep only by a lot of variance."""
    if not lost:
        return []
    text = (
        f"Erasure leaves too little of {lost} direction(s) of the task that "
        "`preserve` names: to give their covariance with `x` back would add "
        "more variance than `x` has. Erasure wins: it is not kept there."
    )
    return [Leftover("shared", text)]


def most_erased(
    rank: int,
    x_dim: int,
    way_out: str = "If `z` is a number, such as an age, and not a class, give "
    "it as one column of floats.",
) -> list[Leftover]:
    """Returns a warning if more than half of all dimensions are erased."""
    if 2 * rank <= x_dim:
        return []
    text = (
        f"The eraser removes {rank} of the {x_dim} dimensions of `x`, more "
        f"than half. {way_out}"
    )
    return [Leftover("most", text)]
