"""Rows that left the tables, read from their files; and brought back where something is stored
beside them.

A label needs its attempt, an erasure its decision, and a decision that is sent again must find
itself there. So the rows of such a decision are put back first, and then all goes on as ever. Their
leaves were never gone, so no further ones are written. The next rewrite of the file takes them in
again.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from store import dialects
from store.batches import batched
from store.days import day_bytes
from store.days.day_columns import KEY, LABELS, DayColumn, attempt_columns, decision_columns, label_columns, to_python
from store.days.day_files import DayFile, files_of, touch
from store.tables import AttemptRow, DecisionRow, LabelRow

_CHUNK = 1000
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftDecision:
    """A decision's rows as they lie in a file, each a mapping from a column's name to its value."""

    decision: Row
    attempts: tuple[Row, ...]  # by tier
    labels: tuple[Row, ...]


def recall(session: Session, ids: Collection[UUID], *, now: datetime) -> int:
    """Put those of these decisions back into the tables that left them; how many. Raises
    ShardRefused.
    """
    found = list(left_decisions(session, ids))
    if found:
        unnoted: dict[str, Any] = {"noted": False}
        dialects.insert_new(session, DecisionRow, [one.decision for one in found], returning="id", **unnoted)
        attempts = [row for one in found for row in one.attempts]
        dialects.insert_new(session, AttemptRow, attempts, returning="tier", **unnoted)
        labels = [row for one in found for row in one.labels]
        if labels:
            dialects.insert_new(session, LabelRow, labels, returning="tier", **unnoted)
        touch(session, [one.decision["id"] for one in found], now=now)
    return len(found)


def left_decisions(session: Session, ids: Collection[UUID]) -> Iterator[LeftDecision]:
    """Those of these decisions that are in a file and not in the tables. Raises ShardRefused."""
    files = files_of(session, ids, left=True)
    if not files:
        return
    here: set[UUID] = set()
    for chunk in batched(ids, _CHUNK):
        here.update(session.scalars(select(DecisionRow.id).where(DecisionRow.id.in_(chunk))))
    for file in files:
        wanted = [one for one in ids if one not in here and file.low <= one < file.high]
        if wanted:
            yield from decisions_in(day_bytes.read_file(file.url, file.sha256, only=wanted))


def decisions_in_file(file: DayFile) -> Iterator[LeftDecision]:
    """All decisions of a file, in order. Raises ShardRefused."""
    yield from decisions_in(day_bytes.read_file(file.url, file.sha256))


def decisions_in(rows: pa.Table) -> Iterator[LeftDecision]:
    """The decisions of rows as they lie in a file, by decision and tier."""
    group: list[Row] = []
    for batch in rows.to_batches(max_chunksize=_CHUNK):
        for row in batch.to_pylist():
            if group and row[KEY] != group[0][KEY]:
                yield _decision(group)
                group = []
            group.append(row)
    if group:
        yield _decision(group)


def _decision(group: Sequence[Row]) -> LeftDecision:
    first = group[0]
    key = UUID(bytes=first[KEY])
    return LeftDecision(
        decision={"id": key, **_row(first, decision_columns())},
        attempts=tuple(_row(row, attempt_columns()) for row in group),
        labels=tuple(
            {KEY: key, "tier": row["tier"], **_row(label, label_columns())}
            for row in group
            for label in row[LABELS] or ()
        ),
    )


def _row(values: Row, columns: Sequence[DayColumn]) -> Row:
    return {column.of.name: to_python(column.of, values.get(column.name)) for column in columns}
