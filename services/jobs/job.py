"""What a job is, and the loop that runs the due ones.

A windowed job has an effect once per cascade and window: the window is claimed in `job_run`, and
the effect, the fence and the claim's end are one transaction, so a process that was killed or
overtaken leaves nothing behind. A sweep has no windows: it works off rows that wait in the
database, each of them claimed or guarded where it lies.

The loop, per cascade:
1. ask the job which windows are due, earliest first;
2. claim the next one; if somebody else holds it, leave the cascade to them;
3. run the job while a thread keeps the claim alive, for as long as a job may take and no longer;
4. on an error: say so, release the window for a later try, each later than the one before, go on
   with the next cascade; so too where step 1 fails, as it does for a cascade that cannot be read;
5. when the scheduler is to stop: begin nothing more, and give the window back at once.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from sqlalchemy import Engine

from knowgate import Window
from knowgate.errors import RecordInvalid
from services.clock import Clock
from services.durations import format_duration
from services.errors import ServicesError
from services.settings import Settings
from services.telemetry import gen_ai, spans
from services.telemetry.spans import Kind
from store.engine import reading, transaction
from store.errors import ClaimLost
from store.jobs import job_runs
from store.jobs.job_runs import Claim
from store.jobs.occasions import Occasion
from store.releases import cascades

log = logging.getLogger("knowgate.jobs")

RETRY_AFTER = timedelta(minutes=1)  # the first time; twice as long each time
LONGEST_RETRY = timedelta(hours=1)
FAILED = "failed"  # the outcome of a window whose run came to none
STOPPED = "stopped"  # of one whose process was to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What every job is given."""

    engine: Engine
    settings: Settings
    clock: Clock
    owner: str  # names this process in claims
    stopping: threading.Event = field(default_factory=threading.Event)  # set: end in an orderly way, and soon
    # Per cascade, when its labels were last counted for a training: not at every tick.
    labels_counted: dict[str, datetime] = field(default_factory=dict)


class JobStopped(ServicesError):
    """The job was ended because its process is to stop; its window is anybody's at once."""


def raise_if_stopping(context: JobContext) -> None:
    """Raises JobStopped where the process is to stop: what a long job asks between its steps."""
    if context.stopping.is_set():
        raise JobStopped("this process is to stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """What came of one window."""

    job: str
    cascade: str
    window: Window
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A window that is due; of a training with what it is made for."""

    window: Window
    occasion: Occasion | None = None


@runtime_checkable
class WindowedJob(Protocol):
    """A job that takes effect once per cascade and window."""

    @property
    def name(self) -> str: ...

    def cascades(self, context: JobContext) -> Sequence[str]:
        """Whose windows there are."""
        ...

    def due(self, context: JobContext, cascade: str) -> Iterable[Window | Due]:
        """The windows that have ended and were not finished, earliest first."""
        ...

    def run(self, context: JobContext, claim: Claim) -> str:
        """Do it: fence, effect and finish in one transaction. Returns the outcome in a
        word or two.
        """
        ...


class Sweep(Protocol):
    """A job that works off what waits in the database."""

    @property
    def name(self) -> str: ...

    def run(self, context: JobContext) -> int:
        """Do it; returns how many things were done."""
        ...


def run_due(context: JobContext, job: WindowedJob, *, only: str | None = None) -> tuple[JobOutcome, ...]:
    """Run every due window of `job`, in order, and say what came of each; of one cascade `only`,
    where a command names it. Raises CascadeUnknown for that one.

    A cascade whose windows are not known is left out for the sake of the others; where it is the
    only one, its error is raised, so that a command which named it does not say that nothing was
    due.
    """
    names = job.cascades(context) if only is None else (only,)
    if only is not None:
        with reading(context.engine) as session:
            cascades.cascade_version(session, only)
    run = _run_cascade if len(names) == 1 else _run_beside_others
    return tuple(outcome for cascade in names for outcome in run(context, job, cascade))


def run_one(context: JobContext, job: WindowedJob, cascade: str, due: Due) -> JobOutcome | None:
    """Run one window that may not be due; None where another run has it, or has had it."""
    claim = _claim(context, job.name, cascade, due)
    if claim is None:
        return None
    outcome = _run_claimed(context, job, claim)
    return JobOutcome(job=job.name, cascade=cascade, window=due.window, outcome=outcome or FAILED)


def run_sweep(context: JobContext, sweep: Sweep) -> int | None:
    """Run `sweep` once; None where it failed, which is logged and leaves the rest to
    the next tick.
    """
    began_ns = time.time_ns()
    try:
        done = sweep.run(context)
        if done:  # a look that found nothing is no news
            spans.happened(f"job {sweep.name}", {gen_ai.JOB: sweep.name, gen_ai.DONE: done}, began_ns=began_ns)
        return done
    except JobStopped:
        log.info("sweep %s was stopped; what it left waits for the next one", sweep.name)
        return 0
    except Exception:
        log.exception("sweep %s failed; it is tried again at the next tick", sweep.name)
        return None


def _run_beside_others(context: JobContext, job: WindowedJob, cascade: str) -> Iterator[JobOutcome]:
    try:
        yield from _run_cascade(context, job, cascade)
    except RecordInvalid as error:
        log.error("%s leaves out %s, which cannot be read (%s): apply a good file again", job.name, cascade, error)
    except Exception:
        log.exception("%s of %s failed before a window; it is tried again at the next tick", job.name, cascade)


def _run_cascade(context: JobContext, job: WindowedJob, cascade: str) -> Iterator[JobOutcome]:
    for each in job.due(context, cascade):
        if context.stopping.is_set():
            return
        due = each if isinstance(each, Due) else Due(window=each)
        claim = _claim(context, job.name, cascade, due)
        if claim is None:
            return  # held elsewhere, or waiting for its retry: later windows wait for it
        outcome = _run_claimed(context, job, claim)
        yield JobOutcome(job=job.name, cascade=cascade, window=due.window, outcome=outcome or FAILED)
        if outcome is None:
            return


def _claim(context: JobContext, name: str, cascade: str, due: Due) -> Claim | None:
    with transaction(context.engine) as session:
        return job_runs.claim(
            session,
            name,
            cascade,
            due.window,
            owner=context.owner,
            lease=context.settings.job_lease,
            now=context.clock.now(),
            occasion=due.occasion,
        )


def _run_claimed(context: JobContext, job: WindowedJob, claim: Claim) -> str | None:
    """The outcome, or None when the run came to none and its window was released."""
    known = {
        gen_ai.JOB: job.name,
        gen_ai.CASCADE: claim.cascade,
        gen_ai.WINDOW_START: claim.window.start.isoformat(),
        gen_ai.WINDOW_END: claim.window.end.isoformat(),
    }
    try:
        with spans.span(f"job {job.name}", Kind.INTERNAL, known) as span, kept_alive(context, claim):
            outcome = job.run(context, claim)
            if span is not None:
                span.note({gen_ai.OUTCOME: outcome})
            return outcome
    except (JobStopped, KeyboardInterrupt) as stopped:
        log.info("%s of %s until %s was stopped", job.name, claim.cascade, claim.window.end.isoformat())
        _release(context, claim, None, retry_in=timedelta())
        if isinstance(stopped, KeyboardInterrupt):
            raise
        return STOPPED
    except ClaimLost:
        log.warning("%s of %s until %s was taken over", job.name, claim.cascade, claim.window.end.isoformat())
        return None
    except Exception as error:
        log.exception("%s of %s until %s failed", job.name, claim.cascade, claim.window.end.isoformat())
        _release(context, claim, f"{type(error).__name__}: {error}", retry_in=retry_after(claim))
        return None


def retry_after(claim: Claim) -> timedelta:
    """How long a window that failed waits: ever longer, and no longer than an eighth of a window,
    so that what is looked at hourly is not left alone for hours.

    >>> start = datetime.fromisoformat("2026-01-01T00:00:00Z")
    >>> def claim(token, hours):
    ...     window = Window(start=start, end=start + timedelta(hours=hours))
    ...     return Claim(id=None, job="", cascade="", window=window, owner="", token=token,
    ...         lease_until=start)
    >>> [int(retry_after(claim(token, 24)).total_seconds() / 60) for token in (1, 2, 3, 7, 99)]
    [1, 2, 4, 60, 60]
    >>> str(retry_after(claim(99, 1)))
    '0:07:30'
    """
    longest = max(RETRY_AFTER, min(LONGEST_RETRY, claim.window.length / 8))
    return min(RETRY_AFTER * (1 << min(claim.token - 1, 16)), longest)


def _release(context: JobContext, claim: Claim, error: str | None, *, retry_in: timedelta) -> None:
    now = context.clock.now()
    try:
        with transaction(context.engine) as session:
            job_runs.release(session, claim, error=error, retry_at=now + retry_in, now=now)
    except ClaimLost:
        log.info("%s of %s was already taken over", claim.job, claim.cascade)


@contextmanager
def kept_alive(context: JobContext, claim: Claim) -> Iterator[None]:
    """Renew the claim's lease from a thread while the body runs; one that hangs loses it in the
    end.
    """
    done = threading.Event()
    every = context.settings.job_lease.total_seconds() / 3
    limit = context.settings.job_limit
    ends_at = time.monotonic() + limit.total_seconds()

    def beat() -> None:
        while not done.wait(every):
            if time.monotonic() >= ends_at:
                message = "%s of %s has run for %s (KNOWGATE_JOB_LIMIT): it is left to another scheduler"
                log.error(message, claim.job, claim.cascade, format_duration(limit))
                return
            try:
                with transaction(context.engine) as session:
                    job_runs.heartbeat(session, claim, lease=context.settings.job_lease, now=context.clock.now())
            except ClaimLost:
                return  # the fence will tell the job itself
            except Exception:
                log.exception("the heartbeat of %s failed; it is tried again", claim.job)

    thread = threading.Thread(target=beat, name=f"heartbeat-{claim.job}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
