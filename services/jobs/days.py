"""`days`: writes each UTC day of a cascade whose labels are in to a file beside the shards, and
writes those anew that something came for since. Rows of written days then leave the database, where
`KNOWGATE_ROW_RETENTION` says after how long.

A day is written once it is mature (its label horizon is over) and all that was said of it by then
is sealed in the ledger.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice, takewhile

from sqlalchemy.orm import Session

from knowgate import Window
from services.days.leaving import leave
from services.days.writing import rewrite_changed, write_day
from services.jobs.job import JobContext, raise_if_stopping
from services.jobs.timetable import every_cascade, next_decision_of, standing
from services.windows import DAY, eventful_windows
from store.engine import reading, transaction
from store.jobs import job_runs
from store.jobs.job_runs import Claim
from store.ledger import ledger

DAYS_PER_TICK = 100  # the days of a long history are written a part at a time
CHANGED_FOR = timedelta(days=1)  # what came late is taken in once a day


class DaysJob:
    """A window is a day. Empty ones are passed over, but for the latest."""

    name = "days"

    def cascades(self, context: JobContext) -> Sequence[str]:
        return every_cascade(context)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        state = standing(context, self.name, cascade)
        if state is None:
            return ()
        spec, done_until = state
        with reading(context.engine) as session:
            unsealed = ledger.unsealed_count(session).oldest
        mature = context.clock.now() - spec.horizon
        windows = eventful_windows(
            every=DAY,
            done_until=done_until,
            now=mature,
            echo=timedelta(),
            next_decision=next_decision_of(context, cascade),
        )
        sealed = takewhile(lambda day: unsealed is None or day.end + spec.horizon <= unsealed, windows)
        return islice(sealed, DAYS_PER_TICK)

    def run(self, context: JobContext, claim: Claim) -> str:
        now = context.clock.now()

        def guard(session: Session) -> None:
            raise_if_stopping(context)
            job_runs.fence(session, claim)

        engine, url = context.engine, context.settings.shards_url
        written = write_day(engine, claim.cascade, claim.window, url, now=now, guard=guard)
        again = rewrite_changed(engine, claim.cascade, url, before=now - CHANGED_FOR, now=now, guard=guard)
        left = leave(engine, context.settings.row_retention, now=now, guard=guard)
        said = [f"wrote {written} files", *([f"{again} anew"] if again else ())]
        outcome = ", ".join([*said, *([f"{left} decisions left the database"] if left else ())])
        with transaction(engine) as session:
            job_runs.finish(session, claim, outcome, now=now)
        return outcome
