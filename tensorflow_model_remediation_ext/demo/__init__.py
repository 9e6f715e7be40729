"""The main job, end to end: train, measure, remediate, measure again.

Run it with `python -m tensorflow_model_remediation_ext.demo`.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

import keras

from tensorflow_model_remediation_ext.demo import erasure, report, task
from tensorflow_model_remediation_ext.demo.arguments import parse_arguments
from tensorflow_model_remediation_ext.demo.training import (
    build_model,
    remediate,
    train,
)

EXIT_BAD_INPUT = 2


def run(arguments: argparse.Namespace) -> dict:
    """Runs the demo and returns all its figures."""
    report.figure_class()  # Better to fail now than after training.
    output = pathlib.Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(arguments.seed)
    data = task.load(arguments)
    pairs = task.held_out_pairs(data)
    print(
        f"{data.name}: {len(data.train)} comments to train on, "
        f"{len(data.test)} held out, {len(pairs.original)} of these with one "
        f"of {len(data.all_terms)} terms"
    )
    batches = task.batches(data, arguments.batch_size, arguments.seed)

    print("\nTraining the baseline")
    model = build_model(data.train.texts)
    train(model, batches, arguments.epochs)
    models = {"baseline": task.measure(model, data, pairs)}
    written, found = ["flips.png", "remediated.keras"], None
    if not arguments.skip_leace:
        # Before remediation, which trains this model on.
        erased, found = erasure.erase(model, data)
        erased.save(output / "erased.keras")
        written.append("erased.keras")

    print("\nRemediating with counterfactual logit pairing")
    remediate(
        model,
        batches,
        data.all_terms,
        arguments.loss_weight,
        arguments.clp_epochs,
    )
    models["remediated"] = task.measure(model, data, pairs)
    print("\n" + report.table(models))
    model.save(output / "remediated.keras")
    report.draw(models, data.name, output / "flips.png")

    figures = {
        "data": {
            "name": data.name,
            "train": len(data.train),
            "test": len(data.test),
            "pairs": len(pairs.original),
            "terms": data.terms,
        },
        "arguments": vars(arguments),
        "models": report.plain(models),
    }
    if found:
        print(f"\nErased from the baseline (LEACE): {found['question']}")
        print("\n" + report.erasure_table(found))
        figures["erasure"] = report.plain(found)
    (output / "figures.json").write_text(json.dumps(figures, indent=2))
    print(f"\nWritten to {output}: {', '.join(written)}, figures.json")
    return figures


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
