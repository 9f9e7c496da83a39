"""Promotions: the history that aliases elsewhere are only a projection of."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType


class PromotionRow(Base):
    """One decision about which bundle serves, with the check that led to it."""

    __tablename__ = "promotion"
    __table_args__ = (
        Index("ix_promotion_cascade_decided_at", "cascade", "decided_at"),
        CheckConstraint(
            "outcome in ('promoted', 'refused', 'held_back', 'rolled_back', 'stopped', 'resumed', 'observed', "
            "'shadowed', 'shared', 'aborted', 'fell_back')",
            name="outcome",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"))
    bundle: Mapped[str | None] = mapped_column(ForeignKey("bundle.id"))  # None = no bundle is in force by it
    previous: Mapped[str | None] = mapped_column(ForeignKey("bundle.id"))
    outcome: Mapped[str]
    reason: Mapped[str]
    check: Mapped[Any] = mapped_column("promotion_check", JsonType)
    generation: Mapped[int | None]
    decided_at: Mapped[datetime]
    decided_by: Mapped[str | None]  # None = a job, or nobody said (rows from before)
