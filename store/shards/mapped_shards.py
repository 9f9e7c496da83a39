"""One shard, opened once and read many times: its header checked, its file mapped into memory.

Decisions:
- A local shard is mapped: rows are copied from the page cache straight into the caller's array, and
  a block is a view without any copy. A mapped file stays readable after its name is gone, so a
  compaction disturbs no reader.
- Rows that are not in the page cache are asked for all at once before they are read
  (posix_fadvise): a disk answers a hundred requests side by side in the time of a few, and reading
  one row after the other waits for each. Whether they are there is found by asking for one byte of
  a few of them with RWF_NOWAIT, so warm reads pay nothing.
- A remote shard is read by ranges. Rows that lie closer together than a request is worth are one
  range.
- Headers are kept by the file's name, size and time: a file is parsed once per process, and again
  when it changed.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knowgate._records.records import Fingerprint
from store.errors import ShardRefused
from store.shards import shard_storage
from store.shards.shard_format import (
    ITEM_BYTES,
    Float16Array,
    ShardHeader,
    parse_header,
    parse_ids,
    require_fingerprint,
)
from store.shards.shard_storage import Place

IntArray = npt.NDArray[np.int64]
_CHUNK = 512  # rows that are asked for ahead at a time
_LONG_ROW = 2048  # bytes from which on copying a row costs more than asking for it
_SCATTER = 64  # shorter rows copied twice at a time, while they are in the processor's cache
_PROBES = 8  # rows whose presence in the page cache speaks for their chunk
_GAP_BYTES = 1 << 18  # fetching what lies between two ranges costs less than a request of its own


class MappedShard:
    """A shard that is open for reading. Use as a context manager, or `close` it.

    With `fingerprint` or `dimension`, a shard of another one is refused.

    Raises ShardRefused for a file that is no whole shard, and FingerprintDiffers.
    """

    def __init__(self, url: str, *, fingerprint: Fingerprint | None = None, dimension: int | None = None) -> None:
        self._place = shard_storage.locate(url)
        self._header = checked_header(url, fingerprint=fingerprint, dimension=dimension)
        self._descriptor: int | None = None
        self._map: npt.NDArray[Any] | None = None
        if self._place.local:
            self._open()

    @property
    def url(self) -> str:
        return self._place.url

    @property
    def rows(self) -> int:
        return self._header.rows

    @property
    def dimension(self) -> int:
        return self._header.dimension

    @property
    def fingerprint(self) -> Fingerprint | None:
        return self._header.fingerprint

    def __len__(self) -> int:
        return self._header.rows

    def __enter__(self) -> "MappedShard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (MappedShard, (self.url,))  # another process maps the file itself

    def close(self) -> None:
        """Let go of the file; views that were given out stay valid."""
        self._map = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()

    def read(self, rows: npt.ArrayLike) -> Float16Array:
        """Rows [k] of this shard, float16 [k, d], in the order asked for. Raises ShardRefused."""
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        out: Float16Array = np.empty((len(wanted), self.dimension), dtype=np.float16)
        self.read_into(out, np.arange(len(wanted)), wanted)
        return out

    def read_into(self, out: Float16Array, at: IntArray, rows: IntArray) -> None:
        """Copy this shard's `rows` [k] to the rows `at` [k] of `out` [·, d]. Raises
        ShardRefused.
        """
        if rows.size and (rows.min() < 0 or rows.max() >= self.rows):
            bad = rows.min() if rows.min() < 0 else rows.max()
            raise ShardRefused(f"row {int(bad)} of {self.url} does not exist: it has rows 0 to {self.rows - 1}")
        if self._place.local:
            self._copy_mapped(out, at, rows)
        elif rows.size:
            different, place = np.unique(rows, return_inverse=True)
            out[at] = self._fetched(different)[place]

    def block(self, first: int, end: int) -> Float16Array:
        """Rows `first` to `end` (exclusive), float16: a read-only view of the file where it is
        local.
        """
        if not 0 <= first <= end <= self.rows:
            raise ShardRefused(f"rows {first} to {end} of {self.url} do not exist: it has rows 0 to {self.rows - 1}")
        if self._place.local:
            return self._mapped()[first:end]
        return self._fetched(np.arange(first, end))

    def ask_ahead(self, first: int, end: int) -> None:
        """Let the disk begin to read these rows, where they are not in the page cache; returns at
        once.
        """
        if not self._place.local or first >= end:
            return
        self._mapped()
        if not self._present(np.linspace(first, end - 1, _PROBES).astype(np.int64)):
            self._ask(first, end)

    def _ask(self, first: int, end: int) -> None:
        assert self._descriptor is not None
        width = self.dimension * ITEM_BYTES
        start, length = self._header.offset + first * width, (end - first) * width
        if hasattr(os, "posix_fadvise"):  # not everywhere; without it the disk is merely asked later
            os.posix_fadvise(self._descriptor, start, length, os.POSIX_FADV_WILLNEED)

    def _open(self) -> npt.NDArray[Any]:
        path = Path(self._place.path)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            shape = (self._header.rows, self._header.dimension)
            self._map = np.memmap(path, dtype="<f2", mode="r", offset=self._header.offset, shape=shape).view(np.ndarray)
        except (OSError, ValueError) as error:
            self.close()
            raise ShardRefused(f"{self.url} cannot be mapped ({error}): restore it from a backup") from error
        return self._map

    def _mapped(self) -> npt.NDArray[Any]:
        return self._open() if self._map is None else self._map

    def _copy_mapped(self, out: Float16Array, at: IntArray, rows: IntArray) -> None:
        mapped = self._mapped()
        consecutive = bool(len(at)) and int(at[-1]) - int(at[0]) == len(at) - 1 and bool((np.diff(at) == 1).all())
        for start in range(0, len(rows), _CHUNK):
            chunk, places = rows[start : start + _CHUNK], at[start : start + _CHUNK]
            if not self._present(chunk):
                for row in chunk.tolist():
                    self._ask(row, row + 1)
            if consecutive:
                np.take(mapped, chunk, axis=0, out=out[places[0] : places[0] + len(chunk)], mode="clip")
                continue
            if self.dimension * ITEM_BYTES >= _LONG_ROW:
                _copy_long(out, places, mapped, chunk)
                continue
            for piece in range(0, len(chunk), _SCATTER):
                out[places[piece : piece + _SCATTER]] = mapped[chunk[piece : piece + _SCATTER]]

    def _present(self, rows: IntArray) -> bool:
        """Whether the page cache holds these rows, as far as a few of them tell."""
        if not hasattr(os, "RWF_NOWAIT"):
            return True
        assert self._descriptor is not None
        one, width = bytearray(1), self.dimension * ITEM_BYTES
        try:
            for row in rows[:: max(1, len(rows) // _PROBES)].tolist():
                os.preadv(self._descriptor, [one], self._header.offset + row * width, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a file system in memory has nothing to wait for, and says that it cannot tell
        return True

    def _fetched(self, rows: IntArray) -> Float16Array:
        """Sorted distinct rows of a remote shard, by ranges."""
        width = self.dimension * ITEM_BYTES
        runs = list(_runs(rows, 1 + _GAP_BYTES // width))
        offset = self._header.offset
        parts = shard_storage.fetch_ranges(
            self._place, [(offset + first * width, offset + end * width) for first, end in runs]
        )
        if not runs:
            return np.empty((0, self.dimension), dtype=np.float16)
        read = np.frombuffer(b"".join(parts), dtype="<f2").reshape(-1, self.dimension)
        return read[np.concatenate([np.arange(first, end) for first, end in runs]).searchsorted(rows)]


def _copy_long(out: Float16Array, at: IntArray, source_rows: npt.NDArray[Any], rows: IntArray) -> None:
    """`out[at] = held[rows]`, each row copied once; numpy would gather them first and then scatter
    the copy.
    """
    width = source_rows.shape[1] * ITEM_BYTES
    target, source = out.data.cast("B"), source_rows.data.cast("B")
    for to, begin in zip((at * width).tolist(), (rows * width).tolist(), strict=True):
        target[to : to + width] = source[begin : begin + width]


def checked_header(url: str, *, fingerprint: Fingerprint | None = None, dimension: int | None = None) -> ShardHeader:
    """The header of a shard, which must be of this fingerprint and dimension. Raises
    ShardRefused.
    """
    header = _header_of(url)
    require_fingerprint(url, header.fingerprint, fingerprint)
    if dimension is not None and header.dimension != dimension:
        raise ShardRefused(
            f"{url} has vectors of dimension {header.dimension}, {dimension} is expected: "
            f"read vectors of one model and layer together"
        )
    return header


def shard_ids(url: str) -> tuple[str, ...]:
    """The ids of a shard's rows, in their order. Raises ShardRefused."""
    return parse_ids(url, _read_header(shard_storage.locate(url)))


def _header_of(url: str) -> ShardHeader:
    place = shard_storage.locate(url)
    if not place.local:
        return _known_remote(url)
    try:
        state = Path(place.path).stat()
    except OSError as error:
        raise ShardRefused(f"{url} does not exist: restore the shards beside the database") from error
    return _known(url, state.st_size, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(maxsize=4096)
def _known(url: str, _size: int, _time: int, _inode: int) -> ShardHeader:
    return _small(_read_header(shard_storage.locate(url)))


@functools.lru_cache(maxsize=4096)
def _known_remote(url: str) -> ShardHeader:
    """A remote shard is named by its content: what lies under one name is the same for ever."""
    return _small(_read_header(shard_storage.locate(url)))


def _small(header: ShardHeader) -> ShardHeader:
    """The header without its megabytes of ids."""
    return ShardHeader(
        offset=header.offset, rows=header.rows, dimension=header.dimension, fingerprint=header.fingerprint, ids=None
    )


def _read_header(place: Place) -> ShardHeader:
    return parse_header(
        place.url, shard_storage.size_of(place), lambda start, end: shard_storage.fetch(place, start, end)
    )


def _runs(rows: IntArray, most_apart: int) -> Iterator[tuple[int, int]]:
    """Sorted distinct rows as half-open runs, those that lie at most `most_apart` rows apart in
    one.
    """
    if not len(rows):
        return
    breaks = np.flatnonzero(np.diff(rows) > most_apart) + 1
    for run in np.split(rows, breaks):
        yield int(run[0]), int(run[-1]) + 1
