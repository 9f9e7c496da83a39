"""Reading stored vectors: random rows and all of them in order, beside a raw numpy memmap of the
same bytes.

The vectors (10⁶ × 4096 float16, 8 GB; `--rows N` for another number) are written as shards of the
product's own size, through the product's own writer, and once more as one plain file that
`numpy.memmap` reads. Then, in turn and several times, the one first that was second before: batches
of random rows, and the whole in order; with the page cache emptied of the files before
(posix_fadvise; figures `…_fresh`), and read once before so that they are in it as far as memory
goes. Every value read is touched, since a view costs nothing until then: rows by their copy, blocks
by their maximum as whole words. Ratios are medians of the rounds. `write_gb_per_s` includes hashing
and fsync. Memory is the process's own peak beyond what it began with, files mapped from the page
cache apart.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.shape import FINGERPRINT, Figures, run
from store.shards.shards import RowReader, cut, write_shard

Half = npt.NDArray[np.float16]
T = TypeVar("T")
Take = Callable[[bool], tuple[float, float]]  # seconds of ours and theirs; whether theirs goes first
DIMENSION = 4096
ROWS, QUICK_ROWS = 1_000_000, 65_536
ROUNDS, QUICK_ROUNDS = 5, 3
BATCH, BATCHES = 1024, 4  # random rows asked for together, and how many times
BLOCK = 4096  # rows of a block in order


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The same vectors as shards and as one plain file."""

    urls: tuple[str, ...]  # [n]
    rows: npt.NDArray[np.int64]  # [n]
    plain: Path
    n: int
    write_seconds: float  # of the shards

    @property
    def files(self) -> tuple[Path, ...]:
        return (*(Path(url) for url in dict.fromkeys(self.urls)), self.plain)


def write(folder: Path, n: int) -> Written:
    """Write both; the vectors are different rows of one block of random ones, each with its number
    in it.
    """
    block = np.random.default_rng(0).normal(size=(min(n, BLOCK), DIMENSION)).astype(np.float16)
    urls: list[str] = []
    rows: list[npt.NDArray[np.int64]] = []
    seconds = 0.0
    plain = folder / "plain.f2"
    with plain.open("wb") as stream:
        for run_of in cut(n, DIMENSION):
            hidden = np.resize(block, (run_of.stop - run_of.start, DIMENSION))
            hidden[:, :2] = np.arange(run_of.start, run_of.stop, dtype=np.uint32)[:, None].view(np.uint16) % 1024
            began = time.perf_counter()
            shard = write_shard(
                str(folder / "shards"),
                hidden,
                [f"{number}/0" for number in range(run_of.start, run_of.stop)],
                fingerprint=FINGERPRINT,
            )
            seconds += time.perf_counter() - began
            urls += [shard.url] * len(hidden)
            rows.append(np.arange(len(hidden)))
            stream.write(hidden.data)
        stream.flush()
        os.fsync(stream.fileno())
    return Written(urls=tuple(urls), rows=np.concatenate(rows), plain=plain, n=n, write_seconds=seconds)


def empty_cache(files: Sequence[Path]) -> None:
    """Ask the kernel to forget what it holds of these files."""
    for path in files:
        opened = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(opened)


def touch(hidden: Half) -> int:
    """Every value, as whole words: the cheapest look there is."""
    return int(hidden.view(np.uint64).max())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The two ways of reading, each opened anew for every round."""

    written: Written

    def reader(self) -> RowReader:
        return RowReader(self.written.urls, self.written.rows, fingerprint=FINGERPRINT)

    def plain(self) -> Half:
        shape = (self.written.n, DIMENSION)
        return np.memmap(self.written.plain, dtype="<f2", mode="r", shape=shape)

    def random_rows(self, batches: Sequence[npt.NDArray[np.int64]], swapped: bool) -> tuple[float, float]:
        """Seconds of ours and of the plain file for the same random rows; their values are
        compared.
        """
        reader, plain = self.reader(), self.plain()
        ours, theirs, seconds = _both(
            lambda: [reader.read(batch) for batch in batches],
            lambda: [np.array(plain[batch]) for batch in batches],
            swapped,
        )
        reader.close()
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
        return seconds

    def in_order(self, swapped: bool) -> tuple[float, float]:
        """Seconds of ours and of the plain file for all rows in order; what was seen is
        compared.
        """
        reader, plain = self.reader(), self.plain()
        starts = range(0, self.written.n, BLOCK)
        ours, theirs, seconds = _both(
            lambda: max(touch(block.hidden) for block in reader.blocks(BLOCK)),
            lambda: max(touch(np.asarray(plain[at : at + BLOCK])) for at in starts),
            swapped,
        )
        reader.close()
        assert ours == theirs, "both read the same"
        return seconds


def measure(quick: bool, rows: int | None = None) -> Figures:
    """All figures."""
    n = rows or (QUICK_ROWS if quick else ROWS)
    rounds = QUICK_ROUNDS if quick else ROUNDS
    folder = Path(tempfile.mkdtemp(prefix="knowgate-shards-"))
    try:
        with peak_memory() as peak:
            written = write(folder, n)
            write_peak = peak()
        return {
            "rows": n,
            "dimension": DIMENSION,
            "shards": len(written.files) - 1,
            "gigabytes": n * DIMENSION * 2 / 1e9,
            "write_gb_per_s": n * DIMENSION * 2 / 1e9 / written.write_seconds,
            "write_peak_memory_mb": write_peak,
            **_read_figures(written, rounds),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_figures(written: Written, rounds: int) -> dict[str, float]:
    ways = Ways(written=written)
    random = np.random.default_rng(1)

    def picks() -> Take:
        batches = [random.integers(0, written.n, BATCH) for _ in range(BATCHES)]
        return lambda swapped: ways.random_rows(batches, swapped)

    figures: dict[str, float] = {}
    with peak_memory() as peak:
        for name, prepare in (("", None), ("_fresh", written.files)):
            picked = list(_rounds(prepare, [picks() for _ in range(rounds)]))
            ours = statistics.median(BATCH * BATCHES / seconds for seconds, _ in picked)
            figures[f"random_rows_per_s{name}"] = ours
            figures[f"random_ratio_vs_memmap{name}"] = statistics.median(other / mine for mine, other in picked)
            walked = list(_rounds(prepare, [ways.in_order] * rounds))
            size = written.n * DIMENSION * 2 / 1e9
            figures[f"sequential_gb_per_s{name}"] = statistics.median(size / seconds for seconds, _ in walked)
            figures[f"sequential_ratio_vs_memmap{name}"] = statistics.median(other / mine for mine, other in walked)
        figures["read_peak_memory_mb"] = peak()
    return figures


def _rounds(files: Sequence[Path] | None, things: Sequence[Take]) -> Iterator[tuple[float, float]]:
    """What each gives: read from files that the page cache was emptied of, or, without them, read a
    second time.
    """
    for number, thing in enumerate(things):
        if files is None:
            thing(False)
        else:
            empty_cache(files)
        yield thing(number % 2 == 1)


def _both(ours: Callable[[], T], theirs: Callable[[], T], swapped: bool) -> tuple[T, T, tuple[float, float]]:
    """What both made, and their seconds; ours goes first unless `swapped`."""
    taken: dict[bool, tuple[T, float]] = {}
    for mine in (False, True) if swapped else (True, False):
        began = time.perf_counter()
        made = ours() if mine else theirs()
        taken[mine] = made, time.perf_counter() - began
    return taken[True][0], taken[False][0], (taken[True][1], taken[False][1])


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """Tells the most memory of its own (anonymous pages) that the process came to have in the
    block, in MB.
    """
    before, most, done = _own_memory_mb(), 0.0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, _own_memory_mb() - before)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: most
    finally:
        done.set()
        thread.join()


def _own_memory_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def rows_option() -> int | None:
    """`--rows N`, taken from the command line before the common options are read."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rows", type=int)
    options, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    rows: int | None = options.rows
    return rows


if __name__ == "__main__":
    chosen = rows_option()
    run("shards", lambda quick: measure(quick, chosen))
