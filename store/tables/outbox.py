"""The outbox: effects outside the database, written down in the transaction that wants them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base


class OutboxRow(Base):
    """One effect to be carried out, named by its idempotency key."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("topic", "key"),
        Index("ix_outbox_due_at", "due_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    topic: Mapped[str]
    key: Mapped[str]
    payload: Mapped[str]
    attempts: Mapped[int]  # also the token of a claim
    owner: Mapped[str | None]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime | None]  # None = done or given up
    done_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
