"""The ledger: salted leaves, and the sealed batches that commit to them.

Leaves carry no sequence, since one would serialise ingestion; the order within a batch is that of
the leaf hashes.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base

_UNSEALED = text("batch IS NULL")


class LedgerLeafRow(Base):
    """One statement; erasure takes `salt` and `payload` and leaves the hashes."""

    __tablename__ = "ledger_leaf"
    __table_args__ = (
        Index("ix_ledger_leaf_subject", "subject", "kind", "revision"),
        Index("ix_ledger_leaf_batch", "batch"),
        Index("ix_ledger_leaf_unsealed", "id", postgresql_where=_UNSEALED, sqlite_where=_UNSEALED),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]  # 1 = its hash is over salt and payload alone; 3 = it speaks of many rows
    cascade: Mapped[str]
    kind: Mapped[str]  # the name of the table it speaks of, erasure or upgrade
    subject: Mapped[str]  # the primary key of the row it speaks of; of many, of the first and the last
    revision: Mapped[int]  # of the leaves of one row, from 1
    hash: Mapped[str]  # hex SHA-256
    salt: Mapped[str | None]
    payload: Mapped[str | None]  # canonical JSON
    content: Mapped[str | None]  # hex SHA-256 over salt and payload, kept where these were erased
    batch: Mapped[int | None]
    rows: Mapped[bytes | None] = mapped_column(LargeBinary)  # salts, hashes and names of the rows, where it is of many


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
