"""Packing task data and rows of groups into one dataset."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext.common.batching import require_batches
from tensorflow_model_remediation_ext.common.cardinality import keep_cardinality
from tensorflow_model_remediation_ext.common.elements import check_dataset
from tensorflow_model_remediation_ext.common.endless import (
    known_length,
    repeat_from_anywhere,
)
from tensorflow_model_remediation_ext.common.objectives import (
    argument_name,
    by_objective,
    unwrap,
)
from tensorflow_model_remediation_ext.min_diff.keras.checks import (
    check_element,
)
from tensorflow_model_remediation_ext.min_diff.keras.datasets import (
    rows_of_two_datasets,
)


class MinDiffPackedInputs(NamedTuple):
    """Inputs of the task, with rows of groups alongside.

    It stands for `x` in the elements of packed data:
    `(MinDiffPackedInputs(x, min_diff_data), y, sample_weight)`.

    Attributes:
        original_inputs: The `x` of the task.
        min_diff_data: `(x, membership, weight)`, or a dict of such triples by
            objective.
    """

    original_inputs: Any
    min_diff_data: Any


def pack_min_diff_data(
    original_dataset: tf.data.Dataset,
    sensitive_group_dataset: Any = None,
    nonsensitive_group_dataset: Any = None,
    min_diff_dataset: Any = None,
) -> tf.data.Dataset:
    """Puts rows of groups alongside each batch of the task's data.

    Every batch of `original_dataset` comes once and in order: it alone says
    how long an epoch is. The other datasets are repeated without end. Their
    batches may be of any size.

    Where an epoch takes less than a quarter of them, the first epoch starts at
    their beginning and each later one at another place, so that all rows have
    their turn. For that the number of their batches must be known, as after
    `filter` or `unbatch` it is not: tell it
    (`rows.apply(tf.data.experimental.assert_cardinality(n))`), or `shuffle`
    them, or each epoch takes the first ones. Data that repeat themselves
    without end start at the beginning, too; those that
    `build_min_diff_dataset` draws out of one dataset do not. For the same rows
    each time, as in validation, `cache()` what is returned.

    Args:
        original_dataset: A dataset of batches of `x`, `(x,)`, `(x, y)` or
            `(x, y, sample_weight)`.
        sensitive_group_dataset: See `build_min_diff_dataset`; or a dict of
            such datasets by objective.
        nonsensitive_group_dataset: The same, for the other group.
        min_diff_dataset: A dataset of batches of `(x, membership, weight)` or
            `(x, membership)`, as `build_min_diff_dataset` makes it, instead
            of the two; or one of dicts of those by objective, or a dict of
            such datasets.

    Returns:
        A dataset of `MinDiffPackedInputs`, `(MinDiffPackedInputs, y)` or
        `(MinDiffPackedInputs, y, sample_weight)`, of the cardinality of
        `original_dataset`. If data of a group turn out to be empty, its first
        element raises `tf.errors.InvalidArgumentError`.

    Raises:
        TypeError: If an argument is not a dataset.
        ValueError: If neither or both of the two ways to give groups are
            used, data are not batched, or features do not match.

    Examples:
        >>> def rows(values):
        ...     x = np.array(values, "float32")[:, None]
        ...     return tf.data.Dataset.from_tensor_slices((x, x)).batch(2)
        >>> packed = pack_min_diff_data(
        ...     rows([1, 2, 3, 4]), rows([5, 6]), rows([7, 8])
        ... )
        >>> inputs, y = next(iter(packed))
        >>> inputs.min_diff_data[0].numpy().ravel().tolist()
        [5.0, 6.0, 7.0, 8.0]
        >>> inputs.min_diff_data[1].numpy().ravel().tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    check_dataset(original_dataset, "original_dataset")
    require_batches(original_dataset, "original_dataset")
    pair = sensitive_group_dataset, nonsensitive_group_dataset
    given = [each is not None for each in (*pair, min_diff_dataset)]
    if given not in ([True, True, False], [False, False, True]):
        raise ValueError(
            "Give either `min_diff_dataset`, or both "
            "`sensitive_group_dataset` and `nonsensitive_group_dataset`. "
            f"Received: min_diff_dataset={min_diff_dataset!r}, "
            f"sensitive_group_dataset={sensitive_group_dataset!r}, "
            f"nonsensitive_group_dataset={nonsensitive_group_dataset!r}"
        )
    if min_diff_dataset is None:
        steps = known_length(original_dataset)
        min_diff_dataset = rows_of_two_datasets(*pair, reach=steps)
    x_spec = keras.utils.unpack_x_y_sample_weight(
        original_dataset.element_spec
    )[0]
    streams = {}
    for objective, each in by_objective(
        min_diff_dataset, "min_diff_dataset"
    ).items():
        name = argument_name("min_diff_dataset", objective)
        check_dataset(each, name)
        elements = {objective: each.element_spec}
        if not objective:
            elements = by_objective(each.element_spec, f"elements of {name}")
        for spec in elements.values():
            check_element(spec, x_spec, name)
        streams[objective] = repeat_from_anywhere(
            each,
            lambda rows: rows.map(_triples),
            f"`{name}` is empty, or it can be read only once and has been.",
            known_length(original_dataset),
        )
    zipped = tf.data.Dataset.zip((original_dataset, unwrap(streams)))
    packed = keep_cardinality(zipped.map(_pack), original_dataset)
    return packed.prefetch(tf.data.AUTOTUNE)


def is_packed(inputs: Any) -> bool:
    """Returns whether something is `MinDiffPackedInputs`, by its fields.

    `Dataset.load` makes a class of its own of a NamedTuple.
    """
    return getattr(inputs, "_fields", None) == MinDiffPackedInputs._fields


def unpack_original_inputs(inputs: Any) -> Any:
    """Returns the task's `x` of `MinDiffPackedInputs`.

    Args:
        inputs: `MinDiffPackedInputs`, or anything else.

    Returns:
        `inputs.original_inputs`, or `inputs` itself where it is not packed.
    """
    if is_packed(inputs):
        return inputs.original_inputs
    return inputs


def unpack_min_diff_data(inputs: Any) -> Any:
    """Returns the rows of groups of `MinDiffPackedInputs`.

    Args:
        inputs: `MinDiffPackedInputs`, or anything else.

    Returns:
        `inputs.min_diff_data`, or `None` where `inputs` is not packed.
    """
    if is_packed(inputs):
        return inputs.min_diff_data
    return None


def replace_inputs(element: Any, function: Callable[[Any], Any]) -> Any:
    """Returns a packed element with a function applied to each input.

    Args:
        element: Anything; or the element spec of a dataset.
        function: Called with the task's `x` and with that of each objective's
            rows of groups.

    Returns:
        The element with what `function` returned; `None` if not packed.
    """
    inputs, *rest = element if type(element) is tuple else (element,)
    if not is_packed(inputs):
        return None
    rows = {
        objective: (function(x), *others)
        for objective, (x, *others) in by_objective(
            inputs.min_diff_data, "min_diff_data"
        ).items()
    }
    replaced = MinDiffPackedInputs(
        function(inputs.original_inputs), unwrap(rows)
    )
    return (replaced, *rest) if rest else replaced


def _pack(element, min_diff_data):
    if not isinstance(element, tuple):
        return MinDiffPackedInputs(element, min_diff_data)
    x, *rest = element
    return (MinDiffPackedInputs(x, min_diff_data), *rest)


def _triples(*element):
    if len(element) > 1:
        return _triple(element)
    return {objective: _triple(each) for objective, each in element[0].items()}


def _triple(element):
    x, membership, weight = keras.utils.unpack_x_y_sample_weight(element)
    if weight is None:
        weight = tf.ones_like(tf.cast(membership, tf.float32))
    return x, membership, weight
