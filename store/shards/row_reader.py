"""Vectors of many shards as one long table: random rows, and blocks for streaming, without reading
all of it.

Decisions:
- A row's global number is its place in the list that the reader was made from; which shard it lies
  in is nobody's business but the reader's. Rows that are asked for together are read shard by
  shard, each shard in one go.
- Every shard's header is checked when the reader is made: a missing, damaged or foreign shard is
  refused by name before the first batch, not in the middle of an epoch. Nothing is left out: a row
  is read as stored, or refused.
- With hashes, each row is compared with its own, and must be finite, when it is first read. The
  hash comes from SQL, so a shard that was changed, or swapped for another of the same shape, is
  found at the row.
- A bounded number of shards is open at a time. A reader that is sent to another process opens them
  there anew.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knowgate._records.records import Fingerprint
from store.errors import ShardRefused
from store.shards.mapped_shards import IntArray, MappedShard, checked_header
from store.shards.shard_format import Float16Array

MOST_OPEN = 128  # shards, and so files


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowBlock:
    """Rows that follow one another in the reader's table."""

    first: int  # global number of the first one
    hidden: Float16Array  # [k, d]; a view of the file where it can be: not to be written to

    @property
    def end(self) -> int:
        """The global number after the last one."""
        return self.first + len(self.hidden)


class RowReader:
    """The vectors of `n` places, `urls[i]` and `rows[i]` saying where the i-th lies, read by their
    global number.

    `sha256[i]` (hex, over the row's bytes), where given, is compared when row i is first read.
    `fingerprint`, where given, is that of all the vectors.

    Raises ShardRefused for shards that are missing, damaged or of different dimensions, and
    FingerprintDiffers.
    """

    def __init__(
        self,
        urls: Sequence[str],
        rows: npt.ArrayLike,
        *,
        sha256: Sequence[str] | None = None,
        fingerprint: Fingerprint | None = None,
        most_open: int = MOST_OPEN,
    ) -> None:
        self._rows: IntArray = np.asarray(rows, dtype=np.int64).reshape(-1)
        if len(urls) != len(self._rows) or (sha256 is not None and len(sha256) != len(urls)):
            given = len(urls) if sha256 is None else f"{len(urls)} and {len(sha256)}"
            raise ShardRefused(f"rows are {len(self._rows)} for {given} URLs and hashes: give one of each per vector")
        if not len(urls):
            raise ShardRefused("there are no vectors to read: give at least one URL and row")
        places: dict[str, int] = {}
        self._shard_of: IntArray = np.array([places.setdefault(url, len(places)) for url in urls], dtype=np.int64)
        self._urls = tuple(places)
        self._sha256, self._fingerprint, self._most_open = sha256, fingerprint, most_open
        self._verified = np.zeros(len(self._rows), dtype=bool)
        self._open: OrderedDict[int, MappedShard] = OrderedDict()
        self._dimension = checked_header(self._urls[0], fingerprint=fingerprint).dimension
        for url in self._urls[1:]:
            checked_header(url, fingerprint=fingerprint, dimension=self._dimension)

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def shards(self) -> tuple[str, ...]:
        """The URLs that the rows lie in."""
        return self._urls

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self) -> "RowReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": OrderedDict()}

    def close(self) -> None:
        """Let go of the files; reading again opens them again."""
        while self._open:
            self._open.popitem()[1].close()

    def read(self, rows: npt.ArrayLike) -> Float16Array:
        """The vectors of these global row numbers [k], float16 [k, d], in the order asked for.

        Raises ShardRefused for a number that there is not, and for a row that is not what was
        stored.
        """
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            bad = wanted.min() if wanted.min() < 0 else wanted.max()
            raise ShardRefused(f"row {int(bad)} does not exist: the reader has rows 0 to {len(self) - 1}")
        out: Float16Array = np.empty((len(wanted), self._dimension), dtype=np.float16)
        shard_of = self._shard_of[wanted]
        order = np.argsort(shard_of, kind="stable")
        for at in np.split(order, np.flatnonzero(np.diff(shard_of[order])) + 1):
            if len(at):
                self._shard(int(shard_of[at[0]])).read_into(out, at, self._rows[wanted[at]])
        self._verify(wanted, out)
        return out

    def blocks(self, size: int, *, first: int = 0, end: int | None = None) -> Iterator[RowBlock]:
        """All rows from `first` to `end` in order, at most `size` at a time.

        Where rows follow one another in a file for long, a block is a view of it and ends with it;
        else it is gathered. Raises ShardRefused.
        """
        if size < 1:
            raise ShardRefused(f"size is {size}: a block has at least one row")
        last = len(self) if end is None else min(end, len(self))
        breaks = np.flatnonzero((np.diff(self._shard_of[first:last]) != 0) | (np.diff(self._rows[first:last]) != 1))
        bounds = np.array([first, *(first + breaks + 1).tolist(), last])
        begin = first
        while begin < last:
            stop = min(begin + size, last)
            run_end = int(bounds[np.searchsorted(bounds, begin, side="right")])
            if run_end < stop and run_end - begin < size // 2:
                yield RowBlock(first=begin, hidden=self.read(np.arange(begin, stop)))  # scattered rows: gathered
                begin = stop
                continue
            stop = min(stop, run_end)
            yield RowBlock(first=begin, hidden=self._view(begin, stop, size))
            begin = stop

    def _view(self, begin: int, stop: int, ahead: int) -> Float16Array:
        shard, row = self._shard(int(self._shard_of[begin])), int(self._rows[begin])
        hidden = shard.block(row, row + stop - begin)
        shard.ask_ahead(min(row + stop - begin, len(shard)), min(row + stop - begin + ahead, len(shard)))
        self._verify(np.arange(begin, stop), hidden)
        return hidden

    def _shard(self, number: int) -> MappedShard:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        while len(self._open) >= self._most_open:
            self._open.popitem(last=False)[1].close()
        shard = MappedShard(self._urls[number], fingerprint=self._fingerprint, dimension=self._dimension)
        self._open[number] = shard
        return shard

    def _verify(self, numbers: IntArray, hidden: Float16Array) -> None:
        if self._sha256 is None or self._verified[numbers].all():
            return
        for number, row in zip(numbers.tolist(), hidden, strict=True):
            if not self._verified[number]:
                url, place = self._urls[self._shard_of[number]], int(self._rows[number])
                require_stored(url, place, row, self._sha256[number])
                self._verified[number] = True


def require_stored(url: str, row: int, vector: Float16Array, sha256: str) -> None:
    """Raises ShardRefused where a row's bytes are not those that were stored, or could never have
    been.
    """
    digest = hashlib.sha256(np.ascontiguousarray(vector).data).hexdigest()
    if digest != sha256:
        raise ShardRefused(
            f"row {row} of {url} has SHA-256 {digest[:12]}…, {sha256[:12]}… was stored: "
            f"the shard was changed or swapped; restore it from a backup"
        )
    if not np.isfinite(vector).all():
        raise ShardRefused(f"row {row} of {url} is not finite: erase its decision, since write_shard never wrote it")
