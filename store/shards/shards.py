"""Vector shards: float16 hidden states in safetensors files of bounded size under an fsspec URL.

Decisions:
- SQL holds (shard, row, sha256); a file holds the vectors, whose they are, and what they are hidden
  states of (`store.shards.shard_format`).
- A shard is named by the SHA-256 of its content. Writing it twice therefore changes nothing, and a
  name that exists is a shard that is whole (`store.shards.shard_storage`).
- Rows are read at random through a mapped file, without reading the file around them
  (`store.shards.mapped_shards`, `store.shards.row_reader`).
- Erasure overwrites rows with zeros in a new shard, so that row numbers stay. Compaction leaves
  such rows behind.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knowgate._records.records import Fingerprint
from store.errors import FingerprintDiffers, ShardRefused
from store.shards import shard_storage
from store.shards.mapped_shards import MappedShard, shard_ids
from store.shards.row_reader import RowBlock, RowReader
from store.shards.shard_format import ERASED, ITEM_BYTES, Float16Array, header_bytes

SHARD_BYTES = 1 << 28  # 256 MiB: long enough for sequential reading, short enough to be written anew
_VERIFY_BYTES = 1 << 20
_LOOKED_AT = 64  # rows
_EXPONENT = np.uint16(0x7C00)  # of a float16; all its bits are set where it is not finite


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenShard:
    """A shard as it lies under its URL."""

    url: str
    sha256: str  # hex, of the whole file
    dimension: int
    row_sha256: tuple[str, ...]  # hex, of each row's 2·d bytes, little-endian


def write_shard(
    base_url: str, hidden: npt.ArrayLike, ids: Sequence[str], *, fingerprint: Fingerprint | None = None
) -> WrittenShard:
    """Write vectors [n, d] as one shard under `base_url`; `ids[i]` names row i and is unique.

    `fingerprint` says what all of them are hidden states of. Values are stored as float16 and must
    be finite there. Raises ShardRefused.
    """
    with np.errstate(over="ignore"):
        rows: Float16Array = np.ascontiguousarray(np.asarray(hidden).astype("<f2", copy=False))
    if rows.ndim != 2 or rows.size == 0:
        raise ShardRefused(f"hidden has shape {rows.shape}: give vectors [n, d] with at least one row")
    if len(ids) != len(rows) or len(set(ids)) != len(ids):
        raise ShardRefused(f"ids are {len(ids)} ({len(set(ids))} different) for {len(rows)} rows: give each row one id")
    first = _first_endless(rows)
    if first is not None:
        cure = "clip with knowgate.stored_vector first"
        raise ShardRefused(f"hidden is not finite in float16 at row {first} ({ids[first]}): {cure}")
    parts = (memoryview(header_bytes(rows.shape, ids, fingerprint)), rows.view(np.uint8).data.cast("B"))
    with ThreadPoolExecutor(1) as pool:  # hashing lets go of the interpreter's lock: the two run side by side
        whole = pool.submit(_sha256, parts)
        row_sha256 = tuple(hashlib.sha256(row).hexdigest() for row in rows)
        sha256 = whole.result()
    url = shard_storage.shard_url(base_url, sha256)
    shard_storage.put(url, parts)
    return WrittenShard(url=url, sha256=sha256, dimension=rows.shape[1], row_sha256=row_sha256)


def rows_of_one(dimension: int, shard_bytes: int = SHARD_BYTES) -> int:
    """How many vectors a shard of at most `shard_bytes` holds; at least one."""
    return max(1, shard_bytes // (ITEM_BYTES * dimension))


def cut(count: int, dimension: int, shard_bytes: int = SHARD_BYTES) -> Iterator[slice]:
    """`count` vectors in runs that fit a shard each."""
    step = rows_of_one(dimension, shard_bytes)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def read_rows(url: str, rows: Sequence[int], *, fingerprint: Fingerprint | None = None) -> Float16Array:
    """Rows of a shard, float16 [len(rows), d], in the order asked for.

    Raises ShardRefused, and FingerprintDiffers where it is not of the `fingerprint` that was given.
    """
    with MappedShard(url, fingerprint=fingerprint) as shard:
        return shard.read(rows)


def verify_shard(url: str, sha256: str) -> bool:
    """Whether the file under `url` still has this SHA-256; False where it is gone. Raises
    ShardRefused.
    """
    if not shard_storage.exists(url):
        return False
    place = shard_storage.locate(url)
    digest = hashlib.sha256()
    with place.filesystem.open(place.path, "rb") as stream:
        while chunk := stream.read(_VERIFY_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == sha256


def blank_rows(url: str, rows: Mapping[int, str]) -> WrittenShard:
    """Write a copy of a shard with these rows zeroed and their ids blank. Row numbers stay.

    `rows` says by number what SHA-256 each has. The old shard stays too: the caller moves its
    references in a transaction and calls `remove_shard` once that is committed, so that no crash
    leaves a reference to a shard that is gone. Raises ShardRefused, also for a row that is not what
    was stored: zeros in its place would destroy another's vector and leave the one that was meant.
    """
    with MappedShard(url) as shard:
        vectors, fingerprint = np.array(shard.block(0, len(shard))), shard.fingerprint
    ids = list(shard_ids(url)) or [f"row/{row}" for row in range(len(vectors))]
    for row, sha256 in rows.items():
        if row >= len(vectors) or hashlib.sha256(vectors[row].tobytes()).hexdigest() != sha256:
            raise ShardRefused(
                f"row {row} of {url} is not the vector that was stored, so it is not known what to erase: restore the "
                "file from a backup (`knowgate vectors verify` names every such row), then erase again"
            )
        vectors[row] = 0
        ids[row] = f"{ERASED}{row}"
    return write_shard(shard_storage.base_of(url), vectors, ids, fingerprint=fingerprint)


def _first_endless(rows: Float16Array) -> int | None:
    """The first row that is not finite. By its bits and a few rows at a time: np.isfinite takes
    three times as long.
    """
    for start in range(0, len(rows), _LOOKED_AT):
        endless = (rows[start : start + _LOOKED_AT].view("<u2") & _EXPONENT) == _EXPONENT
        if endless.any():
            return start + int(np.argmax(endless.any(axis=1)))
    return None


def _sha256(parts: Sequence[memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def remove_shard(url: str) -> None:
    """Remove a shard that nothing refers to; nothing happens where it is gone already."""
    shard_storage.remove(url)


__all__ = [
    "SHARD_BYTES",
    "FingerprintDiffers",
    "Float16Array",
    "MappedShard",
    "RowBlock",
    "RowReader",
    "ShardRefused",
    "WrittenShard",
    "blank_rows",
    "cut",
    "read_rows",
    "remove_shard",
    "rows_of_one",
    "shard_ids",
    "verify_shard",
    "write_shard",
]
