"""What is asked of the rows of groups, before they reach a model."""

import copy
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.data_errors import (
    require_none,
    usable_weight,
)
from tensorflow_model_remediation_ext.common.elements import tensor_specs
from tensorflow_model_remediation_ext.common.objectives import (
    argument_name,
    by_objective,
    unwrap,
)
from tensorflow_model_remediation_ext.common.real_tensors import values_of
from tensorflow_model_remediation_ext.common.structures import alike
from tensorflow_model_remediation_ext.min_diff.members import check_ids


def checked_data(data: Any, task_x: Any) -> Any:
    """Returns rows of groups as a model takes them.

    Args:
        data: `(x, membership, weight)` or `(x, membership)`, tensors or their
            specs, or a dict of these by objective.
        task_x: The `x` of the task, or its spec.

    Returns:
        The data, with each `x` in the containers of the task's.

    Raises:
        ValueError: If elements are of another form, or an `x` has features
            that the task's has not.
    """
    checked = {}
    for objective, each in by_objective(data, "min_diff_data").items():
        name = argument_name("min_diff_data", objective)
        if not isinstance(each, (tuple, list)) or len(each) not in (2, 3):
            raise ValueError(
                f"`{name}` must be `(x, membership, weight)` or `(x, "
                f"membership)`. Received: {each}"
            )
        x, membership, weight = keras.utils.unpack_x_y_sample_weight(
            tuple(each)
        )
        x = _features_alike(x, task_x, name)
        check_numbers(membership, weight, name)
        _check_shapes(membership, weight, name)
        checked[objective] = (x, membership, weight)[: len(each)]
    return unwrap(checked)


def usable_rows(rows: tuple, groups: int, name: str) -> tuple:
    """Returns rows of groups, which fail unless they can be used.

    Args:
        rows: `(x, membership, weight)` or `(x, membership)`, tensors or their
            specs.
        groups: Number of groups.
        name: What to call them in an error.

    Raises:
        ValueError: If values can be seen, and an id or a weight is not usable.
            In a graph, `tf.errors.InvalidArgumentError` is raised as it runs.
    """
    x, membership, weight = keras.utils.unpack_x_y_sample_weight(rows)
    membership = _checked(membership, groups, name)
    return (x, membership, usable_weight(weight, name))[: len(rows)]


def check_numbers(membership: Any, weight: Any, name: str) -> None:
    """Raises `ValueError` where memberships or weights, or specs, are text."""
    for what, each in (("membership", membership), ("weight", weight)):
        dtype = getattr(each, "dtype", None)
        if dtype == tf.string or getattr(dtype, "kind", None) in set("OSU"):
            raise ValueError(
                f"`{name}` must have a {what} of numbers or booleans. "
                f"Received: {each}"
            )


def check_element(spec: Any, x_spec: Any, name: str) -> None:
    """Checks the spec of rows of groups that are to be packed.

    Args:
        spec: That of `(x, membership, weight)` or `(x, membership)`.
        x_spec: That of the `x` of the task.
        name: How error messages call the dataset.

    Raises:
        ValueError: If it is of another form, not batched, or the model cannot
            take its `x` as it takes the task's.
    """
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise ValueError(
            f"`{name}` must yield `(x, membership, weight)`, as "
            f"`build_min_diff_dataset` does. Received: {spec}"
        )
    x, membership, weight = keras.utils.unpack_x_y_sample_weight(spec)
    check_numbers(membership, weight, name)
    for what, each in (("membership", membership), ("weight", weight)):
        rank = getattr(getattr(each, "shape", None), "rank", None)
        if rank == 0 or (rank is not None and rank > 2 and what != "weight"):
            raise ValueError(
                f"`{name}` must be batched, with a {what} of shape [batch] "
                f"or [batch, 1]. Received: {each}"
            )
    _check_features(x_spec, x, name)


def _check_features(task, x, name):
    """Raises unless the model can take `x` as it takes the task's."""
    if isinstance(task, dict) and isinstance(x, dict):
        # A feature that only tells the group may be left out.
        task = {key: task[key] for key in task if key in x}
    try:
        tf.nest.assert_same_structure(task, x, check_types=False)
        same = all(
            a.dtype == b.dtype
            and (
                None in (a.shape.rank, b.shape.rank)
                or (
                    a.shape.rank == b.shape.rank
                    and a.shape[1:].is_compatible_with(b.shape[1:])
                )
            )
            for a, b in zip(tensor_specs(task), tensor_specs(x), strict=True)
        )
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ValueError(
            f"The features of `{name}` must have the names, dtypes and shapes "
            f"of those of `original_dataset`. Received: {x} and {task}"
        )


def _features_alike(x, task_x, name):
    """Returns features as the model takes those of the task."""
    if isinstance(task_x, Mapping) and isinstance(x, Mapping):
        # A feature that only tells the group may be left out.
        left_out = [key for key in task_x if key not in x]
        task_x = copy.copy(task_x) if left_out else task_x
        for key in left_out:
            del task_x[key]
    return alike(x, task_x, f"x of {name}", "original_inputs")


def _check_shapes(membership, weight, name):
    shapes = [getattr(each, "shape", None) for each in (membership, weight)]
    rows = []
    for what, shape in zip(("membership", "weight"), shapes, strict=True):
        if shape is None or getattr(shape, "rank", 1) is None:
            continue
        shape = tuple(shape)
        one_column = len(shape) < 2 or shape[1] in (1, None)
        if not shape:
            raise ValueError(
                "Data must come in batches: use `data.batch(32)`. Received: "
                f"a single {what} in `{name}`"
            )
        if what == "membership" and not one_column:
            raise ValueError(
                f"`{name}` must have a {what} of shape [batch] or [batch, 1]. "
                f"Received: {what}.shape={shape}"
            )
        rows.append(shape[0])
    if len({r for r in rows if r is not None}) > 1:
        raise ValueError(
            f"`{name}` must have one weight a row. Received: membership of "
            f"shape {shapes[0]}, weight of shape {shapes[1]}"
        )


def _checked(membership, groups, name):
    if isinstance(membership, tf.TypeSpec):
        return membership
    seen = values_of(membership)
    if seen is not None:
        check_ids(np.asarray(seen, "float64"), groups, name)
        return membership
    ids = tf.cast(membership, tf.float32)
    nearest = tf.clip_by_value(tf.floor(ids), 0, groups - 1)
    with require_none(
        tf.not_equal(ids, nearest),
        f"`{name}`: `membership` must hold ids from 0 to {groups - 1}, one "
        f"for each of groups={groups}. Received:",
        ids,
    ):
        return tf.identity(membership)


def spread(rows: tuple, groups: int, wanted: Any) -> tuple:
    """Spreads the rows of each group evenly over the batch.

    Args:
        rows: `(x, membership, weight)` or `(x, membership)`.
        groups: Number of groups.
        wanted: A boolean scalar tensor; otherwise the order stays.
    """
    membership = rows[1]
    ids = tf.reshape(tf.cast(membership, tf.int32), [-1])
    members = tf.one_hot(ids, groups)
    place = tf.reduce_sum(members * tf.cumsum(members), axis=-1) - 0.5
    number = tf.gather(tf.reduce_sum(members, axis=0), ids)
    place = tf.where(wanted, place / number, 0)
    order = tf.argsort(place, stable=True)

    def reorder(tensor):
        if tensor is None:
            return None
        if isinstance(tensor, tf.SparseTensor):
            return _reorder_sparse(tensor, order)
        return tf.gather(tensor, order)

    return tf.nest.map_structure(reorder, rows)


def _reorder_sparse(tensor, order):
    places = tf.cast(tf.argsort(order), tf.int64)
    rows = tf.gather(places, tensor.indices[:, 0])
    indices = tf.concat([rows[:, None], tensor.indices[:, 1:]], axis=1)
    return tf.sparse.reorder(
        tf.SparseTensor(indices, tensor.values, tensor.dense_shape)
    )
