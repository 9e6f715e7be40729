"""The weight of the penalty, chosen on data that train and test nothing."""

import argparse
import pathlib

import keras
import tensorflow as tf

from tensorflow_model_remediation_ext import evaluation
from tensorflow_model_remediation_ext.demo.task import (
    Task,
    make_pairs,
    measure,
)
from tensorflow_model_remediation_ext.demo.training import with_pairing

LOSS_WEIGHTS = (0.3, 1, 3, 10, 30)


def tune(
    model: keras.Model,
    packed: tf.data.Dataset,
    task: Task,
    arguments: argparse.Namespace,
    directory: pathlib.Path,
) -> evaluation.Tradeoff:
    """Trains a model on with several weights of the penalty.

    Args:
        model: The trained baseline; it is left as it is.
        packed: Batches to train on, with their pairs.
        task: Has validation texts.
        arguments: Those of the command line.
        directory: Keeps the figures of each weight, so that an interrupted
            sweep goes on where it was.

    Returns:
        AUC against flip rate on the validation texts.
    """
    assert task.validation is not None
    pairs = make_pairs(task, task.validation)
    baseline = model.get_weights()

    def build_model(loss_weight):
        model.set_weights(baseline)
        return with_pairing(model, loss_weight)

    def measure_trained(_):
        found = measure(model, pairs)
        return found["AUC"], found["Flips"]["overall"].flip_rate

    sweep = evaluation.tradeoff(
        build_model,
        packed,
        LOSS_WEIGHTS,
        measure=measure_trained,
        seeds=[arguments.seed],
        epochs=arguments.clp_epochs,
        fit_options={"shuffle": False},
        directory=directory,
        configuration=vars(arguments),
    )
    model.set_weights(baseline)
    return sweep
