"""The job on a table: train, measure groups, remediate, measure again."""

import argparse
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext import evaluation
from tensorflow_model_remediation_ext.demo.table import (
    People,
    TableTask,
    build_table_model,
    inputs_of,
    load_table,
)
from tensorflow_model_remediation_ext.demo.task import require_both_labels
from tensorflow_model_remediation_ext.demo.tuning import sweep_targets
from tensorflow_model_remediation_ext.min_diff.keras import (
    AtMost,
    MinDiffModel,
    build_min_diff_dataset,
    pack_min_diff_data,
)
from tensorflow_model_remediation_ext.min_diff.losses import RateGapLoss

TARGETS = (0.01, 0.02, 0.05, 0.1)
LEARNING_RATE = 1e-3
# Rates by their name on the command line: a figure, and rows that count.
RATES = {
    "selection": ("selection_rate", None),
    "false-positive": ("false_positive_rate", "negatives"),
    "true-positive": ("true_positive_rate", "positives"),
}
ABOUT_GROUPS = (
    "Here a positive decision is one for the label {positive!r}, and groups "
    "are told by {groups}, which the model {sees}."
)
ABOUT_TARGETS = (
    "Here quality is the AUC and unfairness the largest difference of {rate} "
    "rates, on rows that trained no model. The targets are for training rows."
)


def run_table(
    arguments: argparse.Namespace, output: pathlib.Path
) -> evaluation.Report:
    """Runs the job and returns its report.

    Args:
        arguments: Those of the command line.
        output: An existing directory, for the model and the sweep.
    """
    task = load_table(
        arguments.table,
        arguments.label,
        arguments.group,
        arguments.limit,
        arguments.keep_group,
        arguments.delimiter,
        arguments.encoding,
        arguments.positive_label,
    )
    train, test = task.people.split(0.2, arguments.seed)
    validation = None
    if arguments.tune:
        train, validation = train.split(0.2, arguments.seed)
    require_both_labels(task.name, "rows", train, validation, test)
    if validation is not None:
        _require_groups(validation, arguments.rate, task.name)
    about = _summary(task, train, test)
    print(about)

    batches = _batches(train, arguments)
    # First, as it finds groups without rows.
    packed, names = _pack(train, batches, arguments)
    print("\nTraining the baseline")
    model = build_table_model(train.features)
    _compiled(model, batches, arguments.epochs).fit(
        batches, epochs=arguments.epochs, shuffle=False
    )
    found = {"baseline": measure(model, test)}

    sweep = None
    if arguments.tune:
        print("\nSweeping targets")
        sweep = _tune(model, packed, names, validation, arguments, output)
        # None where the baseline is chosen: then nothing is asked for.
        arguments.target = sweep.chosen.setting
    figure, _ = RATES[arguments.rate]
    wanted = "no target"
    if arguments.target is not None:
        wanted = f"{arguments.rate} rates at most {arguments.target:g} apart"
    print(f"\nRemediating {', '.join(names)}: {wanted}")
    wrapped = _with_target(model, names, packed, arguments, arguments.target)
    history = wrapped.fit(
        packed, epochs=arguments.mindiff_epochs, shuffle=False
    ).history
    model.save(output / "remediated.keras")
    found["remediated"] = measure(model, test)

    if arguments.target is not None:
        wanted += (
            " on the training rows (multiplier "
            f"{history['min_diff_multiplier'][-1]:.3g}, running figure "
            f"{history['min_diff_running'][-1]:.3g})"
        )
    summary = (
        f"{about} Remediated with MinDiff, {wanted}; seed {arguments.seed}."
    )
    report = _report(task, summary, found, sweep, arguments)
    before, after = (
        found[name]["Groups"].disparity(figure).difference.value
        for name in ("baseline", "remediated")
    )
    before, after = (
        f"{value:.4f}" if value == value else "unknown"
        for value in (before, after)
    )
    print(f"\nLargest difference held out: {before}, then {after}")
    return report


def _report(task, summary, found, sweep, arguments) -> evaluation.Report:
    """Returns a report of what was measured before and after."""
    report = evaluation.Report(
        f"Before and after remediation: {task.name}", summary
    )
    explained = ABOUT_GROUPS.format(
        positive=task.positive,
        groups=", ".join(task.group_names),
        sees="sees, too" if arguments.keep_group else "does not see",
    )
    for name, results in found.items():
        for what, result in results.items():
            about = explained if what == "Groups" else ""
            report.add(name, what, result, about)
    if sweep is not None:
        about = ABOUT_TARGETS.format(rate=arguments.rate)
        report.add("remediated", "Trade-off", sweep, about)
    return report


def measure(model: keras.Model, people: People) -> dict[str, Any]:
    """Measures quality on all rows, and rates by group."""
    scores = model.predict(inputs_of(people), batch_size=1024, verbose=0)
    return {
        "Accuracy": evaluation.accuracy(people.labels, scores),
        "AUC": evaluation.auc(people.labels, scores),
        "Groups": evaluation.group_metrics(
            people.labels, scores, people.groups, n_permutations=99
        ),
    }


def _require_groups(people: People, rate: str, name: str) -> None:
    """Raises unless two groups or more have the rate, to compare them."""
    condition = RATES[rate][1]
    counted = np.ones(len(people.labels), bool)
    if condition is not None:
        counted = people.labels == (condition == "positives")
    if len(set(people.groups[counted])) < 2:
        raise ValueError(
            f"{name}: two groups or more must have a {rate} rate in the "
            f"{len(people.labels)} validation rows, to choose a target by "
            "their difference"
        )


def _summary(task: TableTask, train: People, test: People) -> str:
    out = "; ".join(f"{n} {why}" for n, why in task.left_out.items())
    return (
        f"{task.name}: {len(train.labels)} rows to train on, "
        f"{len(test.labels)} held out, {task.people.labels.mean():.1%} "
        f"positive ({task.positive}); {len(task.people.features)} features"
        + (f", left out: {out}." if out else ".")
    )


def _rows(people: People) -> tuple:
    return inputs_of(people), people.labels[:, None]


def _batches(people: People, arguments) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices(_rows(people))
    data = data.cache().shuffle(len(people.labels), seed=arguments.seed)
    return data.batch(arguments.batch_size).prefetch(tf.data.AUTOTUNE)


def _pack(people: People, batches, arguments):
    """Returns batches with rows of all groups, and the groups' names."""
    names = sorted(set(people.groups))
    inputs, labels = _rows(people)
    whole = tf.data.Dataset.from_tensor_slices(
        ({"x": inputs, "group": people.groups}, labels)
    )
    rows = build_min_diff_dataset(
        whole.batch(1024).cache(),
        group="group",
        condition=RATES[arguments.rate][1],
        batch_size=max(arguments.batch_size, 8 * len(names)),
        seed=arguments.seed,
    )
    rows = rows.map(lambda x, membership, weight: (x["x"], membership, weight))
    return pack_min_diff_data(batches, min_diff_dataset=rows), names


def _compiled(model, batches, epochs) -> keras.Model:
    steps = max(1, epochs * int(batches.cardinality()))
    # The last steps settle on the target.
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def _with_target(model, names, packed, arguments, target):
    loss = RateGapLoss(groups=len(names))
    weight = 0.0 if target is None else AtMost(target)
    wrapped = MinDiffModel(model, loss, weight)
    return _compiled(wrapped, packed, arguments.mindiff_epochs)


def _tune(model, packed, names, validation, arguments, directory):
    """Trains the baseline on with several targets."""
    figure, _ = RATES[arguments.rate]

    def remediated(target):
        return _with_target(model, names, packed, arguments, target)

    def measure_trained(_):
        found = measure(model, validation)
        gap = found["Groups"].disparity(figure).difference
        return found["AUC"], gap

    return sweep_targets(
        model,
        TARGETS,
        remediated,
        packed,
        measure_trained,
        arguments,
        epochs=arguments.mindiff_epochs,
        measure_of_unfairness=f"difference of {arguments.rate} rates",
        directory=directory / "tuning",
    )
