"""The scheduler ticks whatever becomes of the wall clock, is quiet, and ends when it is
asked to.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from services.clock import SimulatedClock, SystemClock
from services.jobs.job import JobContext, run_sweep
from services.jobs.scheduler import TICKS, FromNow, Tick, bring_forward, made_scheduler, run_scheduler
from services.settings import Settings
from store.engine import open_engine, reading
from store.jobs.job_ticks import job_ticks
from tests import servers

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
SHORT = timedelta(seconds=0.01)


@dataclass
class CountingSweep:
    """Counts its runs, fails at the first `failures`, and each takes until `busy` is set."""

    name: str = "counting"
    failures: int = 0
    busy: threading.Event | None = None
    enough: int = 3
    reached: threading.Event = field(default_factory=threading.Event)
    runs: int = 0

    def run(self, context: JobContext) -> int:
        self.runs += 1
        if self.runs >= self.enough:
            self.reached.set()
        if self.runs <= self.failures:
            raise RuntimeError("no luck")
        if self.busy is not None:
            self.busy.wait(30)
        return 1


@dataclass
class Ending:
    """Sends this process a signal."""

    number: signal.Signals
    name: str = "ending"

    def run(self, context: JobContext) -> int:
        os.kill(os.getpid(), self.number)
        return 1


@pytest.fixture
def context(sqlite_url: str, settings: Settings) -> JobContext:
    return JobContext(engine=open_engine(sqlite_url), settings=settings, clock=SystemClock(), owner="test")


def running(context: JobContext, *ticks: Tick) -> threading.Thread:
    """A scheduler in a thread, until `context.stopping` is set."""
    thread = threading.Thread(target=run_scheduler, args=(context,), kwargs={"ticks": ticks})
    thread.start()
    return thread


def test_a_tick_that_a_clock_set_back_left_in_the_future_is_due_at_once(context: JobContext) -> None:
    every = timedelta(seconds=30)
    sweep = CountingSweep()
    scheduler = made_scheduler(context, (Tick(job=sweep, every=every),))
    scheduler.start(paused=True)
    try:
        for ahead in (timedelta(hours=1), timedelta(days=400), timedelta(seconds=32)):
            scheduler.modify_job(sweep.name, next_run_time=datetime.now(UTC) + ahead)
            bring_forward(scheduler, {sweep.name: every})
            assert scheduler.get_job(sweep.name).next_run_time <= datetime.now(UTC)
        soon = datetime.now(UTC) + every
        scheduler.modify_job(sweep.name, next_run_time=soon)
        bring_forward(scheduler, {sweep.name: every})
        assert scheduler.get_job(sweep.name).next_run_time == soon, "an ordinary tick keeps its time"
    finally:
        scheduler.shutdown()


def test_a_clock_set_forth_by_years_is_one_tick() -> None:
    now = datetime(2036, 1, 1, tzinfo=UTC)
    previous = now - timedelta(days=3650)
    assert FromNow(timedelta(seconds=5)).get_next_fire_time(previous, now) == now + timedelta(seconds=5)


def test_the_scheduler_is_told_of_a_clock_set_back_while_it_runs(context: JobContext) -> None:
    sweep = CountingSweep(enough=1)
    far = replace(context, clock=SimulatedClock(datetime(2026, 1, 1, tzinfo=UTC)))
    thread = running(far, Tick(job=sweep, every=timedelta(hours=2)))
    try:
        assert sweep.reached.wait(10), "each job looks for work at once"
    finally:
        far.stopping.set()
        thread.join()
    assert sweep.runs == 1, "and then at its interval"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_scheduler_on_the_main_thread(context: JobContext, number: signal.Signals) -> None:
    missed: list[int] = []

    def miss(*_: object) -> None:
        missed.append(number)
        context.stopping.set()

    before = {each: signal.signal(each, miss) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert run_scheduler(context, ticks=(Tick(job=Ending(number=number), every=SHORT),))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert missed == []


def test_a_failing_sweep_ends_neither_itself_nor_the_others(
    context: JobContext, caplog: pytest.LogCaptureFixture
) -> None:
    failing, other = CountingSweep(name="failing", failures=2), CountingSweep(name="other")
    thread = running(context, Tick(job=failing, every=SHORT), Tick(job=other, every=SHORT))
    try:
        assert failing.reached.wait(10) and other.reached.wait(10)
    finally:
        context.stopping.set()
        thread.join()
    assert "sweep failing failed; it is tried again at the next tick" in caplog.text


def test_an_error_of_a_sweep_is_logged_and_is_told(context: JobContext, caplog: pytest.LogCaptureFixture) -> None:
    assert run_sweep(context, CountingSweep(failures=1)) is None
    assert "no luck" in caplog.text
    assert run_sweep(context, CountingSweep()) == 1


def test_a_job_that_is_still_at_work_is_no_news(context: JobContext, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    busy = CountingSweep(name="busy", busy=threading.Event(), enough=1)
    quick = CountingSweep(name="quick", enough=20)
    thread = running(context, Tick(job=busy, every=SHORT), Tick(job=quick, every=SHORT))
    try:
        assert busy.reached.wait(10) and quick.reached.wait(10)
    finally:
        context.stopping.set()
        assert busy.busy is not None
        busy.busy.set()
        thread.join()
    assert [record.name for record in caplog.records if record.name.startswith("apscheduler")] == []
    assert busy.runs == 1, "a long tick is not overtaken"
    assert "maximum number of running instances" not in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed")
@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)], ids=["back", "forth"])
def test_ticks_go_on_when_the_clock_is_set_while_it_runs(sqlite_url: str, tmp_path: Path, jump: timedelta) -> None:
    shift = tmp_path / "shift"
    shift.write_text("+0\n")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "KNOWGATE_DATA_DIR": str(tmp_path / "data"),
        "KNOWGATE_DATABASE_URL": sqlite_url,
    }
    engine = open_engine(sqlite_url)
    command = [sys.executable, "-m", "services", "scheduler"]
    with servers.running(command, environment=environment, log=tmp_path / "scheduler.log"):
        here, minute = datetime.now(UTC), timedelta(minutes=1)
        wait_for(lambda: {tick.job.name for tick in TICKS} <= seen_between(engine, here - minute, here + minute), 60)
        shift.write_text(f"{jump.total_seconds():+.0f}\n")
        there = datetime.now(UTC) + jump
        wait_for(lambda: {"deliver", "respond", "promote", "seal"} <= seen_between(engine, there, there + minute), 60)
    engine.dispose()
    assert "Traceback" not in (tmp_path / "scheduler.log").read_text()


def seen_between(engine: Engine, since: datetime, until: datetime) -> set[str]:
    """The jobs whose last tick lies between the two times of the scheduler's own clock."""
    with reading(engine) as session:
        return {tick.job for tick in job_ticks(session) if since <= tick.ticked_at <= until}


def wait_for(reached: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if reached():
            return
        time.sleep(0.2)
    raise AssertionError(f"it did not happen within {within_s} s")
