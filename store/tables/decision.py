"""Decisions and the fingerprints of the models that made them.

Partitioned by month of the UUIDv7 on PostgreSQL, so the primary key alone bounds a window of
decision time.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType, where_known


class DecisionRow(Base):
    """One query's way through a cascade."""

    __tablename__ = "decision"
    __table_args__ = (
        Index("ix_decision_cascade_id", "cascade", "id"),
        Index("ix_decision_cascade_external_id", "cascade", "external_id"),
        Index("ix_decision_cascade_received_at", "cascade", "received_at"),
        Index("ix_decision_cascade_trace_id", "cascade", "trace_id", **where_known("trace_id")),
        Index("ix_decision_cascade_span_id", "cascade", "span_id", **where_known("span_id")),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"))
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]
    external_id: Mapped[str | None]
    slice: Mapped[str | None]
    prompt: Mapped[str | None]
    prompt_hash: Mapped[str | None]
    generation: Mapped[int | None]
    bundle: Mapped[str | None]  # no foreign key: a runtime may serve a bundle that was restored elsewhere
    exploration_rate: Mapped[float]
    served_tier: Mapped[int]  # what a label without a tier speaks of
    spec_version: Mapped[int]  # whose prices filled the costs
    erased_at: Mapped[datetime | None]
    trace_id: Mapped[str | None]
    span_id: Mapped[str | None]


class FingerprintRow(Base):
    """What a hidden state is a hidden state of; few exist, so attempts refer to them."""

    __tablename__ = "fingerprint"

    sha256: Mapped[str] = mapped_column(primary_key=True)  # of the canonical JSON
    document: Mapped[Any] = mapped_column(JsonType)
