"""What lies in a day's file: every column of decisions, attempts and labels, one row per attempt.

Decisions:
- The columns are those of the tables, so a new one is in the next file without a line here. A
  column that decisions and attempts both have is the attempt's; the decision's is called
  `decision_<name>`. The labels of an attempt are a list beside it, all of them, the one in force
  first: strongest source, then the newest statement. What was in force at an earlier time is the
  first of the list that was made and had arrived by then, so no other order is kept.
- An id is 16 bytes, a time is microseconds in UTC, JSON is its text. What a row says comes out as
  it went in, on either database.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

import pyarrow as pa
from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Uuid

from store.dialects import table_of
from store.tables import AttemptRow, DecisionRow, LabelRow
from store.tables.base import UtcDateTime

VERSION = 1  # of this layout
KEY = "decision_id"
LABELS = "labels"
ID, TIME = pa.binary(16), pa.timestamp("us", "UTC")
_OF_ATTEMPT = (KEY, "tier")
Values = Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayColumn:
    """One column of a file, and that of a table which it holds."""

    name: str
    of: Column[Any]

    @property
    def type(self) -> pa.DataType:
        return arrow_type(self.of)


@cache
def attempt_columns() -> tuple[DayColumn, ...]:
    return tuple(DayColumn(name=column.name, of=column) for column in table_of(AttemptRow).c)


@cache
def decision_columns() -> tuple[DayColumn, ...]:
    taken = {column.name for column in attempt_columns()}
    return tuple(
        DayColumn(name=f"decision_{column.name}" if column.name in taken else column.name, of=column)
        for column in table_of(DecisionRow).c
        if column.name != "id"
    )


@cache
def label_columns() -> tuple[DayColumn, ...]:
    return tuple(DayColumn(name=one.name, of=one) for one in table_of(LabelRow).c if one.name not in _OF_ATTEMPT)


@cache
def schema() -> pa.Schema:
    """Of a file."""
    labels = pa.list_(pa.struct([(column.name, column.type) for column in label_columns()]))
    plain = [(column.name, column.type) for column in (*attempt_columns(), *decision_columns())]
    return pa.schema([*plain, (LABELS, labels)], metadata={"knowgate.day_file": str(VERSION)})


def arrow_type(column: Column[Any]) -> pa.DataType:
    """How a column of a table lies in a file."""
    for kind, found in _TYPES:
        if isinstance(column.type, kind):
            return found
    return pa.string()


def to_arrow(column: Column[Any], values: Values) -> pa.Array:
    """A column's values, as either driver gives them, as they lie in a file."""
    convert = next((made for kind, made in _TO_ARROW if isinstance(column.type, kind)), None)
    return pa.array(values if convert is None else convert(values), type=arrow_type(column))


def to_python(column: Column[Any], value: Any) -> Any:
    """A value of a file as the column's model has it."""
    if value is None:
        return None
    if isinstance(column.type, Uuid):
        return UUID(bytes=value)
    if isinstance(column.type, UtcDateTime):
        return value.replace(tzinfo=UTC)  # Arrow's zone is another object
    return json.loads(value) if isinstance(column.type, JSON) else value


def _ids(values: Values) -> list[bytes | None]:
    return [None if one is None else one.bytes if isinstance(one, UUID) else bytes.fromhex(one) for one in values]


def _times(values: Values) -> Values:
    return [datetime.fromisoformat(one).replace(tzinfo=UTC) if isinstance(one, str) else one for one in values]


def _documents(values: Values) -> list[str | None]:
    return [one if one is None or isinstance(one, str) else json.dumps(one) for one in values]


def _truths(values: Values) -> list[bool | None]:
    return [None if one is None else bool(one) for one in values]


_TYPES: tuple[tuple[type, pa.DataType], ...] = (
    (Uuid, ID),
    (UtcDateTime, TIME),
    (Boolean, pa.bool_()),
    (Double, pa.float64()),
    (BigInteger, pa.int64()),
)
_TO_ARROW: tuple[tuple[type, Callable[[Values], Values]], ...] = (
    (Uuid, _ids),
    (UtcDateTime, _times),
    (JSON, _documents),
    (Boolean, _truths),
)
