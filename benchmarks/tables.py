"""Reading users' files of rows, beside Arrow's own readers of the same files.

A million rows of an outcome table (prompts of some 80 characters, one in ten of them quoted) as
CSV, JSON lines and Parquet; `--quick` takes fewer. Every reading has a process of its own; the two
ways take turns. Printed are the median processor time of all threads and the peak of memory beyond
what the process held before, both with the columns of an outcome table. Arrow reads CSV and JSON by
guessing kinds: it is the measure of what strictness costs, not of the same result
(docs/decisions/0113).
"""

import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from benchmarks.shape import Figures, run
from services.outcome_tables.outcomes import TEXTS, TIMES, WANTED
from store.files import read_table_file

ROWS, QUICK_ROWS = 1_000_000, 20_000
ROUNDS, QUICK_ROUNDS = 3, 1
KINDS = ("csv", "jsonl", "parquet")
BLOCK = 50_000


def blocks(rows: int) -> Iterator[pa.Table]:
    """The table, a block at a time."""
    random = np.random.default_rng(0)
    for start in range(0, rows, BLOCK):
        at = np.arange(start, min(rows, start + BLOCK))
        prompts = [f"Question {row}: which of the four answers is right, and why not the others" for row in at]
        quoted = [f'{text}, "{row}"?' if row % 10 == 0 else text for row, text in zip(at, prompts, strict=True)]
        yield pa.table(
            {
                "query_id": [f"q-{row // 2:09}" for row in at],
                "tier": pa.array(at % 2, pa.int8()),
                "model": np.where(at % 2, "large-model", "small-model"),
                "p_t": random.random(len(at)),
                "correct": pa.array(random.random(len(at)) < 0.8).cast(pa.int8()),
                "slice": [f"s{row % 7}" for row in at],
                "prompt": quoted,
                "tokens_in": pa.array(random.integers(10, 4000, len(at))),
                "occurred_at": [f"2026-01-{1 + row % 28:02}T12:00:00.{row % 1000:03}Z" for row in at],
            }
        )


def write(folder: Path, rows: int) -> dict[str, Path]:
    """The same rows as three files."""
    paths = {kind: folder / f"outcomes.{kind}" for kind in KINDS}
    schema = next(blocks(1)).schema
    with (
        pyarrow.csv.CSVWriter(paths["csv"], schema) as as_csv,
        paths["jsonl"].open("w", encoding="utf-8") as as_lines,
        pyarrow.parquet.ParquetWriter(paths["parquet"], schema) as as_parquet,
    ):
        for block in blocks(rows):
            as_csv.write_table(block)
            as_parquet.write_table(block)
            as_lines.writelines(json.dumps(row) + "\n" for row in block.to_pylist())
    return paths


def ours(path: Path) -> int:
    """As every command reads."""
    return read_table_file(path, WANTED).rows


def arrow(path: Path) -> int:
    """As Arrow reads, given which columns are texts as far as it can be."""
    if path.suffix == ".parquet":
        return int(pyarrow.parquet.read_table(path).num_rows)
    if path.suffix == ".csv":
        convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys((*TEXTS, *TIMES), pa.string()))
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        return int(pyarrow.csv.read_csv(path, convert_options=convert, parse_options=parse).num_rows)
    read = pyarrow.json.ReadOptions(block_size=64 << 20)
    return int(pyarrow.json.read_json(path, read_options=read).num_rows)


def cost(
    read: Callable[[Path], int], path: Path, rows: int, answers: "multiprocessing.Queue[tuple[float, float]]"
) -> None:
    """Processor seconds and megabytes of one reading; run in a process of its own."""
    before, began = peak_mb(), time.process_time()
    assert read(path) == rows, "all rows are read"
    seconds = time.process_time() - began
    answers.put((seconds, peak_mb() - before))


def peak_mb() -> float:
    """The most that this process ever held, without what the one held that started it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def alone(read: Callable[[Path], int], path: Path, rows: int) -> tuple[float, float]:
    """`cost` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[tuple[float, float]] = context.Queue()
    process = context.Process(target=cost, args=(read, path, rows, answers))
    process.start()
    answer = answers.get(timeout=600)
    process.join()
    return answer


def measure(quick: bool) -> Figures:
    """All figures."""
    rows, rounds = (QUICK_ROWS, QUICK_ROUNDS) if quick else (ROWS, ROUNDS)
    figures: dict[str, float | int | str | None] = {"rows": rows}
    with tempfile.TemporaryDirectory(prefix="knowgate-tables-") as folder:
        for kind, path in write(Path(folder), rows).items():
            taken = [(alone(ours, path, rows), alone(arrow, path, rows)) for _ in range(rounds)]
            figures[f"{kind}_mb"] = path.stat().st_size / 1e6
            for way, name in ((0, ""), (1, "_arrow")):
                figures[f"{kind}_cpu_s{name}"] = statistics.median(pair[way][0] for pair in taken)
                figures[f"{kind}_peak_mb{name}"] = statistics.median(pair[way][1] for pair in taken)
            figures[f"{kind}_cpu_ratio"] = statistics.median(mine[0] / other[0] for mine, other in taken)
    return figures


if __name__ == "__main__":
    run("tables", measure)
