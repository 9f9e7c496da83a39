"""No job holds its window for ever: what hangs is ended, what is stopped gives back, what works
keeps its claim.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from knowgate import Window
from services.clock import SimulatedClock
from services.jobs.child import ChildTooSlow, Ended, run_child
from services.jobs.job import RETRY_AFTER, JobContext, JobStopped, raise_if_stopping, run_due
from services.jobs.train import TrainJob
from services.jobs.trainer import how_it_ended
from services.settings import Settings
from store.engine import open_engine, reading
from store.jobs import job_runs
from store.jobs.job_runs import Claim, JobRun
from tests.services.conftest import due_windows

HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=0.15)
# Says that it is there and starts a child that does, too; who of them is asked to end and does not,
# argv says.
SCRIPT = """
import pathlib, signal, subprocess, sys, time, os
folder, role, manners = sys.argv[1:]
if manners == "stubborn" or role == "child":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if role == "parent":
    subprocess.Popen([sys.executable, "-c", pathlib.Path(folder, "script").read_text(), folder, "child", manners])
pathlib.Path(folder, f"{role}.pid").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def context(engine: Engine, settings: Settings, clock: SimulatedClock) -> JobContext:
    return JobContext(engine=engine, settings=settings, clock=clock, owner="test")


@pytest.fixture
def here(settings: Settings, clock: SimulatedClock, sqlite_url: str) -> JobContext:
    """The same on SQLite, where the database does not matter."""
    return JobContext(engine=open_engine(sqlite_url), settings=settings, clock=clock, owner="test")


class WindowJob:
    """A job of one window that does as a test says."""

    def __init__(self, act: Callable[[JobContext, Claim], str | None], name: str = "obedient") -> None:
        self._act = act
        self.name = name

    def cascades(self, context: JobContext) -> Sequence[str]:
        return ("trivia",)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        now = context.clock.now()
        return list(due_windows(every=HOUR, done_until=now - HOUR, now=now))

    def run(self, context: JobContext, claim: Claim) -> str:
        return self._act(context, claim) or "done"


@pytest.mark.usefixtures("trivia")
def test_a_job_that_works_renews_its_lease(context: JobContext, clock: SimulatedClock) -> None:
    later = clock.now() + timedelta(minutes=1)

    def work(context: JobContext, claim: Claim) -> None:
        clock.set(later)
        wait_for(lambda: last_run(context).heartbeat_at == later)

    context = replace(context, settings=context.settings.model_copy(update={"job_lease": LEASE}))
    (outcome,) = run_due(context, WindowJob(work))
    assert outcome.outcome == "done"
    assert last_run(context).lease_until == later + LEASE


@pytest.mark.usefixtures("trivia")
def test_a_job_that_hangs_loses_its_lease_in_the_end(context: JobContext, caplog: pytest.LogCaptureFixture) -> None:
    def hang(context: JobContext, claim: Claim) -> None:
        wait_for(lambda: "heartbeat-obedient" not in {thread.name for thread in threading.enumerate()})

    settings = context.settings.model_copy(update={"job_lease": LEASE, "job_limit": timedelta(seconds=0.1)})
    run_due(replace(context, settings=settings), WindowJob(hang))
    assert "obedient of trivia has run for 0.1s (KNOWGATE_JOB_LIMIT): it is left to another scheduler" in caplog.text


@pytest.mark.usefixtures("trivia")
def test_what_is_stopped_is_anybodys_at_once_and_did_not_fail(context: JobContext, clock: SimulatedClock) -> None:
    def stop(context: JobContext, claim: Claim) -> None:
        context.stopping.set()
        raise_if_stopping(context)

    (outcome,) = run_due(context, WindowJob(stop))
    assert outcome.outcome == "stopped"
    assert last_run(context).last_error is None
    with reading(context.engine) as session:
        assert job_runs.failing(session, "trivia") == ()
    other = replace(context, owner="other", stopping=threading.Event())
    (outcome,) = run_due(other, WindowJob(lambda context, claim: None))
    assert outcome.outcome == "done", "without waiting for the lease to end"


@pytest.mark.usefixtures("trivia")
def test_nothing_is_begun_by_a_process_that_is_to_stop(context: JobContext) -> None:
    context.stopping.set()
    assert run_due(context, WindowJob(lambda context, claim: None)) == ()


@pytest.mark.slow
def test_a_process_that_never_ends_is_ended_with_all_that_it_started(here: JobContext, tmp_path: Path) -> None:
    with pytest.raises(ChildTooSlow, match=r"had not ended after 0\.\d+s and was ended.*raise KNOWGATE_JOB_LIMIT"):
        run_child(here, family(tmp_path, "stubborn"), environment={}, limit=timedelta(seconds=0.9))
    assert_none_lives(tmp_path)


def test_a_process_is_ended_when_the_scheduler_is_to_stop(here: JobContext, tmp_path: Path) -> None:
    def stop() -> None:
        wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        here.stopping.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(JobStopped):
        run_child(here, family(tmp_path, "polite"), environment={}, limit=HOUR)
    stopper.join()
    assert_none_lives(tmp_path)


def test_a_process_that_ends_says_how_and_what(here: JobContext) -> None:
    script = "import sys; print('x' * 200_000); print('oh', file=sys.stderr); sys.exit(7)"
    ended = run_child(here, [sys.executable, "-c", script], environment={}, limit=HOUR)
    assert (ended.status, len(ended.output), ended.errors) == (7, 200_001, "oh\n")


@pytest.mark.slow
@pytest.mark.usefixtures("trivia")
def test_a_training_that_hangs_says_where_and_leaves_its_window(context: JobContext, clock: SimulatedClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a database that never answers
        port = silent.getsockname()[1]
        url = f"postgresql+psycopg://u@127.0.0.1:{port}/x?connect_timeout=600"
        settings = context.settings.model_copy(update={"job_limit": timedelta(seconds=1), "database_url": url})
        run_due(replace(context, settings=settings), WindowJob(TrainJob().run, name="train"))
    error = last_run(context).last_error
    # Where a thread stands is read while it runs, so now and then the process dies of that instead;
    # it ends either way.
    assert error is not None and "Timeout (0:00:01)!" in error
    assert "most recent call first" in error and "File" in error, "and where it stood"
    clock.set(clock.now() + RETRY_AFTER)
    (outcome,) = run_due(context, WindowJob(lambda context, claim: None, name="train"))
    assert outcome.outcome == "done", "the next try has it"


def family(folder: Path, manners: str) -> list[str]:
    (folder / "script").write_text(SCRIPT)
    return [sys.executable, "-c", SCRIPT, str(folder), "parent", manners]


def assert_none_lives(folder: Path) -> None:
    written = list(folder.glob("*.pid"))
    assert len(written) == 2, "both had started"
    wait_for(lambda: all(has_ended(int(path.read_text())) for path in written))


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or dead and waiting for whoever inherited it."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def last_run(context: JobContext) -> JobRun:
    with reading(context.engine) as session:
        return job_runs.job_runs(session, "trivia")[0]


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("status", "errors", "expected"),
    [
        (1, "no such file\n", "ended with 1: no such file"),
        (-9, "", "was killed (SIGKILL), as the system does when memory runs out, and said nothing"),
        (-11, "", "was ended by Segmentation fault (signal 11), and said nothing"),
    ],
)
def test_how_a_trainer_ended_is_said_in_words(status: int, errors: str, expected: str) -> None:
    assert how_it_ended(Ended(status=status, output="", errors=errors)) == expected
