"""One world for faults and for the soak: PostgreSQL or SQLite, the API, the scheduler and the
trainers that it starts, a gateway before two small tiers, and MLflow, each a process that can be
killed, stopped, held still and started again. Windows last seconds, on the real clock.

What is sent to the API and what the API and the scheduler say to PostgreSQL passes a proxy.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from sqlalchemy import Engine

from knowgate import PolicyKind
from knowgate.spec import CascadeSpec, Horizons, Price, Schedule, Targets, TierSpec
from services.windows import EPOCH
from store import schema
from store.engine import open_engine, transaction
from store.releases import cascades
from tests import servers
from tests.faults.disk import Disk
from tests.faults.proxy import Proxy
from tests.faults.traffic import ASKED, CASCADE
from tests.postgresql import OwnServer
from tests.services.gateway.cast import declare
from tests.services.gateway.small_server import tier_server

LEASE_S = 4
LIMIT_S = 600  # of one training
PATIENCE_S = 600.0
HORIZON = timedelta(seconds=2)
SCHEDULE = Schedule(
    train_every=timedelta(seconds=20), monitor_every=timedelta(seconds=5), training_window=timedelta(seconds=60)
)
DISKS = ("data", "shards", "gateway")  # the folders that faults fill and lock


def spec(schedule: Schedule = SCHEDULE, horizon: timedelta = HORIZON) -> CascadeSpec:
    """Two tiers, of which the large one costs ten times the small one."""
    small, large = (
        Price(since=EPOCH, usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd) for usd in (1.0, 10.0)
    )
    return CascadeSpec(
        name=CASCADE,
        tiers=(
            TierSpec(name="small", model="tiny", parameters=1e6, prices=(small,)),
            TierSpec(name="large", model="huge", parameters=1e7, prices=(large,)),
        ),
        targets=Targets(value=0.2, rule=PolicyKind.GATES),
        horizons=Horizons(gold=horizon),
        schedule=schedule,
        exploration_rate=0.2,
    )


class World:
    """The processes, by name: api, scheduler, gateway, mlflow; others are schedulers beside it."""

    def __init__(self, folder: Path, database_url: str, *, server: OwnServer | None, disks: dict[str, Disk]) -> None:
        self.folder, self.database_url, self.server, self.disks = folder, database_url, server, disks
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.gateway_away: list[tuple[float, float]] = []  # on the monotonic clock
        self._ports = {name: servers.free_port() for name in ("api", "gateway", "mlflow")}
        self.door = Proxy(self._ports["api"], seed=1)
        self.url = f"http://127.0.0.1:{self.door.port}"
        self.gateway_url, self.mlflow_url = (f"http://127.0.0.1:{self._ports[name]}" for name in ("gateway", "mlflow"))
        self.database_door = None if server is None else Proxy(_socket(server), seed=2)
        self.shards = disks["shards"].folder / "shards"

    def go_without_proxies(self) -> None:
        """Before anything is started: whoever measures has them not in the way."""
        self._close_doors()
        self.url, self.database_door = f"http://127.0.0.1:{self._ports['api']}", None

    def start(self, name: str, more: Mapping[str, str] | None = None) -> None:
        """Starts it, and waits until it answers; MLflow, which takes long, is not waited for, and
        neither is a scheduler, which nobody asks.
        """
        self.processes[name] = self.launch(name, more)
        if name in ("api", "gateway"):
            url = f"http://127.0.0.1:{self._ports[name]}/healthz"
            servers.wait_until_answering(url, self.processes[name], within_s=PATIENCE_S)

    def launch(self, name: str, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """The process, started; `more` stands in its environment."""
        return self._run(name, self._command(name), more)

    def run(self, name: str, command: Sequence[str], more: Mapping[str, str] | None = None) -> None:
        """Another process beside them, of its own command."""
        self.processes[name] = self._run(name, command, more)

    def _run(self, name: str, command: Sequence[str], more: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=os.environ | self.environment(name) | dict(more or {}),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self, name: str) -> None:
        """In order, and for good."""
        process = self.processes.pop(name)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        servers.end_group(process)

    def kill(self, name: str) -> bool:
        """SIGKILL, and a start; False where there is none to kill, as of trainers that ended."""
        if name == "trainer":
            return self._kill_trainer()
        if name == "postgresql":
            assert self.server is not None
            self.server.kill()
            self.server.start()
            return True
        with self.away(name):
            return True

    @contextmanager
    def away(self, name: str) -> Iterator[None]:
        """Killed at once, and started when the block is left."""
        began = time.monotonic()
        servers.end_group(self.processes[name])
        yield
        self.start(name)
        if name == "gateway":
            self.gateway_away.append((began, time.monotonic()))

    def trainers(self, of: str = "scheduler") -> list[psutil.Process]:
        """The trainings that a scheduler has under way."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.processes[of].pid).children(recursive=True)
            return [child for child in children if _is_training(child)]
        return []

    def wait_for_a_trainer(self, of: str = "scheduler") -> psutil.Process:
        """One that is under way, or the next one."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if found := self.trainers(of):
                return found[0]
            time.sleep(0.05)
        raise AssertionError(f"no training was started within {PATIENCE_S} s")

    def engine(self) -> Engine:
        """To look at what is stored, past the proxy."""
        return open_engine(self.database_url)

    def close(self) -> None:
        """Ends what runs; a scheduler first in order, so that it ends its trainings."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=40)
            servers.end_group(process)
        self._close_doors()

    def _close_doors(self) -> None:
        for door in (self.door, self.database_door):
            if door is not None:
                door.close()

    def _kill_trainer(self) -> bool:
        for trainer in self.trainers():
            with suppress(psutil.NoSuchProcess):
                trainer.kill()
                return True
        return False

    def _command(self, name: str) -> list[str]:
        if name == "mlflow":
            return servers.mlflow_command(self.folder, self._ports["mlflow"])
        program = [sys.executable, "-m", "services"]
        if name == "gateway":
            options = [f"--cascade={ASKED}", f"--control={self.url}", f"--port={self._ports['gateway']}"]
            return [*program, "gateway", *options]
        return [*program, "serve" if name == "api" else "scheduler"]

    def environment(self, name: str) -> dict[str, str]:
        """What the settings of this process are, and of a command beside it."""
        url = self.database_url
        if self.database_door is not None:
            url = f"postgresql+psycopg://postgres@127.0.0.1:{self.database_door.port}/postgres"
        data = self.disks["gateway" if name == "gateway" else "data"].folder
        return servers.MLFLOW_ENVIRONMENT | {
            "KNOWGATE_DATA_DIR": str(data),
            "KNOWGATE_DATABASE_URL": url,
            "KNOWGATE_SHARDS_URL": str(self.shards),
            "KNOWGATE_MLFLOW_URL": self.mlflow_url,
            "KNOWGATE_PORT": str(self._ports["api"]),
            "KNOWGATE_AUTH": "off",
            "KNOWGATE_HASH_KEY": "the world's hash key",
            "KNOWGATE_JOB_LEASE": f"{LEASE_S}s",
            "KNOWGATE_JOB_LIMIT": f"{LIMIT_S}s",
            "OMP_NUM_THREADS": "1",
        }


@contextmanager
def world_on_postgresql(folder: Path, cascade: CascadeSpec | None = None, *, proxied: bool = True) -> Iterator[World]:
    """With all of its processes, on a PostgreSQL of its own."""
    kept = Path(tempfile.mkdtemp(prefix="kg-own-"))  # short: a socket's path has to fit in 107 characters
    server = OwnServer(kept)
    try:
        url = server.url.render_as_string(hide_password=False)
        with built(folder, url, server, cascade or spec(), proxied=proxied) as world:
            for name in ("mlflow", "api", "scheduler", "gateway"):
                world.start(name)
            yield world
    finally:
        server.close()
        shutil.rmtree(kept, ignore_errors=True)


@contextmanager
def world_on_sqlite(folder: Path) -> Iterator[World]:
    """With the API, the scheduler and the gateway; the database lies on a disk of its own."""
    with built(folder, f"sqlite:///{folder / 'data' / 'knowgate.db'}", None, spec()) as world:
        for name in ("api", "scheduler", "gateway"):
            world.start(name)
        yield world


@contextmanager
def built(
    folder: Path, database_url: str, server: OwnServer | None, cascade: CascadeSpec, *, proxied: bool = True
) -> Iterator[World]:
    """The cascades declared, and nothing started."""
    with ExitStack() as stack:
        disks = {name: stack.enter_context(Disk(folder / name)) for name in DISKS}
        small, large = (stack.enter_context(tier_server(text, p_t)) for text, p_t in (("Lima", 0.9), ("Quito", 0.7)))
        engine = open_engine(database_url)
        if server is None:
            schema.upgrade(engine)
        with transaction(engine) as session:
            cascades.apply_cascade(session, cascade, now=datetime.now(UTC))
        # An explored answer is sent before its decision is spooled: here there is none.
        declare(engine, small.url, large.url, exploration_rate=1e-9)
        engine.dispose()
        world = World(folder, database_url, server=server, disks=disks)
        if not proxied:
            world.go_without_proxies()
        stack.callback(world.close)
        yield world


def _socket(server: OwnServer) -> str:
    return f"{server.url.query['host']}/.s.PGSQL.5432"


def _is_training(process: psutil.Process) -> bool:
    try:
        return "training" in process.cmdline() and "run" in process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return False
