"""What the two databases say differently: inserts that meet a row already there, and locks by name.

What is inserted here into a covered table gets its ledger leaf in the same transaction
(`store.sealing.leaves`). Locks are needed on PostgreSQL alone: a writing transaction on SQLite
holds the whole database.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, Text, cast, func, literal_column, select, type_coerce
from sqlalchemy.orm import Session

from store.sealing import changes, coverage, leaves, row_leaves
from store.sealing.inserts import Rows, copy_rows, inserts, is_postgresql, table_of
from store.tables import Base

__all__ = ["Rows", "copy_rows", "insert_new", "is_postgresql", "lock", "part_of_day", "table_of", "upsert"]


def insert_new(
    session: Session,
    model: type[Base],
    rows: Rows,
    *,
    returning: str,
    where: ColumnElement[bool] | None = None,
    keys: Sequence[str] | None = None,
    noted: bool = True,
) -> list[Any]:
    """Insert the rows that are not there yet, with their leaves; the `returning` column of those
    that were inserted.

    All rows name the same columns. `keys` and `where` name the unique index that may already hold a
    row; without them any does. With `noted=False` the caller writes the leaves.
    """
    table = table_of(model)
    cover = coverage.of_table(table) if noted else None
    named = [*(table.primary_key if cover is not None else ()), table.c[returning]]
    made: list[Any] = []
    for insert, parameters in inserts(session, table, rows):
        statement = insert.on_conflict_do_nothing(index_elements=keys, index_where=where)
        made += session.execute(statement.returning(*named), parameters).all()
    if cover is not None and made:
        inserted = {tuple(row[:-1]) for row in made}
        # Of rows that are equal in their key the first was inserted: the first is taken from the
        # set.
        fresh = [row for row in rows if _take(inserted, tuple(row[name] for name in cover.keys))]
        if cover.by_batch:
            row_leaves.note_batch(session, cover, fresh, {})
        else:
            leaves.note_rows(session, cover, fresh)
    return [row[-1] for row in made]


def _take(keys: set[tuple[Any, ...]], key: tuple[Any, ...]) -> bool:
    taken = key in keys
    keys.discard(key)
    return taken


def upsert(session: Session, model: type[Base], rows: Rows) -> None:
    """Insert the rows, or overwrite all but the primary key of those that are there; with leaves of
    their states.
    """
    table = table_of(model)
    assert coverage.of_table(table) is None or changes.of(table.name).allow([changes.EVERY]), table.name
    keys = [item.name for item in table.primary_key]
    for insert, parameters in inserts(session, table, rows):
        changed = {item.name: insert.excluded[item.name] for item in table.c if not item.primary_key}
        statement = insert.on_conflict_do_update(index_elements=keys, set_=changed)
        session.execute(statement.returning(table.c[keys[0]]), parameters).all()
    cover = coverage.of_table(table)
    if cover is not None:
        leaves.note_rows(session, cover, rows)


def lock(session: Session, name: str, *, shared: bool = False) -> None:
    """Hold the lock of this name until the transaction ends; `shared` holders do not exclude each
    other.
    """
    if not is_postgresql(session):
        return
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    take = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
    session.execute(select(take(number)))


def part_of_day(dialect: str, column: Any, hours: int) -> ColumnElement[Any]:
    """The part of a UTC day, so many hours long, that a time lies in, as something to group by."""
    if dialect == "postgresql":
        return func.date_bin(func.make_interval(0, 0, 0, 0, hours), column, datetime(2000, 1, 1, tzinfo=UTC))
    said = type_coerce(column, Text)
    return func.substr(said, 1, 11) + cast(
        cast(func.substr(said, 12, 2), Integer) // literal_column(str(hours), Integer), Text
    )
