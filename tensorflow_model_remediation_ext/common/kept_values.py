"""Values of variables, which an error would lose on Keras' JAX backend."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


class KeptValues(keras.Model):
    """A model that has its values after an error, too.

    On JAX Keras takes the values away from all variables while it runs a model
    over data. An error in the first batch, or in any of `evaluate` and
    `predict`, leaves them without: the model could never be run again.
    """

    _kept: tuple[tuple[Any, Any], ...] = ()

    def _purge_model_variables(self, **kinds: bool) -> None:
        """Takes the values away, as Keras does, and remembers them."""
        optimizer = getattr(self, "optimizer", None)
        variables = (
            *self.trainable_variables,
            *self.non_trainable_variables,
            *self.metrics_variables,
            *(optimizer.variables if optimizer is not None else ()),
        )
        kept = tuple((variable, variable.value) for variable in variables)
        # Past Keras, which keeps track of variables in attributes.
        self.__dict__["_kept"] = kept
        super()._purge_model_variables(**kinds)

    @contextlib.contextmanager
    def _values_given_back(self) -> Iterator[None]:
        """Gives variables their last values back after an error."""
        try:
            yield
        except BaseException:
            if keras.backend.backend() == "jax":
                self.jax_state_sync()
                for variable, value in self._kept:
                    if variable._value is None and not value.is_deleted():
                        variable.assign(value)
            raise
        finally:
            self.__dict__.pop("_kept", None)
