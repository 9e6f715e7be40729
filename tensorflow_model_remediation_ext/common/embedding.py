"""Packed inputs through a frozen model once, instead of in every epoch.

The model runs in inference mode: Keras' `predict_on_batch` sees to that.
"""

import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batches import of_backend
from tensorflow_model_remediation_ext.common.data_errors import in_plain_words
from tensorflow_model_remediation_ext.common.elements import tensor_specs
from tensorflow_model_remediation_ext.common.mapping import (
    Replace,
    check_packed,
)
from tensorflow_model_remediation_ext.common.masks import mask_of
from tensorflow_model_remediation_ext.common.preprocessing import (
    forget_traces,
    predict_preprocessed,
    preprocessed_x,
    preprocessor_of,
)
from tensorflow_model_remediation_ext.common.progress import with_progress
from tensorflow_model_remediation_ext.common.rows import row_count

# The file without which `Dataset.load` reads nothing.
_WRITTEN_LAST = "dataset_spec.pb"


@in_plain_words
def embed_packed(
    packed: tf.data.Dataset,
    backbone: Callable[[Any], Any],
    directory: str | os.PathLike | None,
    replace: Replace,
    packed_by: str,
    verbose: int | str = "auto",
) -> tf.data.Dataset:
    """Replaces every input by what a frozen model makes of it, in one pass.

    Args:
        packed: A finite dataset of packed batches.
        backbone: A `keras.Model`, which runs in inference mode, or a function
            of an `x`.
        directory: Where to keep the result; `None` keeps it in memory.
        replace: How elements of this kind take a function.
        packed_by: Name of the function that packs them, for errors.
        verbose: `0` for silence, otherwise as in `keras.Model.predict`.

    Returns:
        A dataset of packed batches of embeddings, in the same order.

    Raises:
        TypeError: `packed` is not a dataset, `backbone` not callable or
            `directory` no path.
        ValueError: `packed` does not hold packed batches, is endless or
            empty, has inputs that `backbone` does not take, `backbone` returns
            a Keras mask or another number of rows, or `directory` holds
            something.
    """
    check_packed(packed, replace, packed_by)
    if not callable(backbone):
        raise TypeError(
            "`backbone` must be a keras.Model or another function of an `x`. "
            f"Received: backbone={backbone!r}"
        )
    _check_batches(packed)
    _check_strings(packed, backbone, replace)
    if directory is not None:
        if not isinstance(directory, (str, os.PathLike)):
            raise TypeError(
                "`directory` must be a path or None. Received: "
                f"directory={directory!r}"
            )
        directory = Path(directory)
        _check_directory(directory)

    if isinstance(backbone, keras.Model):
        forget_traces(backbone)

    def embedded() -> Iterator[Any]:
        embed = _embed_checked
        for batch in with_progress(packed, verbose, "packed"):
            yield replace(batch, functools.partial(embed, backbone))
            embed = _embed

    if directory is None:
        return _in_memory(embedded())
    return _on_disk(embedded(), directory)


def _embed_checked(backbone, x):
    """Embeds `x` of a first batch, outside of `predict_on_batch` too.

    What that returns are arrays, which have no masks.
    """
    if isinstance(backbone, keras.Model):
        _refuse_masks(backbone(_model_input(backbone, x), training=False))
    return _embed(backbone, x)


def _embed(backbone, x):
    if isinstance(backbone, keras.Model):
        outputs = predict_preprocessed(backbone, _model_input(backbone, x))
    else:
        outputs = backbone(of_backend(x))
        _refuse_masks(outputs)
    rows = int(row_count(x))

    def embedding(output):
        array = keras.ops.convert_to_numpy(output)
        if array.ndim == 0 or len(array) != rows:
            raise ValueError(
                "`backbone` must return a row for each row of its input, here "
                f"{rows}. Received: {type(output).__name__} of shape "
                f"{array.shape}"
            )
        return tf.constant(array)

    return tf.nest.map_structure(embedding, _as_tuples(outputs))


def _as_tuples(outputs):
    """Returns outputs with tuples for lists, of which `tf.data` makes one."""
    if isinstance(outputs, (list, tuple)) and not hasattr(outputs, "_fields"):
        return tuple(_as_tuples(each) for each in outputs)
    if isinstance(outputs, dict):
        pairs = ((name, _as_tuples(each)) for name, each in outputs.items())
        return type(outputs)(pairs)
    return outputs


def _model_input(model, x):
    return preprocessed_x(model, of_backend(x), "backbone")


def _refuse_masks(outputs):
    """Raises for a mask: it would be lost, and a head trained on padding."""
    for output in tf.nest.flatten(outputs):
        mask = mask_of(output)
        if mask is not None:
            raise ValueError(
                "`backbone` must not return a Keras mask, which embeddings "
                "cannot hold: a head would learn from padding. Pool inside of "
                "the backbone, as by `GlobalAveragePooling1D`. Received: "
                f"an output of shape {tuple(output.shape)} with a mask of "
                f"shape {tuple(mask.shape)}"
            )


def _in_memory(elements):
    records = []
    spec = None
    for element in elements:
        spec = _common_spec(spec, element)
        records.append(_serialize(element))
    _check_any(len(records))
    return _parse(tf.data.Dataset.from_tensor_slices(records), spec)


def _on_disk(elements, directory):
    """Writes records as they come, then what `Dataset.load` reads."""
    directory.mkdir(parents=True, exist_ok=True)
    spec, written = None, 0
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        path = os.path.join(temporary, "records")
        with tf.io.TFRecordWriter(path) as writer:
            for element in elements:
                written += 1
                spec = _common_spec(spec, element)
                writer.write(
                    tf.io.serialize_tensor(_serialize(element)).numpy()
                )
        _check_any(written)
        records = tf.data.TFRecordDataset(path).map(
            lambda record: tf.io.parse_tensor(record, tf.string)
        )
        saved = _parse(records, spec).apply(
            tf.data.experimental.assert_cardinality(written)
        )
        saved.save(os.path.join(temporary, "saved"))
        parts = Path(temporary, "saved").iterdir()
        for part in sorted(parts, key=lambda part: part.name == _WRITTEN_LAST):
            part.rename(directory / part.name)
    return tf.data.Dataset.load(os.fspath(directory))


def _serialize(element):
    """Returns a batch as a vector of strings, one for each tensor."""
    flat = tf.nest.flatten(element, expand_composites=True)
    return tf.stack(
        [tf.io.serialize_tensor(part) for part in flat if part is not None]
    )


def _parse(records, spec):
    specs = tf.nest.flatten(spec, expand_composites=True)

    def parse(record):
        parts, index = [], 0
        for each in specs:
            if not isinstance(each, tf.TensorSpec):
                parts.append(None)
                continue
            part = tf.io.parse_tensor(record[index], each.dtype)
            parts.append(tf.ensure_shape(part, each.shape))
            index += 1
        return tf.nest.pack_sequence_as(spec, parts, expand_composites=True)

    return records.map(
        parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def _common_spec(spec, element):
    """Returns the spec that fits all batches so far and one more."""

    def of_part(part):
        return None if part is None else tf.type_spec_from_value(part)

    def of_both(a, b):
        both = None if a is None else a.most_specific_common_supertype([b])
        if both is None and a is not None:
            raise ValueError(
                "`backbone` must return the same dtypes for every batch. "
                f"Received: {a}, then {b}"
            )
        return both

    new = tf.nest.map_structure(of_part, element)
    return new if spec is None else tf.nest.map_structure(of_both, spec, new)


def _check_directory(directory):
    if not directory.exists():
        return
    if directory.is_dir() and not any(directory.iterdir()):
        return
    finished = (directory / _WRITTEN_LAST).exists()
    raise ValueError(
        "`directory` must be new or empty. "
        + (
            "To use what is there, `tf.data.Dataset.load` it. "
            if finished
            else "What is there is no finished dataset: a run that was "
            "killed, or something else. Empty it, or take another. "
        )
        + f"Received: directory={str(directory)!r}"
    )


def _check_any(batches):
    if not batches:
        raise ValueError("`packed` is empty: it holds no batch.")


def _check_batches(packed):
    single = [s for s in tensor_specs(packed.element_spec) if s.shape.rank == 0]
    if single:
        raise ValueError(
            "`packed` must come in batches: use `packed.batch(32)`. Received: "
            f"single examples, of which a part is {single[0]}"
        )


def _check_strings(packed, backbone, replace):
    """Raises where strings meet a model of numbers, or the reverse."""
    wanted = getattr(backbone, "inputs", None)
    if not isinstance(backbone, keras.Model) or not wanted:
        return
    if preprocessor_of(backbone) is not None:
        return
    inputs = []
    replace(packed.element_spec, inputs.append)
    given = {spec.dtype == tf.string for spec in tensor_specs(inputs[0])}
    taken = {
        keras.backend.standardize_dtype(x.dtype) == "string" for x in wanted
    }
    if given == {True} and taken == {False}:
        raise ValueError(
            "`backbone` takes numbers and `packed` holds strings: apply the "
            "tokenizer first, `map_inputs(packed, tokenizer)`."
        )
    if given == {False} and taken == {True}:
        raise ValueError(
            "`backbone` takes strings and `packed` holds numbers: give it the "
            "texts as they were packed, without a tokenizer."
        )
