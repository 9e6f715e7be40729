"""Structures of tensors: the same parts in the same containers."""

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf


def alike(value: Any, template: Any, name: str, like: str) -> Any:
    """Returns the parts of `value` in the containers of `template`.

    Keras reads an `OrderedDict` in the order of its keys and a `dict` sorted,
    so two structures with the same names need not mean the same to a model.

    Args:
        value: A nested structure. Parts that have names in both structures
            (keys, fields of named tuples and of attrs classes) match by name,
            others by position; lists and tuples are the same.
        template: The structure wanted; its leaves are of no account.
        name: What to call `value` in an error.
        like: What to call `template` in an error.

    Returns:
        A structure of the types, and the order of keys, of `template`.

    Raises:
        ValueError: Names or numbers of parts differ.
    """
    try:
        leaves = list(_leaves(value, template))
    except _DifferError as error:
        raise ValueError(
            f"`{name}` must have the structure of `{like}`, with the same "
            f"names. Received: {_describe(value)} for {_describe(template)}"
        ) from error
    return tf.nest.pack_sequence_as(template, leaves)


def is_alike(value: Any, template: Any) -> bool:
    """Returns whether the containers, and orders of keys, are the same."""
    return _skeleton(value) == _skeleton(template)


class _DifferError(Exception):
    """Two structures do not have the same parts."""


def _leaves(value: Any, template: Any) -> Iterator[Any]:
    """Yields the leaves of `value` in the order `tf.nest` has in `template`."""
    wanted = _parts_by_name(template)
    if wanted is not None:
        found = _parts_by_name(value)
        if found is None and not isinstance(template, Mapping):
            found = dict(zip(wanted, _parts(value, len(wanted)), strict=True))
        if found is None or set(found) != set(wanted):
            raise _DifferError
        order = sorted(wanted) if isinstance(template, Mapping) else wanted
        for key in order:
            yield from _leaves(found[key], wanted[key])
    elif isinstance(template, tuple | list):
        parts = _parts(value, len(template))
        for part, like in zip(parts, template, strict=True):
            yield from _leaves(part, like)
    elif tf.nest.is_nested(template):
        if type(value) is not type(template):
            raise _DifferError
        yield from tf.nest.flatten(value)
    elif isinstance(value, list) and tf.is_tensor(template):
        yield tf.convert_to_tensor(value)  # As `tf.data` takes lists.
    elif tf.nest.is_nested(value):
        raise _DifferError
    else:
        yield value


def _parts(value: Any, count: int) -> tuple:
    if not isinstance(value, tuple | list) or len(value) != count:
        raise _DifferError
    return tuple(value)


def _parts_by_name(structure: Any) -> dict[Any, Any] | None:
    if isinstance(structure, Mapping):
        return dict(structure)
    if isinstance(structure, tuple):
        names = getattr(structure, "_fields", ())
    else:
        fields = getattr(type(structure), "__attrs_attrs__", ())
        names = [field.name for field in fields]
    return {name: getattr(structure, name) for name in names} or None


def _skeleton(structure: Any) -> Any:
    named = _parts_by_name(structure)
    if named is not None:
        parts = [(key, _skeleton(part)) for key, part in named.items()]
        return type(structure), parts
    if isinstance(structure, tuple | list):
        return type(structure), [_skeleton(part) for part in structure]
    return None


def _describe(structure: Any) -> Any:
    def describe(leaf):
        if leaf is None or isinstance(leaf, tf.TypeSpec):
            return leaf
        return type(leaf).__name__

    return tf.nest.map_structure(describe, structure)
