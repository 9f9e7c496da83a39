"""Where rows lie in arrays [queries, tiers]: those of a file, and stored attempts alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.outcome_tables.columns import Columns, IntArray
from services.outcome_tables.times import TimeArray, Zone
from store.traffic.attempt_columns import Column, unknown_like

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """The query and the tier of each row."""

    query: IntArray  # [rows]
    tier: IntArray  # [rows]
    shape: tuple[int, int]

    def place(self, values: AnyArray) -> AnyArray:
        """The values of rows [rows] where their queries and tiers are; unknown elsewhere."""
        placed = unknown_like(values, self.shape)
        placed[self.query, self.tier] = values
        return placed

    def first(self, values: AnyArray) -> AnyArray:
        """[queries] the value of each query's first row."""
        return values[np.unique(self.query, return_index=True)[1]]


def read_column(columns: Columns, grid: Grid, column: Column, zone: Zone) -> AnyArray:
    """A column of a file as an outcome table has it. Raises TableInvalid."""
    if column.kind == "times":
        times = columns.times(column.name, zone)
        return _earliest(times, grid) if column.per_query else grid.place(times)
    values = _texts(columns, column) if column.kind == "texts" else _numbers(columns, column)
    return _agreed(columns, grid, column.name, values) if column.per_query else grid.place(values)


def _numbers(columns: Columns, column: Column) -> AnyArray:
    return columns.numbers(column.name, low=column.low, high=column.high, whole=column.whole)


def _texts(columns: Columns, column: Column) -> AnyArray:
    texts = columns.texts(column.name, required=column.required)
    if column.words is None:
        return texts
    allowed = [word.value for word in column.words]
    strange = set(texts) - {None, *allowed}
    if strange:
        row = next(row for row, text in enumerate(texts) if text in strange)
        raise columns.fault(column.name, row, texts[row], f"use one of {', '.join(allowed)}")
    return texts


def _agreed(columns: Columns, grid: Grid, name: str, values: AnyArray) -> AnyArray:
    """The one value [queries] that all rows of a query agree on; null agrees with everything."""
    known = values != np.array(None) if values.dtype == object else np.isfinite(values)
    agreed = unknown_like(values, grid.shape[0])
    agreed[grid.query[known][::-1]] = values[known][::-1]
    differs = known & (agreed[grid.query] != values)
    if differs.any():
        row = int(np.argmax(differs))
        value, other = values[row : row + 1].tolist()[0], agreed[grid.query[row : row + 1]].tolist()[0]
        raise columns.fault(name, row, value, f"the query's other rows say {other!r}; make them one")
    return agreed


def _earliest(times: TimeArray, grid: Grid) -> TimeArray:
    """The query's earliest time [queries]: tiers run one after another, the decision begins with
    the first.
    """
    earliest = np.full(grid.shape[0], np.iinfo(np.int64).max, dtype=np.int64)
    known = ~np.isnat(times)
    np.minimum.at(earliest, grid.query[known], times[known].astype(np.int64))
    none = earliest == np.iinfo(np.int64).max
    return np.where(none, np.datetime64("NaT"), earliest.astype("datetime64[us]"))
