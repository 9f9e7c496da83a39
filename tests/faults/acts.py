"""What is done to the world, and what must hold while it is done (`tests.faults.table`)."""

import json
import os
import random
import shutil
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.checks import trained_windows, until, waiting_for_mlflow
from tests.faults.proxy import NONE, Proxy, Trouble
from tests.faults.traffic import Asking, Traffic
from tests.faults.world import PATIENCE_S, World

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
# Where libfaketime leaves the monotonic clock alone, `time.sleep` fails with EINVAL: it shifts the
# deadline all the same. Another call waits as long.
ANOTHER_SLEEP = """import select, time
def sleep(seconds): select.select((), (), (), seconds)
time.sleep = sleep
"""
HOUR_S = 3600
WHILE_S = 5.0  # that a fault lasts


@dataclass
class Run:
    """A world under fire, who uses it, and what was counted."""

    world: World
    rng: random.Random
    traffic: Traffic
    asking: Asking
    not_spooled: int = 0  # answers that the gateway said it could not keep
    counts: Counter[str] = field(default_factory=Counter)

    def grows(self, what: Callable[[], int], named: str) -> None:
        """What is promised goes on."""
        before = what()
        until(lambda: what() > before, f"{named} goes on", within_s=PATIENCE_S)

    def goes_on(self) -> None:
        """Decisions are acknowledged, and questions answered."""
        self.grows(lambda: len(self.traffic.acknowledged.decisions), "acknowledging")
        self.grows(lambda: len(self.asking.answered), "answering")


@contextmanager
def troubled(proxy: Proxy | None, trouble: Trouble) -> Iterator[None]:
    if proxy is None:
        yield
        return
    proxy.trouble = trouble
    try:
        yield
    finally:
        proxy.trouble = NONE


def slow(run: Run) -> None:
    with troubled(run.world.door, Trouble(delay_s=0.3)), troubled(run.world.database_door, Trouble(delay_s=0.02)):
        run.goes_on()
    run.counts["pieces_delayed"] = run.world.door.happened["delayed"]


def cut(run: Run) -> None:
    before = run.world.door.happened["cut"]
    with troubled(run.world.door, Trouble(cut=0.2)), troubled(run.world.database_door, Trouble(cut=0.01)):
        until(lambda: run.world.door.happened["cut"] >= before + 10, "ten connections are cut", within_s=PATIENCE_S)
    run.goes_on()
    run.counts["connections_cut"] += run.world.door.happened["cut"] - before
    if run.world.database_door is not None:
        run.counts["connections_to_the_database_cut"] = run.world.database_door.happened["cut"]


def flip(run: Run) -> None:
    with troubled(run.world.door, Trouble(flip=0.3)):
        happened = run.world.door.happened
        until(lambda: happened["flipped"] >= 20, "twenty bits are flipped", within_s=PATIENCE_S)
    run.goes_on()
    run.counts["bits_flipped"] = run.world.door.happened["flipped"]


def restart_postgresql(run: Run) -> None:
    server = run.world.server
    assert server is not None
    server.stop()
    run.grows(lambda: len(run.asking.answered), "answering without the database")
    server.start()
    run.goes_on()


def hold_a_host(run: Run) -> None:
    world = run.world
    world.start("second scheduler")
    held = [psutil.Process(world.processes["scheduler"].pid), world.wait_for_a_trainer()]
    time.sleep(run.rng.uniform(0.0, 3.0))
    _signal(held, signal.SIGSTOP)
    world.wait_for_a_trainer("second scheduler")
    _signal(held, signal.SIGCONT)
    run.goes_on()
    world.end("second scheduler")


def hang_a_trainer(run: Run) -> None:
    world = run.world
    world.end("scheduler")
    world.start("scheduler", {"KNOWGATE_JOB_LIMIT": "8s"})
    trainer = world.wait_for_a_trainer()
    _signal([trainer], signal.SIGSTOP)
    until(lambda: not trainer.is_running(), "a trainer that hangs is ended", within_s=PATIENCE_S)
    world.end("scheduler")
    world.start("scheduler")


def fill_the_gateways_disk(run: Run) -> None:
    world = run.world
    before = _not_spooled(world)
    with world.disks["gateway"].full([world.processes["gateway"].pid]):
        deadline = time.monotonic() + WHILE_S
        run.grows(lambda: len(run.asking.answered), "answering on a full disk")
        while time.monotonic() < deadline:
            time.sleep(0.1)
    run.goes_on()
    run.not_spooled += _not_spooled(world) - before


def fill_the_shards_disk(run: Run) -> None:
    with run.world.disks["shards"].full([run.world.processes["api"].pid]):
        run.grows(lambda: run.traffic.unanswered, "refusing what cannot be kept")
        run.grows(lambda: len(run.asking.answered), "answering")
    run.goes_on()


def fill_the_databases_disk(run: Run) -> None:
    users = [run.world.processes[name].pid for name in ("api", "scheduler")]
    with run.world.disks["data"].full(users):
        run.grows(lambda: run.traffic.unanswered, "refusing what cannot be kept")
        run.grows(lambda: len(run.asking.answered), "answering")
    run.goes_on()


def lock_the_shards_disk(run: Run) -> None:
    with run.world.disks["shards"].read_only():
        run.grows(lambda: run.traffic.unanswered, "refusing what cannot be kept")
        run.grows(lambda: len(run.asking.answered), "answering")
    run.goes_on()


def lock_the_gateways_disk(run: Run) -> None:
    world = run.world
    with world.away("gateway"), world.disks["gateway"].read_only():
        process = world.launch("gateway")
        assert process.wait(PATIENCE_S) != 0
        said = (world.folder / "gateway.log").read_text(encoding="utf-8")
        assert "KNOWGATE_DATA_DIR" in said.rpartition("\n\n")[2] or "KNOWGATE_DATA_DIR" in said[-2000:]
    run.goes_on()


def lose_the_shards(run: Run) -> None:
    world = run.world
    gone = world.shards.with_name("gone")
    world.shards.rename(gone)
    world.wait_for_a_trainer()
    run.goes_on()
    for file in [path for path in gone.rglob("*") if path.is_file()]:
        place = world.shards / file.relative_to(gone)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    shutil.rmtree(gone)


def set_the_clock(run: Run) -> None:
    with a_clock_of_its_own(run.world) as shift:
        for hours in (1, -1, 0):
            shift.write_text(f"{hours * HOUR_S:+d}\n", encoding="utf-8")
            time.sleep(WHILE_S)
    run.goes_on()


def be_an_hour_without_mlflow(run: Run) -> None:
    world = run.world
    engine = world.engine()
    with a_clock_of_its_own(world) as shift:
        with world.away("mlflow"):

            def tried(times: int) -> Callable[[], bool]:
                return lambda: any(one.attempts >= times for one in waiting_for_mlflow(engine))

            trained = trained_windows(engine)
            until(tried(1), "a bundle waits for MLflow", within_s=PATIENCE_S)
            most = max(one.attempts for one in waiting_for_mlflow(engine))
            shift.write_text(f"{HOUR_S:+d}\n", encoding="utf-8")
            until(tried(most + 1), "an hour later it is tried again", within_s=PATIENCE_S)
            shift.write_text("+0\n", encoding="utf-8")
            until(lambda: trained_windows(engine) > trained, "training goes on without MLflow", within_s=PATIENCE_S)
            waited = {one.key for one in waiting_for_mlflow(engine)}
        await_registration(world, waited, shift)
    run.counts["bundles_that_waited_for_mlflow"] += len(waited)
    engine.dispose()


def await_registration(world: World, keys: Set[str], shift: Path) -> None:
    """Until MLflow has these, by a clock that has gone on: what was claimed by a process that was
    killed is nobody's by then.
    """
    engine = world.engine()

    def sent() -> bool:
        return keys.isdisjoint(one.key for one in waiting_for_mlflow(engine))

    shift.write_text(f"{HOUR_S:+d}\n", encoding="utf-8")
    until(sent, "MLflow has what waited", within_s=PATIENCE_S)
    shift.write_text("+0\n", encoding="utf-8")
    engine.dispose()


@contextmanager
def a_clock_of_its_own(world: World) -> Iterator[Path]:
    """The scheduler, and the trainers that it starts, under a clock that this file shifts."""
    shift = world.folder / "shift"
    shift.write_text("+0\n", encoding="utf-8")
    world.end("scheduler")
    mended = world.folder / "mended"
    mended.mkdir(exist_ok=True)
    (mended / "sitecustomize.py").write_text(ANOTHER_SLEEP, encoding="utf-8")
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(shift)}
    faked |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    faked["PYTHONPATH"] = os.pathsep.join(filter(None, (str(mended), os.environ.get("PYTHONPATH"))))
    world.start("scheduler", faked)
    yield shift
    world.end("scheduler")
    world.start("scheduler")


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.kill(process.pid, number)


def _not_spooled(world: World) -> int:
    with urllib.request.urlopen(f"{world.gateway_url}/healthz", timeout=30) as answer:
        counted: int = json.load(answer)["not_spooled"]
    return counted
