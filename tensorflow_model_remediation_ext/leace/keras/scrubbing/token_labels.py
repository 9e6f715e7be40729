"""Labels of examples or tokens, beside the rows of a hidden state."""

import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras.scrubbing.stages import Run
from tensorflow_model_remediation_ext.leace.labels import labels as numeric
from tensorflow_model_remediation_ext.leace.leace import LeaceFitter


def update(
    fitter: LeaceFitter,
    run: Run,
    labels: list[tf.Tensor],
    weight: tf.Tensor | None,
) -> None:
    """Adds the hidden state of one run of a layer to a fitter.

    Rows of weight zero are left out before anything is computed from them:
    padding is often most of a batch.

    Args:
        fitter: Its `x_dim` is that of the layer.
        run: Hidden state `[batch, ..., x_dim]` and mask.
        labels: The concept and, with `preserve_dim`, the task labels: of
            examples `[batch]` or of tokens `[batch, ...]`, with a last axis of
            columns where they are no class ids.
        weight: Of examples or tokens, or `None` to use the mask, if any.

    Raises:
        ValueError: If shapes or values do not fit.
    """
    leading = run.hidden.shape[:-1]
    x = tf.reshape(run.hidden, [-1, fitter.x_dim])
    sizes = {"z": fitter.z_dim}
    if fitter.preserve_dim:
        sizes["preserve"] = fitter.preserve_dim
    targets = [
        _rows(name, numeric(name, label), size, leading)
        for (name, size), label in zip(sizes.items(), labels, strict=True)
    ]
    keep = None
    if weight is not None:
        weight = _rows("sample_weight", weight, 0, leading)
        keep = tf.cast(weight, tf.bool)
    elif run.mask is not None:
        keep = _rows("mask", tf.cast(run.mask, tf.bool), 0, leading)
    if keep is not None:
        x, *targets = (tf.boolean_mask(v, keep) for v in (x, *targets))
        if weight is not None:
            weight = tf.boolean_mask(weight, keep)
    if len(x):
        fitter.update(x, *targets, sample_weight=weight)  # type: ignore[misc]


def _rows(name, value, size, leading):
    """Class ids or weights `[n]` or columns `[n, size]`, one row a token."""
    rank, columns = value.shape.rank, []
    if size > 1 and not value.dtype.is_integer:
        columns = [size]
    elif size == 1 and rank > 1 and value.shape != leading[:rank]:
        columns = [1]
    rank -= len(columns)
    if rank < 1 or value.shape != leading[:rank] + columns:
        what = "class ids" if size > 1 else "numbers"
        either = (
            f" or columns [..., {size}] of a floating dtype" if size else ""
        )
        raise ValueError(
            f"`{name}` must be {what} for each example or token{either}, where "
            f"those are {leading}, as the hidden state says. Received: {name} "
            f"of shape {value.shape} and dtype {value.dtype.name}"
        )
    inner = [1] * (len(leading) - rank)
    value = tf.reshape(value, value.shape[:rank] + inner + columns)
    value = tf.broadcast_to(value, leading + columns)
    return tf.reshape(value, [-1, *columns])
