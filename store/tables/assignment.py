"""The assignment in force per cascade, all earlier generations, and who acknowledged which."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, JsonType


class AssignmentRow(Base):
    """The assignment in force; its generation is what a swap compares."""

    __tablename__ = "assignment"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    generation: Mapped[int]
    document: Mapped[Any] = mapped_column(JsonType)
    swapped_at: Mapped[datetime]


class AssignmentHistoryRow(Base):
    """One generation of a cascade's assignment, as it was issued."""

    __tablename__ = "assignment_history"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    document: Mapped[Any] = mapped_column(JsonType)
    swapped_at: Mapped[datetime]


class AcknowledgementRow(Base):
    """What a runtime last said about the assignment it was given."""

    __tablename__ = "acknowledgement"

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    runtime: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    bundle: Mapped[str | None]
    accepted: Mapped[bool]
    detail: Mapped[str | None]
    acknowledged_at: Mapped[datetime]  # by the runtime's clock
    version: Mapped[str | None]  # of the wheel; what follows is null of runtimes from before they said it
    heard_at: Mapped[datetime | None]  # by the service's clock
    again_s: Mapped[float | None]
    unshipped_bytes: Mapped[int | None]
    refused_rows: Mapped[int | None]
