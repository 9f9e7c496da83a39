"""Where a cascade's windowed job stands: what its windows are cut by, and up to when they are done."""

from collections.abc import Sequence
from datetime import datetime

from knowgate.spec import Schedule
from services.jobs.job import JobContext
from store import cascades, decisions, job_runs
from store.engine import reading


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
