"""Job ticks: what tells from outside that jobs are looked after, also those that keep
no windows.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store import dialects
from store.claims import changed
from store.rows import records
from store.tables import JobTickRow

JOB_PATIENCE = timedelta(minutes=15)  # each job looks at least once a minute: so many times in a row it did not


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTick:
    """One job, over all schedulers and cascades."""

    job: str
    owner: str  # the scheduler that looked last
    ticked_at: datetime
    succeeded_at: datetime | None
    failed_at: datetime | None
    failures: int  # ever
    last_error: str | None
    took_s: float | None  # the last tick; None = it was before there was this column

    def behind(self, now: datetime) -> bool:
        """Whether it has not come to its end for `JOB_PATIENCE`, or never and failed."""
        if self.succeeded_at is None:
            return self.failures > 0
        return now - self.succeeded_at > JOB_PATIENCE

    @property
    def lateness(self) -> str:
        """Since when it has not come to its end, and why, as far as it is known."""
        never = f"{self.job} has never come to its end"
        since = never if self.succeeded_at is None else f"{self.job} last came to its end at {_time(self.succeeded_at)}"
        failed = self.failed_at is not None and (self.succeeded_at is None or self.failed_at > self.succeeded_at)
        return f"{since}: {self.last_error}" if failed and self.last_error else since


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def put_tick(
    session: Session, job: str, *, owner: str, now: datetime, error: str | None, took_s: float | None = None
) -> None:
    """Say that `owner` let the job look for work until `now`, how many seconds that took, and that
    it went well, or what went wrong.
    """
    values: dict[str, object] = {"owner": owner, "ticked_at": now, "took_s": took_s}
    if error is None:
        values |= {"succeeded_at": now}
    else:
        values |= {"failed_at": now, "failures": JobTickRow.failures + 1, "last_error": error}
    if not _put(session, job, values):
        row = {"job": job, "owner": owner, "ticked_at": now, "failures": 0}
        dialects.insert_new(session, JobTickRow, [row], returning="job")
        _put(session, job, values)


def job_ticks(session: Session) -> tuple[JobTick, ...]:
    """All jobs that ever ticked, by name."""
    return records(session, JobTick, select(JobTickRow).order_by(JobTickRow.job))


def _put(session: Session, job: str, values: dict[str, object]) -> bool:
    made = session.execute(
        update(JobTickRow).where(JobTickRow.job == job).values(**values),
        execution_options={"synchronize_session": False},
    )
    return changed(made) == 1
