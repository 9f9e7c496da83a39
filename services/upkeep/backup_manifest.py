"""What a backup's folder holds, checked against its manifest before any of it is used.

A backup may have travelled. So it is exactly what its manifest lists: every file is there and is
what it was, there is none beside them, none is a link, and each has a name that a backup writes,
which leads nowhere else.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from services.errors import InputInvalid

FORMAT = "knowgate.backup.v1"
MANIFEST = "manifest.json"
SQLITE, DUMP, KEY, SHARDS = "database.sqlite", "database.dump", "hash.key", "shards"
DATABASES = {"sqlite": SQLITE, "postgresql": DUMP}
_CURE = "take another backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedFile:
    """One file of a backup."""

    path: str  # within the folder
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds."""

    format: str
    created_at: datetime
    schema: str
    database: str  # sqlite or postgresql
    shards_url: str
    files: tuple[BackedFile, ...]


def verified_manifest(folder: Path) -> Manifest:
    """The manifest of a backup that holds what it lists and nothing else. Raises InputInvalid."""
    try:
        there = dict(_files_below(folder))
        manifest = codec.decode(Manifest, codec.parse((folder / MANIFEST).read_bytes()))
    except (OSError, RecordInvalid) as error:
        raise InputInvalid(f"{folder} is no backup: {error}") from error
    if manifest.format != FORMAT:
        raise InputInvalid(
            f"the backup's format is {manifest.format!r}, {FORMAT} is read here; use the version that made it"
        )
    _require_names(folder, manifest)
    for file in manifest.files:
        path = there.get(file.path)
        if path is None or path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
            raise InputInvalid(f"{folder / file.path} is missing or changed since the backup was made; {_CURE}")
    extra = sorted(set(there) - {file.path for file in manifest.files} - {MANIFEST})
    if extra:
        raise InputInvalid(f"{folder / extra[0]} is not in the backup's manifest: take it out, or {_CURE}")
    return manifest


def backed(folder: Path) -> tuple[BackedFile, ...]:
    """The files of a backup that was just written, for its manifest."""
    return tuple(
        BackedFile(path=name, sha256=sha256_of(path), bytes=path.stat().st_size)
        for name, path in sorted(_files_below(folder))
    )


def sha256_of(path: Path) -> str:
    """A file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_names(folder: Path, manifest: Manifest) -> None:
    """Every name is one that a backup of this database writes, once, and the database is among
    them.
    """
    database = DATABASES.get(manifest.database)
    names = [file.path for file in manifest.files]
    if database is None or database not in names:
        raise InputInvalid(f"{folder} lists no file of its database ({manifest.database!r}); {_CURE}")
    for name in names:
        if name not in (database, KEY) and not _is_shard(name):
            raise InputInvalid(
                f"{folder / MANIFEST} lists {name!r}, which is no file of a backup: it is missing or changed; {_CURE}"
            )
    if len(set(names)) != len(names):
        raise InputInvalid(f"{folder / MANIFEST} lists a file twice; {_CURE}")


def _is_shard(name: str) -> bool:
    """Whether it names vectors, or a day's rows, which lie beside them."""
    first, *between, last = name.split("/") if "/" in name else ("", name)
    return first == SHARDS and last.endswith((".safetensors", ".parquet")) and not {"", ".", ".."} & {*between, last}


def _files_below(folder: Path, within: str = "") -> Iterator[tuple[str, Path]]:
    """Every file below `folder` by its path in it. Raises InputInvalid at a link, or at what is
    neither.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{within}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(Path(entry.path), f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield name, Path(entry.path)
            else:
                raise InputInvalid(f"{entry.path} is a link or a device, which no backup holds; {_CURE}")
