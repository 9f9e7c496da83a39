"""A process that a job starts: it ends with the job, whatever becomes of either.

It leads a group of its own, so that what it starts in turn ends with it: after its time limit, when
the scheduler is asked to stop, and when the job fails. First it is asked to, and a few seconds
later it is made to.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from services.durations import format_duration
from services.errors import ServicesError
from services.jobs.job import JobContext, raise_if_stopping

LOOK_EVERY_S = 0.2
ASKED_FOR_S = 3.0  # from SIGTERM to SIGKILL


class ChildTooSlow(ServicesError):
    """The process was ended because it had not come to an end within its time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended by itself, and what it said."""

    status: int
    output: str
    errors: str


def run_child(
    context: JobContext, command: Sequence[str], *, environment: Mapping[str, str], limit: timedelta
) -> Ended:
    """Run `command` to its end. Raises ChildTooSlow after `limit`, and JobStopped when the
    scheduler is to stop.
    """
    ends_at = time.monotonic() + limit.total_seconds()
    with _group(command, environment) as process:
        while True:
            try:
                output, errors = process.communicate(timeout=LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                raise_if_stopping(context)
                if time.monotonic() >= ends_at:
                    raise ChildTooSlow(
                        f"{' '.join(command[:4])} had not ended after {format_duration(limit)} and was ended:"
                        " see what it waits for, or raise KNOWGATE_JOB_LIMIT"
                    ) from None
            else:
                return Ended(status=process.returncode, output=output, errors=errors)


@contextmanager
def _group(command: Sequence[str], environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """End the group; what its leader left behind when it died, too."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(ASKED_FOR_S)
    _signal(process, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _signal(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(process.pid, number)
