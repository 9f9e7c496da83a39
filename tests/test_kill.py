"""Kill -9 at seeded moments: nothing acknowledged is lost, no window's job takes effect twice.

A deployment runs on the real clock, with windows of seconds: the API, the scheduler and the
trainers that it starts, each a process. A client sends decisions with vectors and labels, and
writes down what was acknowledged. At seeded moments one of the three is killed with SIGKILL and,
after a while, started again.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import Engine

from factories import make_decision, make_fingerprint, make_label
from knowgate import (
    Attempt,
    Client,
    Decision,
    Label,
    Role,
    ServiceUnreachable,
    Signals,
    Window,
    decide,
    escalate_all,
    new_id,
)
from knowgate._records.records import Reason
from knowgate._shipping.client import Receipt
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, Horizons, Price, Schedule, Targets, TierSpec
from services.audit.verify import verify_ledger
from services.windows import EPOCH
from store.engine import open_engine, reading, transaction
from store.jobs import job_runs
from store.ledger import ledger
from store.releases import cascades, certifications
from store.traffic import decisions, labels
from store.watching import figures
from tests import servers

MOMENTS = 10  # on each database: twenty in all
DIMENSION = 16
BATCH = 40
LEASE_S = 4
FINGERPRINT = make_fingerprint(model="tiny", revision="1", dtype="float32")


def spec() -> CascadeSpec:
    price = Price(since=EPOCH, usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=1.0)
    return CascadeSpec(
        name="killed",
        tiers=(
            TierSpec(name="small", model="tiny", parameters=1e6, prices=(price,)),
            TierSpec(name="large", model="huge", parameters=1e7, prices=(price,)),
        ),
        targets=Targets(value=0.2, rule=PolicyKind.GATES),
        horizons=Horizons(gold=timedelta(seconds=2)),
        schedule=Schedule(
            train_every=timedelta(seconds=20),
            monitor_every=timedelta(seconds=5),
            training_window=timedelta(seconds=60),
        ),
        exploration_rate=0.2,
    )


@dataclass
class Acknowledged:
    """What the API said it has."""

    decisions: set[UUID] = field(default_factory=set)
    labels: dict[tuple[UUID, int], float] = field(default_factory=dict)


class Traffic(threading.Thread):
    """Sends batches until it is stopped; what was not acknowledged is sent again, as a
    spool would.
    """

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(name="traffic", daemon=True)
        self.acknowledged = Acknowledged()
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self._client = Client(url, timeout_s=10)
        self._rng = np.random.default_rng(seed)

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._send_batch()
                self.stopping.wait(0.2)
        except BaseException as error:  # noqa: BLE001 (handed to the test, which fails on it)
            self.error = error

    def _send_batch(self) -> None:
        hidden = self._rng.standard_normal((BATCH, DIMENSION)).astype(np.float16)
        made = [self._decision(row, hidden[row]) for row in range(BATCH)]
        batch = [decision for decision, _ in made]
        if not self._insist(lambda: self._client.send_decisions(batch, {0: hidden})):
            return
        self.acknowledged.decisions |= {decision.id for decision in batch}
        said = [label for _, pair in made for label in pair]
        if self._insist(lambda: self._client.send_labels(said)):
            for label in said:
                assert label.decision_id is not None and label.tier is not None
                self.acknowledged.labels[label.decision_id, label.tier] = label.correct

    def _insist(self, send: Callable[[], Receipt]) -> bool:
        """Send until it is acknowledged; False when the test ends first."""
        while not self.stopping.is_set():
            try:
                receipt = send()
            except ServiceUnreachable:
                self.stopping.wait(0.1)
                continue
            assert receipt.rejected == ()
            return True
        return False

    def _decision(self, row: int, hidden: npt.NDArray[np.float16]) -> tuple[Decision, list[Label]]:
        now = datetime.now(UTC)
        decision_id = new_id(now)
        right = bool(hidden[0] + 0.5 * self._rng.standard_normal() > -0.5)
        p_t = float(np.clip(0.6 + 0.15 * hidden[0] + 0.1 * self._rng.standard_normal(), 0.01, 0.99))
        small = Attempt(
            tier=0,
            role=Role.SUPERSEDED,
            model="tiny",
            signals=Signals(p_t=p_t),
            verdict=decide(escalate_all(2), Signals(p_t=p_t), fault=Reason.NO_BUNDLE),
            fingerprint=FINGERPRINT,
            fault=Reason.NO_BUNDLE,
            entropy=0.5,
            run_propensity=1.0,
            tokens_in=12,
            tokens_out=1,
            vector=row,
        )
        large = Attempt(tier=1, role=Role.SERVED, model="huge", run_propensity=1.0, tokens_in=12, tokens_out=1)
        decision = make_decision(
            now,
            id=decision_id,
            cascade="killed",
            attempts=(small, large),
            external_id=str(decision_id),
            prompt_hash=f"{self._rng.integers(2**62):x}",
        )
        said = [
            make_label(
                cascade="killed",
                correct=correct,
                labelled_at=now,
                decision_id=decision_id,
                tier=tier,
                label_propensity=1.0,
            )
            for tier, correct in ((0, float(right)), (1, float(self._rng.random() < 0.95)))
        ]
        return decision, said


class Deployment:
    """API and scheduler as processes on one database, each of which can be killed and started."""

    def __init__(self, folder: Path, database_url: str) -> None:
        port = servers.free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._environment = {
            "KNOWGATE_DATA_DIR": str(folder / "data"),
            "KNOWGATE_DATABASE_URL": database_url,
            "KNOWGATE_PORT": str(port),
            "KNOWGATE_AUTH": "off",
            "KNOWGATE_JOB_LEASE": f"{LEASE_S}s",
            "OMP_NUM_THREADS": "1",
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "services", {"api": "serve", "scheduler": "scheduler"}[name]]
        with (self._folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env={**os.environ, **self._environment}, stdout=log, stderr=log
            )
        if name == "api":
            servers.wait_until_answering(f"{self.url}/healthz", self.processes[name], within_s=60)

    def kill(self, name: str) -> bool:
        """SIGKILL the API, the scheduler, or a trainer that is running; False when there is none to
        kill.
        """
        if name == "trainer":
            return self._kill_trainer()
        self.processes[name].kill()
        self.processes[name].wait()
        self.start(name)
        return True

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=60)

    def _kill_trainer(self) -> bool:
        children = Path(f"/proc/{self.processes['scheduler'].pid}/task")
        for task in children.iterdir():
            for pid in (task / "children").read_text().split():
                if b"training\0run" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)
                    return True
        return False


@contextmanager
def deployed(folder: Path, database_url: str) -> Iterator[Deployment]:
    engine = open_engine(database_url)
    with transaction(engine) as session:
        cascades.apply_cascade(session, spec(), now=datetime.now(UTC))
    engine.dispose()
    deployment = Deployment(folder, database_url)
    deployment.start("api")
    deployment.start("scheduler")
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(database_url: str, tmp_path: Path) -> None:
    rng = random.Random(20260305)
    killed: Counter[str] = Counter()
    with deployed(tmp_path, database_url) as deployment:
        traffic = Traffic(deployment.url, seed=1)
        traffic.start()
        for moment in range(MOMENTS):
            time.sleep(rng.uniform(1.0, 6.0))
            victim = ("api", "scheduler", "trainer")[moment % 3]
            if victim == "trainer":
                wait_for_a_trainer(deployment, rng)
            while not deployment.kill(victim):  # a trainer may have ended just before: the next one is killed
                wait_for_a_trainer(deployment, rng)
            killed[victim] += 1
        wait_for_training(database_url)
        traffic.stopping.set()
        traffic.join()
    assert traffic.error is None
    assert sum(killed.values()) == MOMENTS and min(killed.values()) >= 3, killed
    engine = open_engine(database_url)
    check_nothing_is_lost(engine, traffic.acknowledged)
    check_nothing_happened_twice(engine)
    engine.dispose()


def wait_for_a_trainer(deployment: Deployment, rng: random.Random) -> None:
    """Until one runs, and then a seeded while more, so that it dies in different places."""
    children = Path(f"/proc/{deployment.processes['scheduler'].pid}/task")
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        pids = [pid for task in children.iterdir() for pid in (task / "children").read_text().split()]
        lines = [path.read_bytes() for pid in pids if (path := Path(f"/proc/{pid}/cmdline")).exists()]
        if any(b"training\0run" in line for line in lines):
            time.sleep(rng.uniform(0.0, 6.0))
            return
        time.sleep(0.05)
    raise AssertionError("no trainer was started within 90 s")


def wait_for_training(database_url: str) -> None:
    """Until a window has been trained after all, so that the killed ones were taken over."""
    engine = open_engine(database_url)
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with reading(engine) as session:
                trained = bool(certifications.certifications(session, "killed"))
            if trained:
                return
            time.sleep(0.5)
        raise AssertionError("no window was trained within 180 s")
    finally:
        engine.dispose()


def check_nothing_is_lost(engine: Engine, acknowledged: Acknowledged) -> None:
    everything = Window(start=EPOCH, end=datetime.now(UTC) + timedelta(days=1))
    with reading(engine) as session:
        stored = {decision.id for decision in decisions.decisions_between(session, "killed", everything)}
        assert acknowledged.decisions and acknowledged.decisions <= stored
        rows_there = {
            (label.decision_id, label.tier): label.correct
            for decision_id in acknowledged.decisions
            for label in labels.labels_of(session, decision_id)
        }
    assert acknowledged.labels and acknowledged.labels.items() <= rows_there.items()


def check_nothing_happened_twice(engine: Engine) -> None:
    with transaction(engine) as session:
        while ledger.seal(session, now=datetime.now(UTC)) is not None:
            pass
    with reading(engine) as session:
        assert verify_ledger(session).problems == ()
        trained = [run for run in job_runs.job_runs(session, "killed", job="train", limit=1000) if run.finished_at]
        effects = certifications.certifications(session, "killed")
        watched = [run for run in job_runs.job_runs(session, "killed", job="monitor", limit=1000) if run.finished_at]
        made = figures.figures(session, "killed", names=["queries"])
    with_effect = [run for run in trained if run.outcome != "no_data"]
    assert len(effects) == len(with_effect) > 0, "one attempt per trained window"
    assert [effect.attempt for effect in effects] == list(range(1, len(effects) + 1)), "δ was spent once per attempt"
    windows = Counter((row.window.start, row.window.end, row.tier, row.slice, row.mature) for row in made)
    assert set(windows.values()) == {1} and len({run.window.start for run in watched}) == len(watched)
