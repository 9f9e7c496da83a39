"""Where a windowed job stands: what its windows are cut by, up to when they are done, and what is due."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from knowgate.records import Window
from knowgate.spec import Schedule
from services.jobs.job import JobContext
from services.jobs.windows import EPOCH, last_due_window
from store import cascades, decisions, job_runs
from store.engine import reading

ALL_CASCADES = "*"  # the name under which a job over all of them keeps its watermark


def every_cascade(context: JobContext) -> Sequence[str]:
    """The names of all cascades."""
    with reading(context.engine) as session:
        return cascades.cascade_names(session)


def standing(context: JobContext, job: str, cascade: str) -> tuple[Schedule, datetime] | None:
    """The cascade's schedule, and the end of the last finished window of `job`, or the first decision's time before
    there is one; None before the first decision."""
    with reading(context.engine) as session:
        schedule = cascades.cascade(session, cascade).schedule
        done_until = job_runs.watermark(session, job, cascade) or decisions.first_time(session, cascade)
    return None if done_until is None else (schedule, done_until)


def last_due(context: JobContext, job: str, *, every: timedelta) -> tuple[Window, ...]:
    """The latest due window of `job` over all cascades together, which makes good every missed one; () before it."""
    with reading(context.engine) as session:
        done_until = job_runs.watermark(session, job, ALL_CASCADES) or EPOCH
    window = last_due_window(every=every, done_until=done_until, now=context.clock.now())
    return () if window is None else (window,)
