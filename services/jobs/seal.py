"""`seal`: closes the ledger's open leaves into a batch, for all cascades together, every
`schedule.seal_every`, and exports the signed head of what is sealed.

The head is written after the commit. Where that fails the seal stands, the log says so, and the
next one is written in its place: a head speaks of all batches before it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from knowgate import Window
from services.audit.head_export import export_head
from services.jobs.job import JobContext
from services.jobs.timetable import ALL_CASCADES, last_due, seal_every
from store.engine import transaction
from store.jobs import job_runs
from store.jobs.job_runs import Claim
from store.ledger import ledger


class SealJob:
    """One chain over all cascades; a missed window is made good by the next one."""

    name = "seal"

    def cascades(self, context: JobContext) -> Sequence[str]:
        return (ALL_CASCADES,)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        return last_due(context, self.name, every=seal_every(context))

    def run(self, context: JobContext, claim: Claim) -> str:
        now = context.clock.now()
        with transaction(context.engine) as session:
            job_runs.fence(session, claim)
            sealed = seal_all(session, now=now)
            outcome = f"sealed {sealed} leaves"
            job_runs.finish(session, claim, outcome, now=now)
        export_head(context.engine, context.settings)
        return outcome


def seal_all(session: Session, *, now: datetime) -> int:
    """Seal until nothing is open; returns how many leaves were sealed."""
    sealed = 0
    while (batch := ledger.seal(session, now=now)) is not None:
        sealed += batch.leaves
    return sealed
