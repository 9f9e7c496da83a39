"""Cascades as declared: the version in force, and all versions before it."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
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
