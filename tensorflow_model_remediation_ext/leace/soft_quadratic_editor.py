"""Editing rows by the class predicted from them."""

from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.leace import arrays, labels, mixtures


class SoftQuadraticEditor(tf.Module):
    """Moves rows from the classes predicted from them to another class.

    Each row goes by its classes' optimal transport maps to the Gaussian of the
    target, by their probabilities: a row that is surely of the target stays
    where it is. Mean and covariance of what was moved become those of the
    target as far as the prediction is right; in any other respect the rows are
    no samples of it.

    Args:
        mean_x: `[x_dim]`.
        kernel: `[x_dim, num_classes]` of the regression that predicts classes.
        bias: `[num_classes]` of it.
        class_means: `[num_classes, x_dim]`.
        ot_maps: `[num_classes, num_classes, x_dim, x_dim]` transport maps of
            rows, by source and target.
        name: Name of the module.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> z = np.arange(300) % 2
        >>> x = rng.normal(size=(300, 4)) + 3 * z[:, None]
        >>> editor = SoftQuadraticFitter.fit(x, z).editor()
        >>> bool(editor(x, 1).numpy().mean() > 2.9)
        True

    References:
        - [Singh et al., Representation surgery: theory and practice of affine
          steering, 2024](https://arxiv.org/abs/2402.09631).
    """

    def __init__(
        self,
        mean_x: Any,
        kernel: Any,
        bias: Any,
        class_means: Any,
        ot_maps: Any,
        name: str | None = None,
    ):
        super().__init__(name=name)
        for key, value in {
            "mean_x": mean_x,
            "kernel": kernel,
            "bias": bias,
            "class_means": class_means,
            "ot_maps": ot_maps,
        }.items():
            setattr(self, key, arrays.constant(key, value))

    def __call__(self, x: Any, target_z: Any) -> tf.Tensor:
        """Moves every row to its target class.

        Args:
            x: `[..., x_dim]` of any floating dtype.
            target_z: `[...]` integer class ids, or one for all rows.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On wrong shapes, dtypes or class ids.
            tf.errors.InvalidArgumentError: On such class ids in graph mode.
        """
        x_dim, num_classes = self.kernel.shape
        x, rows = mixtures.rows_of(x, x_dim)
        target_z = tf.convert_to_tensor(target_z)
        alone = target_z.shape.rank == 0
        leading = tf.TensorShape([]) if alone else x.shape[:-1]
        ids, check = labels.class_ids(
            "target_z", target_z, leading, num_classes
        )
        with arrays.require(check):
            ids = tf.identity(ids)
        p, delta = mixtures.predict(rows, self.mean_x, self.kernel, self.bias)
        if alone:
            return mixtures.like(rows + self._toward(ids[0], p, delta), x)
        for target in range(num_classes):
            mine = tf.cast(ids == target, rows.dtype)[:, None]
            rows += self._toward(target, p * mine, delta)
        return mixtures.like(rows, x)

    def _toward(self, target, p, delta):
        """How far rows move to one class, by their probabilities."""
        dtype = self.class_means.dtype
        maps = tf.gather(self.ot_maps, target, axis=1)
        maps -= tf.eye(maps.shape[-1], dtype=dtype)
        means = self.class_means
        centers = means - tf.cast(self.mean_x, dtype)
        offsets = tf.gather(means, target) - means
        offsets -= tf.einsum("kd,kde->ke", centers, maps)
        return mixtures.mix(p, delta, maps, offsets)
