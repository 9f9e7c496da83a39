"""Where hidden states lie: safetensors shards under a URL, and the row of each attempt's vector in
one.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base


class VectorShardRow(Base):
    """One file of vectors of one dimension and one fingerprint."""

    __tablename__ = "vector_shard"
    __table_args__ = (UniqueConstraint("url"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"))
    url: Mapped[str]
    sha256: Mapped[str]
    dimension: Mapped[int]
    created_at: Mapped[datetime]
    fingerprint: Mapped[str | None] = mapped_column(ForeignKey("fingerprint.sha256"))  # None = not known, or mixed
    rows: Mapped[int]  # that hold a vector; those that nothing refers to are dropped by compaction
    superseded_at: Mapped[datetime | None]  # nothing refers to it since; the file stays a while for its readers


class VectorPlaceRow(Base):
    """One attempt's row in a shard."""

    __tablename__ = "vector_row"
    __table_args__ = ({"postgresql_partition_by": "RANGE (decision_id)"},)

    decision_id: Mapped[UUID] = mapped_column(primary_key=True)
    tier: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shard: Mapped[UUID] = mapped_column(ForeignKey("vector_shard.id"), index=True)
    row: Mapped[int]
    sha256: Mapped[str]  # of the row's bytes
