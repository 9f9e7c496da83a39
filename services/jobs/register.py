"""`register`: carries out what waits for MLflow, in a process of its own, since MLflow takes
seconds to import: bundles that were published, daily reports, and what `export` wrote down for
assessments.

Nothing waits for it: a bundle is trained, judged and served from our store while MLflow is down.
"""

import logging
from datetime import timedelta

from services.jobs.job import JobContext
from services.jobs.trainer import run_trainer
from store.engine import reading
from store.jobs import outbox
from store.jobs.trainer_reports import Drained
from store.traffic.evaluations import ASSESSMENTS
from store.watching.drift_reports import REPORTS

log = logging.getLogger("knowgate.jobs")

TOPIC = "mlflow"
LIMIT = timedelta(minutes=10)  # as long as its claims last, should MLflow never answer


class RegisterSweep:
    """Starts the process only where something is due."""

    name = "register"

    def run(self, context: JobContext) -> int:
        now = context.clock.now()
        with reading(context.engine) as session:
            due = outbox.due_count(session, (TOPIC, REPORTS, ASSESSMENTS), now=now, lease=LIMIT)
        if due == 0:
            return 0
        arguments = [f"--owner={context.owner}", f"--now={now.isoformat()}"]
        drained = run_trainer(context, "drain-mlflow", arguments, limit=LIMIT, reports=Drained)
        if drained.last_error is not None:
            log.warning("MLflow took %d of %d messages: %s", drained.registered, due, drained.last_error)
        return drained.registered
