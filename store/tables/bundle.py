"""Bundles: immutable and content-addressed, so the content itself is kept beside its document."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType


class BundleRow(Base):
    """One bundle; only its status and signature ever change."""

    __tablename__ = "bundle"
    __table_args__ = (
        Index("ix_bundle_cascade_created_at", "cascade", "created_at"),
        CheckConstraint(
            "status in ('candidate', 'certified', 'infeasible', 'insufficient_evidence', 'saves_nothing', 'promoted', "
            "'refused', 'retired')",
            name="status",
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)  # hex SHA-256 of the content
    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"))
    document: Mapped[Any] = mapped_column(JsonType)
    content: Mapped[bytes]
    status: Mapped[str]
    signature: Mapped[str | None]  # hex Ed25519 over the id
    created_at: Mapped[datetime]
