"""`ping`: fetches an address after every good round of monitoring, so that silence itself is heard.

It has a tick of its own: an address that hangs holds up no round, and one that fails shows in the
metrics of this job alone.
"""

from datetime import datetime

from services.jobs.job import JobContext
from store.engine import reading
from store.jobs import job_runs
from store.jobs.job_ticks import job_ticks
from store.releases import cascades

_MONITOR = "monitor"


class PingSweep:
    """One fetch for each round that went well since the last one; none while a window waits for its
    next try.
    """

    name = "ping"

    def __init__(self) -> None:
        self._pinged: datetime | None = None  # the round that was reported last

    def run(self, context: JobContext) -> int:
        url = context.settings.ping_url
        rounds = None if url is None else _good_round(context)
        if url is None or rounds is None or rounds == self._pinged:
            return 0
        from monitoring.alerts.ping import ping

        ping(url, networks=context.settings.outgoing_networks)
        self._pinged = rounds
        return 1


def _good_round(context: JobContext) -> datetime | None:
    """When monitoring last went well, over all schedulers; None where the last round did not."""
    with reading(context.engine) as session:
        tick = next((tick for tick in job_ticks(session) if tick.job == _MONITOR), None)
        names = cascades.cascade_names(session)
        waits = any(run.job == _MONITOR for name in names for run in job_runs.failing(session, name))
    if tick is None or tick.succeeded_at is None or waits:
        return None
    return None if tick.failed_at is not None and tick.failed_at >= tick.succeeded_at else tick.succeeded_at
