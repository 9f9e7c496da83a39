"""The stage: everything a deployment has, on one machine and one clock that is set by hand.

Nothing is replaced but the time. The API is a real server on loopback, the runtime polls it, the
spool ships to it, the jobs are those of the scheduler, and training and registration run as the
processes they always are.
"""

import contextlib
import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import uvicorn
from sqlalchemy import Engine

from knowgate import Cascade, Label, Spool
from knowgate._shipping.client import Client
from knowgate._shipping.shipper import Shipper
from knowgate.spec import CascadeSpec
from services.clock import SimulatedClock
from services.database import open_database
from services.errors import ServicesError
from services.jobs.job import JobContext, JobOutcome
from services.jobs.register import RegisterSweep
from services.jobs.scheduler import TICKS, tick_all, tick_job
from services.privacy import hash_key
from services.promotion import generations
from services.settings import Settings, read_settings
from services.web.app import create_app
from store.engine import transaction
from store.releases import cascades
from store.tokens import TokenRole, create_token

LABELS_PER_REQUEST = 1000
# The runtime is polled by the stage at every step, so its own thread only has to keep out of the
# way.
POLL_INTERVAL_S = 3600.0
REGISTER = RegisterSweep()
IN_TURN = tuple(tick for tick in TICKS if tick.job.name != REGISTER.name)


def simulated_settings(directory: Path, *, seed: int) -> Settings:
    """The settings of a deployment that lies wholly in `directory`, whatever this process's
    environment says.

    Its hash key follows from the seed, so that exploration and sampling fall the same way in every
    run.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hash.key").write_text(hashlib.sha256(f"simulation {seed}".encode()).hexdigest())
    return read_settings({"KNOWGATE_DATA_DIR": str(directory)})


class SimulationFailed(ServicesError):
    """Something of the deployment did not do what it always does; the message says what."""


class Stage:
    """One deployment of one cascade. Use as a context manager."""

    def __init__(self, settings: Settings, spec: CascadeSpec, *, start: datetime) -> None:
        self.settings = settings
        self.spec = spec
        self.clock = SimulatedClock(start)
        self.engine: Engine = open_database(settings)
        self.context = JobContext(engine=self.engine, settings=settings, clock=self.clock, owner="simulation")
        self._registering: Future[object] | None = None
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "Stage":
        with contextlib.ExitStack() as opened:
            opened.callback(self.engine.dispose)
            self._beside = opened.enter_context(ThreadPoolExecutor(1, thread_name_prefix="register"))
            token = self._declare()
            url = opened.enter_context(_served(self.settings, self.engine, self.clock))
            self.client = Client(url, token, timeout_s=60.0)
            spool = opened.enter_context(Spool(self.settings.data_dir / "spool", durable=False))
            self._shipper = Shipper(spool, self.client)
            self.cascade = opened.enter_context(
                Cascade.watch(
                    url,
                    cascade=self.spec.name,
                    token=token,
                    cache=self.settings.data_dir / "runtime",
                    interval_s=POLL_INTERVAL_S,
                    runtime="simulated-runtime",
                    hash_key=hash_key(self.settings),
                    privacy=self.spec.privacy,
                    vector_rate=self.spec.vector_rate,
                    models=[tier.model for tier in self.spec.tiers],
                    spool=spool,
                    clock=self.clock.now,
                )
            )
            self._spool = spool
            self._closing = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def ship(self) -> None:
        """Send everything that was served so far to the API."""
        self._spool.flush()
        while self._shipper.ship_batch():
            pass
        if self._shipper.rejected or self._spool.refused:
            lost = f"{self._shipper.rejected} decisions were rejected, {self._spool.refused} not spooled"
            raise SimulationFailed(f"{lost}: see {self._spool.directory / 'rejected.jsonl'}")

    def label(self, labels: Sequence[Label]) -> None:
        """Send labels to the API, as a grader would."""
        for start in range(0, len(labels), LABELS_PER_REQUEST):
            receipt = self.client.send_labels(labels[start : start + LABELS_PER_REQUEST])
            if receipt.rejected:
                raise SimulationFailed(f"{len(receipt.rejected)} labels were rejected: {receipt.rejected[0]}")

    def advance(self, until: datetime) -> tuple[JobOutcome, ...]:
        """Move the clock, let every job look for work, and the runtime for a new assignment.

        The runtime looks first, too: it has been there all the time that passed.
        """
        self.clock.set(until)
        self._poll()
        outcomes = tick_all(self.context, IN_TURN)
        self._register()
        self._poll()
        return outcomes

    def _poll(self) -> None:
        if (follower := self.cascade.follower) is not None:
            follower.poll()

    def settle(self) -> None:
        """Wait until MLflow has all that is due."""
        if self._registering is not None:
            self._registering.result()
        tick_job(self.context, REGISTER)

    def _register(self) -> None:
        """Nothing waits for MLflow here either: it takes its time beside what follows."""
        if self._registering is None or self._registering.done():
            self._registering = self._beside.submit(tick_job, self.context, REGISTER)

    def _declare(self) -> str:
        now = self.clock.now()
        with transaction(self.engine) as session:
            cascades.apply_cascade(session, self.spec, now=now)
            generations.declare(session, self.spec, self.settings, now=now)
            return create_token(session, f"simulation-{secrets.token_hex(4)}", TokenRole.ADMIN, now)


@contextlib.contextmanager
def _served(settings: Settings, engine: Engine, clock: SimulatedClock) -> Iterator[str]:
    """The API on a free port of loopback; yields its URL."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(settings, engine, clock=clock), log_level="warning", access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="api", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise SimulationFailed("the API did not start; its log above says why")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
