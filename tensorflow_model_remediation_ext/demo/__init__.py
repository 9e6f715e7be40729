"""The main job, end to end: train, measure, remediate, measure again.

Run it with `python -m tensorflow_model_remediation_ext.demo`.
"""

import argparse
import pathlib
import re
import sys
from collections.abc import Sequence

import keras

from tensorflow_model_remediation_ext import evaluation
from tensorflow_model_remediation_ext.counterfactual.keras import AtMost
from tensorflow_model_remediation_ext.demo import erasure, task, training
from tensorflow_model_remediation_ext.demo.arguments import parse_arguments
from tensorflow_model_remediation_ext.demo.table_job import run_table
from tensorflow_model_remediation_ext.demo.tuning import tune
from tensorflow_model_remediation_ext.evaluation.tables import extra

EXIT_BAD_INPUT = 2


def run(arguments: argparse.Namespace) -> evaluation.Report:
    """Runs the demo, writes its results and returns them."""
    for module in ("matplotlib", "sklearn"):
        # Better to fail now than after training.
        extra(module, "The demo")
    output = pathlib.Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(arguments.seed)
    if arguments.table:
        report = run_table(arguments, output)
    else:
        report = run_text(arguments, output)
    print(f"\n{report}")
    print(f"\nThe report is {report.save(output)}; the models are with it")
    return report


def run_text(
    arguments: argparse.Namespace, output: pathlib.Path
) -> evaluation.Report:
    """Runs the job on texts and returns its report.

    Args:
        arguments: Those of the command line.
        output: An existing directory, for the models and the sweep.
    """
    data = task.load(arguments)
    pairs = task.held_out_pairs(data)
    if not arguments.skip_leace:
        erasure.check(data)
    print(task.summary(data, pairs))
    batches = task.batches(data, arguments.batch_size, arguments.seed)

    print("\nTraining the baseline")
    model = training.build_model(data.train.texts)
    training.train(model, batches, arguments.epochs)
    found = {"baseline": task.measure(model, data.test, pairs)}

    erased = erasure.Erased({}, {})
    if not arguments.skip_leace:
        print(f"\nErasing from its representation: {erasure.QUESTION}")
        erased = erasure.erase(model, data, arguments.epochs)
    quality = {}
    # Before remediation, which trains on the layers that these models share.
    for name, other in erased.models.items():
        file_name = re.sub(r"\W+", "_", name)
        other.save(output / f"{file_name}.keras")
        quality[name] = task.measure_quality(other, data.test)
    to_train = training.training_pairs(data)
    if arguments.tune:
        print("\nSweeping targets for the flip rate")
        sweep = tune(
            model, to_train, batches, data, arguments, output / "tuning"
        )
        # None where the baseline is chosen: then nothing is asked for.
        arguments.target = sweep.chosen.setting
        arguments.loss_weight = 0.0
    strength = f"weight {arguments.loss_weight:g}"
    loss_weight = arguments.loss_weight
    if arguments.target is not None:
        strength = f"target: flip rate at most {arguments.target:g}"
        loss_weight = AtMost(arguments.target)
    before = model.get_weights()
    trained = training.objectives(to_train)
    for name, some in trained.items():
        print(f"\nRemediating with counterfactual logit pairing: {name}")
        model.set_weights(before)
        packed = training.pack(batches, some)
        steps = arguments.clp_epochs * int(packed.cardinality())
        clp = training.with_pairing(model, loss_weight, some, steps)
        clp.fit(packed, epochs=arguments.clp_epochs, shuffle=False)
        found[name] = task.measure(model, data.test, pairs)
    model.save(output / "remediated.keras")
    found |= quality

    report = evaluation.Report(
        f"Before and after remediation: {data.name}",
        f"{task.summary(data, pairs)}. Remediated with counterfactual logit "
        f"pairing, {strength}; seed {arguments.seed}.",
    )
    for name, results in found.items():
        for what, result in results.items():
            report.add(name, what, result, task.ABOUT.get(what, ""))
    if arguments.tune:
        report.add([*trained][-1], "Trade-off", sweep, task.ABOUT_TUNING)
    for name, probe in erased.probes.items():
        report.add(name, "Probe", probe, erasure.ABOUT)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo from the command line and returns the exit status."""
    arguments = parse_arguments(argv)
    try:
        run(arguments)
    except (OSError, ValueError, ImportError) as error:
        # What the user gave could not be used: one line, no traceback.
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0
