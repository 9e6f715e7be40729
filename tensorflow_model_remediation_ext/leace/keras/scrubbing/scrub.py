"""Concept scrubbing: an eraser after many layers of a Keras model."""

import contextlib
import numbers
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    flag,
    whole,
)
from tensorflow_model_remediation_ext.common.layers import Layers
from tensorflow_model_remediation_ext.common.preprocessing import (
    preprocessed_batches,
)
from tensorflow_model_remediation_ext.leace.keras.layer import LeaceLayer
from tensorflow_model_remediation_ext.leace.keras.scrubbing import token_labels
from tensorflow_model_remediation_ext.leace.keras.scrubbing.copying import (
    copy_of,
    eraser_layer,
    forward_pass,
    with_erasers,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.methods import (
    Method,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.model import (
    symbolic_inputs,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.passes import (
    Data,
    Passes,
    Progress,
    batch_specs,
)
from tensorflow_model_remediation_ext.leace.keras.scrubbing.stages import stages
from tensorflow_model_remediation_ext.leace.leace import LeaceEraser

# What is kept on disk to go on from, unless the caller says otherwise.
_CACHE_BYTES = 2**31


def scrub(
    model: keras.Model,
    dataset: Any,
    *,
    z_dim: int,
    layers: Layers = None,
    method: str = "leace",
    affine: bool = True,
    shrinkage: bool = True,
    svd_tol: float = 0.01,
    preserve_dim: int = 0,
    rank: int | None = None,
    max_rank: int | None = None,
    sequential: bool = True,
    cache_bytes: float = _CACHE_BYTES,
    verbose: int | str = "auto",
) -> keras.Model:
    """Erases a concept after many layers of a model, one after the other.

    Each eraser is fitted on the activations of the model with the erasers of
    all layers that run before in place, so that later layers cannot rebuild
    what earlier ones lost. No linear reader of a scrubbed layer then does
    better, on these data, than one that ignores it. That says nothing about
    nonlinear readers, other data, or layers that are not scrubbed; and training
    the result further moves the activations: scrub again after it. Where
    `svd_tol` leaves a visible part of the concept in, or the task that
    `preserve` names cannot be kept, one warning says for which layers.

    With room for them on disk, the tensors that the next stage of the model
    needs are kept there and deleted once used. All of it then costs about one
    forward pass and the fitting, however many layers there are. Without that
    room, every layer costs a forward pass up to it: for `k` layers evenly
    spread, about `k / 2` passes. Layers that do not feed each other, such as
    the two normalizations of a parallel block, share a stage. Memory holds the
    model and its copy, one batch of activations and the statistics of one
    stage: about `8 * x_dim**2` bytes for each of its layers.

    Args:
        model: A built model, which is left as it is: the result has copies of
            its weights. The copy is made as Keras saves and loads models.
        dataset: Finite `tf.data.Dataset`, `keras.utils.PyDataset` or other
            collection of batches `(x, z)` or `(x, z, sample_weight)`, which is
            read once, or without the cache once for each stage. `x` is what
            the model takes, or raw strings or images for a KerasHub task with
            its preprocessor. `z` is one label for each example, `[batch]` or
            `[batch, z_dim]`, which counts for all of its tokens, or one for
            each token, `[batch, tokens]` or `[batch, tokens, z_dim]`. Integers
            are class ids where `z_dim > 1`; columns are of a floating dtype.
            Integers that could be either are refused.
            Weights are `[batch]` or `[batch, tokens]`, zero at padding; where
            there are none, a Keras mask on the inputs of the layer is heeded,
            or an input named `"padding_mask"`, as KerasHub's models have one.
        z_dim: Number of columns or classes of the concept.
        layers: Layers, their names, their paths such as
            `"block_0/_feedforward_layer_norm"`, or `fnmatch` patterns of
            either; or a predicate on layers. By default every normalization,
            wherever it is nested, or where there is none, every layer with
            weights except the last to run. The default leaves out layers whose
            output does not depend on the input, and warns of those that it
            cannot scrub, such as a normalization inside a recurrent cell.
        method: `"leace"` or `"orth"`, see `LeaceFitter`, or one that also
            leaves less to nonlinear readers, as far as was measured. Class
            means agree with all of them; labels are then class ids.
            `"covariance"` and `"mmd"` take `rank` more directions out after
            each layer, see `covariance_eraser` and `mmd_eraser`: they cost
            what else is in these, and memory for a covariance of each class;
            `"mmd"` also up to 16,384 rows of each class, and a short training.
            `"soft_quadratic"` takes `SoftQuadraticLayer`s, which do not fold:
            a prediction costs `z_dim` products of `[x_dim, x_dim]` after each
            layer, and the fit keeps the outputs of a stage on disk and reads
            them 15 times.
        affine: Whether erasure keeps the mean of the activations. This and the
            next two are options of `"leace"` and `"orth"`.
        shrinkage: Whether to shrink the covariance of the activations.
        svd_tol: Singular values up to this are not erased, see `LeaceFitter`.
        preserve_dim: If positive, `z` is a tuple `(z, preserve)` of the concept
            and of task labels with so many columns or classes, whose covariance
            with the activations is kept at every layer, see `LeaceFitter`. Not
            with `"covariance"` and `"mmd"`.
        rank: Directions that `"covariance"` and `"mmd"` remove after each
            layer, in addition to those of LEACE; only with them.
        max_rank: Most directions that `"leace"` and `"orth"` erase, see
            `LeaceFitter`, or in which `"soft_quadratic"` moves classes, see
            `SoftQuadraticFitter`.
        sequential: If false, all erasers are fitted in one pass on the model
            as it is, for comparison. Later layers then do find the concept.
        cache_bytes: Room that may be taken in the directory for temporary
            files, twice if two stages meet; zero for no cache. As much again
            for each layer of a stage with `"soft_quadratic"`, which needs it.
        verbose: `0` for silence, otherwise as in `keras.Model.fit`.

    Returns:
        A `ScrubbedModel`, not compiled: it takes and returns what `model` does,
        trains, saves to `.keras`, loads where this package is imported,
        exports, and generates text where `model` does. `.erasers` holds the
        layers that erase by the path of the layer each comes after, in the
        order in which they run. Save this model, not its attribute `model`,
        which refuses.

    Raises:
        TypeError: If `model`, `dataset` or `layers` is of another type.
        ValueError: If a name matches no layer, a layer that was chosen cannot
            be scrubbed, `z` does not fit the activations of a layer, or on bad
            values. The message names the layer.
        RuntimeError: On another backend of Keras than TensorFlow. The saved
            result runs on all.

    A layer that runs several times in a forward pass has one eraser, fitted on
    all of its runs together while none of them is erased; a warning says so.

    Examples:
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((8,)),
        ...         keras.layers.Dense(16, "relu"),
        ...         keras.layers.LayerNormalization(),
        ...         keras.layers.Dense(1),
        ...     ]
        ... )
        >>> x, z = np.random.randn(64, 8), np.random.randint(0, 3, 64)
        >>> dataset = tf.data.Dataset.from_tensor_slices((x, z)).batch(32)
        >>> scrubbed = scrub(model, dataset, z_dim=3, verbose=0)
        >>> list(scrubbed.erasers)
        ['layer_normalization']

    References:
        - [Belrose et al., LEACE: Perfect linear concept erasure in closed
          form, 2023](https://arxiv.org/abs/2306.03819), section 6.
    """
    if not (isinstance(cache_bytes, numbers.Real) and cache_bytes >= 0):
        raise ValueError(
            "`cache_bytes` must be a number of bytes, zero or greater. "
            f"Received: cache_bytes={cache_bytes!r}"
        )
    erasure = Method(
        method,
        z_dim,
        rank,
        affine=affine,
        shrinkage=shrinkage,
        svd_tol=svd_tol,
        preserve_dim=preserve_dim,
        max_rank=max_rank,
    )
    dataset = preprocessed_batches(model, dataset)
    data = Data(dataset, model, num_labels=2 if preserve_dim else 1)
    copy = copy_of(model)

    def unfitted(path, hidden):
        with _at(path):
            return erasure.layer(path, hidden)

    forward = forward_pass(model, copy, layers, data.specs, unfitted)
    parts = stages(forward, flag("sequential", sequential))
    notes: dict[str, str] = {}
    most: list[str] = []
    nothing: list[str] = []
    progress = Progress(parts, data.cardinality, verbose)
    passes = Passes(data, cache_bytes if forward.runs_once() else 0)
    with contextlib.closing(passes):
        for stage in parts:
            rows = {
                path: token_labels.TokenRows(
                    erasure.fitter(
                        forward.erasers[path].input_spec.axes[-1],
                        lambda: passes.spool(cache_bytes),
                    )
                )
                for path in stage.paths
            }
            for runs, *data_of_batch in passes.over(stage):
                for path in stage.paths:
                    with _at(path):
                        for run in runs[path]:
                            rows[path].update(run, *data_of_batch)
                progress.batch_done()
            for path in stage.paths:
                with _at(path):
                    rows[path].check()
                    eraser, found = rows[path].fitter.eraser_and_leftovers()
                    forward.erasers[path].set_eraser(eraser)
                # "nothing" is welcome where earlier erasers left nothing.
                said = [
                    f.text
                    for f in found
                    if f.kind in ("partial", "constant", "shared")
                ]
                if said:
                    notes[path] = " ".join(said)
                most += [path for f in found if f.kind == "most"]
                nothing += [path for f in found if f.kind == "nothing"]
            progress.stage_done(stage)
    if notes:
        lines = (f"\n{path!r}: {note}" for path, note in notes.items())
        warnings.warn(
            f"Scrubbing is not complete:{''.join(lines)}", stacklevel=2
        )
    elif len(nothing) == len(forward.erasers):
        warnings.warn(
            "The concept varies with the outputs of no layer by more than "
            f"svd_tol={svd_tol}: the result erases nothing.",
            stacklevel=2,
        )
    if most:
        warnings.warn(
            "More than half of the dimensions are erased after the layers "
            f"{most}.",
            stacklevel=2,
        )
    return with_erasers(copy, forward.erasers, data.specs)


def random_scrub(
    model: keras.Model,
    rank: int,
    *,
    layers: Layers = None,
    x: Any = None,
    seed: int = 0,
) -> keras.Model:
    """Erases random subspaces where `scrub` would: the control experiment.

    What a model loses by `scrub` and not by this is not lost only because it
    has fewer dimensions. A one-hot concept of `k` classes has rank `k - 1`.

    Args:
        model: A built model, which is left as it is.
        rank: Dimensions to project away, orthogonally, after every layer.
        layers: As in `scrub`.
        x: A batch of what the model takes; needed only for subclassed models,
            which do not know it.
        seed: Of the subspaces.

    Returns:
        A `ScrubbedModel`, as from `scrub`.

    Raises:
        TypeError: If `model` or `layers` is of another type.
        ValueError: If a name matches no layer, a layer that was chosen cannot
            be scrubbed, `rank` is not between one and the width of every layer,
            or `x` is needed.
        RuntimeError: On another backend of Keras than TensorFlow.

    Examples:
        >>> model = keras.Sequential(
        ...     [keras.Input((8,)), keras.layers.LayerNormalization()]
        ... )
        >>> erased = random_scrub(model, rank=2)(np.random.randn(64, 8))
        >>> int(np.linalg.matrix_rank(erased, tol=1e-4))
        6
    """
    rank = whole("rank", rank)
    copy = copy_of(model)
    inputs = symbolic_inputs(copy)
    if x is not None:
        specs = batch_specs(x)
    elif inputs is not None:
        specs = keras.tree.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), inputs
        )
    else:
        raise ValueError(
            "`x`, a batch, must be given for a subclassed model. Received: "
            f"model={model!r}"
        )
    generator = np.random.default_rng(checked_seed("seed", seed))
    widths: dict[str, int] = {}

    def random(path, hidden):
        widths[path] = d = hidden.shape[-1]
        basis, _ = np.linalg.qr(generator.normal(size=(d, min(rank, d))))
        eraser = LeaceEraser(basis, basis.T)
        return eraser_layer(path, hidden, LeaceLayer, eraser=eraser)

    forward = forward_pass(model, copy, layers, specs, random)
    narrow = {p: widths[p] for p in forward.erasers if widths[p] < rank}
    if narrow:
        # Not from within the layer, where Keras would wrap the error.
        raise ValueError(
            "`rank` must be at most the width of every layer, here of "
            f"{narrow}. Received: rank={rank}"
        )
    return with_erasers(copy, forward.erasers, specs)


@contextlib.contextmanager
def _at(path):
    try:
        yield
    except ValueError as error:
        raise ValueError(f"At the layer {path!r}: {error}") from error
