"""What the demo shows: a table, a picture and plain figures."""

import dataclasses
import math
import pathlib
from typing import Any

from tensorflow_model_remediation_ext.evaluation import Estimate

# Okabe and Ito's orange and blue: told apart by all kinds of color vision.
COLORS = {"baseline": "#D55E00", "remediated": "#0072B2"}


def table(results: dict[str, dict]) -> str:
    """Returns the figures of all models side by side.

    Args:
        results: Figures by the name of the model, as the demo measures them.

    Returns:
        A text table: a row for each figure, a column for each model.
    """
    reports = [figures["flips"] for figures in results.values()]
    rows = [["", *results]]
    rows.append(["accuracy", *(_show(f["accuracy"]) for f in results.values())])
    rows.append(["AUC", *(_show(f["auc"]) for f in results.values())])
    for group in [row.group for row in reports[0].rows]:
        each = [report[group] for report in reports]
        rows.append([f"{group} ({each[0].n} pairs)", *("" for _ in each)])
        rows.append(["  flip rate", *(_show(r.flip_rate) for r in each)])
        rows.append(["  flip count", *(str(r.flip_count) for r in each)])
        rows.append(
            ["  counterfactual gap"]
            + [_show(r.counterfactual_gap) for r in each]
        )
    return _aligned(rows)


def erasure_table(figures: dict) -> str:
    """Returns what a probe finds before and after erasure, side by side.

    Args:
        figures: As `erasure.erase` returns them.

    Returns:
        A text table.
    """
    sides = [figures["before"], figures["after"]]
    rows = [["", "before", "after"]]
    rows.append([f"linear probe ({figures['n']} comments)", "", ""])
    for label, name in (("accuracy", "probe_accuracy"), ("AUC", "probe_auc")):
        rows.append([f"  {label}", *(_show(side[name]) for side in sides)])
    rows.append(
        ["  majority rate", *(f"{s['majority_rate']:.4f}" for s in sides)]
    )
    rows.append(["AUC of the classifier", *(_show(s["auc"]) for s in sides)])
    return (
        _aligned(rows)
        + "\nThe classifier loses what it knew through the concept. Readers "
        "that are not linear\nmay still find it."
    )


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    lines.append("95 % intervals in brackets; all figures on held-out comments")
    return "\n".join(lines)


def _show(estimate: Estimate) -> str:
    return "{:.4f} [{:.4f}, {:.4f}]".format(*estimate)


def plain(value: Any) -> Any:
    """Returns figures as JSON knows them, NaN as null."""
    if isinstance(value, Estimate):
        return {key: plain(v) for key, v in value._asdict().items()}
    if dataclasses.is_dataclass(value):
        return plain(value.to_dict())
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def figure_class() -> type:
    """Returns matplotlib's `Figure`.

    Raises:
        ImportError: If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The picture needs matplotlib: pip install "
            '"tensorflow_model_remediation_ext[evaluation]"'
        ) from error
    return Figure


def draw(results: dict[str, dict], title: str, path: pathlib.Path) -> None:
    """Draws flip rates by group and quality, with their intervals.

    Args:
        results: Figures by the name of the model.
        title: What the data are called.
        path: The PNG file to write.

    Raises:
        ImportError: If matplotlib is missing.
    """
    groups = [row.group for row in next(iter(results.values()))["flips"].rows]
    figure = figure_class()(
        figsize=(10, 1.8 + 0.55 * len(groups)), layout="constrained"
    )
    rates, quality = figure.subplots(1, 2, width_ratios=[3, 1])
    figure.suptitle(f"Before and after remediation: {title}")
    _draw_rates(rates, results, groups)
    _draw_quality(quality, results)
    for axes, grid in ((rates, "x"), (quality, "y")):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3, axis=grid)
        axes.set_axisbelow(True)
    figure.supxlabel("with 95 % intervals", fontsize="small")
    figure.savefig(path, dpi=150)


def _draw_rates(axes: Any, results: dict[str, dict], groups: list[str]) -> None:
    height = 0.8 / len(results)
    for i, (name, figures) in enumerate(results.items()):
        offset = height * (i - (len(results) - 1) / 2)
        rates = [figures["flips"][group].flip_rate for group in groups]
        value, low, high = (
            [100 * part for part in parts] for parts in zip(*rates, strict=True)
        )
        places = [k + offset for k in range(len(groups))]
        axes.barh(
            places,
            value,
            height * 0.9,
            xerr=[
                [v - b for v, b in zip(value, low, strict=True)],
                [t - v for v, t in zip(value, high, strict=True)],
            ],
            label=name,
            color=COLORS.get(name),
            error_kw={"elinewidth": 1, "capsize": 2},
        )
        for place, v, top in zip(places, value, high, strict=True):
            axes.text(top, place, f" {v:.1f}", va="center", fontsize="small")
    report = next(iter(results.values()))["flips"]
    axes.set_yticks(
        range(len(groups)), [f"{g} (n = {report[g].n})" for g in groups]
    )
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("flip rate: decisions that change without the term (%)")
    axes.legend(frameon=False)


def _draw_quality(axes: Any, results: dict[str, dict]) -> None:
    for i, (name, figures) in enumerate(results.items()):
        value, low, high = figures["auc"]
        axes.errorbar(
            [i],
            [value],
            [[value - low], [high - value]],
            fmt="o",
            capsize=4,
            color=COLORS.get(name),
        )
    axes.set_xticks(range(len(results)), list(results))
    axes.set_xlim(-0.6, len(results) - 0.4)
    axes.set_title("AUC (quality)", fontsize="medium")
