"""`compact`: the upkeep of what is stored, every hour, for all cascades together.

The coming months' partitions are made; figures are summed by day and labels counted by hour;
vectors are forgotten, merged and swept.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from knowgate import Window
from services.jobs.job import JobContext, raise_if_stopping
from services.jobs.sums import count_labels, sum_figures
from services.jobs.timetable import ALL_CASCADES, last_due
from services.vectors.retention import forget_expired
from services.vectors.shard_compaction import compact
from services.vectors.shard_files import sweep
from store import partitions
from store.engine import transaction
from store.jobs import job_runs
from store.jobs.job_runs import Claim

log = logging.getLogger("knowgate.jobs")

EVERY = timedelta(hours=1)


class CompactJob:
    """All cascades' shards lie under one URL; a missed window is made good by the next one.

    Each shard is merged in a transaction of its own, and each of them is fenced: one that was
    overtaken moves nothing.
    """

    name = "compact"

    def cascades(self, context: JobContext) -> Sequence[str]:
        return (ALL_CASCADES,)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        return last_due(context, self.name, every=EVERY)

    def run(self, context: JobContext, claim: Claim) -> str:
        now = context.clock.now()

        def guard(session: Session) -> None:
            raise_if_stopping(context)
            job_runs.fence(session, claim)

        with transaction(context.engine) as session:
            guard(session)
            partitions.ensure_partitions(session, partitions.months_ahead(now))
        summed = sum_figures(context, guard)
        count_labels(context, guard)
        # In this order: a merge leaves behind what is forgotten, a sweep what a merge let go of.
        engine, settings = context.engine, context.settings
        forgotten = forget_expired(engine, settings.vector_retention, now=now, guard=guard)
        compacted = compact(engine, settings.shards_url, shard_bytes=settings.shard_bytes, now=now, guard=guard)
        swept = sweep(engine, settings.shards_url, now=now, grace=settings.shard_grace, guard=guard)
        for why in compacted.damaged:
            log.error("a shard is left as it is: %s", why)
        parts = [
            f"forgot {forgotten} vectors",
            f"merged {compacted.merged} shards into {compacted.written}",
            f"removed {swept.superseded + swept.orphans + swept.unfinished} files",
        ]
        if summed:
            parts.append(f"summed the figures of {summed} days")
        if compacted.damaged:
            parts.append(f"{len(compacted.damaged)} damaged: `knowgate vectors verify` names them")
        outcome = ", ".join(parts)
        with transaction(context.engine) as session:
            job_runs.fence(session, claim)
            job_runs.finish(session, claim, outcome, now=now)
        return outcome
