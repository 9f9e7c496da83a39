"""Certification attempts, also those that certified nothing."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType


class CertificationRow(Base):
    """One attempt at a certificate."""

    __tablename__ = "certification"
    __table_args__ = (UniqueConstraint("cascade", "attempt"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"))
    attempt: Mapped[int]  # k, from 1
    window_start: Mapped[datetime]
    window_end: Mapped[datetime]
    status: Mapped[str]
    target_kind: Mapped[str]
    target_value: Mapped[float]
    delta_family: Mapped[float]
    delta_spent: Mapped[float]
    n: Mapped[int]
    bundle: Mapped[str | None] = mapped_column(ForeignKey("bundle.id"))
    document: Mapped[Any] = mapped_column(JsonType)
    decided_at: Mapped[datetime]
