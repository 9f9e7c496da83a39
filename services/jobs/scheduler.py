"""The scheduler: ticks, and nothing more.

APScheduler only says when to look; what is due follows from the database (`services.jobs`). So its
jobs live in memory, the schedules are this table, a tick that comes late is still made
(`misfire_grace_time=None`), and a long one is not overtaken by the next (`max_instances=1`), of
which nobody needs to hear. Any number of schedulers may run side by side: claims keep a window's
effect single.

APScheduler keeps the wall clock's times. A clock that is set back would leave every tick in the
future, so once a second, by the monotonic clock, ticks that lie farther off than their interval are
brought forward. A clock that is set forth makes every tick due at once, and once.
"""

import logging
import math
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from services.jobs.compact import CompactJob
from services.jobs.days import DaysJob
from services.jobs.deliver import DeliverSweep, RenewSweep
from services.jobs.export import ExportSweep
from services.jobs.job import FAILED, JobContext, JobOutcome, Sweep, WindowedJob, run_due, run_sweep
from services.jobs.monitor import MonitorJob
from services.jobs.ping import PingSweep
from services.jobs.promote import PromoteSweep
from services.jobs.register import RegisterSweep
from services.jobs.respond import RespondSweep
from services.jobs.seal import SealJob
from services.jobs.train import TrainJob
from store.engine import transaction
from store.jobs.job_ticks import put_tick

if TYPE_CHECKING:
    from apscheduler.schedulers.base import BaseScheduler

log = logging.getLogger("knowgate.scheduler")

LOOK_EVERY_S = 1.0  # at where the wall clock stands
WRITTEN_EVERY_S = 10.0  # a job's ticks are written down this often at most, unless one fails
PATIENCE_S = 8.0  # with jobs under way when the scheduler is to stop; `docker stop` waits for ten


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """How often a job looks for work."""

    job: WindowedJob | Sweep
    every: timedelta


# In the order in which one tick of all of them makes sense: what is seen is answered before it is
# learned from.
TICKS: tuple[Tick, ...] = (
    Tick(job=MonitorJob(), every=timedelta(seconds=30)),
    Tick(job=RespondSweep(), every=timedelta(seconds=10)),
    Tick(job=TrainJob(), every=timedelta(seconds=15)),
    Tick(job=PromoteSweep(), every=timedelta(seconds=10)),
    Tick(job=RegisterSweep(), every=timedelta(seconds=30)),
    Tick(job=DeliverSweep(), every=timedelta(seconds=5)),
    Tick(job=RenewSweep(), every=timedelta(minutes=1)),
    Tick(job=PingSweep(), every=timedelta(seconds=30)),
    Tick(job=SealJob(), every=timedelta(seconds=10)),
    Tick(job=ExportSweep(), every=timedelta(seconds=10)),
    Tick(job=CompactJob(), every=timedelta(minutes=1)),
    Tick(job=DaysJob(), every=timedelta(minutes=5)),
)


def tick_all(context: JobContext, ticks: Iterable[Tick] = TICKS) -> tuple[JobOutcome, ...]:
    """Let every job look for work once, in order: what a simulated deployment does at each step of
    its clock.
    """
    return tuple(outcome for tick in ticks for outcome in tick_job(context, tick.job))


def tick_job(context: JobContext, job: WindowedJob | Sweep) -> tuple[JobOutcome, ...]:
    """Let one job look for work once."""
    if isinstance(job, WindowedJob):
        return run_due(context, job)
    run_sweep(context, job)
    return ()


def run_scheduler(context: JobContext, *, ticks: tuple[Tick, ...] = TICKS) -> bool:
    """Tick until SIGTERM or SIGINT, or until `context.stopping` is set; whether every job under way
    came to its end.

    A training is ended and gives its window back; other jobs end with the step they are at. One
    that has not ended after `PATIENCE_S` is left as a killed process would leave it: its fence
    keeps it from half an effect.
    """
    scheduler = made_scheduler(context, ticks)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: context.stopping.set())
    scheduler.start()
    log.info("the scheduler ticks as %s: %s", context.owner, ", ".join(tick.job.name for tick in ticks))
    intervals = {tick.job.name: tick.every for tick in ticks}
    while not context.stopping.wait(LOOK_EVERY_S):
        bring_forward(scheduler, intervals)
    log.info("the scheduler stops")
    ending = threading.Thread(target=scheduler.shutdown, name="shutdown", daemon=True)
    ending.start()
    ending.join(PATIENCE_S)
    return not ending.is_alive()


def made_scheduler(context: JobContext, ticks: tuple[Tick, ...]) -> "BaseScheduler":
    """APScheduler with a job per tick, each due at once; not started yet."""
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.jobstores.memory import MemoryJobStore
    from apscheduler.schedulers.background import BackgroundScheduler
    from apscheduler.triggers.base import BaseTrigger

    BaseTrigger.register(FromNow)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns of every tick that found its job still at work
    scheduler = BackgroundScheduler(
        jobstores={"default": MemoryJobStore()},
        executors={"default": ThreadPoolExecutor(max(1, len(ticks)))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone=UTC,
    )
    for tick in ticks:
        scheduler.add_job(
            _Ticking(context, tick.job), FromNow(tick.every), id=tick.job.name, next_run_time=datetime.now(UTC)
        )
    return scheduler


class FromNow:
    """A trigger of APScheduler: one interval from now, however many a clock that was set forth has
    passed over.
    """

    def __init__(self, every: timedelta) -> None:
        self._every = every

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + self._every


def bring_forward(scheduler: "BaseScheduler", intervals: Mapping[str, timedelta]) -> None:
    """Make due at once what lies farther off than its interval: the clock was set back."""
    ahead = timedelta(seconds=LOOK_EVERY_S)
    for job in scheduler.get_jobs():
        now = datetime.now(UTC)
        if job.next_run_time > now + intervals[job.id] + ahead:
            scheduler.modify_job(job.id, next_run_time=now)


class _Ticking:
    """One job's ticks: each is made, whatever the one before came to, and now and then written
    down.
    """

    def __init__(self, context: JobContext, job: WindowedJob | Sweep) -> None:
        self._context = context
        self._job = job
        self._written_at = -math.inf  # on the monotonic clock

    def __call__(self) -> None:
        began = time.monotonic()
        try:
            error = self._tick()
        except Exception as failure:
            log.exception("the tick of %s failed; the next one tries again", self._job.name)
            error = f"{type(failure).__name__}: {failure}"
        if error is not None or time.monotonic() - self._written_at >= WRITTEN_EVERY_S:
            self._write(error, time.monotonic() - began)

    def _tick(self) -> str | None:
        """What went wrong, in a few words."""
        if not isinstance(self._job, WindowedJob):
            return "the sweep failed: see the scheduler's log" if run_sweep(self._context, self._job) is None else None
        error = None
        for outcome in run_due(self._context, self._job):
            log.info("%s of %s until %s: %s", outcome.job, outcome.cascade, outcome.window.end, outcome.outcome)
            if outcome.outcome == FAILED:
                error = f"the window of {outcome.cascade} until {outcome.window.end.isoformat()} failed"
        return error

    def _write(self, error: str | None, took_s: float) -> None:
        context, now = self._context, self._context.clock.now()
        try:
            with transaction(context.engine) as session:
                put_tick(session, self._job.name, owner=context.owner, now=now, error=error, took_s=took_s)
            self._written_at = time.monotonic()
        except SQLAlchemyError:
            log.exception("the tick of %s could not be written down", self._job.name)
