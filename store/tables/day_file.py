"""Days that are written: Parquet files beside the shards, each of a range of one cascade's
decisions within a UTC day.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base


class DayFileRow(Base):
    """One file: all decisions of a cascade whose id is at least `low` and below `high`."""

    __tablename__ = "day_file"
    __table_args__ = (UniqueConstraint("url"),)

    cascade: Mapped[str] = mapped_column(ForeignKey("cascade.name"), primary_key=True)
    low: Mapped[UUID] = mapped_column(primary_key=True)
    high: Mapped[UUID]
    url: Mapped[str]
    sha256: Mapped[str]  # of the file
    bytes: Mapped[int]
    schema_version: Mapped[int]  # of what lies in the file
    decisions: Mapped[int]
    attempts: Mapped[int]  # the file's rows
    labels: Mapped[int]
    erased: Mapped[int]  # decisions
    written_at: Mapped[datetime]
    changed_at: Mapped[datetime | None]  # a decision or label of its range came since it was written
    left_at: Mapped[datetime | None]  # its rows need not be in the tables since
