"""Editing rows from one class to another with class labels at hand."""

from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.leace import arrays, labels
from tensorflow_model_remediation_ext.leace.transporting import transported


class QuadraticEditor(tf.Module):
    """Moves rows from the Gaussian of their class to that of another.

    The edited rows have the target class' mean and covariance, as far as a
    linear map can reach it: a source class that is flat in some direction
    stays flat there. They are not samples of the target class in any other
    respect.

    Args:
        class_means: `[num_classes, x_dim]`.
        ot_maps: `[num_classes, num_classes, x_dim, x_dim]` transport maps of
            rows, by source and target.
        name: Name of the module.

    Raises:
        ValueError: If the shapes do not match.

    Examples:
        >>> x, z = np.random.randn(100, 3), np.arange(100) % 4
        >>> editor = QuadraticFitter.fit(x, z).editor()
        >>> edited = editor(x, z, 2)
    """

    def __init__(self, class_means: Any, ot_maps: Any, name: str | None = None):
        super().__init__(name=name)
        self.class_means = arrays.constant("class_means", class_means)
        self.ot_maps = arrays.constant("ot_maps", ot_maps)
        means, maps = self.class_means.shape, self.ot_maps.shape
        if means.rank != 2 or maps != means[:1] + means + means[1:]:
            raise ValueError(
                "`class_means` and `ot_maps` must be of shapes [num_classes, "
                "x_dim] and [num_classes, num_classes, x_dim, x_dim]. "
                f"Received: {means} and {maps}"
            )

    def __call__(self, x: Any, source_z: Any, target_z: Any) -> tf.Tensor:
        """Returns rows, each moved from its source to its target class.

        Args:
            x: `[..., x_dim]` of any floating dtype, one row or many.
            source_z: `[...]` integer class ids.
            target_z: `[...]` integer class ids, or one for all rows.

        Returns:
            A tensor of the shape and dtype of `x`.

        Raises:
            ValueError: On wrong shapes, dtypes or class ids.
            tf.errors.InvalidArgumentError: On such class ids in graph mode.
        """
        num_classes, x_dim = self.class_means.shape
        x = arrays.features(x, x_dim)
        leading = x.shape[:-1]
        source, source_check = labels.class_ids(
            "source_z", source_z, leading, num_classes
        )
        target_z = labels.labels("target_z", target_z)
        target, target_check = labels.class_ids(
            "target_z",
            target_z,
            leading if target_z.shape.rank else tf.TensorShape([]),
            num_classes,
        )
        with arrays.require(source_check, target_check):
            return transported(
                x,
                source * num_classes + target,  # All pairs, by source.
                tf.reshape(self.ot_maps, [-1, x_dim, x_dim]),
                tf.repeat(self.class_means, num_classes, axis=0),
                tf.tile(self.class_means, [num_classes, 1]),
            )
