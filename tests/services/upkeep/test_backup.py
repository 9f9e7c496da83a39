"""A backup holds everything; a restored deployment is the one that was backed up, or nothing at
all.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save
from sqlalchemy import URL, Engine, create_engine, text
from typer.testing import CliRunner, Result

from knowgate import Decision
from knowgate._bundles.signing import public_key_of
from knowgate._wire import codec
from services.audit.verify import verify_ledger
from services.command_line import app
from services.errors import InputInvalid, Refused
from services.privacy import hash_key
from services.settings import Settings
from services.upkeep.backup import BackupFailed, back_up, restore
from services.upkeep.backup_manifest import verified_manifest
from store import schema
from store.engine import open_engine, reading, transaction
from store.ledger import ledger
from store.schema import current
from store.shards import shards
from store.traffic import decisions, vectors
from tests import postgresql
from tests.ledger_script import verified

KEY = "5e" * 32
Make = Callable[..., Decision]


@pytest.fixture(autouse=True)
def postgresql_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_dump and pg_restore of the server's own version come first on the PATH."""
    monkeypatch.setenv("PATH", f"{postgresql.tools()}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def deployed(settings: Settings, engine: Engine) -> Settings:
    """Settings of the deployment that `engine` belongs to, which made its own hash key."""
    url = engine.url.render_as_string(hide_password=False)
    return settings.model_copy(update={"database_url": url, "hash_key": None})


@pytest.fixture
def stored(serve: Callable[[Settings], TestClient], deployed: Settings, trivia: str, decision: Make) -> Decision:
    """One decision with a vector, sent to the deployment."""
    sent = decision(vector=0, cascade=trivia)
    body = save({"vectors/0": np.ones((1, 4), np.float16)}, metadata={"decisions": json.dumps([codec.encode(sent)])})
    headers = {"Content-Type": "application/vnd.knowgate.safetensors"}
    assert serve(deployed).post("/v1/decisions", content=body, headers=headers).json()["stored"] == 1
    return sent


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, deployed: Settings, tmp_path: Path) -> Settings:
    """An empty deployment of the same kind in another place."""
    folder = tmp_path / "elsewhere"
    if deployed.database_url.startswith("sqlite"):
        url = f"sqlite:///{folder}/knowgate.db"
    else:
        url = request.getfixturevalue("empty_postgresql_url")
    return deployed.model_copy(update={"data_dir": folder, "shards_url": str(folder / "shards"), "database_url": url})


@pytest.fixture
def empty_postgresql_url(postgresql_server: URL, engine: Engine) -> Iterator[str]:
    """A database of the same server without any table."""
    name = f"{engine.url.database}_empty"
    admin = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield engine.url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.mark.slow
def test_a_restored_deployment_is_the_one_that_was_backed_up(
    engine: Engine, deployed: Settings, elsewhere: Settings, stored: Decision, decision: Make, tmp_path: Path
) -> None:
    key = hash_key(deployed)
    manifest = back_up(deployed, engine, tmp_path / "backup", now=stored.occurred_at)
    assert {file.path.partition("/")[0] for file in manifest.files} >= {"shards", "hash.key"}
    assert restore(elsewhere, tmp_path / "backup") == manifest
    opened = open_engine(elsewhere.database_url)
    with reading(opened) as session:
        assert decisions.decision(session, stored.id).external_id == "q0"
        (place,) = vectors.vector_rows(session, "trivia", 0, [stored.id]).values()
        assert verify_ledger(session).problems == ()
    assert current(opened) == manifest.schema
    opened.dispose()
    assert place.url.startswith(elsewhere.shards_url)
    np.testing.assert_array_equal(shards.read_rows(place.url, [place.row]), [[1] * 4])
    assert hash_key(elsewhere) == key
    assert (elsewhere.data_dir / "hash.key").stat().st_mode & 0o077 == 0
    with pytest.raises(InputInvalid, match="empty"):
        restore(elsewhere, tmp_path / "backup")


@pytest.mark.usefixtures("stored")
def test_a_backup_that_was_changed_restores_nothing(
    engine: Engine, deployed: Settings, elsewhere: Settings, stored: Decision, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    manifest = back_up(deployed, engine, folder, now=stored.occurred_at)
    for file in manifest.files:
        path = folder / file.path
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputInvalid, match="missing or changed"):
            restore(elsewhere, folder)
        path.write_bytes(content)
    assert not elsewhere.data_dir.exists()
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(InputInvalid, match="no backup"):
        verified_manifest(folder)


@pytest.mark.usefixtures("stored")
def test_a_backup_goes_into_a_folder_of_its_own(
    engine: Engine, deployed: Settings, stored: Decision, tmp_path: Path
) -> None:
    back_up(deployed, engine, tmp_path / "backup", now=stored.occurred_at)
    with pytest.raises(InputInvalid, match="holds something"):
        back_up(deployed, engine, tmp_path / "backup", now=stored.occurred_at)


def test_a_shard_that_rotted_fails_the_backup(
    engine: Engine, deployed: Settings, stored: Decision, tmp_path: Path
) -> None:
    (path,) = Path(deployed.shards_url).rglob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BackupFailed, match="not what was written"):
        back_up(deployed, engine, tmp_path / "backup", now=stored.occurred_at)


def test_a_manifest_cannot_name_a_file_outside_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    manifest = {
        "format": "knowgate.backup.v1",
        "created_at": "2026-01-01T00:00:00Z",
        "schema": "0001",
        "database": "sqlite",
        "shards_url": "x",
        "files": [
            {"path": "database.sqlite", "sha256": "0", "bytes": 1},
            {
                "path": "../secret",
                "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
                "bytes": 1,
            },
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputInvalid, match="missing or changed"):
        verified_manifest(folder)


def listed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Writes the manifest anew, changed."""
    document = json.loads((folder / "manifest.json").read_text())
    change(document)
    (folder / "manifest.json").write_text(json.dumps(document))


def entry(folder: Path, path: str) -> dict[str, Any]:
    content = (folder / path).read_bytes()
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


@pytest.mark.parametrize(("name", "taken"), [("v.safetensors", True), ("day.parquet", True), ("x.exe", False)])
def test_vectors_and_days_are_files_of_a_backup_and_nothing_else_is(tmp_path: Path, name: str, taken: bool) -> None:
    paths = ["database.sqlite", f"shards/ab/{name}"]
    (tmp_path / "shards" / "ab").mkdir(parents=True)
    for path in paths:
        (tmp_path / path).write_text(path)
    manifest = {
        "format": "knowgate.backup.v1",
        "created_at": "2026-01-01T00:00:00Z",
        "schema": "0001",
        "database": "sqlite",
        "shards_url": "x",
        "files": [entry(tmp_path, path) for path in paths],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    if taken:
        assert len(verified_manifest(tmp_path).files) == 2
    else:
        with pytest.raises(InputInvalid, match="no file of a backup"):
            verified_manifest(tmp_path)


def test_a_manifest_without_its_files_restores_nothing(
    engine: Engine, deployed: Settings, elsewhere: Settings, stored: Decision, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    back_up(deployed, engine, folder, now=stored.occurred_at)
    whole = (folder / "manifest.json").read_text()
    for change, fault in (
        (lambda document: document.update(files=[]), "no file of its database"),
        (lambda document: document.update(database="oracle"), "no file of its database"),
        (lambda document: document["files"].pop(-1), "not in the backup's manifest"),
        (lambda document: document["files"].append(document["files"][0]), "twice"),
        (lambda document: document["files"][0].update(bytes=1), "missing or changed"),
        (lambda document: document["files"].append(entry(folder, "manifest.json")), "missing or changed"),
    ):
        listed(folder, change)
        with pytest.raises(InputInvalid, match=fault):
            restore(elsewhere, folder)
        (folder / "manifest.json").write_text(whole)
    assert not elsewhere.data_dir.exists()
    restore(elsewhere, folder)


NO_DATABASE = (b"\0" * 100, b"no database at all" * 200)


@pytest.mark.parametrize("content", [b"", *(pytest.param(one, marks=pytest.mark.slow) for one in NO_DATABASE), None])
def test_a_file_that_is_no_whole_database_is_not_put_in_place(
    sqlite_url: str, settings: Settings, tmp_path: Path, content: bytes | None
) -> None:
    here = settings.model_copy(update={"database_url": sqlite_url, "hash_key": None})
    folder = tmp_path / "backup"
    engine = open_engine(sqlite_url)
    back_up(here, engine, folder, now=datetime(2026, 3, 1, tzinfo=UTC))
    engine.dispose()
    whole = (folder / "database.sqlite").read_bytes()
    (folder / "database.sqlite").write_bytes(whole[: len(whole) // 2] if content is None else content)
    listed(folder, lambda document: document.update(files=[entry(folder, "database.sqlite")]))
    place = tmp_path / "elsewhere"
    url = f"sqlite:///{place}/knowgate.db"
    there = here.model_copy(update={"data_dir": place, "shards_url": str(place / "shards"), "database_url": url})
    with pytest.raises(BackupFailed, match="no whole database"):
        restore(there, folder)
    (folder / "database.sqlite").write_bytes(whole)
    listed(folder, lambda document: document.update(files=[entry(folder, "database.sqlite")]))
    restore(there, folder)


@pytest.mark.slow
def test_a_backup_of_a_former_version_is_brought_up_to_date_and_one_of_a_later_version_is_refused(
    sqlite_url: str, settings: Settings, tmp_path: Path
) -> None:
    here = settings.model_copy(update={"database_url": sqlite_url, "hash_key": None})
    folder, place = tmp_path / "backup", tmp_path / "elsewhere"
    engine = open_engine(sqlite_url)
    back_up(here, engine, folder, now=datetime(2026, 3, 1, tzinfo=UTC))
    engine.dispose()
    former = open_engine(f"sqlite:///{folder / 'database.sqlite'}")
    schema.downgrade(former, "0011")
    former.dispose()
    with closing(sqlite3.connect(folder / "database.sqlite")) as file:
        file.execute("PRAGMA journal_mode = DELETE")
    files = [entry(folder, "database.sqlite")]
    url = f"sqlite:///{place}/knowgate.db"
    there = here.model_copy(update={"data_dir": place, "shards_url": str(place / "shards"), "database_url": url})
    listed(folder, lambda document: document.update(schema="9999", files=files))
    with pytest.raises(InputInvalid, match=r"'9999'.*not known here"):
        restore(there, folder)
    listed(folder, lambda document: document.update(schema="0011"))
    restore(there, folder)
    restored = open_engine(url)
    assert current(restored) == schema.head()
    restored.dispose()


def test_a_backup_that_holds_a_link_or_a_file_of_its_own_restores_nothing(
    engine: Engine, deployed: Settings, elsewhere: Settings, stored: Decision, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    back_up(deployed, engine, folder, now=stored.occurred_at)
    secret = tmp_path / "secret"
    secret.write_text("root:x:0:0")
    (secret_folder := tmp_path / "secrets").mkdir()
    (secret_folder / "a.safetensors").write_text("root:x:0:0")
    link = folder / "shards" / "a.safetensors"
    for target, fault in ((secret, "is a link"), (secret_folder, "is a link"), (tmp_path / "nowhere", "is a link")):
        link.symlink_to(target)
        with pytest.raises(InputInvalid, match=fault):
            restore(elsewhere, folder)
        link.unlink()
    link.symlink_to(secret)
    listed(folder, lambda document: document["files"].append(entry(folder, "shards/a.safetensors")))
    with pytest.raises(InputInvalid, match="is a link"):
        restore(elsewhere, folder)
    link.unlink()
    os.mkfifo(link)
    with pytest.raises(InputInvalid, match="a link or a device"):
        restore(elsewhere, folder)
    link.unlink()
    link.write_text("beside")
    listed(folder, lambda document: document["files"].pop(-1))
    with pytest.raises(InputInvalid, match="not in the backup's manifest"):
        restore(elsewhere, folder)
    assert not elsewhere.data_dir.exists()


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "shards/../../secret.safetensors", "shards//x.safetensors", "shards/x", "./hash.key", ""]
)
def test_a_name_that_no_backup_writes_is_refused(
    engine: Engine, deployed: Settings, elsewhere: Settings, stored: Decision, tmp_path: Path, path: str
) -> None:
    folder = tmp_path / "backup"
    back_up(deployed, engine, folder, now=stored.occurred_at)
    (tmp_path / "secret.safetensors").write_text("x")
    named = {"path": path, "sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
    listed(folder, lambda document: document["files"].append(named))
    with pytest.raises(InputInvalid, match="missing or changed"):
        restore(elsewhere, folder)
    assert not elsewhere.data_dir.exists()


def test_a_file_where_the_backup_was_to_be_is_refused(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("something")
    with pytest.raises(InputInvalid, match="name a new folder"):
        back_up(settings, engine, tmp_path / "taken", now=datetime.now(UTC))
    with pytest.raises(InputInvalid, match="cannot be made"):
        back_up(settings, engine, tmp_path / "taken" / "below", now=datetime.now(UTC))


@pytest.mark.slow
def test_a_head_that_was_kept_holds_on_the_machine_that_a_backup_is_restored_to(
    engine: Engine,
    stored: Decision,
    deployed: Settings,
    elsewhere: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(at: Settings, *arguments: object) -> Result:
        for name in ("data_dir", "database_url", "shards_url"):
            monkeypatch.setenv(f"KNOWGATE_{name.upper()}", str(getattr(at, name)))
        monkeypatch.setenv("KNOWGATE_SIGNING_KEY", KEY)
        return CliRunner().invoke(app, list(map(str, arguments)))

    with transaction(engine) as session:
        ledger.seal_all(session, now=stored.occurred_at)
    kept, later, proof = (tmp_path / name for name in ("kept.head", "later.head", "proof.json"))
    assert run(deployed, "audit", "head", "--out", kept).exit_code == 0
    assert run(deployed, "backup", tmp_path / "backup").exit_code == 0
    with transaction(engine) as session:
        ledger.seal_all(session, now=datetime(2026, 3, 11, tzinfo=UTC))
    assert run(deployed, "audit", "head", "--out", later).exit_code == 0

    assert run(elsewhere, "restore", tmp_path / "backup").exit_code == 0
    held = run(elsewhere, "audit", "verify", "--head", kept)
    assert held.exit_code == 0 and "ok      head" in held.stdout, held.stdout
    proof.write_text(run(elsewhere, "audit", "prove", stored.id, "--head", kept).stdout)
    assert verified(proof, "--key", public_key_of(KEY), "--head", kept)[0] == 0
    assert "cut off" in run(elsewhere, "audit", "verify", "--head", later).stdout, "what came after the backup is gone"
    restored = open_engine(elsewhere.database_url)
    with restored.begin() as connection:
        connection.execute(text("UPDATE attempt SET p_t = 0.123"))
        connection.execute(text("UPDATE ledger_batch SET root = previous WHERE number = 1"))
    restored.dispose()
    altered = run(elsewhere, "audit", "verify", "--head", kept)
    assert isinstance(altered.exception, Refused) and "the row was altered" in altered.stdout
