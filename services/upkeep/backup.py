"""A deployment in a folder, and back: database, vectors, the key that was made here.

    manifest.json       what the folder holds, each file with its SHA-256
    database.sqlite     a snapshot (SQLite's own online copy), or
    database.dump       a snapshot by pg_dump (PostgreSQL's custom format)
    shards/…            the files that vectors lie in
    hash.key            the hash key, where the deployment made its own

The database comes first: a shard is written before it is referred to, so every shard of the
snapshot is still there. The service may go on while a backup is made. MLflow's data are a
projection of ours and are not part of it.
"""

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import fsspec
from sqlalchemy import URL, Engine, make_url

from knowgate._wire import codec
from knowgate._wire.shown import shown_url
from services.database import answering
from services.errors import InputInvalid, ServicesError
from services.settings import Settings, child_environment
from services.upkeep.backup_manifest import (
    DUMP,
    FORMAT,
    KEY,
    MANIFEST,
    SHARDS,
    SQLITE,
    Manifest,
    backed,
    sha256_of,
    verified_manifest,
)
from store import schema
from store.days.day_files import DayFile, all_files, point_file
from store.engine import closing_engine, reading, transaction
from store.shards.shard_storage import exists
from store.shards.shards import verify_shard
from store.traffic.shard_moves import forget_superseded
from store.traffic.vectors import ShardRecord, move_shard, shards


class BackupFailed(ServicesError):
    """A tool that a backup needs failed or is not there."""


def back_up(settings: Settings, engine: Engine, folder: Path, *, now: datetime) -> Manifest:
    """Writes a backup into `folder`, which must be empty or new. Raises InputInvalid,
    BackupFailed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputInvalid(f"{folder} is there and holds something; name a new folder for every backup")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputInvalid(
            f"{folder} cannot be made ({error.strerror}); name a folder that this user may make"
        ) from None
    revision = schema.current(engine)
    if revision is None:
        raise InputInvalid("the database is empty: there is nothing to back up")
    sqlite = engine.dialect.name == "sqlite"
    if sqlite:
        _copy_sqlite(Path(str(engine.url.database)), folder / SQLITE)
    else:
        _run_tool("pg_dump", engine.url, "--format=custom", f"--file={folder / DUMP}")
    _copy_shards(engine, settings.shards_url, folder)
    key = settings.data_dir / KEY
    if settings.hash_key is None and key.exists():
        shutil.copy(key, folder / KEY)
        (folder / KEY).chmod(0o600)
    manifest = Manifest(
        format=FORMAT,
        created_at=now,
        schema=revision,
        database="sqlite" if sqlite else "postgresql",
        shards_url=settings.shards_url,
        files=backed(folder),
    )
    (folder / MANIFEST).write_text(json.dumps(codec.encode(manifest), indent=1))
    return manifest


def restore(settings: Settings, folder: Path) -> Manifest:
    """Brings a verified backup into an empty deployment. Raises InputInvalid, BackupFailed."""
    manifest = verified_manifest(folder)
    url = make_url(settings.database_url)
    if url.get_backend_name() != manifest.database:
        raise InputInvalid(f"the backup is of {manifest.database}, KNOWGATE_DATABASE_URL of {url.get_backend_name()}")
    if manifest.schema not in (schema.head(), *schema.former()):
        raise InputInvalid(
            f"the backup's schema is {manifest.schema!r}, which is not known here; use the version that made it"
        )
    _require_empty(settings, url)
    _put_shards(folder, manifest, settings.shards_url)
    if (folder / KEY).exists() and settings.hash_key is None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / KEY, settings.data_dir / KEY)
        (settings.data_dir / KEY).chmod(0o600)
    # The database comes last: without it nothing is restored, and the restore can be run again.
    if manifest.database == "sqlite":
        _put_sqlite(folder / SQLITE, Path(str(url.database)))
    else:
        _run_tool("pg_restore", url, "--exit-on-error", "--single-transaction", "--no-owner", str(folder / DUMP))
    _point_shards(settings, manifest)
    return manifest


def _copy_sqlite(source: Path, target: Path) -> None:
    from_file = f"file:{quote(str(source))}?mode=ro"
    with closing(sqlite3.connect(from_file, uri=True)) as read, closing(sqlite3.connect(target)) as written:
        read.backup(written)


def _put_sqlite(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.restored")
    shutil.copy(source, fresh)
    if (fault := _fault_of_sqlite(fresh)) is not None:
        fresh.unlink()
        raise BackupFailed(f"{source} is no whole database ({fault}): nothing was restored; take another backup")
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    fresh.replace(target)


def _fault_of_sqlite(path: Path) -> str | None:
    try:
        with closing(sqlite3.connect(path)) as read:
            verdict = str(read.execute("PRAGMA quick_check(1)").fetchone()[0])
            read.execute("SELECT version_num FROM alembic_version")
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if verdict == "ok" else verdict


def _copy_shards(engine: Engine, shards_url: str, folder: Path) -> None:
    # Superseded ones too: what was merged since the snapshot is read in its old place from it.
    with reading(engine) as session:
        stored, days = shards(session, superseded=True), all_files(session)
    there = [shard for shard in stored if shard.superseded_at is None or exists(shard.url)]
    wanted: list[ShardRecord | DayFile] = [*there, *days]
    for shard in wanted:
        target = folder / SHARDS / _within(shard.url, shards_url)
        target.parent.mkdir(parents=True, exist_ok=True)
        with fsspec.open(shard.url, "rb") as read, target.open("wb") as written:
            shutil.copyfileobj(read, written)
        if sha256_of(target) != shard.sha256:
            raise BackupFailed(f"{shard.url} is not what was written there; restore it from an earlier backup first")


def _put_shards(folder: Path, manifest: Manifest, shards_url: str) -> None:
    for file in manifest.files:
        within = file.path.removeprefix(f"{SHARDS}/")
        if within == file.path:
            continue
        url = f"{shards_url.rstrip('/')}/{within}"
        with (folder / file.path).open("rb") as read, fsspec.open(url, "wb", auto_mkdir=True) as written:
            shutil.copyfileobj(read, written)


def _point_shards(settings: Settings, manifest: Manifest) -> None:
    """Points the database at the files where they are now, and makes sure that they are there.

    Superseded shards are forgotten: their URLs are those of the deployment that was backed up,
    whose files are its own.
    """
    listed = {file.path for file in manifest.files}
    with closing_engine(settings.database_url) as engine:
        schema.upgrade(engine)  # a backup of a former version has its schema
        _point(engine, listed, settings, manifest)


def _point(engine: Engine, listed: set[str], settings: Settings, manifest: Manifest) -> None:
    with transaction(engine) as session:
        forget_superseded(session)
        for shard in shards(session):
            url = _restored(shard.url, shard.sha256, listed, settings, manifest)
            if url != shard.url:
                move_shard(session, shard.id, url=url, sha256=shard.sha256)
        for file in all_files(session):
            url = _restored(file.url, file.sha256, listed, settings, manifest)
            if url != file.url:
                point_file(session, file, url)


def _restored(url: str, sha256: str, listed: set[str], settings: Settings, manifest: Manifest) -> str:
    """Where a file of the backup is now."""
    within = _within(url, manifest.shards_url)
    if f"{SHARDS}/{within}" not in listed:
        raise BackupFailed(f"{url} is not in the backup, and the database refers to it; restore another one")
    now = f"{settings.shards_url.rstrip('/')}/{within}"
    if not verify_shard(now, sha256):
        raise BackupFailed(f"{now} did not arrive whole; empty the deployment and restore again")
    return now


def _within(url: str, base: str) -> str:
    """A shard's path below the folder of shards: `ab/<sha256>.safetensors`, wherever that folder
    lies.
    """
    root = base.rstrip("/") + "/"
    within = url.removeprefix(root) if url.startswith(root) else "/".join(url.rsplit("/", 2)[1:])
    if ".." in within.split("/") or within.startswith("/"):
        raise BackupFailed(f"{url} leads out of the folder of shards; correct the row, or restore another backup")
    return within


def _require_empty(settings: Settings, url: URL) -> None:
    shown = shown_url(url.render_as_string(hide_password=False))
    if url.get_backend_name() == "sqlite":
        if Path(str(url.database)).exists():
            raise InputInvalid(
                f"{shown} exists; a backup is restored into an empty deployment: move the file away first"
            )
        return
    with closing_engine(settings.database_url) as engine, answering(engine):
        revision = schema.current(engine)
    if revision is not None:
        raise InputInvalid(f"{shown} has a schema already; a backup is restored into an empty database: make a new one")


def _run_tool(tool: str, url: URL, *arguments: str) -> None:
    """pg_dump or pg_restore; the password goes by the environment, where no process
    list shows it.
    """
    if shutil.which(tool) is None:
        raise BackupFailed(f"{tool} is not on the PATH; install PostgreSQL's client tools of the server's version")
    plain = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    environment = child_environment({"PGPASSWORD": str(url.password)} if url.password else {})
    done = subprocess.run(
        [tool, f"--dbname={plain}", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BackupFailed(f"{tool} failed: {done.stderr.strip()[-500:]}")
