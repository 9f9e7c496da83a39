"""`knowgate scheduler`, `train`, `monitor`: the jobs, at their times or at once; and `jobs`, what
came of them.
"""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from services.audit.recorded import started
from services.clock import SystemClock
from services.commands.options import AsJson, By, Cascade, said
from services.commands.printing import print_rows
from services.database import database
from services.errors import InputInvalid, Refused, ServicesError
from services.jobs.job import JobContext, JobOutcome, run_due, run_sweep
from services.jobs.monitor import MonitorJob
from services.jobs.promote import PromoteSweep
from services.jobs.scheduler import run_scheduler
from services.jobs.train import TrainJob, train_asked
from services.logs import start_logging
from services.settings import operator, read_settings, traces_wanted
from services.telemetry.spans import tracing
from store.engine import reading
from store.jobs import job_runs
from store.jobs.trainer_reports import TrainingStatus
from store.releases import cascades

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
    with job_context() as context, tracing("scheduler", wanted=traces_wanted()):
        started(context.engine, context.settings, "scheduler", now=context.clock.now())
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
def train(
    cascade: Cascade,
    now: Annotated[bool, typer.Option("--now", help="Also where nothing is due: an attempt that you ask for.")] = False,
    reason: Annotated[str | None, typer.Option(callback=said, help="With --now: why; it is kept.")] = None,
    by: By = None,
    insist: Annotated[bool, typer.Option(help="With --now: also where the attempt could hardly win.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train what is due, or with --now what you ask for; then judge what came of it.

    Exits with 3 where an attempt that you ask for could hardly win, unless you insist. One soon
    after another borrows its share of δ from the next.
    """
    if now is not (reason is not None) or ((insist or by is not None) and not now):
        raise InputInvalid("--now and --reason go together, and --insist and --by go with them: say why, it is kept")
    with job_context() as context:
        if reason is None:
            outcomes = run_due(context, TrainJob(), only=cascade)
        else:
            who = by or operator(context.settings)
            outcomes = (train_asked(context, cascade, why=reason, by=who, insist=insist),)
        run_sweep(context, PromoteSweep())
    _print_outcomes(
        outcomes,
        as_json,
        f"no training of {cascade} is due: the latest is done, under way, or failed and waits for its"
        " next try (`knowgate doctor` tells); `--now --reason TEXT` makes one all the same",
    )
    for outcome in outcomes if now else ():
        if outcome.outcome.startswith(TrainingStatus.NOT_ATTEMPTED):
            raise Refused("no attempt was made, it could hardly win: label more, or add --insist")
        if outcome.outcome.startswith(TrainingStatus.NO_DATA):
            raise Refused("no attempt was made: not one decision's outcomes are known; label some at every tier")


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


@app.command()
def jobs(
    cascade: Annotated[str | None, typer.Option("--cascade", help="Of this cascade; else of all.")] = None,
    job: Annotated[str | None, typer.Option(help="Of this job, e.g. train; else of all.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest windows of the jobs, newest first: of a training also why it was made and
    what came of it.
    """
    with database(read_settings()) as engine, reading(engine) as session:
        if cascade is not None:
            cascades.cascade_version(session, cascade)
        runs = job_runs.job_runs(session, cascade, job=job, limit=limit)
    columns = ("job", "cascade", "window", "outcome", "reason", "why", "asked_by", "labels_needed", "bundle")
    print_rows("runs", runs, as_json=as_json, columns=columns)


def _print_outcomes(outcomes: tuple[JobOutcome, ...], as_json: bool, nothing: str) -> None:
    if not outcomes and not as_json:
        typer.echo(nothing)
        return
    print_rows("windows", outcomes, as_json=as_json, columns=("window", "outcome"))
    if any(outcome.outcome == "failed" for outcome in outcomes):
        raise ServicesError("a window failed: see the log above; it is tried again later")
