"""Our spool beside one in SQLite, in turn, twice: docs/decisions/0133.

Both take the same entries, a decision with a vector of 4096 float16, and return when they are on
disk. SQLite is in WAL mode with `synchronous=FULL`, one writer thread commits what has gathered.
"""

import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.tried.decode import rows
from knowgate import Spool
from knowgate._models.features import Float16Array
from knowgate._records.records import Decision
from knowgate._shipping import segment
from knowgate._wire import codec

LOADS = ((1, 400), (8, 2400))  # threads, and entries of all together
FLIPS = 200
AT_ONCE, AT_ONCE_BYTES = 500, 8 * 2**20


class Appends(Protocol):
    """What a serving thread asks of a spool."""

    def append(self, decision: Decision, vectors: tuple[Float16Array, ...]) -> None: ...


class SqliteSpool:
    """The same entries in one table."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "spool.db"
        self._changed = threading.Condition()
        self._pending: list[tuple[bytes, threading.Event]] = []
        self._closing = False
        self._reader = self._open()
        self._reader.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, frame BLOB)")
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _open(self) -> sqlite3.Connection:
        opened = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            opened.execute(f"PRAGMA {pragma}")
        return opened

    def append(self, decision: Decision, vectors: tuple[Float16Array, ...]) -> None:
        """Returns once the entry's group is on disk."""
        done = threading.Event()
        with self._changed:
            self._pending.append((segment.framed(decision, vectors), done))
            self._changed.notify()
        done.wait()

    def _write(self) -> None:
        writer = self._open()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                group, self._pending = self._pending, []
            if not group:
                break
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany("INSERT INTO entry (frame) VALUES (?)", [(frame,) for frame, _ in group])
            writer.execute("COMMIT")
            for _, done in group:
                done.set()
        writer.close()

    def ship(self) -> int:
        """Reads and lets go of everything; how many entries there were."""
        shipped = 0
        while read := self._reader.execute("SELECT id FROM entry ORDER BY id LIMIT ?", (AT_ONCE,)).fetchall():
            self._reader.execute("SELECT frame FROM entry WHERE id <= ?", read[-1]).fetchall()
            self._reader.execute("DELETE FROM entry WHERE id <= ?", read[-1])
            shipped += len(read)
        return shipped

    def close(self) -> None:
        """Everything is in the database's own file then."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._reader.close()


def ship(spool: Spool) -> int:
    """The same of ours."""
    shipped = 0
    while batch := spool.batch(max_entries=AT_ONCE, max_bytes=AT_ONCE_BYTES):
        spool.acknowledge(batch, entries=len(batch.entries))
        shipped += len(batch.entries)
    return shipped


def size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def appended(
    spool: Appends, decisions: list[Decision], vector: Float16Array, threads: int
) -> tuple[float, float, float]:
    """Entries a second, and milliseconds of one: the median, and what nine of ten stay below."""
    took: list[float] = []

    def work(first: int) -> None:
        for decision in decisions[first::threads]:
            began = time.perf_counter()
            spool.append(decision, (vector,))
            took.append(1e3 * (time.perf_counter() - began))

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rate = len(decisions) / (time.perf_counter() - began)
    return rate, statistics.median(took), statistics.quantiles(took, n=10)[-1]


def measure(name: str, make: Callable[[Path], Spool | SqliteSpool], decisions: list[Decision]) -> None:
    """Prints one line per load."""
    vector = np.random.default_rng(0).normal(size=4096).astype(np.float16)
    for threads, count in LOADS:
        with tempfile.TemporaryDirectory() as folder:
            spool = make(Path(folder))
            rate, median, ninth = appended(spool, decisions[:count], vector, threads)
            each = size(Path(folder)) / count
            began = time.perf_counter()
            shipped = spool.ship() if isinstance(spool, SqliteSpool) else ship(spool)
            took, left = time.perf_counter() - began, size(Path(folder)) / 2**20
            assert shipped == count
            spool.close()
        sys.stdout.write(
            f"{name}, {threads} threads: {rate:.0f} entries/s, p50 {median:.1f} ms, p90 {ninth:.1f} ms, "
            f"{each:.0f} bytes each; let go of in {took:.2f} s, {left:.1f} MB stay\n"
        )


def flip(decisions: list[Decision]) -> None:
    """What a flipped byte costs in SQLite: prints how often an entry changed, and the whole file
    was lost.
    """
    vector = np.random.default_rng(0).normal(size=4096).astype(np.float16)
    frames = {segment.framed(decision, (vector,)) for decision in decisions}
    draws, changed, lost = np.random.default_rng(1), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        spool = SqliteSpool(Path(folder))
        appended(spool, decisions, vector, 1)
        spool.close()
        whole = spool.path.read_bytes()
        for _ in range(FLIPS):
            damaged = bytearray(whole)
            damaged[int(draws.integers(len(whole)))] ^= 0xFF
            spool.path.write_bytes(damaged)
            reader = sqlite3.connect(spool.path)
            try:
                changed += any(row[0] not in frames for row in reader.execute("SELECT frame FROM entry"))
            except sqlite3.DatabaseError:
                lost += 1
            reader.close()
    sys.stdout.write(f"SQLite, {FLIPS} flips: an entry changed {changed} times, all were lost {lost} times\n")


def main() -> None:
    """Both, in turn, twice; then the flips."""
    decisions = [codec.decode(Decision, row) for row in rows(LOADS[-1][1])]
    for _ in range(2):
        measure("segments", Spool, decisions)
        measure("SQLite", SqliteSpool, decisions)
    flip(decisions[:200])


if __name__ == "__main__":
    main()
