"""Verifications of the ledger that a person asked for on a page."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base


class VerificationRow(Base):
    """One verification of some batches; rows are added, never changed."""

    __tablename__ = "verification"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    by: Mapped[str]
    first_batch: Mapped[int]
    last_batch: Mapped[int]
    last_hash: Mapped[str]  # of that batch
    leaves: Mapped[int]  # that were read
    problems: Mapped[int]
    said: Mapped[str | None]  # the first of them
