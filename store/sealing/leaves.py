"""Writing leaves: what becomes of a covered row is stated in the ledger, in the transaction that
does it.

Decisions:
- `dialects.insert_new` and `upsert` write the leaves of what they insert. Updates and deletions are
  listened for here, so that no caller can forget them; only what is left out of coverage changes
  without a leaf.
- A row's leaves are numbered (`revision`, from 1): its newest one is known without asking a clock.
  One that would repeat the newest is not written.
- Rows of some tables are stated by the leaf of their batch (`store.sealing.row_leaves`), which
  counts as the first leaf of each; a further one is a leaf of the row's own.
- A leaf's hash covers its id, kind, cascade, subject and revision, beside salt and payload. Leaves
  of the former version covered salt and payload alone; they are distinguished by their version, and
  by what is hashed.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import event, func, select
from sqlalchemy.orm import ORMExecuteState, Session

from knowgate._records.ids import new_id
from store.batches import batched
from store.errors import StoreError
from store.sealing import changes, coverage, merkle, states
from store.sealing.coverage import Cover
from store.sealing.inserts import Rows, inserts, table_of
from store.tables import LedgerLeafRow

SALT_BYTES = 16
VERSION = 2  # of leaves that speak of one row
GONE = '{"gone":true}'  # the payload that says that a row was taken away on purpose
_CHUNK = 1000  # keys in one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a leaf is to say: `payload` is canonical JSON, `subject` names the row it speaks of."""

    cascade: str
    kind: str  # a table's name, or `erasure` or `upgrade`
    subject: str
    payload: str
    revision: int = 1


def append(session: Session, entries: Sequence[Entry], *, now: datetime | None = None) -> tuple[UUID, ...]:
    """Write one leaf per entry, in a few statements; their ids."""
    rows = [_row(entry, now) for entry in entries]
    for insert, parameters in inserts(session, table_of(LedgerLeafRow), rows):
        session.execute(insert, parameters)
    return tuple(row["id"] for row in rows)


def note_rows(session: Session, cover: Cover, rows: Rows, *, now: datetime | None = None) -> None:
    """Leaves of the states of these rows, given in full, where they differ from what is stated."""
    note_states(session, cover, [states.state_of(cover, row) for row in rows if not cover.skips(row)], now=now)


def note_stored(
    session: Session, cover: Cover, keys: Iterable[tuple[Any, ...]], *, now: datetime | None = None
) -> None:
    """Leaves of the states in which these rows are now, where they differ from what is stated."""
    for chunk in batched(keys, _CHUNK):
        note_states(session, cover, states.read_states(session, cover, chunk), now=now)


def note_gone(session: Session, cover: Cover, gone: Sequence[states.State], *, now: datetime | None = None) -> None:
    """Leaves that say of rows in these states that they were taken away."""
    newest = newest_of(session, cover.kind, [state.subject for state in gone])
    append(session, [_entry(cover, state, GONE, newest.get(state.subject)) for state in gone], now=now)


def _entry(cover: Cover, state: states.State, payload: str, last: "Newest | None") -> Entry:
    first = 2 if cover.by_batch else 1  # the leaf of its batch counts as the first
    revision = first if last is None else last.revision + 1
    return Entry(cascade=state.cascade, kind=cover.kind, subject=state.subject, payload=payload, revision=revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """A row's newest leaf."""

    revision: int
    payload: str | None


def newest_of(session: Session, kind: str, subjects: Sequence[str]) -> dict[str, Newest]:
    """The newest leaf of each of these subjects that has one."""
    newest = {}
    for chunk in batched(subjects, _CHUNK):
        same = (LedgerLeafRow.kind == kind) & LedgerLeafRow.subject.in_(chunk)
        last = (
            select(LedgerLeafRow.subject, func.max(LedgerLeafRow.revision).label("revision"))
            .where(same)
            .group_by(LedgerLeafRow.subject)
            .subquery()
        )
        query = (
            select(LedgerLeafRow.subject, LedgerLeafRow.revision, LedgerLeafRow.payload)
            .where(same)
            .join(last, (last.c.subject == LedgerLeafRow.subject) & (last.c.revision == LedgerLeafRow.revision))
        )
        for row in session.execute(query):
            newest[row.subject] = Newest(revision=row.revision, payload=row.payload)
    return newest


def note_states(
    session: Session, cover: Cover, current: Sequence[states.State], *, now: datetime | None = None
) -> None:
    """Leaves of these states, where they differ from what is stated."""
    newest = newest_of(session, cover.kind, [state.subject for state in current])
    entries = []
    for state in current:
        payload = states.payload_of(state.document)
        last = newest.get(state.subject)
        if last is None or last.payload != payload:
            entries.append(_entry(cover, state, payload, last))
    append(session, entries, now=now)


def _row(entry: Entry, now: datetime | None) -> dict[str, Any]:
    salt, key = os.urandom(SALT_BYTES), new_id(now)
    content = merkle.content_hash(salt, entry.payload.encode())
    return {
        "id": key,
        "version": VERSION,
        "cascade": entry.cascade,
        "kind": entry.kind,
        "subject": entry.subject,
        "revision": entry.revision,
        "hash": merkle.leaf_hash(
            merkle.header(key, entry.kind, entry.cascade, entry.subject, entry.revision), content
        ).hex(),
        "salt": salt.hex(),
        "payload": entry.payload,
        "content": None,
        "batch": None,
        "rows": None,
    }


@event.listens_for(Session, "do_orm_execute")
def _listen(state: ORMExecuteState) -> Any:
    """Notes what an UPDATE or a DELETE of covered rows leaves behind; `noted=False` says that its
    caller does.
    """
    if not (state.is_update or state.is_delete) or state.execution_options.get("noted", True) is False:
        return None
    statement: Any = state.statement
    cover, part = coverage.of_table(statement.table), coverage.of_part(statement.table)
    if cover is None and part is None:
        return None
    if cover is not None and state.is_update and _changed(statement) <= set(cover.left_out):
        return None
    _require_allowed(state, cover, part)
    if isinstance(state.parameters, Sequence):
        raise StoreError(f"many updates of {statement.table.name} in one statement: note them yourself (noted=False)")
    if cover is not None:
        return _note_executed(state, cover, [cover.table.c[name] for name in cover.keys])
    assert part is not None and part.part is not None
    return _note_executed(state, part, [part.part.table.c[part.part.parent]])


@event.listens_for(Session, "before_flush")
def _refuse_objects(session: Session, _context: object, _instances: object) -> None:
    """Rows that are changed as objects would change without a leaf."""
    for item in (*session.new, *session.deleted, *filter(session.is_modified, session.dirty)):
        table = getattr(item, "__table__", None)
        if coverage.of_table(table) or coverage.of_part(table):
            raise StoreError(f"{table} is written by statements, so that its leaves are: use dialects.insert_new")


def _require_allowed(state: ORMExecuteState, cover: Cover | None, part: Cover | None) -> None:
    """A change that verification would take for somebody else's is refused before it is made."""
    if cover is not None:
        may = changes.of(cover.kind)
        allowed = may.ends if state.is_delete else may.allow(_changed(state.statement) - set(cover.left_out))
    else:
        assert part is not None and part.part is not None
        allowed = changes.of(part.kind).allow([part.part.named])
    if not allowed:
        table = cast(Any, state.statement).table
        raise StoreError(
            f"{table} changes in a way that store/sealing/changes.py does not name: name it there, or do not"
        )


def _note_executed(state: ORMExecuteState, cover: Cover, keys: Sequence[Any]) -> Any:
    session, statement = state.session, cast(Any, state.statement)
    query = select(*keys) if (where := statement.whereclause) is None else select(*keys).where(where)
    met = sorted({tuple(row) for row in session.execute(query.with_for_update())}, key=str)
    # A deleted row's cascade is in the row, so it is read before.
    gone = states.read_states(session, cover, met) if state.is_delete and keys[0].table is cover.table else []
    result = state.invoke_statement()
    if gone:
        note_gone(session, cover, gone)
    else:
        note_stored(session, cover, met)
    return result


def _changed(statement: Any) -> set[str]:
    return {getattr(column, "key", str(column)) for column in statement._values or {}}
