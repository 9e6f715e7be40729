"""The command line of the demo."""

import argparse
import hashlib
import pathlib
from collections.abc import Sequence

DEFAULT_GAP, DEFAULT_WEIGHT = 0.02, 3.0
# Options that mean something beside one of others alone.
_BESIDE = {
    "text_column": ["csv"],
    "label_column": ["csv"],
    "positive_label": ["csv", "table"],
    "data_dir": ["civil_comments"],
    "delimiter": ["csv", "table"],
    "encoding": ["csv", "table"],
    "keep_group": ["table"],
    "rate": ["table"],
    "mindiff_epochs": ["table"],
}
_OF_TEXTS = ["terms_file", "clp_epochs", "loss_weight", "skip_leace"]


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    # A tab is hard to type in a shell.
    arguments.delimiter = arguments.delimiter.replace("\\t", "\t")
    if arguments.csv and not (
        arguments.text_column
        and arguments.label_column
        and arguments.terms_file
    ):
        parser.error(
            "--csv needs --text-column, --label-column and --terms-file"
        )
    if bool(arguments.table) != bool(arguments.label and arguments.group):
        parser.error("--table needs --label and --group, and they need it")
    _refuse_meaningless(parser, arguments)
    if arguments.table:
        arguments.group = list(dict.fromkeys(arguments.group))
        if arguments.target is None:
            arguments.target = DEFAULT_GAP
    if arguments.loss_weight is None:
        arguments.loss_weight = DEFAULT_WEIGHT
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tensorflow_model_remediation_ext.demo",
        description=(
            "Trains a small text classifier, measures how often its decision "
            "flips when identity terms are removed, trains it on with "
            "counterfactual logit pairing, and measures again on held-out "
            "data. Pairs of training remove terms, or swap them for others of "
            "their group, or both; a third of the terms stays out of them, so "
            "that flips are also measured for terms that nobody listed. It "
            "also erases from the model's representation whether a comment "
            "mentions a term (LEACE), with and without keeping what predicts "
            "the label. With --table it measures people in a table: rates by "
            "group, before and after MinDiff. Writes the models and a report: "
            "a page, charts and all figures."
        ),
        epilog=(
            "Without a data option the demo uses embedded comments, in which "
            "identity terms come with the rude label more often than not."
        ),
    )
    _add_data(parser.add_argument_group("data"))
    _add_training(parser.add_argument_group("training"))
    parser.add_argument(
        "--skip-leace",
        action="store_true",
        help="leave out the erasure from the representation",
    )
    parser.add_argument(
        "--output-dir",
        default="demo_output",
        metavar="DIR",
        help="where results go (default: %(default)s)",
    )
    return parser


def _add_data(data) -> None:
    """Adds the options that say what the data are."""
    source = data.add_mutually_exclusive_group()
    source.add_argument(
        "--csv", metavar="FILE", help="comments from a CSV file with a header"
    )
    source.add_argument(
        "--civil-comments",
        action="store_true",
        help="Civil Comments through tensorflow-datasets (downloads it)",
    )
    source.add_argument(
        "--table",
        metavar="FILE",
        help="people from a CSV file with a header; needs --label and --group. "
        "A missing number becomes the mean of its column, any other missing "
        "value a category",
    )
    data.add_argument(
        "--label",
        metavar="L",
        help="column of --table with the label: two values, of which the one "
        "that sorts last counts as positive, or see --positive-label",
    )
    data.add_argument(
        "--group",
        action="append",
        metavar="G",
        help="column of --table that tells the group; given again, each "
        "combination is a group",
    )
    data.add_argument(
        "--keep-group",
        action="store_true",
        help="let the model see the columns of --group",
    )
    data.add_argument(
        "--text-column", metavar="T", help="column of --csv with the text"
    )
    data.add_argument(
        "--label-column",
        metavar="L",
        help="column of --csv with the label: true or false, a number, which "
        "counts as 1 from 0.5 up, or see --positive-label",
    )
    data.add_argument(
        "--positive-label",
        metavar="P",
        help="where the labels are two words, such as BAD and NOT_BAD: the one "
        "that counts as 1 (needed with --csv, may be given with --table)",
    )
    data.add_argument(
        "--delimiter",
        default=",",
        metavar="C",
        help="character between the fields of --csv or --table (default: a "
        "comma; \\t for a tab)",
    )
    data.add_argument(
        "--encoding",
        default="utf-8",
        metavar="E",
        help="encoding of --csv or --table (default: %(default)s)",
    )
    data.add_argument(
        "--terms-file",
        metavar="F",
        help="identity terms, one a line; needed with --csv",
    )
    data.add_argument(
        "--data-dir", metavar="DIR", help="where tensorflow-datasets keeps data"
    )
    data.add_argument(
        "--limit",
        type=positive(int),
        metavar="N",
        help="use at most the first N comments or rows (default: 10000 "
        "embedded comments, 100000 of Civil Comments, all of a CSV file)",
    )


def _add_training(training) -> None:
    """Adds the options that say how models are trained."""
    training.add_argument(
        "--epochs",
        type=positive(int),
        default=6,
        metavar="N",
        help="epochs before remediation (default: %(default)s)",
    )
    training.add_argument(
        "--clp-epochs",
        type=positive(int),
        default=6,
        metavar="N",
        help="epochs of counterfactual logit pairing (default: %(default)s)",
    )
    training.add_argument(
        "--mindiff-epochs",
        type=positive(int),
        default=10,
        metavar="N",
        help="epochs of MinDiff with --table (default: %(default)s)",
    )
    training.add_argument(
        "--rate",
        choices=["selection", "false-positive", "true-positive"],
        default="selection",
        help="the rates that are made alike with --table "
        "(default: %(default)s)",
    )
    weight = training.add_mutually_exclusive_group()
    weight.add_argument(
        "--loss-weight",
        type=positive(float),
        metavar="W",
        help="weight of the pairing penalty (default: 3)",
    )
    weight.add_argument(
        "--target",
        type=positive(float),
        metavar="T",
        help="instead of a weight, what the flip rate (with --table: the "
        "difference of rates) is to be at most on the training data "
        "(default with --table: 0.02)",
    )
    weight.add_argument(
        "--tune",
        action="store_true",
        help="choose that target on a fifth of the training data: the one "
        "that flips (or differs) least of those that keep the AUC",
    )
    training.add_argument(
        "--batch-size",
        type=positive(int),
        default=64,
        metavar="N",
        help="examples a training step (default: %(default)s)",
    )
    training.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the data, the split and the model (default: 0)",
    )


def _refuse_meaningless(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace
) -> None:
    """Ends the program if an option was given that nothing would read."""
    for name, value in vars(arguments).items():
        if value == parser.get_default(name):
            continue
        flag = _flag(name)
        if arguments.table and name in _OF_TEXTS:
            parser.error(f"{flag} is for texts, not for --table")
        beside = _BESIDE.get(name)
        if beside and not any(getattr(arguments, other) for other in beside):
            parser.error(f"{flag} needs {' or '.join(map(_flag, beside))}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def configuration(arguments: argparse.Namespace) -> dict[str, str]:
    """Returns what decides the figures of a sweep.

    That is the command line and what is in the files that it names: figures of
    other data must not be taken up again.
    """
    found = {name: str(value) for name, value in vars(arguments).items()}
    for name in ("csv", "table", "terms_file"):
        path = getattr(arguments, name)
        if path:
            data = pathlib.Path(path).read_bytes()
            found[f"data of {name}"] = hashlib.sha256(data).hexdigest()
    return found


def positive(kind: type):
    """Returns an argparse type: a finite number greater than zero."""

    def parse(text):
        number = kind(text)
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(
                f"must be greater than zero. Received: {text}"
            )
        return number

    parse.__name__ = kind.__name__
    return parse
