"""The figures that `flips` returns."""

from __future__ import annotations

import dataclasses
from typing import Any

from tensorflow_model_remediation_ext.evaluation.intervals import Estimate


@dataclasses.dataclass(frozen=True)
class FlipRow:
    """The figures of one group of counterfactual pairs.

    Args:
        group: Name of the group.
        n: Number of pairs with a positive weight.
        effective_n: Kish's effective number of pairs, `n` without weights.
        flip_count: Number of those pairs whose decision flips.
        flip_rate: Weighted share of pairs whose decision flips.
        positive_to_negative: Weighted share of pairs decided positive on the
            original and negative on the counterfactual; NaN with more than
            two classes.
        negative_to_positive: The other way round.
        counterfactual_gap: Weighted mean absolute difference of the
            predictions, over all columns (Garg et al. 2018).
    """

    group: str
    n: int
    effective_n: float
    flip_count: int
    flip_rate: Estimate
    positive_to_negative: Estimate
    negative_to_positive: Estimate
    counterfactual_gap: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers, intervals as `<name>_low` and `_high`."""
        flat = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Estimate):
                flat[field.name] = value.value
                flat[f"{field.name}_low"] = value.low
                flat[f"{field.name}_high"] = value.high
            else:
                flat[field.name] = value
        return flat


@dataclasses.dataclass(frozen=True, repr=False)
class FlipReport:
    """The figures of all groups; its `repr` is a table.

    Args:
        rows: One row for all pairs, `"overall"`, then one for each group.
        confidence: Level of the intervals.
    """

    rows: tuple[FlipRow, ...]
    confidence: float

    def __getitem__(self, group: str) -> FlipRow:
        for row in self.rows:
            if row.group == group:
                return row
        raise KeyError(group)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns each group's figures by its name, as plain numbers."""
        return {row.group: row.to_dict() for row in self.rows}

    def to_frame(self):
        """Returns a pandas DataFrame with the groups as its index.

        Raises:
            ImportError: If pandas is missing.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "A data frame needs pandas: pip install "
                '"tensorflow_model_remediation_ext[evaluation]"'
            ) from error
        return pd.DataFrame([row.to_dict() for row in self.rows]).set_index(
            "group"
        )

    def __repr__(self) -> str:
        estimates = [
            field.name
            for field in dataclasses.fields(FlipRow)
            if isinstance(getattr(self.rows[0], field.name), Estimate)
        ]
        table = [["group", "n", "flip_count", *estimates]]
        for row in self.rows:
            cells = [
                "{:.4f} [{:.4f}, {:.4f}]".format(*getattr(row, name))
                for name in estimates
            ]
            table.append([row.group, str(row.n), str(row.flip_count), *cells])
        columns = []
        for cells in zip(*table, strict=True):
            width = max(map(len, cells))
            # Names to the left, figures to the right.
            pad = str.rjust if columns else str.ljust
            columns.append([pad(cell, width) for cell in cells])
        lines = ["  ".join(cells) for cells in zip(*columns, strict=True)]
        lines.append(f"{100 * self.confidence:g} % intervals in brackets")
        return "\n".join(lines)
