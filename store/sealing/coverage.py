"""What the ledger covers: every column of every table, but for the short list of exceptions below.

A row of a covered table has a leaf that states all its columns, and a further one for each state it
comes into; the newest says what the row is (`store.sealing.leaves` writes them, `knowgate audit
verify` compares them). Decisions and labels, which come by the thousand and never change, have one
leaf for all the rows of a batch (`store.sealing.row_leaves`). Tables and columns come from the
tables' own definitions, so a new one is covered without a line here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Table, Uuid

from store import tables
from store.sealing.inserts import table_of
from store.tables import Base
from store.tables.base import UtcDateTime

_SAFE = ":+ "  # beside those that never are quoted
_PLAIN = re.compile(r"[A-Za-z0-9_.~:+ -]*")  # texts that quoting leaves as they are, at a fifth of its cost


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCovered:
    """What no leaf speaks of, and why: the list that docs/audit.md shows."""

    table: str
    column: str  # '*' = rows as a whole
    why: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows that are a part of another table's row and stand in its leaf."""

    model: type[Base]
    parent: str  # its column that names the parent
    named: str  # what they are called in the leaf
    hashed: bool = False  # stated by a SHA-256 over all of them

    @cached_property
    def table(self) -> Table:
        return table_of(self.model)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.table.c if item.name != self.parent)


@dataclass(frozen=True, kw_only=True)
class Cover:
    """One covered table."""

    model: type[Base]
    left_out: tuple[str, ...] = ()
    part: Part | None = None
    skipped: tuple[str, str] | None = None  # rows whose column has this value are not covered
    by_batch: bool = False  # its rows have a leaf together, those of a batch

    @cached_property
    def table(self) -> Table:
        return table_of(self.model)

    @cached_property
    def kind(self) -> str:
        """What its leaves are called: the table's name."""
        return self.table.name

    @cached_property
    def keys(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.table.primary_key)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.table.c if item.name not in self.left_out)

    def skips(self, row: Any) -> bool:
        return self.skipped is not None and row[self.skipped[0]] == self.skipped[1]

    def subject(self, row: Any) -> str:
        """What names a row in its leaves: its primary key as text. `row` holds Python values, or a
        leaf's texts.
        """
        return "/".join(key_text(row[name]) for name in self.keys)

    def key(self, subject: str) -> tuple[Any, ...]:
        """The primary key that a subject names. Raises ValueError where it names none."""
        texts = [unquote(text) for text in subject.split("/")]
        return tuple(_key_value(self.table.c[name], text) for name, text in zip(self.keys, texts, strict=True))


def key_text(value: object) -> str:
    """A value of a primary key as a subject says it."""
    text = _plain_text(value)
    return text if _PLAIN.fullmatch(text) else quote(text, safe=_SAFE)


def _plain_text(value: object) -> str:
    if value.__class__ is str or value.__class__ is UUID:
        return str(value)
    if isinstance(value, bool):
        return str(int(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _key_value(column: Any, text: str) -> Any:
    for kind, read in _READ:
        if isinstance(column.type, kind):
            return read(text)
    return text


def _bool(text: str) -> bool:
    return bool(int(text))


_READ: tuple[tuple[type, Callable[[str], Any]], ...] = (
    (Uuid, UUID),
    (UtcDateTime, datetime.fromisoformat),
    (Boolean, _bool),
    (BigInteger, int),
)


NOT_COVERED: tuple[NotCovered, ...] = (
    NotCovered(table="job_run", column="owner", why="who works on the window at this moment"),
    NotCovered(table="job_run", column="token", why="how often the window was taken over"),
    NotCovered(table="job_run", column="lease_until", why="moves with every heartbeat"),
    NotCovered(table="job_run", column="heartbeat_at", why="moves with every heartbeat"),
    NotCovered(
        table="job_run", column="*", why="runs of `seal` itself, or each batch would be about the sealing before it"
    ),
    NotCovered(table="job_tick", column="*", why="says that a scheduler is alive; written anew at every tick"),
    NotCovered(table="figure_day", column="*", why="sums of rows of `cohort_figure`, which are covered; made again"),
    NotCovered(table="summed_day", column="*", why="which days these sums are of"),
    NotCovered(table="known_hour", column="*", why="counts of decisions and labels, which are covered; made again"),
    NotCovered(table="known_count", column="*", why="up to when these counts hold"),
    NotCovered(table="token", column="last_used_at", why="moves with every use"),
    NotCovered(table="acknowledgement", column="acknowledged_at", why="moves whenever a runtime says the same again"),
    NotCovered(table="acknowledgement", column="heard_at", why="moves whenever a runtime says the same again"),
    NotCovered(table="acknowledgement", column="again_s", why="how often a runtime says so"),
    NotCovered(table="acknowledgement", column="unshipped_bytes", why="moves with the traffic of the runtime"),
    NotCovered(table="acknowledgement", column="refused_rows", why="moves with the traffic of the runtime"),
)

# What no verification can find, by a name that `benchmarks/tampering/` uses too.
RESIDUES: Mapping[str, str] = {
    "unsealed": "a row that is changed, added or taken away together with its leaf before that leaf is sealed",
    "unexported": "a ledger whose newest batches are cut off or made anew, where no head made of them was exported",
    "erased": "numbers of a decision that are changed with an erasure made up for it, which takes what its leaves said",
    "stated": "a change that can become of a row (below), made with the further leaf that knowgate would have written",
    "former": "what the leaves of the former version do not say of decisions and labels",
}

# The ledger itself: its leaves are under the batches' roots, its batches in a chain, the chain
# under exported heads.
LEDGER = frozenset({"ledger_leaf", "ledger_batch"})

_PARTS = (
    Part(model=tables.AttemptRow, parent="decision_id", named="attempts"),
    Part(model=tables.VectorPlaceRow, parent="shard", named="vectors", hashed=True),
)
_OWNERS: dict[type[Base], Part] = {tables.DecisionRow: _PARTS[0], tables.VectorShardRow: _PARTS[1]}
_BY_BATCH = frozenset({tables.DecisionRow, tables.LabelRow})
_SKIPPED: dict[type[Base], tuple[str, str]] = {tables.JobRunRow: ("job", "seal")}


# Tables that have no leaves of their own.
_WITHOUT = (
    LEDGER
    | {part.table.name for part in _PARTS}
    | {gap.table for gap in NOT_COVERED if gap.column == "*"} - {table_of(model).name for model in _SKIPPED}
)


def _cover(model: type[Base]) -> Cover:
    left_out = tuple(gap.column for gap in NOT_COVERED if gap.table == table_of(model).name and gap.column != "*")
    return Cover(
        model=model,
        left_out=left_out,
        part=_OWNERS.get(model),
        skipped=_SKIPPED.get(model),
        by_batch=model in _BY_BATCH,
    )


COVERED: tuple[Cover, ...] = tuple(
    sorted(
        (_cover(mapper.class_) for mapper in Base.registry.mappers if table_of(mapper.class_).name not in _WITHOUT),
        key=lambda cover: cover.kind,
    )
)
_BY_TABLE = {cover.kind: cover for cover in COVERED}
_BY_PART = {cover.part.table.name: cover for cover in COVERED if cover.part is not None}


def filled(table: Table, column: str) -> Any:
    """What a leaf means that says nothing of a column: null, or the value that the rows from before
    it were given.
    """
    return table.c[column].info.get("filled") if column in table.c else None


def of_table(table: Any) -> Cover | None:
    """How a table is covered; None for one that is a part of another's rows, for the ledger, and
    for no table.
    """
    return _BY_TABLE.get(getattr(table, "name", ""))


def of_model(model: type[Base]) -> Cover:
    """How the table of a model is covered. Raises KeyError for one that is not."""
    return _BY_TABLE[table_of(model).name]


def of_kind(kind: str) -> Cover | None:
    return _BY_TABLE.get(kind)


def of_part(table: Any) -> Cover | None:
    """The table whose leaves state the rows of this one."""
    return _BY_PART.get(getattr(table, "name", ""))
