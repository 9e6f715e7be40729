"""Civil Comments through TensorFlow Datasets."""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import number, whole
from tensorflow_model_remediation_ext.datasets.labeled_text import LabeledText

CIVIL_COMMENTS_TERMS: dict[str, tuple[str, ...]] = {
    "age": ("old", "older", "young", "younger", "elderly", "teenage"),
    "disability": ("blind", "deaf", "disabled", "paralyzed"),
    "gender": (
        "man", "men", "woman", "women", "male", "female", "transgender",
        "trans", "nonbinary", "boy", "girl",
    ),
    "origin": (
        "black", "white", "asian", "african american", "african", "american",
        "european", "hispanic", "latino", "latina", "mexican", "chinese",
        "indian", "middle eastern",
    ),
    "orientation": (
        "gay", "lesbian", "bisexual", "queer", "lgbt", "homosexual",
        "heterosexual", "straight",
    ),
    "religion": (
        "christian", "catholic", "protestant", "muslim", "jewish", "hindu",
        "buddhist", "sikh", "atheist",
    ),
}  # fmt: skip
"""Identity terms to look for in comments of news readers, by group.

A start, not a standard: several have other meanings too ("white house",
"straight ahead").
"""


def stream_civil_comments(
    split: str = "train",
    *,
    limit: int | None = None,
    toxicity_threshold: float = 0.5,
    data_dir: str | os.PathLike | None = None,
    download: bool = True,
) -> tf.data.Dataset:
    """Streams Civil Comments (1.8 million comments of news readers).

    The first call prepares the data with TensorFlow Datasets: 400 MB to
    download, some minutes to convert.

    Args:
        split: A split of the data set (`"train"`, `"validation"`, `"test"`) or
            any of TensorFlow Datasets' slices, such as `"train[:10%]"`.
        limit: Largest number of comments; `None` for all.
        toxicity_threshold: A comment is labeled 1 if at least this share of
            its annotators called it toxic.
        data_dir: Folder of TensorFlow Datasets; `None` for its default.
        download: Whether to prepare the data if `data_dir` lacks them.

    Returns:
        A dataset of `(text, label)`: a scalar string and a scalar `int32`,
        not batched.

    Raises:
        ImportError: If `tensorflow-datasets` is missing.
        ValueError: If `limit` is not positive, `toxicity_threshold` not a
            finite number, or there is no such split.

    Examples:
        ```python
        ds = stream_civil_comments("train", limit=1_000)
        ```

    References:
        Borkan et al. 2019, "Nuanced Metrics for Measuring Unintended Bias
        with Real Data for Text Classification", arXiv 1903.04561.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "Civil Comments need TensorFlow Datasets: pip install "
            '"tensorflow_model_remediation_ext[datasets]"'
        ) from error
    if limit is not None:
        whole("limit", limit)
    number("toxicity_threshold", toxicity_threshold)

    def text_and_label(comment):
        toxic = comment["toxicity"] >= toxicity_threshold
        return comment["text"], tf.cast(toxic, tf.int32)

    ds = tfds.load(
        "civil_comments/CivilComments",
        split=split,
        data_dir=data_dir,
        download=download,
    )
    ds = ds.map(text_and_label, num_parallel_calls=tf.data.AUTOTUNE)
    return ds if limit is None else ds.take(limit)


def load_civil_comments(
    split: str = "train", *, limit: int | None = None, **options: Any
) -> LabeledText:
    """Loads Civil Comments into memory.

    Args:
        split: See `stream_civil_comments`.
        limit: Largest number of comments; `None` for all, which takes several
            gigabytes.
        **options: See `stream_civil_comments`.

    Returns:
        The comments; label 1 is toxic.

    Raises:
        ImportError: If `tensorflow-datasets` is missing.
        ValueError: If `limit` is not positive, or there is no such split.

    Examples:
        ```python
        data = load_civil_comments(limit=1_000)
        ```
    """
    ds = stream_civil_comments(split, limit=limit, **options)
    texts, labels = [], []
    for batch_texts, batch_labels in ds.batch(4_096).as_numpy_iterator():
        texts.append(batch_texts)
        labels.append(batch_labels)
    texts = itertools.chain.from_iterable(texts)
    labels = itertools.chain.from_iterable(labels)
    decoded = np.array([text.decode() for text in texts], object)
    return LabeledText(decoded, np.array(list(labels)))
