"""`seal`: closes the ledger's open leaves into a batch, for all cascades together, every
`schedule.seal_every`, and exports the signed head of what is sealed.

The head is written after the commit. Where that fails the seal stands, the log says so, and the
next one is written in its place: a head speaks of all batches before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from knowgate import Window
from services.audit.head_export import export_head
from services.jobs.job import JobContext
from services.jobs.timetable import ALL_CASCADES, last_due, seal_every
from store.engine import transaction
from store.jobs import job_runs
from store.jobs.job_runs import Claim
from store.ledger import ledger


@dataclass(frozen=True)
class SealJob:
    """One chain over all cascades; a missed window is made good by the next one."""

    most: int = 50_000  # leaves of a batch
    name: ClassVar[str] = "seal"

    def cascades(self, context: JobContext) -> Sequence[str]:
        return (ALL_CASCADES,)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        return last_due(context, self.name, every=seal_every(context))

    def run(self, context: JobContext, claim: Claim) -> str:
        now, sealed = context.clock.now(), 0
        while True:
            # A batch a transaction: after a pause there are many, and one of them all would keep
            # everybody else from writing leaves for minutes.
            with transaction(context.engine) as session:
                job_runs.fence(session, claim)
                batch = ledger.seal(session, now=now, limit=self.most)
                if batch is None:
                    outcome = f"sealed {sealed} leaves"
                    job_runs.finish(session, claim, outcome, now=now)
                    break
            sealed += batch.leaves
        export_head(context.engine, context.settings)
        return outcome
