"""The outcome table: what every tier answered to every query, and whether it was right.

It is read into numpy columns of shape [queries, tiers], because certification, simulation and
import all ask "both tiers of this query". Queries keep the order of their first row: certificates
need an order that was fixed before labels were looked at. A tier that did not run on a query leaves
`ran` False there; a tier that no query ran is a hole in the cascade and is refused.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evidence.costs.run_limits import Runs, bounded_runs
from knowgate._records.records import LabelSource, PTKind
from knowgate.spec import LabelCoin
from services.errors import TableInvalid
from services.outcome_tables.columns import Columns, FloatArray, IntArray, ObjectArray
from services.outcome_tables.table_files import read_columns, write_table
from services.outcome_tables.times import TimeArray, Zone
from store.files import Wanted
from store.rejections import LEAST_CHANCE

BoolArray = npt.NDArray[np.bool_]
Kind = TypeVar("Kind", bound=np.generic)

TEXTS = ("query_id", "model", "slice", "prompt", "label_source", "role", "p_t_kind", "label_coin")
TIMES = ("occurred_at", "labelled_at")
TRUTHS = ("correct", "forecast", "same_answer")
KNOWN = (
    "query_id",
    "tier",
    "model",
    "p_t",
    "p_ik",
    "entropy",
    "margin",
    "p_t_kind",
    "correct",
    "slice",
    "prompt",
    "tokens_in",
    "tokens_out",
    "cost_usd",
    "latency_ms",
    "occurred_at",
    "labelled_at",
    "run_propensity",
    "label_propensity",
    "label_source",
    "role",
    "forecast",
    "label_coin",
    "same_answer",
    "exploration_rate",
)
WANTED = Wanted(
    texts=TEXTS,
    numbers=tuple(name for name in KNOWN if name not in (*TEXTS, *TIMES, *TRUTHS)),
    truths=TRUTHS,
    times=TIMES,
)
MOST_TOKENS = 2**53  # as everywhere: a larger whole number is none that a float holds
ROLES = ("served", "superseded", "exploration")
P_T_KINDS = tuple(str(kind) for kind in PTKind)
LABEL_COINS = tuple(str(coin) for coin in LabelCoin)
SOURCES = ("gold", "human", "judge", "feedback")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeTable:
    """Outcomes of n queries on k tiers, tier 0 the cheapest. NaN, NaT and None say "unknown"."""

    query_ids: ObjectArray  # [n] str, distinct
    ran: BoolArray  # [n, k] whether the table has a row for this query and tier
    model: ObjectArray  # [n, k] str where it ran
    p_t: FloatArray  # [n, k] in [0, 1]
    p_ik: FloatArray  # [n, k] in [0, 1]
    correct: FloatArray  # [n, k] in [0, 1]
    slice: ObjectArray  # [n] str or None
    prompt: ObjectArray  # [n] str or None
    tokens_in: FloatArray  # [n, k]
    tokens_out: FloatArray  # [n, k]
    cost_usd: FloatArray  # [n, k]
    latency_ms: FloatArray  # [n, k]
    occurred_at: TimeArray  # [n] datetime64[us], UTC
    labelled_at: TimeArray  # [n, k] datetime64[us], UTC
    run_propensity: FloatArray  # [n, k] in (0, 1]
    label_propensity: FloatArray  # [n, k] in (0, 1]
    label_source: ObjectArray  # [n, k] gold, human, judge, feedback or None
    role: ObjectArray  # [n, k] served, superseded, exploration or None
    forecast: FloatArray  # [n, k] in [0, 1], what a grader or users say, beside what `correct` says
    ignored: tuple[str, ...] = ()  # columns of the file that no one reads
    rows_read: int = 0  # of the file
    lines_in_file: int | None = None  # None where it has none (Parquet), or no file was read
    entropy: FloatArray = field(default_factory=lambda: np.empty(0))  # [n, k] nats; left out = unknown
    margin: FloatArray = field(default_factory=lambda: np.empty(0))  # [n, k] in [0, 1]; left out = unknown
    p_t_kind: ObjectArray = field(default_factory=lambda: np.empty(0, dtype=object))  # [n, k] a PTKind or None
    label_coin: ObjectArray = field(default_factory=lambda: np.empty(0, dtype=object))  # [n] a LabelCoin or None
    same_answer: FloatArray = field(default_factory=lambda: np.empty(0))  # [n, k] 1 = it is the last tier's
    exploration_rate: FloatArray = field(default_factory=lambda: np.empty(0))  # [n] in [0, 1]

    def __post_init__(self) -> None:
        for name in ("entropy", "margin", "p_t_kind", "same_answer", "label_coin", "exploration_rate"):
            held = getattr(self, name)
            if held.size == 0:
                shape = self.ran.shape if name not in ("label_coin", "exploration_rate") else self.queries
                empty = None if held.dtype == object else np.nan
                object.__setattr__(self, name, np.full(shape, empty, dtype=held.dtype))

    @property
    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        about = ("ignored", "rows_read", "lines_in_file")  # the file rather than its queries
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in about}

    def of_slice(self, name: str) -> "OutcomeTable":
        """The rows of the queries of one slice; raises TableInvalid where it holds
        fewer than two.
        """
        chosen = np.flatnonzero(self.slice == name)
        if chosen.size == 0:
            held = ", ".join(sorted({str(other) for other in self.slice if other is not None})) or "none"
            raise TableInvalid(f"there is no slice {name!r}; the table has {held}")
        if chosen.size == 1:
            raise TableInvalid(f"slice {name!r} holds 1 query; one outcome certifies nothing: choose a larger slice")
        rows: dict[str, Any] = {column: values[chosen] for column, values in self._arrays.items()}
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
    def complete(self) -> BoolArray:
        """[n] whether every tier ran on the query."""
        return np.asarray(self.ran.all(axis=1), dtype=np.bool_)

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
            name: values[rows] if values.ndim == 1 else values[rows][:, at] for name, values in self._arrays.items()
        }
        return replace(self, **chosen)


def read_outcomes(path: str | Path, *, timezone: str | None = None, now: datetime | None = None) -> OutcomeTable:
    """The outcome table in a Parquet, CSV or JSONL file.

    `timezone` (an IANA name) says where times without an offset were written; without it they are
    refused. `now` is what a date of the day that is not over stands for. Raises TableInvalid naming
    the column, row, value and cure: a NaN (null says unknown), a value outside its range, a pair
    (query, tier) given twice, a tier that is nowhere, a query with two slices.
    """
    zone = Zone(name=timezone, now=now)
    columns = read_columns(Path(path), WANTED)
    query, query_ids = columns.codes("query_id")
    tier = _tiers(columns)
    grid = _Grid(columns=columns, query=query, tier=tier, shape=(len(query_ids), int(tier.max()) + 1))
    ran = grid.place(np.ones(columns.rows, dtype=np.bool_), False)
    _refuse_repeats(columns, query, tier, query_ids, grid.shape)
    _refuse_holes(columns, ran)
    return OutcomeTable(
        query_ids=query_ids,
        ran=ran,
        model=grid.place(columns.texts("model", required=True), None),
        p_t=grid.numbers("p_t", high=1.0),
        p_ik=grid.numbers("p_ik", high=1.0),
        entropy=grid.numbers("entropy"),
        margin=grid.numbers("margin", high=1.0),
        p_t_kind=grid.words("p_t_kind", P_T_KINDS),
        correct=grid.numbers("correct", high=1.0),
        slice=grid.per_query("slice"),
        prompt=grid.per_query("prompt"),
        tokens_in=grid.numbers("tokens_in", high=MOST_TOKENS, whole=True),
        tokens_out=grid.numbers("tokens_out", high=MOST_TOKENS, whole=True),
        cost_usd=grid.numbers("cost_usd"),
        latency_ms=grid.numbers("latency_ms"),
        occurred_at=grid.earliest("occurred_at", zone),
        labelled_at=grid.place(columns.times("labelled_at", zone), np.datetime64("NaT")),
        run_propensity=grid.numbers("run_propensity", low=LEAST_CHANCE, high=1.0),
        label_propensity=grid.numbers("label_propensity", low=LEAST_CHANCE, high=1.0),
        label_source=grid.words("label_source", SOURCES),
        role=grid.words("role", ROLES),
        forecast=grid.numbers("forecast", high=1.0),
        label_coin=grid.per_query("label_coin", LABEL_COINS),
        same_answer=grid.numbers("same_answer", high=1.0),
        exploration_rate=grid.number_per_query("exploration_rate", high=1.0),
        ignored=tuple(name for name in columns.names if name not in KNOWN),
        rows_read=columns.rows,
        lines_in_file=columns.source.lines,
    )


def write_outcomes(outcomes: OutcomeTable, path: str | Path) -> None:
    """Writes the table as Parquet, CSV or JSONL; columns that hold nothing are left out."""
    query, tier = np.nonzero(outcomes.ran)
    arrays = {"query_id": pa.array(outcomes.query_ids[query], pa.string()), "tier": pa.array(tier, pa.int8())}
    for name in KNOWN[2:]:
        values = getattr(outcomes, name)
        cells = values[query] if values.ndim == 1 else values[query, tier]
        column = _arrow(cells, whole=name.startswith("tokens"))
        if name in ("model", "p_t", "p_ik", "correct") or column.null_count < len(column):
            arrays[name] = column
    write_table(pa.table(arrays), Path(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Where each row of the file lies in the arrays [queries, tiers]."""

    columns: Columns
    query: IntArray
    tier: IntArray
    shape: tuple[int, int]

    def place(self, values: npt.NDArray[Kind], empty: object) -> npt.NDArray[Kind]:
        placed: npt.NDArray[Kind] = np.full(self.shape, empty, dtype=values.dtype)
        placed[self.query, self.tier] = values
        return placed

    def numbers(self, name: str, *, low: float = 0.0, high: float = np.inf, whole: bool = False) -> FloatArray:
        return self.place(self.columns.numbers(name, low=low, high=high, whole=whole), np.nan)

    def words(self, name: str, allowed: tuple[str, ...]) -> ObjectArray:
        return self.place(self._words(name, allowed), None)

    def _words(self, name: str, allowed: tuple[str, ...]) -> ObjectArray:
        texts = self.columns.texts(name)
        unknown = set(texts) - {None, *allowed}
        if unknown:
            row = next(row for row, text in enumerate(texts) if text in unknown)
            raise self.columns.fault(name, row, texts[row], f"use one of {', '.join(allowed)}")
        return texts

    def per_query(self, name: str, allowed: tuple[str, ...] | None = None) -> ObjectArray:
        """The one text [n] that all rows of a query agree on; null agrees with everything."""
        texts = self.columns.texts(name) if allowed is None else self._words(name, allowed)
        return self._one(name, texts, texts != np.array(None), None)

    def number_per_query(self, name: str, *, high: float) -> FloatArray:
        """The one number [n] that all rows of a query agree on; null agrees with everything."""
        values = self.columns.numbers(name, high=high)
        return self._one(name, values, np.isfinite(values), np.nan)

    def _one(self, name: str, values: npt.NDArray[Kind], known: BoolArray, empty: object) -> npt.NDArray[Kind]:
        agreed: npt.NDArray[Kind] = np.full(self.shape[0], empty, dtype=values.dtype)
        agreed[self.query[known][::-1]] = values[known][::-1]
        differs = known & (agreed[self.query] != values)
        if differs.any():
            row = int(np.argmax(differs))
            value, other = values[row : row + 1].tolist()[0], agreed[self.query[row : row + 1]].tolist()[0]
            raise self.columns.fault(name, row, value, f"the query's other rows say {other!r}; make them one")
        return agreed

    def earliest(self, name: str, zone: Zone) -> TimeArray:
        """The query's earliest time [n]: tiers run one after another, the decision begins with the
        first.
        """
        times = self.columns.times(name, zone)
        held = np.full(self.shape[0], np.iinfo(np.int64).max, dtype=np.int64)
        known = ~np.isnat(times)
        np.minimum.at(held, self.query[known], times[known].astype(np.int64))
        unknown = held == np.iinfo(np.int64).max
        return np.where(unknown, np.datetime64("NaT"), held.astype("datetime64[us]"))


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
