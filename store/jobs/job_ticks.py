"""Job ticks: what tells from outside that jobs are looked after, also those that keep
no windows.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store import dialects
from store.claims import changed
from store.rows import records
from store.tables import JobTickRow


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


def put_tick(session: Session, job: str, *, owner: str, now: datetime, error: str | None) -> None:
    """Say that `owner` let the job look for work at `now`, and that it went well, or what went
    wrong.
    """
    values: dict[str, object] = {"owner": owner, "ticked_at": now}
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
