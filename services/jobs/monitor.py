"""`monitor`: turns each window of decision time into figures, drift reports and alarms."""

from collections.abc import Iterable, Sequence
from itertools import islice

from sqlalchemy.orm import Session

from knowgate import Window
from services.jobs.job import JobContext
from services.jobs.timetable import every_cascade, standing
from services.jobs.windows import due_windows
from store import job_runs
from store.job_runs import Claim

WINDOWS_PER_TICK = 500  # a scheduler that comes back after a long time lets other jobs have their turn


class MonitorJob:
    """Windows are watched one by one, in order: the alarms consume time once."""

    name = "monitor"

    def cascades(self, context: JobContext) -> Sequence[str]:
        return every_cascade(context)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        found = standing(context, self.name, cascade)
        if found is None:
            return ()
        schedule, done_until = found
        return islice(
            due_windows(every=schedule.monitor_every, done_until=done_until, now=context.clock.now()), WINDOWS_PER_TICK
        )

    def run(self, context: JobContext, claim: Claim) -> str:
        from monitoring.watch import watch_window  # pandas and scipy: not for every command

        now = context.clock.now()

        def fence(session: Session) -> None:
            job_runs.fence(session, claim)
            job_runs.finish(session, claim, "watched", now=now)

        outcome = watch_window(context.engine, claim.cascade, claim.window, now=now, fence=fence)
        return str(outcome)
