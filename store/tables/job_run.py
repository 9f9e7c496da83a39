"""Job runs: what makes a job of a window take effect once."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base


class JobRunRow(Base):
    """One job of one window; `cascade` is '' for jobs of the whole installation."""

    __tablename__ = "job_run"
    __table_args__ = (
        UniqueConstraint("job", "cascade", "window_start", "window_end"),
        Index("uq_job_run_occasion", "job", "cascade", "occasion", unique=True),
        Index("ix_job_run_bundle", "bundle"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    job: Mapped[str]
    cascade: Mapped[str]
    window_start: Mapped[datetime]
    window_end: Mapped[datetime]
    owner: Mapped[str]
    token: Mapped[int]  # grows with every takeover; an older one has no effect
    lease_until: Mapped[datetime]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    last_error: Mapped[str | None]
    reason: Mapped[str | None]  # of a training: why it is made
    why: Mapped[str | None]  # the same in a sentence
    occasion: Mapped[str | None]  # names what called for it; None = its turn, or another job
    asked_by: Mapped[str | None]
    bundle: Mapped[str | None]  # what came of it; no foreign key, as an effect may be none
    labels_needed: Mapped[int | None]  # further labels that an attempt waits for
