"""`knowgate scheduler`, `train`, `monitor`: the jobs, at their times or at once."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from services.clock import SystemClock
from services.commands.options import AsJson, Cascade
from services.commands.printing import print_rows
from services.database import database
from services.errors import ServicesError
from services.jobs.job import JobContext, JobOutcome, run_due, run_sweep
from services.jobs.monitor import MonitorJob
from services.jobs.promote import PromoteSweep
from services.jobs.scheduler import run_scheduler
from services.jobs.train import TrainJob
from services.logs import start_logging
from services.settings import read_settings

app = typer.Typer()


@contextmanager
def job_context() -> Iterator[JobContext]:
    """What jobs run with, as long as the block lasts."""
    settings = read_settings()
    start_logging(settings.log_level)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    owner = f"{socket.gethostname()}-{os.getpid()}"
    with database(settings) as engine:
        context = JobContext(engine=engine, settings=settings, clock=SystemClock(), owner=owner)
        signal.signal(signal.SIGTERM, lambda *_: context.stopping.set())
        yield context


@app.command()
def scheduler() -> None:
    """Run the scheduler until interrupted. Several may run side by side: no window takes effect
    twice.
    """
    with job_context() as context:
        ended = run_scheduler(context)
    if not ended:
        leave_now()


def leave_now() -> None:
    """End the process without waiting for its threads: their claims run out, and their fences keep
    the rest.
    """
    logging.getLogger("knowgate.scheduler").warning("a job did not come to its end in time; its window is taken over")
    logging.shutdown()
    os._exit(0)


@app.command()
def train(cascade: Cascade, as_json: AsJson = False) -> None:
    """Train the latest window that is due, now; then judge what came of it."""
    with job_context() as context:
        outcomes = run_due(context, TrainJob(), only=cascade)
        run_sweep(context, PromoteSweep())
    _print_outcomes(
        outcomes,
        as_json,
        f"no training window of {cascade} is due: the latest is done, under way, or failed and waits for its"
        " next try (`knowgate doctor` tells)",
    )


@app.command()
def monitor(cascade: Cascade, as_json: AsJson = False) -> None:
    """Watch every window that is due, now: figures, drift, alarms."""
    with job_context() as context:
        outcomes = run_due(context, MonitorJob(), only=cascade)
    _print_outcomes(
        outcomes,
        as_json,
        f"no window of {cascade} is due, or one that failed waits for its next try (`knowgate doctor` tells)",
    )


def _print_outcomes(outcomes: tuple[JobOutcome, ...], as_json: bool, nothing: str) -> None:
    if not outcomes and not as_json:
        typer.echo(nothing)
        return
    print_rows("windows", outcomes, as_json=as_json, columns=("window", "outcome"))
    if any(outcome.outcome == "failed" for outcome in outcomes):
        raise ServicesError("a window failed: see the log above; it is tried again later")
