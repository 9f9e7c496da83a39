"""`register`: carries out what waits for MLflow, in a process of its own, since MLflow takes
seconds to import.

Nothing waits for it: a bundle is trained, judged and served from our store while MLflow is down.
"""

import sys
from datetime import timedelta

from services.jobs.child import run_child
from services.jobs.job import JobContext
from services.jobs.train import TrainingDied, how_it_ended, trainer_environment
from store.engine import reading
from store.jobs import outbox

TOPIC = "mlflow"
LIMIT = timedelta(minutes=10)  # as long as its claims last, should MLflow never answer


class RegisterSweep:
    """Starts the process only where something is due."""

    name = "register"

    def run(self, context: JobContext) -> int:
        now = context.clock.now()
        with reading(context.engine) as session:
            due = sum(
                message.due_at is not None and message.due_at <= now for message in outbox.messages(session, TOPIC)
            )
        if due == 0:
            return 0
        arguments = [f"--owner={context.owner}", f"--now={now.isoformat()}"]
        command = [sys.executable, "-m", "training", "drain-mlflow", *arguments]
        done = run_child(context, command, environment=trainer_environment(context), limit=LIMIT)
        if done.status != 0:
            raise TrainingDied(f"registration {how_it_ended(done)}")
        return due
