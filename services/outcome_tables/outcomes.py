"""The outcome table: what every tier answered to every query, and whether it was right.

It is read into numpy columns of shape [queries, tiers], because certification, simulation and
import all ask "both tiers of this query". Queries keep the order of their first row: certificates
need an order that was fixed before labels were looked at. A tier that did not run on a query leaves
`ran` False there; a tier that no query ran is a hole in the cascade and is refused.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evidence.costs.run_limits import Runs, bounded_runs
from knowgate._records.records import LabelSource, Role
from knowgate.spec import LabelCoin
from services.errors import TableInvalid
from services.outcome_tables.columns import Columns, FloatArray, IntArray, ObjectArray, parse_mapping
from services.outcome_tables.grid import Grid, read_column
from services.outcome_tables.table_files import read_columns, write_table
from services.outcome_tables.times import Zone
from store.files import Wanted
from store.traffic.attempt_columns import AttemptColumns, absent, columns_of, limits

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutcomeTable(AttemptColumns):
    """Outcomes of n queries on k tiers, tier 0 the cheapest: each column [n, k], those of queries
    [n]. What is left out is unknown.
    """

    same_answer: FloatArray = field(default_factory=absent, metadata=limits(kind="truths", high=1.0))  # 1 = the last's
    exploration_rate: FloatArray = field(default_factory=absent, metadata=limits(high=1.0, per_query=True))
    query_ids: ObjectArray  # [n] str, distinct
    ran: BoolArray  # [n, k] whether the table has a row for this query and tier
    ignored: tuple[str, ...] = ()  # columns of the file that no one reads
    rows_read: int = 0  # of the file
    lines_in_file: int | None = None  # None where it has none (Parquet), or no file was read

    def __post_init__(self) -> None:
        self.fill(self.ran.shape)

    def of_slice(self, name: str) -> "OutcomeTable":
        """The rows of the queries of one slice; raises TableInvalid where it holds
        fewer than two.
        """
        chosen = np.flatnonzero(self.slice == name)
        if chosen.size == 0:
            slices = ", ".join(sorted({str(other) for other in self.slice if other is not None})) or "none"
            raise TableInvalid(f"there is no slice {name!r}; the table has {slices}")
        if chosen.size == 1:
            raise TableInvalid(f"slice {name!r} holds 1 query; one outcome certifies nothing: choose a larger slice")
        rows: dict[str, Any] = {column: values[chosen] for column, values in self.arrays().items()}
        return replace(self, **rows)

    def trusting(self, trusted: Collection[LabelSource]) -> "OutcomeTable":
        """The table whose `correct` holds labels of these sources alone; those of the others become
        forecasts.

        A label without a source is taken for gold, or for what the table's reader says it is.
        """
        named = [source.value for source in LabelSource if source not in trusted]
        moved = np.isin(self.label_source.astype(str), named) & np.isfinite(self.correct)
        if not moved.any():
            return self
        return replace(
            self,
            correct=np.where(moved, np.nan, self.correct),
            label_propensity=np.where(moved, np.nan, self.label_propensity),
            forecast=np.where(moved & np.isnan(self.forecast), self.correct, self.forecast),
        )

    @property
    def queries(self) -> int:
        return int(self.ran.shape[0])

    @property
    def tiers(self) -> int:
        return int(self.ran.shape[1])

    def within_bounds(self) -> tuple["OutcomeTable", int]:
        """The table, no run counting for more than a query may take (`evidence.costs.run_limits`),
        and how many were cut.
        """
        names = ("tokens_in", "tokens_out", "cost_usd", "latency_ms")
        columns = {name: getattr(self, name)[self.ran] for name in names}
        runs = Runs(tier=np.nonzero(self.ran)[1], gflops=np.zeros(int(self.ran.sum())), **columns)
        bounded, cut = bounded_runs(runs)
        if not cut.any():
            return self, 0
        placed = {name: getattr(self, name).copy() for name in names}
        for name, column in placed.items():
            column[self.ran] = getattr(bounded, name)
        placed |= {name: np.rint(placed[name]) for name in names[:2]}  # they are whole
        return replace(self, **placed), int(cut.sum())

    @property
    def coins_apart(self) -> BoolArray:
        """[n] whether each answer's label was drawn by a coin of its own; else one coin drew those
        of the query.

        A query that says nothing, as one without labels may, goes with the others where they are of
        one mind.
        """
        apart = np.asarray(self.label_coin == LabelCoin.ATTEMPT, dtype=np.bool_)
        silent = np.array([coin is None for coin in self.label_coin], dtype=np.bool_)
        return apart | silent if apart.any() and (apart | silent).all() else apart

    @property
    def answered(self) -> BoolArray:
        """[n, k] whether the tier answered the query; else it did not run, or was skipped."""
        return np.asarray(self.ran & (self.role != Role.SKIPPED), dtype=np.bool_)

    @property
    def complete(self) -> BoolArray:
        """[n] whether every tier answered the query."""
        return np.asarray(self.answered.all(axis=1), dtype=np.bool_)

    @property
    def models(self) -> tuple[str, ...]:
        """Each tier's model, the latest one where it was exchanged."""
        last = self.queries - 1 - np.argmax(self.ran[::-1], axis=0)
        return tuple(str(self.model[row, tier]) for tier, row in enumerate(last))

    def of_tiers(self, tiers: tuple[int, ...]) -> "OutcomeTable":
        """The same queries with these tiers alone, numbered anew; queries that none of them ran are
        left out.
        """
        at = list(tiers)
        rows = self.ran[:, at].any(axis=1)
        chosen: dict[str, Any] = {
            name: values[rows] if values.ndim == 1 else values[rows][:, at] for name, values in self.arrays().items()
        }
        return replace(self, **chosen)


COLUMNS = columns_of(OutcomeTable)
KNOWN = ("query_id", "tier", *COLUMNS)
TEXTS = ("query_id", *(name for name, column in COLUMNS.items() if column.kind == "texts"))
TIMES, TRUTHS = (tuple(name for name, one in COLUMNS.items() if one.kind == kind) for kind in ("times", "truths"))
WANTED = Wanted(
    texts=TEXTS,
    numbers=tuple(name for name in KNOWN if name not in (*TEXTS, *TIMES, *TRUTHS)),
    truths=TRUTHS,
    times=TIMES,
)


def column_mapping(text: str | None) -> dict[str, str | None]:
    """`query_id=id,slice=` as a mapping from our columns to the file's. Raises InputInvalid."""
    return parse_mapping(text, KNOWN, KNOWN[2:])


def read_outcomes(
    path: str | Path,
    *,
    timezone: str | None = None,
    now: datetime | None = None,
    mapping: Mapping[str, str | None] | None = None,
) -> OutcomeTable:
    """The outcome table in a Parquet, CSV or JSONL file; `mapping` names columns that go by other
    names than ours (None = the column of that name is left out).

    `timezone` (an IANA name) says where times without an offset were written; without it they are
    refused. `now` is what a date of the day that is not over stands for. Raises TableInvalid naming
    the column, row, value and cure: a NaN (null says unknown), a value outside its range, a pair
    (query, tier) given twice, a tier that is nowhere, a query with two slices.
    """
    zone = Zone(name=timezone, now=now)
    columns = read_columns(Path(path), WANTED, mapping)
    read = {columns.called(name) for name in KNOWN}
    query, query_ids = columns.codes("query_id")
    tier = _tiers(columns)
    grid = Grid(query=query, tier=tier, shape=(len(query_ids), int(tier.max()) + 1))
    ran = grid.place(np.ones(columns.rows, dtype=np.bool_))
    _refuse_repeats(columns, query, tier, query_ids, grid.shape)
    _refuse_holes(columns, ran)
    return OutcomeTable(
        query_ids=query_ids,
        ran=ran,
        **{name: read_column(columns, grid, column, zone) for name, column in COLUMNS.items()},
        ignored=tuple(name for name in columns.names if name not in read),
        rows_read=columns.rows,
        lines_in_file=columns.source.lines,
    )


def write_outcomes(outcomes: OutcomeTable, path: str | Path) -> None:
    """Writes the table as Parquet, CSV or JSONL; columns that hold nothing are left out."""
    query, tier = np.nonzero(outcomes.ran)
    arrays = {"query_id": pa.array(outcomes.query_ids[query], pa.string()), "tier": pa.array(tier, pa.int8())}
    for name, column in COLUMNS.items():
        values = getattr(outcomes, name)
        cells = _arrow(values[query] if column.per_query else values[query, tier], whole=column.whole)
        if name in ("model", "p_t", "p_ik", "correct") or cells.null_count < len(cells):
            arrays[name] = cells
    write_table(pa.table(arrays), Path(path))


def _tiers(columns: Columns) -> IntArray:
    if not columns.has("tier"):
        columns.texts("tier", required=True)
    tier = columns.numbers("tier", high=31, whole=True)
    empty = np.isnan(tier)
    if empty.any():
        raise columns.fault("tier", int(np.argmax(empty)), None, "give the tier of every row; 0 is the cheapest")
    return tier.astype(np.int64)


def _refuse_repeats(
    columns: Columns, query: IntArray, tier: IntArray, query_ids: ObjectArray, shape: tuple[int, int]
) -> None:
    place = query * shape[1] + tier
    repeated = np.bincount(place, minlength=shape[0] * shape[1])[place] > 1
    if repeated.any():
        first = int(np.argmax(repeated))
        second = first + 1 + int(np.argmax(place[first + 1 :] == place[first]))
        pair = f"query {query_ids[query[first]]!r} on tier {tier[first]}"
        raise TableInvalid(
            f"{columns.file}: rows {first + 1} and {second + 1} are both {pair}; keep one of them"
            f"{_lines(columns, first, second)}"
        )


def _lines(columns: Columns, first: int, second: int) -> str:
    one, other = columns.source.line(first), columns.source.line(second)
    return "" if one is None else f" (lines {one} and {other})"


def _refuse_holes(columns: Columns, ran: BoolArray) -> None:
    if ran.shape[1] < 2:
        raise TableInvalid(f"{columns.file} has tier 0 alone; a cascade has at least two: add the last tier's rows")
    missing = np.flatnonzero(~ran.any(axis=0))
    if missing.size:
        raise TableInvalid(
            f"{columns.file} has no row of tier {missing[0]} but some of tier {ran.shape[1] - 1}; "
            "number tiers from 0 without a gap"
        )


def _arrow(cells: npt.NDArray[np.generic], *, whole: bool) -> pa.Array:
    if cells.dtype == object:
        return pa.array(cells, pa.string())
    if np.issubdtype(cells.dtype, np.datetime64):
        return pa.array(cells.astype("datetime64[us]")).cast(pa.timestamp("us", "UTC"))
    column = pa.array(cells.astype(np.float64), mask=np.isnan(cells.astype(np.float64)))
    return column.cast(pa.int64()) if whole else column
