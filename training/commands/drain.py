"""`python -m training drain-mlflow`: register in MLflow what was published."""

import argparse
import os

from store.engine import closing_engine
from store.jobs.trainer_reports import Drained
from training.commands.process_options import add_process, clock_from


def add_drain(drain: argparse.ArgumentParser) -> None:
    """The options of the command."""
    drain.set_defaults(command=drain_outbox)
    drain.add_argument("--mlflow-url", help="else KNOWGATE_MLFLOW_URL")
    drain.add_argument("--owner", default=f"drain-{os.getpid()}")
    drain.add_argument("--limit", type=int, default=20, help="messages at most")
    add_process(drain)


def drain_outbox(options: argparse.Namespace) -> Drained:
    """What was registered."""
    from training.publishing.mlflow_outbox import drain_mlflow

    with closing_engine(options.database_url) as engine:
        return drain_mlflow(
            engine, options.mlflow_url, owner=options.owner, clock=clock_from(options.now), limit=options.limit
        )
