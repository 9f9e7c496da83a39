"""`seal`: closes the ledger's open leaves into a batch, every ten minutes, for all cascades together."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from knowgate import Window
from services.jobs.job import JobContext
from services.jobs.timetable import ALL_CASCADES, last_due
from store import job_runs, ledger, partitions
from store.engine import transaction
from store.job_runs import Claim

EVERY = timedelta(minutes=10)


class SealJob:
    """One chain over all cascades; a missed window is made good by the next one.

    It also makes the coming months' partitions, since it runs often and everywhere.
    """

    name = "seal"

    def cascades(self, context: JobContext) -> Sequence[str]:
        return (ALL_CASCADES,)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        return last_due(context, self.name, every=EVERY)

    def run(self, context: JobContext, claim: Claim) -> str:
        now = context.clock.now()
        with transaction(context.engine) as session:
            job_runs.fence(session, claim)
            partitions.ensure_partitions(session, partitions.months_ahead(now))
            sealed = seal_all(session, now=now)
            outcome = f"sealed {sealed} leaves"
            job_runs.finish(session, claim, outcome, now=now)
        return outcome


def seal_all(session: Session, *, now: datetime) -> int:
    """Seal until nothing is open; returns how many leaves were sealed."""
    sealed = 0
    while (batch := ledger.seal(session, now=now)) is not None:
        sealed += batch.leaves
    return sealed
