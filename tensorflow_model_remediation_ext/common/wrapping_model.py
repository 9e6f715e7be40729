"""A Keras model that stands for the one it wraps."""

import inspect
from typing import Any

import keras

from tensorflow_model_remediation_ext.common.exporting import export
from tensorflow_model_remediation_ext.common.layers import by_name
from tensorflow_model_remediation_ext.common.packed_data import PackedDataModel
from tensorflow_model_remediation_ext.common.preprocessing import (
    forget_traces,
)
from tensorflow_model_remediation_ext.common.remediation_inputs import (
    RemediationInputs,
)
from tensorflow_model_remediation_ext.common.side_effects import (
    without_side_effects,
)


class WrappingModel(PackedDataModel):
    """Runs, compiles, saves and exports the model it wraps.

    Args:
        original_model: The model to wrap.
        **kwargs: Passed to `keras.Model`.

    Raises:
        TypeError: If `original_model` is not a `keras.Model`.
    """

    def __init__(self, original_model: keras.Model, **kwargs: Any):
        if not isinstance(original_model, keras.Model):
            kind = type(original_model)
            raise TypeError(
                "`original_model` must be a keras.Model (Keras 3). Received: "
                f"an object of type {kind.__module__}.{kind.__qualname__}"
            )
        dtype = kwargs.pop("dtype", None)
        super().__init__(**kwargs)
        # The wrapper is transparent: the wrapped model casts the inputs, and
        # its policy decides on loss scaling in `compile`.
        self.autocast = False
        self.dtype_policy = (
            original_model.dtype_policy if dtype is None else dtype
        )
        self.original_model = original_model
        self.built = original_model.built
        self._taken = frozenset(
            inspect.signature(original_model.call).parameters
        )

    def run_for_penalty(self, x: Any, training: bool) -> Any:
        """Runs the wrapped model and leaves its state as it was.

        Args:
            x: Input of the wrapped model.
            training: Whether the model is being trained.

        Returns:
            All its outputs, as it returns them.
        """
        with without_side_effects(self.original_model):
            return self(x, training=training)

    def build(self, *args: Any, **kwargs: Any) -> None:
        """Leaves it to the wrapped model, which builds where it is called."""

    def call(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> Any:
        """Runs the wrapped model; packed inputs are looked through."""
        if isinstance(inputs, RemediationInputs):
            inputs = inputs.x
            mask = mask.x if isinstance(mask, RemediationInputs) else mask
        # Passed on by hand: on JAX there is no call context to learn it from.
        # Keras trains models without the argument in inference mode.
        training = training if "training" in self._taken else False
        options = {"training": training}
        if "mask" in self._taken and any(
            each is not None for each in keras.tree.flatten(mask)
        ):
            options["mask"] = by_name(self.original_model, mask)
        return self.original_model(
            by_name(self.original_model, inputs), **options
        )

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Returns nothing: the wrapped model sets the masks of its outputs."""

    @property
    def output_names(self) -> list[str]:
        """Names of the wrapped model's outputs, for losses given by name."""
        return self.original_model.output_names

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Configures training, as `keras.Model.compile`.

        A wrapped model that was not compiled with an optimizer of its own is
        compiled too, without one: it evaluates, and to train it alone it is to
        be compiled by hand. (One optimizer for both would be saved as a part
        of the wrapped model.)

        Args:
            *args: As in `keras.Model.compile`.
            **kwargs: As in `keras.Model.compile`.
        """
        super().compile(*args, **kwargs)
        if self._compiles_wrapped():
            kwargs["optimizer"] = None
            names = ("loss", "loss_weights", "metrics", "weighted_metrics")
            kwargs |= dict(zip(names, args[1:], strict=False))
            self.original_model.compile(**kwargs)
            # Or a file of the wrapped model would not load: Keras wants an
            # optimizer there.
            vars(self.original_model).pop("_compile_config", None)
        # What is compiled here is often what `enable_lora` has changed.
        forget_traces(self.original_model)

    def _compiles_wrapped(self) -> bool:
        model = self.original_model
        return not model.compiled or model.optimizer is None

    def get_config(self) -> dict:
        """Returns the serialized wrapped model, and what `keras.Model` has."""
        config = super().get_config()
        if isinstance(self, keras.Sequential):  # By inheritance from one, too.
            for key in ("layers", "build_input_shape"):
                config.pop(key, None)
        original_model = keras.saving.serialize_keras_object(
            self.original_model
        )
        if self._compiles_wrapped() or not _compiles_on_loading(
            type(self.original_model)
        ):
            original_model.pop("compile_config", None)
        else:
            _name_for_any_backend(original_model.get("compile_config"))
        return config | {"original_model": original_model}

    def get_compile_config(self) -> dict | None:
        """Returns Keras' compile configuration, for any backend."""
        config = super().get_compile_config()
        _name_for_any_backend(config)
        return config

    def get_build_config(self) -> None:
        """Returns nothing: the wrapped model knows how it was built."""

    def compile_from_config(self, config: dict) -> None:
        """Compiles the model as `get_compile_config` described."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the wrapper with all it has, as `keras.Model.save`.

        Raises:
            ValueError: If `filepath` is one of HDF5, in which Keras keeps no
                state of a wrapper.
        """
        if _is_hdf5(filepath):
            raise ValueError(
                "`filepath` must end in `.keras`: loaded from an HDF5 file, a "
                "wrapper would not train on. The wrapped model alone may be "
                "saved as one, by `save_original_model`. Received: "
                f"filepath={str(filepath)!r}"
            )
        super().save(filepath, *args, **kwargs)

    def save_original_model(
        self, filepath: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Saves the wrapped model alone, as `keras.Model.save`."""
        model = self.original_model
        if _is_hdf5(filepath) and getattr(model, "optimizer", None) is None:
            # Keras would look for the optimizer's weights.
            kwargs.setdefault("include_optimizer", False)
        model.save(filepath, *args, **kwargs)

    def export(self, filepath: str, *args: Any, **kwargs: Any) -> Any:
        """Exports the wrapped model for serving, as `keras.Model.export`.

        The SavedModel of a KerasHub task takes raw strings or images, and
        tokens too: its preprocessor is in it. (On Keras' TensorFlow backend,
        where no `input_signature` is given.) A program that loads one of a
        text task must `import tensorflow_text` before.
        """
        model = self.original_model
        return export(model, filepath, model.export, *args, **kwargs)


def _name_for_any_backend(compile_config: Any) -> None:
    """Names the optimizer of a configuration as other backends know it.

    On PyTorch Keras names a class that only PyTorch can import.
    """
    found = (compile_config or {}).get("optimizer")
    while isinstance(found, dict):
        if str(found.get("module")).startswith("keras.src.backend.torch."):
            found |= {"module": "keras.optimizers", "registered_name": None}
        # Mixed precision has another around it.
        found = (found.get("config") or {}).get("inner_optimizer")


def _is_hdf5(filepath: Any) -> bool:
    return str(filepath).endswith((".h5", ".hdf5"))


def _compiles_on_loading(model_class: type[keras.Model]) -> bool:
    """Whether Keras compiles a loaded model; otherwise it would warn."""
    return (
        model_class.compile is keras.Model.compile
        or model_class.compile_from_config
        is not keras.Model.compile_from_config
    )
