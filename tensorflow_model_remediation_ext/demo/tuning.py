"""The target of training, chosen on data that train and test nothing."""

import argparse
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext import evaluation
from tensorflow_model_remediation_ext.counterfactual.keras import AtMost
from tensorflow_model_remediation_ext.demo.arguments import configuration
from tensorflow_model_remediation_ext.demo.task import (
    FLIPS,
    Task,
    make_pairs,
    measure,
)
from tensorflow_model_remediation_ext.demo.training import (
    pack,
    with_pairing,
)

TARGETS = (0.002, 0.005, 0.01, 0.03)


def tune(
    model: keras.Model,
    pairs: dict[str, tf.data.Dataset],
    batches: tf.data.Dataset,
    task: Task,
    arguments: argparse.Namespace,
    directory: pathlib.Path,
) -> evaluation.Tradeoff:
    """Trains a model on with several targets for the flip rate.

    Args:
        model: The trained baseline; it is left as it is.
        pairs: Pairs to train on, by objective.
        batches: Batches to train on.
        task: Has validation texts.
        arguments: Those of the command line.
        directory: See `sweep_targets`.

    Returns:
        AUC against flip rate on the validation texts.
    """
    assert task.validation is not None
    validation = task.validation
    held_out = make_pairs(task, validation, task.paired_terms)
    if held_out is None:
        raise ValueError(
            f"{task.name}: no validation comment holds one of the "
            f"{len(task.paired_terms)} terms that are paired"
        )
    packed = pack(batches, pairs)
    steps = arguments.clp_epochs * int(packed.cardinality())

    def remediated(target):
        return with_pairing(model, AtMost(target), pairs, steps)

    def measure_trained(_):
        found = measure(model, validation, {FLIPS: held_out})
        return found["AUC"], found[FLIPS]["overall"].flip_rate

    return sweep_targets(
        model,
        TARGETS,
        remediated,
        packed,
        measure_trained,
        arguments,
        epochs=arguments.clp_epochs,
        measure_of_unfairness="flip rate",
        directory=directory,
    )


def sweep_targets(
    model: keras.Model,
    targets: Sequence[float],
    remediated: Callable[[float], keras.Model],
    packed: tf.data.Dataset,
    measure_trained: Callable[[keras.Model], tuple[Any, Any]],
    arguments: argparse.Namespace,
    *,
    epochs: int,
    measure_of_unfairness: str,
    directory: pathlib.Path,
) -> evaluation.Tradeoff:
    """Trains a baseline on with several targets, and leaves it as it was.

    Args:
        model: The trained baseline.
        targets: The targets.
        remediated: Returns a compiled model that trains `model` toward a
            target.
        packed: What that is trained on.
        measure_trained: Returns quality and unfairness, as `tradeoff` wants.
        arguments: Those of the command line.
        epochs: Epochs of each training.
        measure_of_unfairness: What unfairness is.
        directory: Keeps the figures of each target, so that an interrupted
            sweep goes on where it was.
    """
    baseline = model.get_weights()

    def plain():
        model.set_weights(baseline)
        return model

    def at_most(target):
        model.set_weights(baseline)
        return remediated(target)

    sweep = evaluation.tradeoff(
        {
            "baseline": plain,
            "at most": evaluation.TradeoffMethod(at_most, targets, packed),
        },
        measure=measure_trained,
        measure_of_unfairness=measure_of_unfairness,
        seeds=[arguments.seed],
        epochs=epochs,
        fit_options={"shuffle": False},
        directory=directory,
        configuration=configuration(arguments),
    )
    model.set_weights(baseline)
    return sweep
