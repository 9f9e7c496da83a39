"""The page of the service's own work: each job, when it was last looked after, what it came to for
each cascade, what is next, and what waits to leave the database.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from services.jobs.scheduler import TICKS
from services.next_attempt import next_attempt
from store.errors import StoreError
from store.jobs import job_runs
from store.jobs.job_runs import JobRun
from store.jobs.job_ticks import JOB_PATIENCE, JobTick, job_ticks
from store.jobs.outbox import Backlog, backlogs
from store.releases import cascades

WORK = {
    "monitor": "reads a window's decisions: figures, rules, alerts",
    "respond": "answers the risk alarm",
    "train": "fits and certifies a new bundle",
    "promote": "judges certified bundles",
    "register": "records bundles in MLflow",
    "deliver": "sends messages",
    "renew": "sends open alerts again to receivers that forget",
    "ping": "says outside that the scheduler is alive",
    "seal": "seals the ledger",
    "export": "writes labels and verdicts for other systems",
    "days": "writes days whose labels are in to files beside the vectors",
    "compact": "sums figures and labels; puts vectors together, and lets go of old ones",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """One job, over all schedulers and cascades."""

    job: str
    work: str
    every: timedelta
    tick: JobTick | None  # None = no scheduler has ever looked
    busy: bool  # it has a window under way
    behind: bool
    failing: bool  # its last tick failed

    @property
    def took_ms(self) -> float | None:
        """Of its last tick."""
        return None if self.tick is None or self.tick.took_s is None else 1000.0 * self.tick.took_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """The latest window of one job and cascade."""

    run: JobRun
    tries: int  # of that window
    next_at: datetime | None  # None = it is not known, or due by another's doing

    @property
    def took(self) -> timedelta | None:
        """From its first try to its end."""
        return None if self.run.finished_at is None else self.run.finished_at - self.run.started_at


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsPage:
    """All that the page shows."""

    jobs: tuple[JobLine, ...]
    runs: tuple[RunLine, ...]
    backlogs: tuple[Backlog, ...]

    @property
    def looked_at(self) -> datetime | None:
        """When a scheduler last looked for any job."""
        return max((line.tick.ticked_at for line in self.jobs if line.tick is not None), default=None)


def jobs_page(session: Session, *, now: datetime) -> JobsPage:
    """The page as it is `now`."""
    ticks = {tick.job: tick for tick in job_ticks(session)}
    busy = job_runs.at_work(session, now=now, within=JOB_PATIENCE)
    runs = job_runs.latest_runs(session)
    return JobsPage(
        jobs=tuple(
            _job_line(job, tick.every, ticks.get(job), busy=job in busy, now=now)
            for tick in TICKS
            for job in (tick.job.name,)
        ),
        runs=tuple(_run_line(session, run, now) for run in runs),
        backlogs=backlogs(session),
    )


def _job_line(job: str, every: timedelta, tick: JobTick | None, *, busy: bool, now: datetime) -> JobLine:
    behind = not busy and (tick is None or tick.behind(now))
    failed_at = None if tick is None else tick.failed_at
    well_at = None if tick is None else tick.succeeded_at
    failing = failed_at is not None and (well_at is None or well_at < failed_at)
    return JobLine(job=job, work=WORK.get(job, ""), every=every, tick=tick, busy=busy, behind=behind, failing=failing)


def _run_line(session: Session, run: JobRun, now: datetime) -> RunLine:
    return RunLine(run=run, tries=run.token, next_at=_next(session, run, now))


def _next(session: Session, run: JobRun, now: datetime) -> datetime | None:
    """When the job's next window of this cascade is due."""
    if run.finished_at is None:
        return run.lease_until if run.last_error is not None else None
    try:
        if run.job == "train":
            coming = next_attempt(session, run.cascade, now=now)
            return None if coming is None else coming.at
        if run.job == "monitor":
            return run.window.end + cascades.cascade(session, run.cascade).schedule.monitor_every
    except (StoreError, ValueError):
        return None  # a cascade that cannot be read says so on its own page
    return None
