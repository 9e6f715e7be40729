"""What tables of groups of people share: how far groups are apart."""

from __future__ import annotations

import dataclasses
from typing import Any

from tensorflow_model_remediation_ext.evaluation.disparities import DisparityRow
from tensorflow_model_remediation_ext.evaluation.tables import (
    SomeRow,
    Table,
    frame,
    text_table,
)
from tensorflow_model_remediation_ext.evaluation.worst import (
    WorstRow,
    least_well_served,
    surely_worst,
)


@dataclasses.dataclass(frozen=True, repr=False)
class GroupTable(Table[SomeRow]):
    """A row for all people and one for each group; the `repr` is a table.

    `report["group"]` is the row of a group, `report.disparity("metric")` that
    of a metric.

    Args:
        rows: The row of all people, `"overall"`, then one for each group.
        confidence: Level of the intervals.
        disparities: A `DisparityRow` for each metric.
        worst: A `WorstRow` for each figure that can be good or bad, and in
            which groups differ.
    """

    disparities: tuple[DisparityRow, ...]
    worst: tuple[WorstRow, ...]

    @property
    def least_well_served(self) -> str | None:
        """The group worst by most figures; `None` if all are served alike."""
        return least_well_served(self.worst)

    def disparity(self, metric: str) -> DisparityRow:
        """Returns the difference and ratio of one metric.

        Raises:
            KeyError: If there is none of that name.
        """
        for row in self.disparities:
            if row.metric == metric:
                return row
        raise KeyError(metric)

    def remarks(self) -> list[str]:
        """Returns which group is served worst, if one is beyond chance."""
        # The interval of a difference of extremes ends at 0 where the groups
        # may be alike.
        found = [
            surely_worst(
                self.rows[1:],
                row,
                self.disparity(row.metric).difference.low,
                self.confidence,
            )
            for row in self.worst
        ]
        surely = [row for row in found if row is not None]
        group = least_well_served(surely)
        if group is None:
            compared = any(
                row.difference.low == row.difference.low
                for row in self.disparities
            )
            return ["no group is served worse beyond chance."] * compared
        worst = [row for row in surely if row.group == group]
        names = [
            self.plotted.get(row.metric, row.metric.replace("_", " "))
            for row in worst
        ]
        return [
            f"the group {group} (n = {worst[0].n:,}) has the worst "
            f"{_listed(names)} beyond chance."
        ]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers: `groups`, `disparities`, `worst` and parts."""
        return {
            "groups": super().to_dict(),
            "disparities": {r.metric: r.to_dict() for r in self.disparities},
            "worst": {r.metric: r.to_dict() for r in self.worst},
            **{name: part.to_dict() for name, part in self.parts().items()},
        }

    def disparities_to_frame(self) -> Any:
        """Returns a pandas DataFrame of the disparities, by metric.

        Raises:
            ImportError: If pandas is missing.
        """
        return frame(self.disparities)

    def __repr__(self) -> str:
        disparities = text_table(
            self.disparities,
            ("metric", "difference", "ratio", "lowest", "highest"),
        )
        return f"{disparities}\n\n{super().__repr__()}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
