"""The value that every loader returns."""

from __future__ import annotations

import dataclasses

import numpy as np

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    hides_values,
    is_number,
)


@dataclasses.dataclass(frozen=True, eq=False)
class LabeledText:
    """Texts beside their binary labels.

    Both arrays go into `tf.data.Dataset.from_tensor_slices` as they are.

    Args:
        texts: Object array of `str`, shape `[n]`.
        labels: `int32` array of zeros and ones, shape `[n]`.

    Raises:
        TypeError: If a text is no `str`.
        ValueError: If the shapes do not fit, a label is not 0 or 1, or a
            masked array hides values.

    Examples:
        >>> data = LabeledText(["thanks", "shut up"], [0, 1])
        >>> len(data), data.labels
        (2, array([0, 1], dtype=int32))
    """

    texts: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        for name in ("texts", "labels"):
            if hides_values(getattr(self, name)):
                raise ValueError(
                    f"`{name}` must hold a value in each row. Received: a "
                    "masked array with masked values"
                )
        texts = np.asarray(self.texts, dtype=object)
        labels = np.asarray(self.labels)
        if texts.ndim != 1 or texts.shape != labels.shape:
            raise ValueError(
                "`texts` and `labels` must be one-dimensional and equally "
                f"long. Received: texts.shape={texts.shape}, "
                f"labels.shape={labels.shape}"
            )
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(
                    f"`texts` must hold strings. Received: {text!r}"
                )
        odd = labels[(labels != 0) & (labels != 1)]
        if len(odd):
            raise ValueError(
                "`labels` must hold zeros and ones: compare scores with a "
                f"threshold first. Received: {odd[0]!r}"
            )
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "labels", labels.astype(np.int32))

    def __len__(self) -> int:
        return len(self.texts)

    def split(
        self, test_fraction: float = 0.2, seed: int = 0
    ) -> tuple[LabeledText, LabeledText]:
        """Holds out a random part of the rows.

        Args:
            test_fraction: Share of the rows held out, between 0 and 1. Each
                part gets at least one row.
            seed: The same seed gives the same two parts. Rows keep their
                order within a part.

        Returns:
            The rows to train on and the rows held out.

        Raises:
            ValueError: If `test_fraction` is not between 0 and 1, or there
                are fewer than two rows.

        Examples:
            >>> data = LabeledText(["thanks", "shut up"], [0, 1])
            >>> train, test = data.split(0.5)
            >>> len(train), len(test)
            (1, 1)
        """
        if not is_number(test_fraction) or not 0 < test_fraction < 1:
            raise ValueError(
                "`test_fraction` must lie between 0 and 1, both excluded. "
                f"Received: test_fraction={test_fraction}"
            )
        if len(self) < 2:
            raise ValueError(
                f"Splitting needs at least two rows. Received: {len(self)}"
            )
        held_out = np.zeros(len(self), dtype=bool)
        size = round(test_fraction * len(self))
        size = min(max(size, 1), len(self) - 1)
        held_out[
            np.random.default_rng(checked_seed("seed", seed)).permutation(
                len(self)
            )[:size]
        ] = True
        return (
            LabeledText(self.texts[~held_out], self.labels[~held_out]),
            LabeledText(self.texts[held_out], self.labels[held_out]),
        )
