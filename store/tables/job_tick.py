"""Job ticks: when the schedulers last looked for a job's work, and whether that went well."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base


class JobTickRow(Base):
    """One job, over all schedulers and cascades."""

    __tablename__ = "job_tick"

    job: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]  # the scheduler that looked last
    ticked_at: Mapped[datetime]
    succeeded_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    failures: Mapped[int]  # ever
    last_error: Mapped[str | None]
    took_s: Mapped[float | None]  # the last tick
