"""Job runs: a job of a window takes effect once, whoever runs it and whoever dies.

1. A worker claims (job, cascade, window): the first inserts the row, and the database lets no
   second one do so.
2. The claim is a lease, renewed by heartbeats. When it runs out another worker takes the row over,
   and the fencing token grows.
3. The effect's own transaction first calls `fence`, which locks the row and refuses an old token,
   and at its end calls `finish`. So the effect and the fact that it happened commit together or not
   at all.
4. A window that is finished can never be claimed again. Watermarks say which windows are due.
5. A training has an occasion, and one that is not its turn has a key that only one run may have:
   what called for it calls once (`store.jobs.occasions`).
6. A heartbeat later than now was written before the clock was set back. Its lease lasts as long as
   it was to last, from now on: a live owner renews it in time, and a dead one holds nothing for as
   long as the clock went back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from knowgate._records.records import Window
from knowgate._wire.shown import masked
from store import dialects
from store.claims import changed
from store.errors import ClaimLost
from store.jobs.occasions import Occasion, TrainingReason
from store.rows import records, row_of
from store.tables import JobRunRow

CLOCKS_DIFFER = timedelta(seconds=5)  # by less, between hosts, a clock was not set back


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to run one job of one window, until `lease_until`."""

    id: UUID
    job: str
    cascade: str  # '' for jobs of the whole installation
    window: Window
    owner: str
    token: int
    lease_until: datetime
    occasion: Occasion | None = None  # of a training


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """One job of one window, as it stands."""

    id: UUID
    job: str
    cascade: str
    window: Window
    owner: str
    token: int  # above 1: it was taken over
    lease_until: datetime
    started_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None
    outcome: str | None
    last_error: str | None
    reason: TrainingReason | None = None  # of a training: why it was made
    why: str | None = None
    occasion: str | None = None  # the key of what called for it
    asked_by: str | None = None
    bundle: str | None = None  # what came of it
    labels_needed: int | None = None  # further labels that an attempt waits for

    @property
    def made_for(self) -> Occasion | None:
        """What a training was made for; None of other jobs, and where a former run says nothing."""
        if self.reason is None:
            return None
        return Occasion(reason=self.reason, why=self.why or "", key=self.occasion, asked_by=self.asked_by)


def claim(
    session: Session,
    job: str,
    cascade: str,
    window: Window,
    *,
    owner: str,
    lease: timedelta,
    now: datetime,
    occasion: Occasion | None = None,
) -> Claim | None:
    """Claim the window; None while another holds it, and for ever once it is finished, or once
    another window was claimed for the same occasion. Commit before working.
    """
    row = row_of(
        JobRunRow,
        occasion,
        id=new_id(now),
        job=job,
        cascade=cascade,
        window_start=window.start,
        window_end=window.end,
        owner=owner,
        token=1,
        lease_until=now + lease,
        started_at=now,
        heartbeat_at=now,
        occasion=None if occasion is None else occasion.key,
    )
    made = dialects.insert_new(session, JobRunRow, [row], returning="id")
    if not made:
        _follow_clock(session, job, cascade, window, now)
    taken = (made[0], 1) if made else _take_over(session, job, cascade, window, owner, lease, now)
    if taken is None:
        return None
    key, token = taken
    return Claim(
        id=key,
        job=job,
        cascade=cascade,
        window=window,
        owner=owner,
        token=token,
        lease_until=now + lease,
        occasion=occasion,
    )


def heartbeat(session: Session, run: Claim, *, lease: timedelta, now: datetime) -> Claim:
    """Renew the lease; the claim with its new end. Raises ClaimLost when another has taken over."""
    _change(session, run, {"lease_until": now + lease, "heartbeat_at": now})
    return replace(run, lease_until=now + lease)


def fence(session: Session, run: Claim) -> None:
    """Refuse to go on unless the claim still holds, and hold its row until the transaction ends.

    The first statement of the effect's own transaction; `finish` is its last. Raises ClaimLost.
    """
    query = select(JobRunRow.token, JobRunRow.finished_at).where(JobRunRow.id == run.id).with_for_update()
    row = session.execute(query).one_or_none()
    if row is None or row.token != run.token or row.finished_at is not None:
        raise ClaimLost(_name(run), run.token)


def finish(
    session: Session,
    run: Claim,
    outcome: str,
    *,
    now: datetime,
    bundle: str | None = None,
    labels_needed: int | None = None,
) -> None:
    """Say that the window is done, with what outcome, and of a training which bundle came of it or
    how many further labels it waits for. Raises ClaimLost.
    """
    done: dict[str, object] = {"finished_at": now, "outcome": outcome, "bundle": bundle, "labels_needed": labels_needed}
    _change(session, run, done)


def release(session: Session, run: Claim, *, error: str | None, retry_at: datetime, now: datetime) -> None:
    """Give the claim back unfinished; from `retry_at` on it can be taken over. `error` None: it did
    not fail, its worker was stopped. Raises ClaimLost.
    """
    said = None if error is None else masked(error)
    _change(session, run, {"lease_until": retry_at, "heartbeat_at": now, "last_error": said})


def watermark(session: Session, job: str, cascade: str, *, until: datetime | None = None) -> datetime | None:
    """The end of the last finished window; None before the first.

    Windows that end after `until` do not count: they were finished by a clock that has been set
    back since.
    """
    query = select(func.max(JobRunRow.window_end)).where(
        JobRunRow.job == job, JobRunRow.cascade == cascade, JobRunRow.finished_at.is_not(None)
    )
    if until is not None:
        query = query.where(JobRunRow.window_end <= until)
    return session.execute(query).scalar_one()


def job_runs(
    session: Session, cascade: str | None = None, *, job: str | None = None, limit: int = 100
) -> tuple[JobRun, ...]:
    """The latest windows, newest first."""
    query = select(JobRunRow).order_by(JobRunRow.window_end.desc(), JobRunRow.started_at.desc()).limit(limit)
    if cascade is not None:
        query = query.where(JobRunRow.cascade == cascade)
    if job is not None:
        query = query.where(JobRunRow.job == job)
    return records(session, JobRun, query)


def latest_runs(session: Session) -> tuple[JobRun, ...]:
    """The latest window of every job and cascade, by job."""
    last = (
        select(JobRunRow.job, JobRunRow.cascade, func.max(JobRunRow.window_end).label("window_end"))
        .group_by(JobRunRow.job, JobRunRow.cascade)
        .subquery()
    )
    same = [JobRunRow.__table__.c[name] == last.c[name] for name in ("job", "cascade", "window_end")]
    query = select(JobRunRow).join(last, and_(*same))
    ordered = query.order_by(JobRunRow.job, JobRunRow.cascade, JobRunRow.window_start)
    return tuple({(run.job, run.cascade): run for run in records(session, JobRun, ordered)}.values())


def last_finished(
    session: Session, job: str, cascade: str, *, until: datetime, reason: TrainingReason | None = None
) -> JobRun | None:
    """Of the finished runs whose windows ended by `until` (see `watermark`) the last; of those made
    for `reason`, where one is given.
    """
    query = (
        select(JobRunRow)
        .where(
            JobRunRow.job == job,
            JobRunRow.cascade == cascade,
            JobRunRow.finished_at.is_not(None),
            JobRunRow.window_end <= until,
        )
        .order_by(JobRunRow.window_end.desc(), JobRunRow.finished_at.desc())
        .limit(1)
    )
    if reason is not None:
        query = query.where(JobRunRow.reason == reason)
    return next(iter(records(session, JobRun, query)), None)


def called_for(session: Session, job: str, cascade: str) -> tuple[JobRun, ...]:
    """The unfinished runs that were not their turn, the one with the latest window first."""
    query = select(JobRunRow).where(
        JobRunRow.job == job,
        JobRunRow.cascade == cascade,
        JobRunRow.finished_at.is_(None),
        JobRunRow.occasion.is_not(None),
    )
    return records(session, JobRun, query.order_by(JobRunRow.window_end.desc()))


def occasion_taken(session: Session, job: str, cascade: str, key: str) -> bool:
    """Whether a run was ever made, or begun, for what this key names."""
    query = select(JobRunRow.id).where(JobRunRow.job == job, JobRunRow.cascade == cascade, JobRunRow.occasion == key)
    return session.execute(query).first() is not None


def called_by(session: Session, keys: Sequence[str]) -> tuple[JobRun, ...]:
    """The runs that were made, or begun, for what these keys name, earliest first."""
    query = select(JobRunRow).where(JobRunRow.occasion.in_(keys)).order_by(JobRunRow.started_at, JobRunRow.id)
    return records(session, JobRun, query)


def run_of_bundle(session: Session, bundle: str) -> JobRun | None:
    """The run that a bundle came of; None for one made by hand, or from before runs said it."""
    query = select(JobRunRow).where(JobRunRow.bundle == bundle).limit(1)
    return next(iter(records(session, JobRun, query)), None)


def failing(session: Session, cascade: str) -> tuple[JobRun, ...]:
    """The windows whose last try failed and after which none is finished yet, newest first."""
    failed = [run for run in job_runs(session, cascade) if run.finished_at is None and run.last_error is not None]
    done = {job: watermark(session, job, cascade) for job in {run.job for run in failed}}
    return tuple(run for run in failed if (until := done[run.job]) is None or run.window.end > until)


def at_work(session: Session, *, now: datetime, within: timedelta) -> frozenset[str]:
    """The jobs that hold a window now and said so within a time: a long one is not one that stands
    still.
    """
    query = select(JobRunRow.job).where(
        JobRunRow.finished_at.is_(None), JobRunRow.lease_until > now, JobRunRow.heartbeat_at >= now - within
    )
    return frozenset(session.scalars(query.distinct()))


def _take_over(
    session: Session, job: str, cascade: str, window: Window, owner: str, lease: timedelta, now: datetime
) -> tuple[UUID, int] | None:
    row = session.execute(
        update(JobRunRow)
        .where(
            *_unfinished(job, cascade, window),
            JobRunRow.lease_until <= now,
        )
        .values(owner=owner, token=JobRunRow.token + 1, lease_until=now + lease, heartbeat_at=now)
        .returning(JobRunRow.id, JobRunRow.token),
        execution_options={"synchronize_session": False},
    ).one_or_none()
    return None if row is None else (row.id, row.token)


def _unfinished(job: str, cascade: str, window: Window) -> tuple[ColumnElement[bool], ...]:
    return (
        JobRunRow.job == job,
        JobRunRow.cascade == cascade,
        JobRunRow.window_start == window.start,
        JobRunRow.window_end == window.end,
        JobRunRow.finished_at.is_(None),
    )


def _follow_clock(session: Session, job: str, cascade: str, window: Window, now: datetime) -> None:
    """Let a lease of a later clock run from now on; see the module's point 6."""
    query = select(JobRunRow.id, JobRunRow.heartbeat_at, JobRunRow.lease_until).where(
        *_unfinished(job, cascade, window),
        JobRunRow.heartbeat_at > now + CLOCKS_DIFFER,
    )
    row = session.execute(query).one_or_none()
    if row is None:
        return
    left = max(row.lease_until - row.heartbeat_at, timedelta())
    session.execute(
        update(JobRunRow)
        .where(JobRunRow.id == row.id, JobRunRow.heartbeat_at == row.heartbeat_at)
        .values(heartbeat_at=now, lease_until=now + left),
        execution_options={"synchronize_session": False},
    )


def _change(session: Session, run: Claim, values: dict[str, object]) -> None:
    result = session.execute(
        update(JobRunRow)
        .where(JobRunRow.id == run.id, JobRunRow.token == run.token, JobRunRow.finished_at.is_(None))
        .values(**values),
        execution_options={"synchronize_session": False},
    )
    if changed(result) != 1:
        raise ClaimLost(_name(run), run.token)


def _name(run: Claim) -> str:
    return f"job {run.job} of {run.cascade or 'all cascades'} for the window ending {run.window.end.isoformat()}"
