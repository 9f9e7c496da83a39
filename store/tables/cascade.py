"""Cascades as declared: the version in force, all versions before it, and what people asked of one
that changes nothing by itself.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType


class CascadeRow(Base):
    """A cascade's current version; the row that others refer to by name."""

    __tablename__ = "cascade"

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    applied_at: Mapped[datetime]


class CascadeVersionRow(Base):
    """One declaration of a cascade, kept for ever: decisions name the version that priced them."""

    __tablename__ = "cascade_version"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    spec: Mapped[Any] = mapped_column(JsonType)
    applied_at: Mapped[datetime]


class CascadeActRow(Base):
    """What a person asked of a cascade that moves nothing by itself; rows are added, never
    changed.
    """

    __tablename__ = "cascade_act"
    __table_args__ = (
        Index("ix_cascade_act_cascade_at", "cascade", "at"),
        CheckConstraint("act in ('frozen', 'unfrozen', 'asked', 'insisted')", name="act"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"))
    act: Mapped[str]
    by: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]
    until: Mapped[datetime | None]  # of a freeze
