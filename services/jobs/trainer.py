"""The trainer as jobs start it: a process that ends with one record, decoded once, here."""

import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from services.errors import ServicesError
from services.jobs.child import Ended, run_child
from services.jobs.job import JobContext
from services.settings import PREFIX, child_environment

T = TypeVar("T")

RAY = ("ray_address", "ray_workers", "ray_cpus_per_worker", "ray_gpus_per_worker")
TRAINERS = ("database_url", "shards_url", "mlflow_url", "training_engine", *RAY)  # the settings that a trainer reads
KEPT_AT_MOST = 2000  # characters of what a process said that are kept


class TrainingDied(ServicesError):
    """The trainer ended without an outcome; its last words are in the message."""


def run_trainer(
    context: JobContext, command: str, arguments: Sequence[str], *, limit: timedelta, reports: type[T]
) -> T:
    """What `python -m training COMMAND` reports.

    Raises TrainingDied, ChildTooSlow after `limit`, and JobStopped when the scheduler is to stop.
    """
    started = [sys.executable, "-m", "training", command, *arguments]
    done = run_child(context, started, environment=_environment(context), limit=limit)
    if done.status != 0:
        raise TrainingDied(f"the trainer's {command} {how_it_ended(done)}")
    try:
        return codec.decode(reports, codec.parse(done.output.strip().rpartition("\n")[2]))
    except RecordInvalid as error:
        raise TrainingDied(f"the trainer's {command} reported what is no {reports.__name__}: {error}") from error


def how_it_ended(done: Ended) -> str:
    """Its status, or the signal that killed it, and what it said last."""
    if done.status >= 0:
        ended = f"ended with {done.status}"
    elif done.status == -signal.SIGKILL:
        ended = "was killed (SIGKILL), as the system does when memory runs out"
    else:
        ended = f"was ended by {signal.strsignal(-done.status) or 'a signal'} (signal {-done.status})"
    said = _last_words(done.errors)
    return f"{ended}: {said}" if said else f"{ended}, and said nothing"


def _last_words(errors: str) -> str:
    """The end of what a process wrote; of one that came to its time limit, where it stood, which it
    says first.
    """
    text = errors.strip()
    stood = text.rfind("Timeout (")
    return text[-KEPT_AT_MOST:] if stood < 0 else text[stood : stood + KEPT_AT_MOST]


def _environment(context: JobContext) -> dict[str, str]:
    """Addresses travel in the environment: they may carry passwords, and arguments show in process
    lists.
    """
    given = {f"{PREFIX}{name.upper()}": str(getattr(context.settings, name)) for name in TRAINERS}
    return child_environment({**given, "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"})
