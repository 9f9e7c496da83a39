"""Kill -9 at every step of compaction, sweeping and erasure: every reference stays readable, and a
rerun finishes.

A step is whatever leaves this process: a statement to the database, a commit, a file opened,
renamed or removed. The script below forks a process for each step, which is killed by SIGKILL just
before it takes that step.
"""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from services.vectors.shard_checks import check_shards
from services.vectors.shard_compaction import compact
from services.vectors.shard_files import sweep
from store.engine import reading
from store.traffic.vectors import shards
from tests.vector_cast import DIMENSION, NOW, Held, apply_trivia, check_readable, files_with, places, push

pytestmark = pytest.mark.slow
BOUND = 8 * DIMENSION * 2
KILLER = """
import os, signal, sys
from datetime import datetime, timedelta
from uuid import UUID
from sqlalchemy import event
from sqlalchemy.engine import Engine
from services.vectors.shard_compaction import compact
from services.vectors.shard_files import blank_vectors, remove_files, remove_leftovers, sweep
from store.engine import open_engine, transaction
from store.ledger.erasure import erase_decision
from store.traffic.vectors import hold_files

url, base, now, what, fatal = *sys.argv[1:5], int(sys.argv[5])
now, bound = datetime.fromisoformat(now), int(sys.argv[6])
steps = 0

def step(*_):
    global steps
    steps += 1
    if steps == fatal:
        os.kill(os.getpid(), signal.SIGKILL)

def seen(name, arguments):
    writes = name == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)) and str(base) in str(arguments[0])
    if writes or name in ("os.rename", "os.remove", "os.mkdir", "os.utime"):
        step()

engine = open_engine(url)
event.listen(Engine, "before_cursor_execute", step)
event.listen(Engine, "commit", step)
sys.addaudithook(seen)
if what == "compact":
    compact(engine, base, shard_bytes=bound, now=now)
elif what == "sweep":
    sweep(engine, base, now=now + timedelta(days=4000), grace=timedelta(hours=24))
else:
    with transaction(engine) as session:
        hold_files(session, alone=True)
        erased = erase_decision(session, UUID(what), by="ada", now=now)
        old = blank_vectors(session, erased.vectors)
        remove_leftovers(session, base, UUID(what), now=now, spare=old)
    remove_files(old)
engine.dispose()
print(steps)
"""
FORKER = """
import json, os, sys
# Imported once, for all that are forked.
import services.vectors.shard_compaction, services.vectors.shard_files, store.ledger.erasure, psycopg

for line in sys.stdin:
    arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        sys.argv = ["killer", *arguments]
        output = os.open(os.devnull, os.O_WRONLY)
        os.dup2(output, 1)
        try:
            exec(compile(open(sys.argv.pop(1)).read(), "killer", "exec"), {"__name__": "killer"})
        except BaseException as error:
            sys.stderr.write(repr(error))
            os._exit(3)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Killer:
    """Runs one kind of work in a process of its own that dies at a step."""

    def __init__(self, engine: Engine, base: str, folder: Path) -> None:
        self._common = [engine.url.render_as_string(hide_password=False), base, NOW.isoformat()]
        self._script = folder / "killer.py"
        self._script.write_text(KILLER)
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, what: str, fatal: int) -> bool:
        """Whether it was killed; it may also have ended before that step, and well."""
        assert self._process.stdin is not None and self._process.stdout is not None
        arguments = [str(self._script), *self._common, what, str(fatal), str(BOUND)]
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        assert status in (0, 9), f"it ended with {status}"
        return status == 9

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path / "shards")


@pytest.fixture
def killer(engine: Engine, base: str, tmp_path: Path) -> Any:
    made = Killer(engine, base, tmp_path)
    yield made
    made.close()


def referred(engine: Engine) -> set[str]:
    with reading(engine) as session:
        return {shard.url for shard in shards(session)}


def test_compaction_may_die_anywhere(engine: Engine, base: str, killer: Killer) -> None:
    apply_trivia(engine)
    pushed: list[Held] = []
    fatal, died = 0, 0
    while True:
        fatal += 1
        pushed += [one for seed in range(2) for one in push(engine, base, 3, seed=100 * fatal + seed)]
        killed = killer.run("compact", fatal)
        check_readable(engine, pushed[-30:])
        if not killed:
            break
        died += 1
    assert died >= 8, "statements, files and commits were all among the steps"
    compact(engine, base, shard_bytes=BOUND, now=NOW)
    check_readable(engine, pushed)
    assert check_shards(engine).problems == ()
    sweep(engine, base, now=NOW + timedelta(days=4000), grace=timedelta(hours=24))
    assert {str(path) for path in Path(base).rglob("*") if path.is_file()} == referred(engine), "leftovers are swept"
    check_readable(engine, pushed)


def test_sweeping_may_die_anywhere(engine: Engine, base: str, killer: Killer) -> None:
    apply_trivia(engine)
    pushed: list[Held] = []
    for fatal in range(1, 100):
        pushed += [one for seed in range(2) for one in push(engine, base, 3, seed=100 * fatal + seed)]
        compact(engine, base, shard_bytes=BOUND, now=NOW)
        if not killer.run("sweep", fatal):
            break
        check_readable(engine, pushed[-30:])
    assert fatal > 5
    assert {str(path) for path in Path(base).rglob("*") if path.is_file()} == referred(engine)
    check_readable(engine, pushed)


def test_an_erasure_may_die_anywhere_and_a_rerun_leaves_no_byte(engine: Engine, base: str, killer: Killer) -> None:
    apply_trivia(engine)
    kept: list[Held] = []
    for fatal in range(1, 200, 4):
        doomed, *others = push(engine, base, 3, seed=fatal)
        kept += others
        if fatal % 3 == 0:
            compact(engine, base, shard_bytes=BOUND, now=NOW)
        killed = killer.run(str(doomed.id), fatal)
        check_readable(engine, others)
        if doomed.id in places(engine, [doomed]):
            check_readable(engine, [doomed])
        assert not killer.run(str(doomed.id), 0)
        assert files_with(Path(base), doomed.values) == []
        if not killed:
            break
    assert fatal > 10
    check_readable(engine, kept)
