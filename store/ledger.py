"""The tamper-evident record: leaves written with the rows they speak of, sealed in batches.

A leaf is written in the transaction of its row, so neither is there without the other. Leaves carry no sequence: a
chain over rows would serialise ingestion. Sealing takes what is not sealed yet, orders it by leaf hash, and chains
the Merkle root to the batch before. Erasure takes a leaf's salt and payload; its hash stays, and the root holds.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from knowgate import codec
from knowgate.ids import new_decision_id
from store import dialects, merkle, partitions
from store.tables import LedgerBatchRow, LedgerLeafRow

SALT_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a leaf is to say: `payload` is canonical JSON, `subject` the id of the row it speaks of."""

    cascade: str
    kind: str  # decision, label, bundle, certification, promotion, assignment, alert, erasure
    subject: str
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One statement of the ledger."""

    id: UUID
    cascade: str
    kind: str
    subject: str
    hash: str  # hex SHA-256 over salt and payload
    salt: str | None  # hex; None = erased
    payload: str | None
    batch: int | None  # None = not sealed yet


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBatch:
    """A batch of leaves, and its link in the chain."""

    number: int  # from 1
    previous: str  # hash of the batch before; merkle.GENESIS for the first
    root: str  # hex Merkle root over the leaf hashes in their order
    leaves: int
    sealed_at: datetime
    hash: str  # hex merkle.chain_hash


def append_leaf(
    session: Session, cascade: str, kind: str, subject_id: str, payload_json: str | bytes, *, now: datetime
) -> UUID:
    """Write one leaf; its id."""
    payload = payload_json.decode() if isinstance(payload_json, bytes) else payload_json
    entry = Entry(cascade=cascade, kind=kind, subject=subject_id, payload=payload)
    return append_leaves(session, [entry], now=now)[0]


def append_record(session: Session, cascade: str, kind: str, subject_id: str, record: object, *, now: datetime) -> UUID:
    """Write one leaf whose payload is a record's canonical JSON; its id."""
    return append_leaf(session, cascade, kind, subject_id, codec.canonical(record), now=now)


def append_leaves(session: Session, entries: Sequence[Entry], *, now: datetime) -> tuple[UUID, ...]:
    """Write one leaf per entry, in a few statements; their ids."""
    rows = [_row(entry, now) for entry in entries]
    partitions.ensure_partitions(session, partitions.months_of([row["id"] for row in rows[:1]], now=now))
    dialects.insert_new(session, LedgerLeafRow, rows, returning="id")
    return tuple(row["id"] for row in rows)


def unsealed(session: Session, limit: int = 1000) -> tuple[Leaf, ...]:
    """The oldest leaves that no batch holds yet."""
    query = select(LedgerLeafRow).where(LedgerLeafRow.batch.is_(None)).order_by(LedgerLeafRow.id).limit(limit)
    return tuple(_leaf(row) for row in session.scalars(query))


def seal(session: Session, *, now: datetime, limit: int = 50_000) -> SealedBatch | None:
    """Seal the oldest `limit` leaves that are not sealed yet; None when there are none.

    Call again until it returns None. A leaf committed meanwhile goes into the next batch.
    """
    dialects.lock(session, "knowgate.ledger")
    last = session.scalars(select(LedgerBatchRow).order_by(LedgerBatchRow.number.desc()).limit(1)).one_or_none()
    number, previous = (last.number + 1, last.hash) if last else (1, merkle.GENESIS)
    oldest = select(LedgerLeafRow.id).where(LedgerLeafRow.batch.is_(None)).order_by(LedgerLeafRow.id).limit(limit)
    taken = session.scalars(
        update(LedgerLeafRow)
        .where(LedgerLeafRow.id.in_(oldest), LedgerLeafRow.batch.is_(None))
        .values(batch=number)
        .returning(LedgerLeafRow.hash),
        execution_options={"synchronize_session": False},
    ).all()
    if not taken:
        return None
    root = merkle.root([bytes.fromhex(item) for item in sorted(taken)]).hex()
    chained = merkle.chain_hash(number, previous, root, len(taken), now).hex()
    batch = SealedBatch(number=number, previous=previous, root=root, leaves=len(taken), sealed_at=now, hash=chained)
    session.add(
        LedgerBatchRow(number=number, previous=previous, root=root, leaves=len(taken), sealed_at=now, hash=chained)
    )
    session.flush()
    return batch


def batches(session: Session) -> tuple[SealedBatch, ...]:
    """All sealed batches, oldest first."""
    return tuple(_batch(row) for row in session.scalars(select(LedgerBatchRow).order_by(LedgerBatchRow.number)))


def leaves(session: Session, batch: int) -> tuple[Leaf, ...]:
    """A batch's leaves in the order its root was made over: by leaf hash."""
    query = select(LedgerLeafRow).where(LedgerLeafRow.batch == batch)
    # Sorted here, not there: a database sorts text by its collation.
    return tuple(sorted((_leaf(row) for row in session.scalars(query)), key=lambda leaf: leaf.hash))


def leaves_of(session: Session, subject_id: str) -> tuple[Leaf, ...]:
    """All leaves that speak of one row, oldest first."""
    query = select(LedgerLeafRow).where(LedgerLeafRow.subject == subject_id).order_by(LedgerLeafRow.id)
    return tuple(_leaf(row) for row in session.scalars(query))


def _row(entry: Entry, now: datetime) -> dict[str, Any]:
    salt = os.urandom(SALT_BYTES)
    return {
        "id": new_decision_id(now),
        "cascade": entry.cascade,
        "kind": entry.kind,
        "subject": entry.subject,
        "hash": merkle.leaf_hash(salt, entry.payload.encode()).hex(),
        "salt": salt.hex(),
        "payload": entry.payload,
        "batch": None,
    }


def _leaf(row: LedgerLeafRow) -> Leaf:
    return Leaf(
        id=row.id,
        cascade=row.cascade,
        kind=row.kind,
        subject=row.subject,
        hash=row.hash,
        salt=row.salt,
        payload=row.payload,
        batch=row.batch,
    )


def _batch(row: LedgerBatchRow) -> SealedBatch:
    return SealedBatch(
        number=row.number,
        previous=row.previous,
        root=row.root,
        leaves=row.leaves,
        sealed_at=row.sealed_at,
        hash=row.hash,
    )
