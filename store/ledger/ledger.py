"""The tamper-evident record: leaves written with the rows they speak of, sealed in batches.

A leaf is written in the transaction of its row or of its batch of rows, so neither is there without
the other. Leaves carry
no sequence: a chain over rows would serialise ingestion. Sealing takes what is not sealed yet,
orders it by leaf hash, and chains the Merkle root to the batch before. Erasure takes a leaf's salt
and payload; its hash stays, and the root holds.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from knowgate._records.ids import decided_at
from knowgate._records.records import Window
from store import dialects, partitions
from store.rows import record_of, records, row_of
from store.sealing import merkle
from store.sealing.leaves import Entry, append
from store.sealing.sealed_rows import sealed_row
from store.tables import LedgerBatchRow, LedgerLeafRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One statement of the ledger."""

    id: UUID
    version: int
    cascade: str
    kind: str
    subject: str
    revision: int  # of the leaves of one row, from 1
    hash: str  # hex SHA-256
    salt: str | None  # hex; None = erased
    payload: str | None
    content: str | None  # hex SHA-256 over salt and payload, where these were erased
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
    """Write a leaf that speaks of no table's row; its id."""
    payload = payload_json.decode() if isinstance(payload_json, bytes) else payload_json
    partitions.ensure_partitions(session, [partitions.month_of(now)])
    entry = Entry(cascade=cascade, kind=kind, subject=subject_id, payload=payload)
    return append(session, [entry], now=now)[0]


def unsealed(session: Session, limit: int = 1000) -> tuple[Leaf, ...]:
    """The oldest leaves that no batch holds yet, at most `limit`."""
    query = select(LedgerLeafRow).where(LedgerLeafRow.batch.is_(None)).order_by(LedgerLeafRow.id).limit(limit)
    return records(session, Leaf, query)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsealed:
    """What the next batches will hold."""

    leaves: int
    oldest: datetime | None  # when the first of them was written


def unsealed_count(session: Session) -> Unsealed:
    """How many leaves no batch holds yet."""
    count = session.scalar(select(func.count()).select_from(LedgerLeafRow).where(LedgerLeafRow.batch.is_(None)))
    first = unsealed(session, limit=1)
    return Unsealed(leaves=count or 0, oldest=decided_at(first[0].id) if first else None)


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
    session.add(LedgerBatchRow(**row_of(LedgerBatchRow, batch)))
    session.flush()
    return batch


def seal_all(session: Session, *, now: datetime) -> int:
    """Seal until nothing is open; how many leaves were sealed."""
    sealed = 0
    while (batch := seal(session, now=now)) is not None:
        sealed += batch.leaves
    return sealed


def batches(session: Session) -> tuple[SealedBatch, ...]:
    """All sealed batches, oldest first."""
    return records(session, SealedBatch, select(LedgerBatchRow).order_by(LedgerBatchRow.number))


def newest_batches(session: Session, *, limit: int) -> tuple[SealedBatch, ...]:
    """The latest sealed batches, newest first."""
    return records(session, SealedBatch, select(LedgerBatchRow).order_by(LedgerBatchRow.number.desc()).limit(limit))


def batch_hashes(session: Session) -> tuple[str, ...]:
    """The hashes of all sealed batches, oldest first: what a head is made of."""
    return tuple(session.scalars(select(LedgerBatchRow.hash).order_by(LedgerBatchRow.number)))


def sealed_batch(session: Session, number: int) -> SealedBatch:
    """The batch of that number, which is there."""
    return records(session, SealedBatch, select(LedgerBatchRow).where(LedgerBatchRow.number == number))[0]


def batches_in(session: Session, window: Window) -> tuple[SealedBatch, ...]:
    """The batches of a window, oldest first: from the first that was sealed at its start or later
    to the last that was sealed before its end. What came before and after them lies outside, also
    where the clock was set back.
    """
    number, sealed = LedgerBatchRow.number, LedgerBatchRow.sealed_at
    first = select(func.min(number)).where(sealed >= window.start).scalar_subquery()
    last = select(func.max(number)).where(sealed < window.end).scalar_subquery()
    return records(session, SealedBatch, select(LedgerBatchRow).where(number.between(first, last)).order_by(number))


def leaf_hashes(session: Session, batch: int) -> list[str]:
    """The hashes of a batch's leaves in the order its root was made over."""
    return sorted(session.scalars(select(LedgerLeafRow.hash).where(LedgerLeafRow.batch == batch)))


def leaves(session: Session, batch: int) -> tuple[Leaf, ...]:
    """A batch's leaves in the order its root was made over: by leaf hash."""
    query = select(LedgerLeafRow).where(LedgerLeafRow.batch == batch)
    # Sorted here, not there: a database sorts text by its collation.
    return tuple(sorted((record_of(Leaf, row) for row in session.scalars(query)), key=lambda leaf: leaf.hash))


def leaves_of(session: Session, subject_id: str) -> tuple[Leaf, ...]:
    """All leaves that speak of one row, oldest first, that of its batch among them."""
    of_batch = sealed_row(session, subject_id)
    about = LedgerLeafRow.subject == subject_id
    if of_batch is not None:
        about = or_(about, LedgerLeafRow.id == of_batch.leaf)
    query = select(LedgerLeafRow).where(about).order_by(LedgerLeafRow.revision, LedgerLeafRow.id)
    return records(session, Leaf, query)
