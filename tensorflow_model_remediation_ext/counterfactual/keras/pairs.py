"""Datasets of counterfactual pairs."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.rows import (
    assert_same_types,
    batch_size,
    changed_rows,
    declared_batch_size,
    is_batched,
    keep_rows,
    regroup,
    row_count,
    tensor_specs,
)
from tensorflow_model_remediation_ext.counterfactual.keras import elements
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor

_CHUNK_ROWS = 1024
_CHUNK_BYTES = 16 * 2**20
_STRING_BYTES = 256  # Guesses; these sizes are not known beforehand.
_SPARSE_BYTES = 4096
_PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


def build_counterfactual_data(
    original_input: tf.data.Dataset,
    sensitive_terms_to_remove: Iterable[str] | None = None,
    custom_counterfactual_function: Callable[[Any], tuple] | None = None,
    *,
    terms_to_replace: Mapping[str, str] | None = None,
    text_key: str | int | None = None,
    case_sensitive: bool = False,
    whole_words: bool | None = None,
) -> tf.data.Dataset:
    r"""Pairs each example that terms change with its counterfactual.

    A term matches literally, as a whole word or phrase of any script: no word
    character stands next to it, that is none of Python's Unicode `\w`, no
    combining mark and no joiner. Case is ignored as by `re.IGNORECASE`.
    Longer terms win over shorter ones. A removed term takes one neighboring
    space with it. Replacements happen all at once, so a swap swaps, and keep
    lower, Capitalized and UPPER case. `counterfactual.swaps` has ready-made
    ones that know context and articles.

    The dataset is read once per iteration and lazily, so that it may be
    endless or a generator; unbatched examples are edited in chunks. A text
    without its terms need not hide the identity they name: other words may
    tell it. Nor need it be grammatical.

    Args:
        original_input: A dataset of `x`, `(x,)`, `(x, y)` or
            `(x, y, sample_weight)`, batched or not, where `x` is a string
            tensor or a dict or tuple with one. `y` and `sample_weight` may be
            `None`. Text of rank 0 is one example; the first axis of any other
            is that of the batch.
        sensitive_terms_to_remove: Terms to remove. `Swaps` of
            `counterfactual.swaps` mend the article and comma left over.
        custom_counterfactual_function: Called with each element as
            `original_input` yields it. Returns `(original_x,
            counterfactual_x)` or these and a weight: a scalar for an example,
            `[batch]` for a batch. Without a weight, elements count as batches
            if all their tensors have an axis, and text is among them, or the
            first axis is of unknown size, or the dataset knows its batch
            size. Where one of the two has no shape, as from
            `tf.py_function`, it is taken to have that of the other. With
            `sensitive_terms_to_remove`, the function sees only the examples
            (of a batch: the rows) that hold a term.
        terms_to_replace: A dict from terms to replacements, or `Swaps` of
            `counterfactual.swaps`.
        text_key: Key or index of the text where `x` is a dict or a tuple.
            By default, its only string feature.
        case_sensitive: Whether the case of terms must match.
        whole_words: Whether terms match as whole words only (`True`) or
            anywhere (`False`). By default, anywhere if they are written
            wholly in Han, Hiragana or Katakana, which put no spaces between
            words, otherwise as whole words.

    Returns:
        A dataset of `(original_x, counterfactual_x, weight)` of exactly the
        examples that change, in order. Weights are float32 ones, unless the
        function gives others. Batches are regrouped to the size of the first
        one of `original_input`; where sizes of features vary between batches,
        each batch keeps those of its rows that change.

    Raises:
        TypeError: `original_input` is no dataset, the text is no string
            tensor, or terms or the function are of the wrong type.
        ValueError: Neither terms nor a function are given, or ones that do
            not go together or cannot be used; or the text is not to be found.

    Examples:
        >>> data = tf.data.Dataset.from_tensor_slices(["a gay man", "a man"])
        >>> for original, counterfactual, weight in build_counterfactual_data(
        ...     data, sensitive_terms_to_remove=["gay"]
        ... ):
        ...     print(original.numpy(), counterfactual.numpy(), weight.numpy())
        b'a gay man' b'a man' 1.0

    References:
        Garg et al., "Counterfactual Fairness in Text Classification through
        Robustness", 2018 (https://arxiv.org/abs/1809.10610), section 3.
    """
    elements.check_dataset(original_input, "original_input")
    function = custom_counterfactual_function
    if function is not None and not callable(function):
        raise TypeError(
            "`custom_counterfactual_function` must be callable. "
            f"Received: {function!r}"
        )
    if function is not None and terms_to_replace is not None:
        raise ValueError(
            "`terms_to_replace` has no meaning beside "
            "`custom_counterfactual_function`. To restrict the function to "
            "examples with a term, use `sensitive_terms_to_remove`."
        )
    text = None
    if sensitive_terms_to_remove is not None or terms_to_replace is not None:
        text = elements.TextFeature(
            elements.unpack(original_input.element_spec)[0],
            text_key,
            TermEditor(
                sensitive_terms_to_remove,
                terms_to_replace,
                case_sensitive=case_sensitive,
                whole_words=whole_words,
            ),
        )
    elif function is None:
        raise ValueError(
            "Give `sensitive_terms_to_remove`, `terms_to_replace` or "
            "`custom_counterfactual_function`."
        )
    elif text_key is not None or case_sensitive or whole_words is not None:
        raise ValueError(
            "`text_key`, `case_sensitive` and `whole_words` have no meaning "
            f"without terms. Received: text_key={text_key!r}, "
            f"case_sensitive={case_sensitive}, whole_words={whole_words}"
        )
    if function is None:
        pairs = _pairs_by_terms(original_input, text)
    else:
        pairs = _pairs_by_function(original_input, function, text)
    return pairs.prefetch(tf.data.AUTOTUNE)


def _pairs_by_terms(dataset, text):
    def pair(element):
        x = elements.unpack(element)[0]
        return x, text.edit(x), tf.ones([])

    def pair_rows(element):
        x, edited, _ = pair(element)
        return _changed((x, edited, tf.ones([row_count(x)])))

    def pair_batch(element):
        return row_count(element), pair_rows(element)

    if text.rank:
        return regroup(
            elements.whole(dataset).map(pair_batch, **_PARALLEL),
            batch_size(dataset),
        )
    rows = _chunk_rows(dataset.element_spec)
    if rows is None:
        pairs = elements.whole(dataset).map(pair, **_PARALLEL)
        return pairs.filter(_differs)
    chunks = elements.whole(dataset.batch(rows))
    return chunks.map(pair_rows, **_PARALLEL).unbatch()


def _pairs_by_function(dataset, function, text):
    def size(element):
        x = elements.unpack(element)[0]
        ranked = tf.nest.flatten(x)[0].shape.rank
        rows = row_count(x) if ranked else tf.constant(1, tf.int64)
        return rows, element

    def has_term(_, element):
        return text.changes(elements.unpack(element)[0])

    def keep_terms(rows, element):
        return rows, keep_rows(element, has_term(rows, element))

    def pair(rows, element):
        return rows, _check_pair(function(element))

    examples = elements.whole(dataset).map(size)
    if text is not None and text.rank == 0:
        examples = examples.filter(has_term)
    elif text is not None:
        examples = examples.map(keep_terms, **_PARALLEL)
        examples = examples.filter(lambda _, e: row_count(e) > 0)
    pairs = examples.map(pair, **_PARALLEL)
    pairs = pairs.map(lambda rows, pair: (rows, _with_ranks(*pair)))
    if not _yields_batches(dataset, pairs.element_spec[1]):
        return pairs.map(lambda _, pair: _weighted(pair, [])).filter(_differs)

    def changed(rows, pair):
        ones = [row_count(pair[0])]
        return rows, _changed(_weighted(pair, ones))

    return regroup(pairs.map(changed, **_PARALLEL), batch_size(dataset))


def _check_pair(result):
    if not isinstance(result, tuple) or len(result) not in (2, 3):
        raise ValueError(
            "`custom_counterfactual_function` must return `(original_x, "
            "counterfactual_x)` or `(original_x, counterfactual_x, weight)`. "
            f"Received: {result!r}"
        )
    return (*result, None)[:3]


def _with_ranks(original, counterfactual, weight):
    """Returns a pair whose halves are alike and of known ranks."""
    assert_same_types(original, counterfactual)
    flat = map(tf.nest.flatten, (original, counterfactual))
    features = [_same_rank(a, b) for a, b in zip(*flat, strict=True)]
    halves = zip(*features, strict=True)
    structures = original, counterfactual
    return *map(tf.nest.pack_sequence_as, structures, halves), weight


def _same_rank(original, counterfactual):
    """Returns two features, with one's shape for the other without a rank."""
    if original is None:
        return original, counterfactual
    a, b = original.shape.rank, counterfactual.shape.rank
    if a != b and None in (a, b):
        shape = original.shape if b is None else counterfactual.shape
        return tf.ensure_shape(original, shape), tf.ensure_shape(
            counterfactual, shape
        )
    if a is None or a != b:
        raise ValueError(
            "`custom_counterfactual_function` must return features of known "
            "and equal ranks: `tf.ensure_shape` sets those that "
            f"`tf.py_function` loses. Received: {original} and "
            f"{counterfactual}"
        )
    return original, counterfactual


def _yields_batches(dataset, pair_spec):
    """Returns whether pairs come in batches; checks that weights agree."""
    features = tensor_specs(pair_spec[:2])
    ranked = all(spec.shape.rank for spec in features)
    weight = pair_spec[2]
    if not isinstance(weight, tf.TensorSpec) or weight.shape.rank is None:
        return is_batched(dataset) and ranked
    batched = weight.shape.rank > 0
    text = any(spec.dtype == tf.string and spec.shape.rank for spec in features)
    if (batched and not ranked) or (
        not batched
        and ranked
        and (text or declared_batch_size(dataset) is not None)
    ):
        raise ValueError(
            "`custom_counterfactual_function` must return a weight of shape "
            "`[batch]` for a batch, and a scalar for an example. Received: "
            f"{weight} beside {features}"
        )
    return batched


def _weighted(pair, shape):
    original, counterfactual, weight = pair
    if weight is None:
        weight = tf.ones(shape)
    elif weight.shape.rank is None:
        weight = tf.ensure_shape(weight, [None] * len(shape))
    return original, counterfactual, weight


def _changed(pairs):
    return keep_rows(pairs, changed_rows(pairs[0], pairs[1]))


def _differs(original, counterfactual, _):
    def batch_of_one(tensor):
        if isinstance(tensor, tf.SparseTensor):
            return tf.sparse.expand_dims(tensor, 0)
        return tf.expand_dims(tensor, 0)

    original, counterfactual = tf.nest.map_structure(
        batch_of_one, (original, counterfactual)
    )
    return changed_rows(original, counterfactual)[0]


def _chunk_rows(spec):
    """Returns how many examples to edit at once, or `None` for one by one."""
    size = 0
    for tensor in tensor_specs(spec):
        if isinstance(tensor, tf.RaggedTensorSpec):
            size += _SPARSE_BYTES
        elif not tensor.shape.is_fully_defined():
            return None
        elif isinstance(tensor, tf.SparseTensorSpec):
            size += _SPARSE_BYTES
        else:
            string = tensor.dtype == tf.string
            item = _STRING_BYTES if string else tensor.dtype.size
            size += item * tensor.shape.num_elements()
    return min(_CHUNK_ROWS, max(1, _CHUNK_BYTES // size))
