"""Labels of examples or tokens, row by row of a hidden state."""

import tensorflow as tf

from tensorflow_model_remediation_ext.leace.keras.scrubbing.methods import (
    LayerFitter,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.stages import Run
from tensorflow_model_remediation_ext.leace.labels import labels as numeric


class TokenRows:
    """Fits a fitter to the runs of one layer.

    Args:
        fitter: Its `x_dim` is that of the layer.
    """

    def __init__(self, fitter: LayerFitter):
        self.fitter = fitter
        self._sizes = {"z": fitter.z_dim}
        if fitter.preserve_dim:
            self._sizes["preserve"] = fitter.preserve_dim
        # Labels of which everything so far could also be columns.
        self._doubtful = set(self._sizes)

    def update(
        self,
        run: Run,
        labels: list[tf.Tensor],
        weight: tf.Tensor | None,
        padding: tf.Tensor | None = None,
    ) -> None:
        """Adds one run of the layer.

        Rows of weight zero are left out before anything is computed from them:
        padding is often most of a batch.

        Args:
            run: Hidden state `[batch, ..., x_dim]` and mask.
            labels: The concept and, with `preserve_dim`, the task labels: of
                examples `[batch]` or of tokens `[batch, ...]`, with a last axis
                of columns where they are not class ids.
            weight: Of examples or tokens, or `None` to use the mask, if any.
            padding: A mask `[batch, tokens]` to use where there is neither,
                of a layer that has a row for each token.

        Raises:
            ValueError: If shapes or values do not fit.
        """
        leading = run.hidden.shape[:-1]
        mask = run.mask
        if mask is None and padding is not None and padding.shape == leading:
            mask = padding
        x = tf.reshape(run.hidden, [-1, self.fitter.x_dim])
        targets = []
        for (name, size), label in zip(
            self._sizes.items(), labels, strict=True
        ):
            label = numeric(name, label)
            targets.append(_rows(name, label, size, leading))
            if name in self._doubtful and not _maybe_columns(label, size):
                self._doubtful.remove(name)
        keep = None
        if weight is not None:
            weight = _rows("sample_weight", weight, 0, leading)
            keep = tf.cast(weight, tf.bool)
        elif mask is not None:
            keep = _rows("mask", tf.cast(mask, tf.bool), 0, leading)
        if keep is not None and not tf.reduce_all(keep):
            x, *targets = (tf.boolean_mask(v, keep) for v in (x, *targets))
            if weight is not None:
                weight = tf.boolean_mask(weight, keep)
        if len(x):
            self.fitter.update(x, *targets, sample_weight=weight)

    def check(self) -> None:
        """Refuses labels that have two meanings, once all are there.

        Raises:
            ValueError: If integers could be class ids of tokens or columns.
        """
        for name in sorted(self._doubtful):
            size = self._sizes[name]
            raise ValueError(
                f"`{name}` holds integers 0 and 1 of shape [batch, {size}], "
                f"which may be class ids of {size} tokens or {size} columns "
                "for each example. Give columns in a floating dtype; or give "
                f"the tokens' classes one-hot, [batch, {size}, {size}] in a "
                "floating dtype."
            )


def _maybe_columns(value, size):
    """Says whether what was taken for class ids of tokens could be columns."""
    if (
        size < 2
        or not value.dtype.is_integer
        or value.shape.rank < 2
        or value.shape[-1] != size
    ):
        return False
    ones = tf.cast(value == 1, tf.int32)
    if not tf.reduce_all((value == 0) | (value == 1)):
        return False
    return size > 2 or bool(tf.reduce_all(tf.reduce_sum(ones, -1) == 1))


def _rows(name, value, size, leading):
    """Returns ids or weights `[n]` or columns `[n, size]`, a row a token."""
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
