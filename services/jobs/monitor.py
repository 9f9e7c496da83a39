"""`monitor`: turns each window of decision time into figures, a report a day, and alarms."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice

from sqlalchemy.orm import Session

from knowgate import Window
from services.jobs.job import JobContext
from services.jobs.timetable import every_cascade, next_decision_of, standing
from services.windows import eventful_windows
from store.jobs import job_runs
from store.jobs.job_runs import Claim

WINDOWS_PER_TICK = 500  # a scheduler that comes back after a long time lets other jobs have their turn
LOOKED_BACK = timedelta(days=28)  # beyond the label horizon: the longest that a daily rule compares


class MonitorJob:
    """Windows are watched one by one, in order: the alarms consume time once. Empty ones from which
    nothing can follow are passed over.
    """

    name = "monitor"

    def cascades(self, context: JobContext) -> Sequence[str]:
        return every_cascade(context)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        state = standing(context, self.name, cascade)
        if state is None:
            return ()
        spec, done_until = state
        windows = eventful_windows(
            every=spec.schedule.monitor_every,
            done_until=done_until,
            now=context.clock.now(),
            echo=LOOKED_BACK + spec.horizon,
            next_decision=next_decision_of(context, cascade),
        )
        return islice(windows, WINDOWS_PER_TICK)

    def run(self, context: JobContext, claim: Claim) -> str:
        from monitoring.watching.watch import watch_window  # pandas and scipy: not for every command

        now = context.clock.now()

        def fence(session: Session) -> None:  # the claim is lost here, or held until all is written
            job_runs.finish(session, claim, "watched", now=now)

        outcome = watch_window(context.engine, claim.cascade, claim.window, now=now, fence=fence)
        return str(outcome)
