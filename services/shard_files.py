"""The files that vectors lie in, as a whole: erasing rows, and sweeping what nothing refers to.

A shard is written before the transaction that refers to it ends, and an erasure writes a new shard before it drops the
old one, so that a crash can leave a file that nothing refers to and never a reference without its file. Such orphans
are swept once they are old enough that no transaction can still be about to refer to them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store.engine import reading
from store.shards import blank_rows, remove_shard
from store.vectors import VectorPlace, move_shard, shards

SAFE_AGE = timedelta(hours=24)


def blank_vectors(session: Session, places: Sequence[VectorPlace]) -> tuple[str, ...]:
    """Writes each shard anew without these rows and points the store at it; the old files' URLs.

    The caller commits, and then removes them.
    """
    held = {shard.id: shard.url for shard in shards(session)}
    rows: dict[Any, list[int]] = {}
    for place in places:
        rows.setdefault(place.shard, []).append(place.row)
    old = []
    for shard, blanked in rows.items():
        written = blank_rows(held[shard], blanked)
        move_shard(session, shard, url=written.url, sha256=written.sha256)
        if written.url != held[shard]:
            old.append(held[shard])
    return tuple(old)


def remove_files(urls: Sequence[str]) -> None:
    """Removes files that nothing refers to any more."""
    for url in urls:
        remove_shard(url)


def orphans(engine: Engine, shards_url: str, *, now: datetime, older_than: timedelta = SAFE_AGE) -> tuple[str, ...]:
    """Shard files under `shards_url` that nothing refers to and that are older than `older_than`."""
    filesystem, root = fsspec.core.url_to_fs(shards_url)
    if not filesystem.exists(root):
        return ()
    # Listed before the references are read: a file that comes in between is in neither list.
    files = {path: info for path, info in filesystem.find(root, detail=True).items() if path.endswith(".safetensors")}
    with reading(engine) as session:
        referred = {str(fsspec.core.url_to_fs(shard.url)[1]) for shard in shards(session)}
    return tuple(
        filesystem.unstrip_protocol(path)
        for path, info in sorted(files.items())
        if path not in referred and now - _written(info) > older_than
    )


def sweep(engine: Engine, shards_url: str, *, now: datetime) -> int:
    """Removes orphans; how many there were."""
    found = orphans(engine, shards_url, now=now)
    remove_files(found)
    return len(found)


def _written(info: dict[str, Any]) -> datetime:
    """When a file was written, as its filesystem tells; now, so that it is kept, where it does not."""
    told = info.get("mtime") or info.get("LastModified") or info.get("created")
    if isinstance(told, datetime):
        return told.astimezone(UTC)
    return datetime.fromtimestamp(told, UTC) if isinstance(told, (int, float)) else datetime.now(UTC)
