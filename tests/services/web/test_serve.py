"""`knowgate serve` and `knowgate scheduler` as processes: what a log says, and how they end."""

import os
import pty
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from knowgate import Decision, new_id
from services.declaration.cascade_file import parse_cascade
from store.engine import open_engine, reading, transaction
from store.jobs import job_runs
from store.releases import cascades
from store.tokens import find_token, tokens
from store.traffic import decisions
from tests import servers
from tests.services.conftest import CASCADE


@pytest.fixture
def environment(tmp_path: Path, sqlite_url: str) -> dict[str, str]:
    return {
        "KNOWGATE_DATA_DIR": str(tmp_path / "data"),
        "KNOWGATE_DATABASE_URL": sqlite_url,
        "KNOWGATE_PORT": str(servers.free_port()),
    }


@pytest.mark.slow
def test_a_log_never_shows_the_first_token(environment: dict[str, str], tmp_path: Path) -> None:
    for log in (tmp_path / "first.log", tmp_path / "second.log"):
        with servers.running([sys.executable, "-m", "services", "serve"], environment=environment, log=log) as process:
            url = f"http://127.0.0.1:{environment['KNOWGATE_PORT']}/healthz"
            servers.wait_until_answering(url, process, within_s=60)
    said = (tmp_path / "first.log").read_text()
    path = tmp_path / "data" / "first-admin.token"
    assert f"the first token (role admin) is in {path}" in said
    assert "first token" not in (tmp_path / "second.log").read_text(), "it is made once"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text().strip()
    assert "kg_" not in said and token not in said
    engine = open_engine(environment["KNOWGATE_DATABASE_URL"])
    with reading(engine) as session:
        assert find_token(session, token) is not None
    engine.dispose()


@pytest.mark.slow
def test_a_terminal_shows_the_first_token_and_keeps_no_file(environment: dict[str, str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "services", "serve"],
        env={**os.environ, **environment},
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = ""
    try:
        while not (shown := re.search(r"the first token, shown this once \(role admin\): (kg_\S+)", said)):
            said += os.read(ours, 4096).decode()
    finally:
        servers.end_group(process)
        os.close(ours)
    engine = open_engine(environment["KNOWGATE_DATABASE_URL"])
    with reading(engine) as session:
        assert find_token(session, shown[1]) is not None
    engine.dispose()
    assert not (tmp_path / "data" / "first-admin.token").exists()


@pytest.mark.slow
def test_a_token_that_cannot_be_kept_is_not_made(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data" / "first-admin.token").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "services", "serve"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and "first-admin.token" in done.stderr and "kg_" not in done.stderr
    engine = open_engine(environment["KNOWGATE_DATABASE_URL"])
    with reading(engine) as session:
        assert tokens(session) == ()
    engine.dispose()


@pytest.mark.slow
def test_a_scheduler_that_is_ended_during_a_training_gives_its_window_back(
    environment: dict[str, str], tmp_path: Path, decision: Callable[..., Decision]
) -> None:
    engine = open_engine(environment["KNOWGATE_DATABASE_URL"])
    began = datetime.now(UTC) - timedelta(days=8)
    with transaction(engine) as session:
        cascades.apply_cascade(session, parse_cascade(CASCADE), now=began)
        decisions.add_decisions(session, [decision(0, id=new_id(began), occurred_at=began)], received_at=began)
    command = [sys.executable, "-m", "services", "scheduler"]
    with servers.running(command, environment=environment, log=tmp_path / "scheduler.log") as process:
        trainer = wait_for(lambda: child_of(process.pid, b"training\0run"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert not Path(f"/proc/{trainer}").exists()
    with reading(engine) as session:
        (run,) = job_runs.job_runs(session, "trivia", job="train")
    assert run.finished_at is None and run.last_error is None
    assert run.lease_until <= datetime.now(UTC), "the next scheduler need not wait for it"
    engine.dispose()


def child_of(pid: int, words: bytes) -> int | None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if words in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def wait_for(look: Callable[[], int | None]) -> int:
    deadline = time.monotonic() + 60
    while (seen := look()) is None:
        assert time.monotonic() < deadline, "no trainer was started"
        time.sleep(0.05)
    return seen
