"""Where a windowed job stands: what its windows are cut by, up to when they are done, and what is
due.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from knowgate._records.records import Window
from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec, Schedule
from services.jobs.job import JobContext
from services.windows import EPOCH, last_due_window
from store.engine import reading
from store.jobs import job_runs
from store.releases import cascades
from store.traffic import decisions

ALL_CASCADES = "*"  # the name under which a job over all of them keeps its watermark


def every_cascade(context: JobContext) -> Sequence[str]:
    """The names of all cascades."""
    with reading(context.engine) as session:
        return cascades.cascade_names(session)


def standing(context: JobContext, job: str, cascade: str) -> tuple[CascadeSpec, datetime] | None:
    """The cascade, and the end of the last finished window of `job`, or the first decision's time
    before there is one; None before the first decision.
    """
    with reading(context.engine) as session:
        spec = cascades.cascade(session, cascade)
        done_until = job_runs.watermark(session, job, cascade, until=context.clock.now())
        done_until = done_until or decisions.first_time(session, cascade)
    return None if done_until is None else (spec, done_until)


def next_decision_of(context: JobContext, cascade: str) -> Callable[[datetime], datetime | None]:
    """Tells when the first decision at or after a time was made; None where there is none."""

    def next_decision(since: datetime) -> datetime | None:
        with reading(context.engine) as session:
            return decisions.next_time(session, cascade, since)

    return next_decision


def seal_every(context: JobContext) -> timedelta:
    """How often the one ledger of all cascades is sealed: as often as the one asks that asks most.

    A cascade that cannot be read asks for the default, as if it had said nothing.
    """
    asked = []
    with reading(context.engine) as session:
        for name in cascades.cascade_names(session):
            try:
                asked.append(cascades.cascade(session, name).schedule.seal_every)
            except RecordInvalid:
                asked.append(Schedule().seal_every)
    return min(asked, default=Schedule().seal_every)


def last_due(context: JobContext, job: str, *, every: timedelta) -> tuple[Window, ...]:
    """The latest due window of `job` over all cascades together, which makes good every missed one;
    () before it.
    """
    now = context.clock.now()
    with reading(context.engine) as session:
        done_until = job_runs.watermark(session, job, ALL_CASCADES, until=now) or EPOCH
    window = last_due_window(every=every, done_until=done_until, now=now)
    return () if window is None else (window,)
