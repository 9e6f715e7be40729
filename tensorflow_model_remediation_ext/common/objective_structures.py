"""Single elements, or dicts of them by objective."""

from typing import Any

import tensorflow as tf


def validate_structure(
    struct: Any, struct_name: str = "struct", element_type: type | None = None
) -> None:
    """Checks that `struct` is a single element or a dict of them.

    Args:
        struct: What to check. Tuples count as single elements.
        struct_name: How error messages call it.
        element_type: The type that elements must have; `None` for any.

    Raises:
        TypeError: If `struct` is neither an element nor a dict, or
            `element_type` is not a type.
        ValueError: If a key of the dict is not a string, or a value not an
            element.
    """
    if element_type is not None and not isinstance(element_type, type):
        raise TypeError(
            f"`element_type` must be a type. Received: {element_type!r}"
        )

    def is_element(value):
        single = isinstance(value, tuple) or not tf.nest.is_nested(value)
        return single and isinstance(value, element_type or object)

    wanted = "an element" + (
        f" of type {element_type.__name__}" if element_type else ""
    )
    if is_element(struct):
        return
    if not isinstance(struct, dict):
        raise TypeError(
            f"`{struct_name}` must be {wanted}, or a dict of those. "
            f"Received: {struct!r} of type {type(struct).__name__}"
        )
    if not all(isinstance(key, str) for key in struct):
        raise ValueError(
            f"The keys of `{struct_name}` must be strings. "
            f"Received: {list(struct)}"
        )
    for key, value in struct.items():
        if not is_element(value):
            raise ValueError(
                f"Each value of `{struct_name}` must be {wanted}. "
                f"Received: {value!r} for {key!r}"
            )
