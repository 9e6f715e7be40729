"""Which outputs of a model a penalty is about."""

from collections.abc import Iterable
from typing import Any

import keras


def select_outputs(
    predictions: Any,
    names: list[str] | None,
    loss: Any,
    outputs: Any = None,
) -> dict[str, Any]:
    """Returns the outputs that a penalty is about, by name.

    Args:
        predictions: What the model returns: a tensor, or a structure of them.
        names: Names of the outputs, in the order of the flat structure, as
            functional models have them; `None` if they have none.
        loss: The `loss` that the model was compiled with: without `outputs`,
            the ones that have a loss there are selected.
        outputs: `None`, or the names or positions of those to select.

    Returns:
        Tensors by name, in the order of the outputs. An output in a dict is
        called by its key, elsewhere by its name in `names` or its position.

    Raises:
        ValueError: If no output has a loss and `outputs` is `None`, if
            `outputs` has a name or a position that is not there, or if one
            of the outputs selected holds text or is `None`.
    """
    flat = dict(_named(predictions, names))
    if outputs is None:
        like = keras.tree.flatten(_has_loss(loss, predictions, names))
        chosen = [n for n, has in zip(flat, like, strict=True) if has]
        if not chosen:
            raise ValueError(
                "`outputs` must say which outputs of the model the penalty "
                "is about, since none has a loss in `compile`. Received: "
                f"outputs=None for the outputs {list(flat)}"
            )
    else:
        wanted = {_find(each, flat, names, outputs) for each in outputs}
        chosen = [name for name in flat if name in wanted]
    for name in chosen:
        if flat[name] is None:
            raise ValueError(
                "`outputs` must name outputs that the model returns. Received: "
                f"{name!r}, which is None"
            )
        dtype = keras.backend.standardize_dtype(flat[name].dtype)
        if dtype == "string":
            raise ValueError(
                "`outputs` must not name an output that holds text: a "
                f"penalty needs numbers. Received: {name!r} of dtype {dtype}"
            )
    return {name: flat[name] for name in chosen}


def checked_outputs(outputs: Any) -> list[str | int] | None:
    """Returns `outputs` as a list of names or positions, or `None` as it is.

    Raises:
        ValueError: If it is neither a name, a position nor some of them.
    """
    if outputs is None:
        return None
    each = [outputs] if isinstance(outputs, (str, int)) else outputs
    if isinstance(each, Iterable):
        each = list(each)
        if each and all(
            isinstance(e, (str, int)) and not isinstance(e, bool) for e in each
        ):
            return each
    raise ValueError(
        "`outputs` must be the name or the position of an output, or a list "
        f"of them. Received: outputs={outputs!r}"
    )


def _named(predictions, names):
    """The flat outputs by name, in the order of Keras' flat structure."""
    flat = keras.tree.flatten_with_path(predictions)
    distinct = len(set(names or [])) == len(flat)
    for index, (path, tensor) in enumerate(flat):
        if any(isinstance(key, str) for key in path):
            yield "/".join(map(str, path)), tensor
        else:
            yield (names[index] if distinct else str(index)), tensor


def _find(wanted, flat, names, outputs):
    found = list(flat)
    if isinstance(wanted, str) and wanted in flat:
        return wanted
    if isinstance(wanted, int) and -len(found) <= wanted < len(found):
        return found[wanted]
    # Layers' names serve for outputs in a dict as well.
    if wanted in (names or []) and len(names) == len(found):
        return found[names.index(wanted)]
    raise ValueError(
        f"`outputs` must hold names among {found}, or positions. Received: "
        f"outputs={outputs!r}"
    )


def _has_loss(loss, predictions, names):
    """Whether Keras computes a loss, in the structure of the outputs."""
    nested = keras.tree.is_nested
    if not nested(loss) or not nested(predictions):
        some = any(each is not None for each in keras.tree.flatten(loss))
        return keras.tree.map_structure(lambda _: some, predictions)
    if isinstance(loss, dict) and not isinstance(predictions, dict):
        loss = [loss.get(name) for name in names or []]
    size = len(keras.tree.flatten(predictions))
    if isinstance(loss, (list, tuple)) and not any(map(nested, loss)):
        has = [each is not None for each in loss]
        if len(loss) != size:  # All of them for each output.
            has = [any(has)] * size
        return keras.tree.pack_sequence_as(predictions, has)
    if isinstance(predictions, dict):
        return type(predictions)(
            (key, _has_loss(loss.get(key), each, None))
            for key, each in predictions.items()
        )
    return [
        _has_loss(each_loss, each, None)
        for each_loss, each in zip(loss, predictions, strict=True)
    ]
