"""Vector shards: float16 hidden states in safetensors files under an fsspec URL.

Decisions:
- A shard holds one tensor, `hidden` [n, d] float16, and the rows' ids in its metadata. SQL holds (shard, row, sha256).
- A shard is named by the SHA-256 of its content. Writing it twice therefore changes nothing, and a name that exists is
  a shard that is whole: it is written under a temporary name, synced and renamed.
- Rows are read at random through their offsets, without reading the file around them.
- Erasure overwrites rows with zeros in a new shard, so that row numbers stay.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from store.errors import StoreError

Float16Array = npt.NDArray[np.float16]
TENSOR = "hidden"
_HEADER_LIMIT = 100_000_000  # the format's own limit


class ShardRefused(StoreError, ValueError):
    """A shard that cannot be written or read as asked; the message names it, what was wrong and the cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenShard:
    """A shard as it lies under its URL."""

    url: str
    sha256: str  # hex, of the whole file
    dimension: int
    row_sha256: tuple[str, ...]  # hex, of each row's 2·d bytes, little-endian


def write_shard(base_url: str, hidden: npt.ArrayLike, ids: Sequence[str]) -> WrittenShard:
    """Write vectors [n, d] as one shard under `base_url`; `ids[i]` names row i and is unique.

    Values are stored as float16 and must be finite there. Raises ShardRefused.
    """
    with np.errstate(over="ignore"):
        rows: Float16Array = np.ascontiguousarray(np.asarray(hidden).astype("<f2"))
    if rows.ndim != 2 or rows.size == 0:
        raise ShardRefused(f"hidden has shape {rows.shape}: give vectors [n, d] with at least one row")
    if len(ids) != len(rows) or len(set(ids)) != len(ids):
        raise ShardRefused(f"ids are {len(ids)} ({len(set(ids))} different) for {len(rows)} rows: give each row one id")
    if not np.isfinite(rows).all():
        raise ShardRefused("hidden is not finite in float16: clip with knowgate.features.stored_vector first")
    content = save({TENSOR: rows}, metadata={"ids": json.dumps(list(ids))})
    return _put(base_url, content, rows)


def read_rows(url: str, rows: Sequence[int]) -> Float16Array:
    """Rows of a shard, float16 [len(rows), d], in the order asked for. Raises ShardRefused."""
    filesystem, path = _locate(url)
    offset, (count, dimension), _ = _header(filesystem, path, url)
    wanted = np.asarray(rows, dtype=np.int64)
    if wanted.size == 0:
        return np.empty((0, dimension), dtype=np.float16)
    if wanted.min() < 0 or wanted.max() >= count:
        raise ShardRefused(f"row {int(wanted.max())} of {url} does not exist: it has rows 0 to {count - 1}")
    if _is_local(filesystem):
        held = np.memmap(path, dtype="<f2", mode="r", offset=offset, shape=(count, dimension))
        return np.asarray(held[wanted])
    width = 2 * dimension
    runs = list(_runs(np.unique(wanted)))
    parts: list[bytes] = filesystem.cat_ranges(
        [path] * len(runs), [offset + first * width for first, _ in runs], [offset + end * width for _, end in runs]
    )
    read = np.frombuffer(b"".join(parts), dtype="<f2").reshape(-1, dimension)
    return read[np.searchsorted(np.unique(wanted), wanted)]


def shard_ids(url: str) -> tuple[str, ...]:
    """The ids of a shard's rows, in their order. Raises ShardRefused."""
    filesystem, path = _locate(url)
    return tuple(json.loads(_header(filesystem, path, url)[2].get("ids", "[]")))


def verify_shard(url: str, sha256: str) -> bool:
    """Whether the file under `url` still has this SHA-256; False where it is gone."""
    filesystem, path = _locate(url)
    if not filesystem.exists(path):
        return False
    digest = hashlib.sha256()
    with filesystem.open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == sha256


def blank_rows(url: str, rows: Sequence[int]) -> WrittenShard:
    """Write a copy of a shard with these rows zeroed and their ids blank. Row numbers stay.

    The old shard stays too: the caller moves its references in a transaction and calls `remove_shard` once that is
    committed, so that no crash leaves a reference to a shard that is gone. Raises ShardRefused.
    """
    filesystem, path = _locate(url)
    _, (count, _), _ = _header(filesystem, path, url)
    held = np.array(read_rows(url, range(count)))
    ids = list(shard_ids(url))
    for row in rows:
        held[row] = 0
        ids[row] = f"erased/{row}"
    return write_shard(url.rpartition("/")[0].rpartition("/")[0], held, ids)


def remove_shard(url: str) -> None:
    """Remove a shard that nothing refers to; nothing happens where it is gone already."""
    filesystem, path = _locate(url)
    if filesystem.exists(path):
        filesystem.rm(path)


def _put(base_url: str, content: bytes, rows: Float16Array) -> WrittenShard:
    sha256 = hashlib.sha256(content).hexdigest()
    url = f"{base_url.rstrip('/')}/{sha256[:2]}/{sha256}.safetensors"
    filesystem, path = _locate(url)
    if not filesystem.exists(path):
        folder = path.rpartition("/")[0]
        filesystem.makedirs(folder, exist_ok=True)
        if _is_local(filesystem):
            _put_local(Path(path), content)
        else:
            filesystem.pipe_file(path, content)  # an object store's put is all or nothing
    return WrittenShard(
        url=url,
        sha256=sha256,
        dimension=rows.shape[1],
        row_sha256=tuple(hashlib.sha256(row.tobytes()).hexdigest() for row in rows),
    )


def _put_local(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _locate(url: str) -> tuple[Any, str]:
    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, str(path)


def _is_local(filesystem: Any) -> bool:
    return "file" in filesystem.protocol


def _header(filesystem: Any, path: str, url: str) -> tuple[int, tuple[int, int], dict[str, str]]:
    """Offset of the first row, shape [n, d] and metadata."""
    try:
        length = int.from_bytes(filesystem.cat_file(path, start=0, end=8), "little")
        if not 0 < length <= _HEADER_LIMIT:
            raise ShardRefused(f"{url} is not a safetensors file: restore it from a backup")
        header = json.loads(filesystem.cat_file(path, start=8, end=8 + length))
        tensor = header[TENSOR]
        count, dimension = (int(size) for size in tensor["shape"])
    except FileNotFoundError as error:
        raise ShardRefused(f"{url} does not exist: restore the shards beside the database") from error
    except (ValueError, KeyError) as error:
        raise ShardRefused(f"{url} is not a vector shard ({error}): restore it from a backup") from error
    if tensor["dtype"] != "F16":
        raise ShardRefused(f"{url} holds {tensor['dtype']}, F16 is expected: write it with write_shard")
    return 8 + length + int(tensor["data_offsets"][0]), (count, dimension), header.get("__metadata__", {})


def _runs(rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Sorted distinct rows as half-open runs."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for run in np.split(rows, breaks):
        yield int(run[0]), int(run[-1]) + 1
