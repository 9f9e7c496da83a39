"""After `knowgate erase`, no file under the shards' URL holds a byte of the erased vectors,
whatever kind of file.
"""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from services.command_line import app
from services.vectors.intake import vector_name
from services.vectors.shard_compaction import compact
from store.engine import reading, transaction
from store.errors import ShardRefused
from store.ledger.erasure import erase_decision
from store.shards.shards import write_shard
from store.traffic.vectors import hold_files
from tests.vector_cast import DEEPER, NOW, Held, apply_trivia, check_readable, files_with, places, push

Run = Callable[..., Any]


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path / "data" / "shards")


@pytest.fixture
def run(engine: Engine, base: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    apply_trivia(engine)
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(Path(base).parent))
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("KNOWGATE_HASH_KEY", "a hash key for tests")

    def start(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == code or (code and result.exception is not None), (result.output, result.exception)
        return json.loads(result.stdout) if result.stdout else None

    return start


def run_command(*arguments: str) -> None:
    """As a command, for its refusal."""
    result = CliRunner().invoke(app, [*arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception


def test_no_byte_is_left_in_live_merged_superseded_orphaned_or_unfinished_files(
    run: Run, engine: Engine, base: str
) -> None:
    pushed = [one for seed in range(6) for one in push(engine, base, 4, seed=seed)]
    target, kept = pushed[5], pushed[:5] + pushed[6:]
    compact(engine, base, shard_bytes=1 << 20, now=NOW)
    live = Path(places(engine, [target])[target.id].url)
    # What crashes leave: a merged file that was never referred to, a temporary one, one that is cut
    # off.
    ids = [vector_name(target.id, 0), vector_name(pushed[0].id, 0)]
    orphan = write_shard(base, np.stack([target.values, pushed[0].values]), ids, fingerprint=DEEPER)
    unfinished = Path(orphan.url).with_name(f".{'0' * 32}.tmp")
    shutil.copy(live, unfinished)
    broken = Path(base) / "ff" / f"{'f' * 64}.safetensors"
    broken.parent.mkdir(exist_ok=True)
    broken.write_bytes(live.read_bytes()[:-1])
    innocent = write_shard(base, np.ones((1, 8)), [vector_name(pushed[1].id, 0)], fingerprint=DEEPER)
    assert len(files_with(Path(base), target.values)) == 5, "live, superseded, orphan, temporary, cut off"

    done = run("erase", str(target.id), "--yes")
    assert (done["vectors"], done["removed_files"]) == (1, 5)
    assert files_with(Path(base), target.values) == []
    check_readable(engine, kept)
    assert Path(innocent.url).exists(), "an orphan without the erased vectors is left to the sweep"
    compact(engine, base, shard_bytes=1 << 20, now=NOW)
    assert run("vectors", "verify")["problems"] == []
    assert run("erase", str(target.id), "--yes")["removed_files"] == 0


def test_shards_that_were_swapped_are_refused_and_nothing_is_erased(run: Run, engine: Engine, base: str) -> None:
    pushed = [one for seed in range(2) for one in push(engine, base, 2, seed=seed)]
    first, other = (Path(places(engine, [one])[one.id].url) for one in (pushed[0], pushed[2]))
    swapped = first.read_bytes(), other.read_bytes()
    first.write_bytes(swapped[1])
    other.write_bytes(swapped[0])
    with pytest.raises(ShardRefused, match="is not the vector that was stored, so it is not known what to erase"):
        run_command("erase", str(pushed[0].id), "--yes")
    first.write_bytes(swapped[0])
    other.write_bytes(swapped[1])
    assert run("erase", str(pushed[0].id), "--yes")["vectors"] == 1
    assert files_with(Path(base), pushed[0].values) == []
    check_readable(engine, pushed[1:])


@pytest.mark.slow  # SQLite waits half a minute for the reader; on PostgreSQL an old reader keeps no log
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_cannot_be_emptied_now_ends_with_1_and_is_finished_by_running_it_again(
    run: Run, engine: Engine, base: str
) -> None:
    (pushed,) = push(engine, base, 1, seed=0)
    with reading(engine) as session:  # somebody reads an older state
        session.execute(text("SELECT count(*) FROM decision")).all()
        assert run("erase", str(pushed.id), "--yes", code=1)["log_emptied"] is False
    assert run("erase", str(pushed.id), "--yes") == {
        "decision": str(pushed.id),
        "vectors": 0,
        "ledger_entries": 0,
        "removed_files": 0,
        "log_emptied": True,
    }


def test_the_doctor_notices_a_shard_that_is_gone(run: Run, engine: Engine, base: str) -> None:
    pushed = [one for seed in range(2) for one in push(engine, base, 2, seed=seed)]
    assert [one for one in run("doctor")["findings"] if one["check"] == "shards" and one["state"] == "bad"] == []
    gone = Path(places(engine, pushed[:1])[pushed[0].id].url)
    gone.unlink()
    (bad,) = [one for one in run("doctor", code=1)["findings"] if one["state"] == "bad"]
    assert bad["found"] == f"1 shards that vectors are read from are gone, e.g. {gone}"


def test_an_erasure_that_died_before_it_removed_the_old_file_is_finished_by_running_it_again(
    run: Run, engine: Engine, base: str
) -> None:
    from services.vectors.shard_files import blank_vectors

    pushed = push(engine, base, 4, seed=0)
    with transaction(engine) as session:
        hold_files(session, alone=True)
        blank_vectors(session, erase_decision(session, pushed[0].id, by="ada", now=NOW).vectors)
    assert len(files_with(Path(base), pushed[0].values)) == 1, "committed, and the old file still there"
    assert run("erase", str(pushed[0].id), "--yes") | {"decision": ""} == {
        "decision": "",
        "vectors": 0,
        "ledger_entries": 0,
        "removed_files": 1,
        "log_emptied": True,
    }
    assert files_with(Path(base), pushed[0].values) == []
    check_readable(engine, pushed[1:])


@pytest.mark.slow
def test_every_vector_of_a_deployment_can_be_erased_one_by_one(run: Run, engine: Engine, base: str) -> None:
    pushed = [one for seed in range(3) for one in push(engine, base, 2, seed=seed)]
    for at, one in enumerate(pushed):
        run("erase", str(one.id), "--yes")
        if at % 2:
            run("vectors", "compact")
        check_readable(engine, pushed[at + 1 :])
        assert all(files_with(Path(base), gone.values) == [] for gone in pushed[: at + 1])


def test_what_cannot_be_erased_fails_the_whole_erasure(run: Run, engine: Engine, base: str) -> None:
    (one, two) = push(engine, base, 2, seed=0)
    path = Path(places(engine, [one])[one.id].url)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    run("erase", str(one.id), "--yes", code=1)
    path.write_bytes(content)
    check_readable(engine, [one, two])
    run("erase", str(one.id), "--yes")
    check_readable(engine, [two])
    path = Path(places(engine, [two])[two.id].url)
    path.unlink()
    assert run("erase", str(two.id), "--yes")["vectors"] == 1, "a file that is gone holds nothing any more"


def test_the_commands_compact_sweep_and_verify(
    run: Run, engine: Engine, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old: list[Held] = push(engine, base, 3, seed=0, at=NOW - timedelta(days=3000))
    monkeypatch.setenv("KNOWGATE_VECTOR_RETENTION", "2000d")
    pushed = [one for seed in range(1, 4) for one in push(engine, base, 3, seed=seed)]
    done = run("vectors", "compact")
    assert (done["merged"], done["written"], done["moved"], done["damaged"]) == (4, 1, 9, [])
    assert run("vectors", "sweep") == {"superseded": 0, "orphans": 0, "unfinished": 0}
    monkeypatch.setenv("KNOWGATE_SHARD_GRACE", "0.001s")
    assert run("vectors", "sweep")["superseded"] == 4
    assert files_with(Path(base), old[0].values) == []
    check_readable(engine, pushed)
    path = Path(places(engine, pushed)[pushed[0].id].url)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = run("vectors", "verify", code=3)
    assert (found["shards"], found["vectors"], found["nameless"]) == (1, 9, 0)
    assert len(found["problems"]) == 2
    push(engine, base, 9, seed=9)
    assert len(run("vectors", "compact", code=1)["damaged"]) == 1, "named, and left as it is"
