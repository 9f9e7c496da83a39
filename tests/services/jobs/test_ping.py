"""An address is fetched after every good round of monitoring, and one that fails harms nothing."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from sqlalchemy import Engine

from knowgate import Window
from services.clock import SimulatedClock
from services.jobs.job import JobContext, run_sweep
from services.jobs.ping import PingSweep
from services.settings import Settings, read_settings
from store.engine import transaction
from store.jobs import job_runs
from store.jobs.job_ticks import put_tick
from tests.servers import Answering, answering
from tests.services.conftest import NOW

LEASE = timedelta(minutes=2)


class Watcher(Answering, BaseHTTPRequestHandler):
    """Hears pings; answers with the next of `answers`, else with 200."""

    heard: list[str]
    answers: list[int]

    def do_GET(self) -> None:
        self.heard.append(self.path)
        self.answer(self.answers.pop(0) if self.answers else 200, b"OK")


@pytest.fixture
def watcher() -> Iterator[Any]:
    made = type("ThisWatcher", (Watcher,), {"heard": [], "answers": []})
    with answering(made) as url:
        made.url = url  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def context(engine: Engine, settings: Settings, clock: SimulatedClock, watcher: Any) -> JobContext:
    with_ping = settings.model_copy(update={"ping_url": f"{watcher.url}/hunter2"})
    return JobContext(engine=engine, settings=with_ping, clock=clock, owner="test")


@pytest.fixture
def round_of(engine: Engine) -> Callable[..., None]:
    """A round of monitoring so many minutes later, which went well or did not."""

    def tick(minutes: int, error: str | None = None) -> None:
        with transaction(engine) as session:
            put_tick(session, "monitor", owner="test", now=NOW + timedelta(minutes=minutes), error=error)

    return tick


def test_each_good_round_is_told_once(context: JobContext, watcher: Any, round_of: Callable[..., None]) -> None:
    sweep = PingSweep()
    assert sweep.run(context) == 0, "there was no round yet"
    for minutes in (0, 1):
        round_of(minutes)
        assert [sweep.run(context), sweep.run(context)] == [1, 0]
    round_of(2, "the window of trivia failed")
    assert sweep.run(context) == 0
    assert watcher.heard == ["/v1/hunter2"] * 2


def test_none_is_told_while_a_window_that_failed_waits(
    context: JobContext, engine: Engine, trivia: str, round_of: Callable[..., None]
) -> None:
    round_of(0)
    window = Window(start=NOW - timedelta(hours=1), end=NOW)
    with transaction(engine) as session:
        claim = job_runs.claim(session, "monitor", trivia, window, owner="test", lease=LEASE, now=NOW)
        assert claim is not None
        job_runs.release(session, claim, error="no disk", retry_at=NOW + timedelta(hours=1), now=NOW)
    assert PingSweep().run(context) == 0


def test_a_ping_that_fails_is_said_without_its_address_and_tried_again(
    context: JobContext, watcher: Any, round_of: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    watcher.answers[:] = [500]
    round_of(0)
    sweep = PingSweep()
    assert run_sweep(context, sweep) is None
    assert "answered 500" in caplog.text and "hunter2" not in caplog.text
    assert run_sweep(context, sweep) == 1


def test_the_address_shows_in_no_settings() -> None:
    settings = read_settings({"KNOWGATE_PING_URL": "https://hc-ping.com/hunter2"})
    assert "hunter2" not in repr(settings) + str(settings.model_dump())


def test_no_log_tells_the_address_that_is_asked(watcher: Any) -> None:
    asks = "from services.logs import start_logging; start_logging('info'); import logging, httpx2"
    asks += f"; logging.getLogger('knowgate').info('asked'); httpx2.get('{watcher.url}/hunter2')"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert watcher.heard == ["/v1/hunter2"]
    assert "asked" in done.stderr and "hunter2" not in done.stderr
