"""Datasets of counterfactual pairs."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import (
    Layout,
    batch_size,
    chunk_rows,
    regroup,
)
from tensorflow_model_remediation_ext.common.cardinality import keep_cardinality
from tensorflow_model_remediation_ext.common.checks import function_of_one
from tensorflow_model_remediation_ext.common.elements import (
    PARALLEL,
    as_one_argument,
    check_dataset,
    unpack,
)
from tensorflow_model_remediation_ext.common.rows import (
    changed_pairs,
    differs,
    row_count,
)
from tensorflow_model_remediation_ext.counterfactual.keras.custom_pairs import (
    pairs_by_function,
)
from tensorflow_model_remediation_ext.counterfactual.keras.text_feature import (
    TextFeature,
)
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor


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
    without its terms may still show the identity they name, by other words. It
    may also be ungrammatical.

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
            counterfactual_x)`, or these and a weight: a scalar for an example,
            `[batch]` for a batch. Both halves come out in the structure of the
            `x` of the element where they have its names, such as an
            `OrderedDict`. Without a weight, elements count as batches if all
            their tensors have an axis, and text is among them, or the first
            axis is of unknown size, or the dataset knows its batch size.
            Where one half has no shape, as from `tf.py_function`, it is taken
            to have that of the other. With `sensitive_terms_to_remove`, the
            function sees only the examples (of a batch: the rows) that hold
            a term.
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
        A dataset of exactly the examples that change, in order: from terms
        `(original_x, counterfactual_x, weight)` with float32 ones as weights;
        from a function what it returns, with a weight or without. Batches are
        regrouped to the size of the first one of `original_input`; where sizes
        of features vary between batches, each batch keeps those of its rows
        that change.

    Raises:
        TypeError: `original_input` is not a dataset, the text is not a string
            tensor, or terms or the function are of the wrong type.
        ValueError: Neither terms nor a function are given, or arguments that
            exclude one another; the text cannot be found; or the function
            returns something else than pairs, or parts of a batch that are
            known to differ in their numbers of rows. Where they turn out to,
            reading raises `tf.errors.InvalidArgumentError`.

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
    check_dataset(original_input, "original_input")
    function = custom_counterfactual_function
    if function is not None:
        function_of_one(
            "custom_counterfactual_function",
            function,
            "the element as the dataset yields it, such as `(x, y)`",
        )
    if function is not None and terms_to_replace is not None:
        raise ValueError(
            "`terms_to_replace` has no meaning with "
            "`custom_counterfactual_function`. To restrict the function to "
            "examples with a term, use `sensitive_terms_to_remove`."
        )
    text = None
    if sensitive_terms_to_remove is not None or terms_to_replace is not None:
        text = TextFeature(
            unpack(original_input.element_spec)[0],
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
        pairs = pairs_by_function(original_input, function, text)
    if original_input.cardinality() == tf.data.INFINITE_CARDINALITY:
        # What is left out of endless data leaves their number unknown.
        pairs = keep_cardinality(pairs, original_input)
    return pairs.prefetch(tf.data.AUTOTUNE)


def _pairs_by_terms(dataset, text):
    def pair(element):
        x = unpack(element)[0]
        return x, text.edit(x), tf.ones([])

    def pair_rows(element):
        x = unpack(element)[0]
        return changed_pairs(x, text.edit(x), tf.ones([row_count(x)]))

    def pair_batch(element):
        return row_count(element), pair_rows(element)

    examples = as_one_argument(dataset)
    if text.layout is Layout.BATCHES:
        batches = examples.map(pair_batch, **PARALLEL)
        return regroup(batches, batch_size(dataset))
    rows = chunk_rows(dataset.element_spec, Layout.EXAMPLES)
    if rows is None:
        return examples.map(pair, **PARALLEL).filter(differs)
    chunks = as_one_argument(dataset.batch(rows))
    return chunks.map(pair_rows, **PARALLEL).unbatch()
