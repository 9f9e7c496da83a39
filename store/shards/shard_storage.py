"""Where shards lie: files under an fsspec URL, put whole or not at all, listed, removed.

Decisions:
- On a local disk a file is written under a temporary name, synced, renamed, and its folder synced:
  after the return it survives a power cut, and before it nobody sees it. An object store's put
  shows an object whole or not at all; one in many parts (which s3fs sends a large shard in) shows
  it when the last part is acknowledged.
- What a killed writer leaves (temporary files, parts of an upload that never ended) holds bytes of
  vectors too, so it is listed and removed here like everything else.
- A file that is there already is not written again, but its age starts anew: a sweep must not take
  it for a leftover.
- Listings are never cached: they decide what is removed.
- Errors of the file system are explained once, here, with the address and what to check.
"""

import importlib
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from store.errors import ShardRefused

# What S3's client raises beside OSError; without the extra it is not there, and not needed.
_FAILURES: tuple[type[Exception], ...] = (OSError,)
with suppress(ImportError):
    _FAILURES = (OSError, importlib.import_module("botocore.exceptions").BotoCoreError)
_SHARD = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}\.(safetensors|parquet)")
_TEMPORARY = re.compile(r"[0-9a-f]{2}/\.[0-9a-f]{32}\.tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A URL, as the file system behind it sees it."""

    url: str
    filesystem: Any
    path: str

    @property
    def local(self) -> bool:
        return "file" in self.filesystem.protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file under the URL of the shards."""

    url: str
    path: str  # as the file system sees it, whatever way its URL is written
    bytes: int
    written_at: datetime
    temporary: bool  # what a killed writer left


def locate(url: str) -> Place:
    """Where a URL lies. Raises ShardRefused where nothing can read such URLs."""
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        if "file" not in filesystem.protocol:
            filesystem, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        cure = "give a folder or an fsspec URL; s3:// needs the extra `s3`"
        raise ShardRefused(f"{url} is no place for shards ({error}): {cure}") from error
    return Place(url=url, filesystem=filesystem, path=str(path))


def path_of(url: str) -> str:
    """The one spelling of a URL, to compare it by."""
    return locate(url).path


def shard_url(base_url: str, sha256: str, suffix: str = "safetensors") -> str:
    """Where a file of this content lies under `base_url`: a shard, or a day's file."""
    return f"{base_url.rstrip('/')}/{sha256[:2]}/{sha256}.{suffix}"


def base_of(url: str) -> str:
    """The URL of the shards that this one lies under."""
    return url.rpartition("/")[0].rpartition("/")[0]


def put(url: str, parts: Sequence[memoryview]) -> None:
    """Write a file of these parts: whole, or not at all. Raises ShardRefused."""
    place = locate(url)
    with _explained(url, "written"):
        if place.local:
            _put_local(Path(place.path), parts)
        else:
            place.filesystem.pipe_file(place.path, b"".join(parts))


def size_of(place: Place) -> int:
    """The bytes of a file. Raises ShardRefused where it is not there."""
    with _explained(place.url, "read"):
        if place.local:
            return Path(place.path).stat().st_size
        return int(place.filesystem.info(place.path)["size"])


def exists(url: str) -> bool:
    """Whether there is such a file. Raises ShardRefused where nobody can tell."""
    place = locate(url)
    with _explained(url, "looked for"):
        return bool(place.filesystem.exists(place.path))


def fetch(place: Place, start: int, end: int) -> bytes:
    """Bytes of a file, as many as asked for. Raises ShardRefused."""
    return fetch_ranges(place, [(start, end)])[0]


def fetch_ranges(place: Place, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Several ranges of a file's bytes, at once where the file system can. Raises ShardRefused."""
    starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
    with _explained(place.url, "read"):
        parts: list[bytes] = place.filesystem.cat_ranges([place.path] * len(ranges), starts, ends, on_error="raise")
    for (start, end), part in zip(ranges, parts, strict=True):
        if len(part) != end - start:
            raise ShardRefused(f"{place.url} ends before byte {end}: restore it from a backup")
    return parts


def remove(url: str) -> None:
    """Remove a file; nothing happens where it is gone already. Raises ShardRefused."""
    place = locate(url)
    with _explained(url, "removed"):
        try:
            if place.local:
                Path(place.path).unlink(missing_ok=True)
            elif place.filesystem.exists(place.path):
                place.filesystem.rm_file(place.path)
        except FileNotFoundError:
            return  # another sweep was first


def files_under(base_url: str) -> tuple[StoredFile, ...]:
    """Shards and what killed writers left under a URL; other files are not ours. Raises
    ShardRefused.
    """
    place = locate(base_url)
    root = place.path.rstrip("/")
    with _explained(base_url, "listed"):
        place.filesystem.invalidate_cache()
        if not place.filesystem.exists(place.path):
            return ()
        listing: dict[str, dict[str, Any]] = place.filesystem.find(place.path, detail=True)
    files = []
    for path, info in sorted(listing.items()):
        within = path.removeprefix(root).lstrip("/")
        temporary = _TEMPORARY.fullmatch(within) is not None
        if temporary or _SHARD.fullmatch(within):
            files.append(
                StoredFile(
                    url=f"{base_url.rstrip('/')}/{within}",
                    path=path,
                    bytes=int(info["size"]),
                    written_at=_written(info),
                    temporary=temporary,
                )
            )
    return tuple(files)


def end_uploads(base_url: str, *, before: datetime) -> int:
    """End the uploads in many parts that began before this time and never ended; how many. Raises
    ShardRefused.

    Only object stores have such; their parts are stored and shown in no listing.
    """
    place = locate(base_url)
    if not hasattr(place.filesystem, "list_multipart_uploads"):
        return 0
    bucket, _, prefix = place.path.partition("/")
    ended = 0
    with _explained(base_url, "listed"):
        for upload in place.filesystem.list_multipart_uploads(bucket):
            if upload["Key"].startswith(prefix) and upload["Initiated"] < before:
                place.filesystem.call_s3(
                    "abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
                ended += 1
    return ended


def _put_local(path: Path, parts: Sequence[memoryview]) -> None:
    if path.exists() and path.stat().st_size == sum(part.nbytes for part in parts):
        os.utime(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as stream:
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    for folder in (path.parent, path.parent.parent):  # the file's name, and that of a new folder
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _written(info: dict[str, Any]) -> datetime:
    """When a file was written, as its filesystem tells; now, so that it is kept, where
    it does not.
    """
    at = info.get("mtime") or info.get("LastModified") or info.get("created")
    if isinstance(at, datetime):
        return at.astimezone(UTC)
    return datetime.fromtimestamp(at, UTC) if isinstance(at, (int, float)) else datetime.now(UTC)


@contextmanager
def _explained(url: str, what: str) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        if isinstance(error, FileNotFoundError) and what != "written":
            raise ShardRefused(f"{url} does not exist: restore the shards beside the database") from error
        cure = "check KNOWGATE_SHARDS_URL, its credentials and that its server answers"
        raise ShardRefused(f"{url} cannot be {what} ({error}): {cure}") from error
