"""The ledger: salted leaves, and the sealed batches that commit to them.

Leaves carry no sequence, since one would serialise ingestion; the order within a batch is that of the leaf hashes.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base

_UNSEALED = text("batch IS NULL")


class LedgerLeafRow(Base):
    """One statement; erasure takes `salt` and `payload` and leaves the hash."""

    __tablename__ = "ledger_leaf"
    __table_args__ = (
        Index("ix_ledger_leaf_subject", "subject"),
        Index("ix_ledger_leaf_batch", "batch"),
        Index("ix_ledger_leaf_unsealed", "id", postgresql_where=_UNSEALED, sqlite_where=_UNSEALED),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    cascade: Mapped[str]
    kind: Mapped[str]  # decision, label, bundle, certification, promotion, alert, …
    subject: Mapped[str]  # id of the row it speaks of
    hash: Mapped[str]  # hex SHA-256 over salt and payload
    salt: Mapped[str | None]
    payload: Mapped[str | None]  # canonical JSON
    batch: Mapped[int | None]


class LedgerBatchRow(Base):
    """One sealed batch: a Merkle root over its leaves, chained to the batch before."""

    __tablename__ = "ledger_batch"
    __table_args__ = (UniqueConstraint("previous"),)  # the chain never forks

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    previous: Mapped[str]
    root: Mapped[str]
    leaves: Mapped[int]
    sealed_at: Mapped[datetime]
    hash: Mapped[str]
