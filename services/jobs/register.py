"""`register`: carries out what waits for MLflow, in a process of its own, since MLflow takes seconds to import.

Nothing waits for it: a bundle is trained, judged and served from our store while MLflow is down.
"""

import subprocess
import sys

from services.jobs.job import JobContext
from services.jobs.train import TrainingDied, trainer_environment
from store import outbox
from store.engine import reading

TOPIC = "mlflow"


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
        done = subprocess.run(command, capture_output=True, text=True, env=trainer_environment(context), check=False)
        if done.returncode != 0:
            raise TrainingDied(f"registration ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        return due
