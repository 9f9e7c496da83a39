"""What was shown to whom, and with which settings a service started."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base


class DisclosureRow(Base):
    """One time that something stored was read by a person, or given away. Never changed."""

    __tablename__ = "disclosure"
    __table_args__ = (
        CheckConstraint("act in ('explained', 'proven', 'exported', 'backed_up')", name="act"),
        Index("ix_disclosure_at", "at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    by: Mapped[str]
    act: Mapped[str]  # of `store.disclosures.Shown`
    what: Mapped[str]  # what was shown: a decision's id, a cascade, a period


class ServiceStartRow(Base):
    """One start of a service."""

    __tablename__ = "service_start"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    by: Mapped[str]
    service: Mapped[str]  # api, scheduler
    settings: Mapped[str]  # JSON: by their variables; of secrets that they are set
