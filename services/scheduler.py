"""The scheduler: ticks, and nothing more.

APScheduler only says when to look; what is due follows from the database (`services.jobs`). So its jobs live in
memory, the schedules are this table, a tick that comes late is still made (`misfire_grace_time=None`), ticks that
piled up are one (`coalesce`), and a long one is not overtaken by the next (`max_instances=1`). Any number of
schedulers may run side by side: claims keep a window's effect single.
"""

import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from services.jobs.compact import CompactJob
from services.jobs.deliver import DeliverSweep
from services.jobs.job import JobContext, JobOutcome, Sweep, WindowedJob, run_due, run_sweep
from services.jobs.monitor import MonitorJob
from services.jobs.promote import PromoteSweep
from services.jobs.register import RegisterSweep
from services.jobs.respond import RespondSweep
from services.jobs.seal import SealJob
from services.jobs.train import TrainJob

log = logging.getLogger("knowgate.scheduler")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """How often a job looks for work."""

    job: WindowedJob | Sweep
    every: timedelta


# In the order in which one tick of all of them makes sense: what is seen is answered before it is learned from.
TICKS: tuple[Tick, ...] = (
    Tick(job=MonitorJob(), every=timedelta(seconds=30)),
    Tick(job=RespondSweep(), every=timedelta(seconds=10)),
    Tick(job=TrainJob(), every=timedelta(seconds=15)),
    Tick(job=PromoteSweep(), every=timedelta(seconds=10)),
    Tick(job=RegisterSweep(), every=timedelta(seconds=30)),
    Tick(job=DeliverSweep(), every=timedelta(seconds=5)),
    Tick(job=SealJob(), every=timedelta(seconds=30)),
    Tick(job=CompactJob(), every=timedelta(minutes=1)),
)


def tick_all(context: JobContext) -> tuple[JobOutcome, ...]:
    """Let every job look for work once, in order: what a simulated deployment does at each step of its clock."""
    return tuple(outcome for tick in TICKS for outcome in tick_job(context, tick.job))


def tick_job(context: JobContext, job: WindowedJob | Sweep) -> tuple[JobOutcome, ...]:
    """Let one job look for work once."""
    if isinstance(job, WindowedJob):
        return run_due(context, job)
    run_sweep(context, job)
    return ()


def run_scheduler(context: JobContext, *, stop: threading.Event | None = None) -> None:
    """Tick until SIGTERM or SIGINT (or `stop`); running jobs are waited for."""
    from apscheduler.jobstores.memory import MemoryJobStore
    from apscheduler.schedulers.background import BackgroundScheduler
    from apscheduler.triggers.interval import IntervalTrigger

    stopping = stop or threading.Event()
    scheduler = BackgroundScheduler(
        jobstores={"default": MemoryJobStore()},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone="UTC",
    )
    for tick in TICKS:
        trigger = IntervalTrigger(seconds=tick.every.total_seconds(), timezone="UTC")
        scheduler.add_job(_safely(context, tick.job), trigger, id=tick.job.name, next_run_time=context.clock.now())
    if stop is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
    scheduler.start()
    log.info("the scheduler ticks as %s: %s", context.owner, ", ".join(tick.job.name for tick in TICKS))
    stopping.wait()
    scheduler.shutdown(wait=True)


def _safely(context: JobContext, job: WindowedJob | Sweep) -> Callable[[], None]:
    def tick() -> None:
        try:
            for outcome in tick_job(context, job):
                log.info("%s of %s until %s: %s", outcome.job, outcome.cascade, outcome.window.end, outcome.outcome)
        except Exception:
            log.exception("the tick of %s failed; the next one tries again", job.name)

    return tick
