"""Methods of users' models that have no effect where they are wrapped."""

import warnings
from collections.abc import Mapping

_STEPS = ("train_step", "test_step", "compute_loss", "compute_metrics")


def refuse_overrides(
    model_class: type, base: type, replaced: Mapping[str, str]
) -> None:
    """Raises where a wrapper defines a method that is never called.

    Args:
        model_class: The class of the wrapper.
        base: Only classes derived from it are looked at: what else a wrapper
            inherits from may use those names in its own way.
        replaced: What to do instead, by the name of the method.

    Raises:
        TypeError: If one of the methods is defined.
    """
    for owner in model_class.__mro__:
        for name in set(replaced) & set(vars(owner)):
            if issubclass(owner, base):
                raise TypeError(
                    f"{owner.__name__} must not override `{name}`, which is "
                    f"never called: {replaced[name]} instead. Received: "
                    f"{owner.__name__}.{name}"
                )


def warn_of_lost_overrides(wrapped: type, wrapper: type) -> None:
    """Warns of steps that training a wrapper does not run.

    Args:
        wrapped: The class of the wrapped model.
        wrapper: The class of the wrapper: what it inherits too is run.
    """
    lost = []
    for name in _STEPS:
        owner = next(c for c in wrapped.__mro__ if name in vars(c))
        keras_own = owner.__module__.startswith("keras.")
        if not keras_own and not issubclass(wrapper, owner):
            lost.append(name)
    if lost:
        warnings.warn(
            f"`original_model`, a {wrapped.__name__}, overrides {lost}. "
            "Trained in a wrapper it uses what `keras.Model` has instead: "
            "move what they do into the loss, metrics or layers.",
            stacklevel=4,
        )
