"""The preprocessor of a KerasHub task, applied to data on their way in.

Such a task maps its preprocessor over raw strings or images in its own `fit`,
`evaluate` and `predict`. A wrapper does so over every part of packed data, and
whatever runs a task batch by batch does so here.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batches import (
    check_axis,
    convert_batches,
)


@tf.autograph.experimental.do_not_convert
def innermost(model: keras.Model) -> keras.Model:
    """Returns the model itself, or the innermost one that it runs."""
    while isinstance(getattr(model, "inner_model", None), keras.Model):
        model = model.inner_model
    return model


@tf.autograph.experimental.do_not_convert
def preprocessor_of(model: keras.Model) -> Callable | None:
    """Returns the function that a task maps over raw data.

    Args:
        model: Any model; one with an `inner_model` has that of it.

    Returns:
        `function(x, y, sample_weight)` that returns those three, or `None`
        where the model has no preprocessor. An `x` that was preprocessed
        already is returned as it is.
    """
    task = innermost(model)
    preprocess = getattr(task, "preprocess_samples", None)
    if not callable(preprocess) or getattr(task, "preprocessor", None) is None:
        return None

    def preprocessed(x, y=None, sample_weight=None):
        if _fits(task, x):
            return x, y, sample_weight
        try:
            done = preprocess(x, y, sample_weight)
        except (IndexError, TypeError, ValueError) as error:
            raise _not_taken(task, x, error) from error
        done = keras.utils.unpack_x_y_sample_weight(done)
        _check_structure(task, done[0])
        return done

    return preprocessed


def alone(preprocess: Callable) -> Callable:
    """Returns the function that preprocesses an `x` without `y` and weights.

    In the graph of a dataset it is traced once for all that it is called on,
    and prepared once for each iterator: that of a text task takes a second.

    Args:
        preprocess: What `preprocessor_of` returned.
    """

    def preprocessed(x):
        return preprocess(x)[0]

    if tf.executing_eagerly():
        return preprocessed
    return tf.function(
        preprocessed, experimental_attributes={"_noinline": True}
    )


def preprocessed_x(model: keras.Model, x: Any, name: str = "model") -> Any:
    """Returns what a model itself takes, where `x` may be raw.

    Args:
        model: Any model.
        x: A batch of its input.
        name: What to call the model in an error.

    Raises:
        ValueError: As `check_kind`, or if `x` is raw and a single string.
    """
    check_kind(model, x, name)
    preprocess = preprocessor_of(model)
    if preprocess is None:
        return x
    check_axis(x)
    return preprocess(x)[0]


def predict_preprocessed(model: keras.Model, x: Any) -> Any:
    """Predicts for a batch that was preprocessed already.

    The `predict_on_batch` of a task would preprocess it once more.
    """
    if preprocessor_of(model) is None:
        return model.predict_on_batch(x)
    return keras.Model.predict_on_batch(model, x)


def function_of_x(function: Callable) -> Callable:
    """Returns what applies a function to an `x`, which may be a tuple.

    A preprocessor of KerasHub takes a tuple for `(x, y)`, unless it is given
    a `y`: the second of two texts would be left as it is.
    """
    if not isinstance(function, keras.Layer):
        return function
    taken = inspect.signature(function.call).parameters
    if not {"x", "y", "sample_weight"} <= set(taken):
        return function
    return lambda x: function(x, y=None, sample_weight=None)


def forget_traces(model: keras.Model) -> None:
    """Makes Keras trace a model anew, which `compile` would do.

    What was traced may no longer be the model: `enable_lora` changes layers.
    """
    for step in ("train", "test", "predict"):
        setattr(model, f"{step}_function", None)


def is_spec(batch: Any) -> bool:
    """Whether `batch` is the element spec of a dataset, or a part of one."""
    flat = keras.tree.flatten(batch)
    return any(isinstance(each, tf.TypeSpec) for each in flat)


def preprocessed_batch(preprocess: Callable, batch: Any) -> Any:
    """Returns a batch as Keras takes it, preprocessed.

    Args:
        preprocess: What `preprocessor_of` returned.
        batch: `x`, `(x, y)` or `(x, y, sample_weight)`, or the spec of one.

    Returns:
        The batch; `None` for a spec: another object tells `convert_batches`
        that the dataset is to be converted.
    """
    if is_spec(batch):
        return None
    parts = keras.utils.unpack_x_y_sample_weight(batch)
    return keras.utils.pack_x_y_sample_weight(*preprocess(*parts))


def preprocessed_batches(model: keras.Model, data: Any) -> Any:
    """Returns batches `(x, ...)` with a task's preprocessor applied to `x`.

    Args:
        model: Any model; one without a preprocessor leaves the data alone.
        data: A `tf.data.Dataset`, `PyDataset` or another collection of batches.
            What is not such a collection, or has other batches, is left to
            whoever reads it.

    Raises:
        ValueError: As `check_kind`, as soon as a batch is seen.
    """

    def convert(batch):
        if not isinstance(batch, (tuple, list)) or not batch:
            return batch
        x, *rest = batch
        check_kind(model, x, "model")
        preprocess = preprocessor_of(model)
        if preprocess is None:
            return batch
        if is_spec(x):
            return None  # Another object: the dataset is to be converted.
        return (preprocess(x)[0], *rest)

    converted = convert_batches(data, convert, parallel=True)
    if converted is not None:
        return converted
    if preprocessor_of(model) is None or hasattr(data, "shape"):
        return data
    if isinstance(data, Iterator):
        return map(convert, data)
    sized = hasattr(data, "__len__")
    return (_SizedBatches if sized else _Batches)(data, convert)


class _Batches:
    """Another collection of batches with each of them converted."""

    def __init__(self, batches: Any, convert: Callable):
        self._batches, self._convert = batches, convert

    def __iter__(self) -> Iterator[Any]:
        return map(self._convert, self._batches)


class _SizedBatches(_Batches):
    def __len__(self) -> int:
        return len(self._batches)


@tf.autograph.experimental.do_not_convert
def check_kind(
    model: keras.Model, x: Any, name: str = "original_model"
) -> None:
    """Raises for text where numbers are taken, and the reverse.

    Args:
        model: Any model.
        x: Its input, or the spec of one.
        name: What to call the model in an error.

    Raises:
        ValueError: If the model takes numbers, has no preprocessor and `x`
            holds text, or if it has one that takes text and `x` holds none.
    """
    task = innermost(model)
    wanted = getattr(task, "inputs", None)
    kind = type(task).__name__
    if preprocessor_of(task) is not None:
        tokenizer = getattr(task.preprocessor, "tokenizer", None)
        if tokenizer is not None and not (_fits(task, x) or _has_text(x)):
            wanted = getattr(task, "input", None)
            names = sorted(wanted) if isinstance(wanted, dict) else "tensors"
            raise ValueError(
                f"`{name}`, a {kind}, has a preprocessor that takes raw "
                "strings. Pass those; or, for data that are tokens already, "
                f"a dict of {names}. Received: x={_described(x)}"
            )
    elif wanted and _has_text(_taken(task, x)) and not _has_text(wanted):
        raise ValueError(
            f"`{name}`, a {kind}, takes numbers, and has no preprocessor to "
            "make them of text. Give it one, as by `TextClassifier(..., "
            "preprocessor=...)`, or apply a tokenizer: to the dataset by "
            "`data.map`, or to every part of packed data by `map_inputs("
            f"packed, tokenizer)`. Received: x={_described(x)}"
        )


@tf.autograph.experimental.do_not_convert
def _fits(task, x):
    """Whether `x` was preprocessed already, by the names of its parts."""
    wanted = getattr(task, "input", None)
    return (
        isinstance(wanted, dict)
        and isinstance(x, dict)
        and set(x) == set(wanted)
    )


def _taken(task, x):
    """The features that the model takes: Keras leaves others out."""
    wanted = getattr(task, "input", None)
    if isinstance(wanted, dict) and isinstance(x, dict):
        return {name: each for name, each in x.items() if name in wanted}
    return x


@tf.autograph.experimental.do_not_convert
def _check_structure(task, x):
    wanted = getattr(task, "input", None)
    if wanted is None:
        return
    try:
        keras.tree.assert_same_structure(wanted, x)
    except (TypeError, ValueError):
        raise ValueError(
            f"The preprocessor of {task.name!r}, a {type(task).__name__}, "
            f"must give what the model takes, {_described(wanted)}. Received: "
            f"{_described(x)}. Use a model and a preprocessor that were made "
            "for one another, such as both of one preset; or set "
            "`task.preprocessor = None` and prepare the data by "
            "`map_inputs(packed, function)`."
        ) from None


def _not_taken(task, x, error):
    advice = ""
    if getattr(task.preprocessor, "tokenizer", None) is not None:
        advice = (
            "Most take a batch of texts, of shape `(n,)`, or a tuple of such "
            "segments: `map_inputs(packed, lambda x: x['text'])` picks one. "
        )
    elif getattr(task.preprocessor, "image_converter", None) is not None:
        advice = (
            "Most take a batch of images, of shape `(n, h, w, channels)`: "
            "`map_inputs(packed, keras.layers.Resizing(224, 224))` makes them "
            "of one size. "
        )
    return ValueError(
        f"The preprocessor of {task.name!r}, a {type(task).__name__}, failed "
        f"on `x`. {advice}Received: x={_described(x, shapes=True)}. It says: "
        f"{error}"
    )


def _has_text(x):
    return any(_is_text(each) for each in keras.tree.flatten(x))


def _is_text(each):
    if isinstance(each, (str, bytes)):
        return True
    dtype = getattr(each, "dtype", None)
    if dtype is None:
        return False
    return dtype == tf.string or getattr(dtype, "kind", "") in ("O", "S", "U")


def _described(x, shapes=False):
    if isinstance(x, list):
        return f"a list of {len(x)}"

    def described(each):
        kind = f"{getattr(each, 'dtype', type(each).__name__)}"
        shape = getattr(each, "shape", None) if shapes else None
        return kind if shape is None else f"{kind} of shape {shape}"

    return keras.tree.map_structure(described, x)
