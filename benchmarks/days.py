"""Days in files: what they take, and a window of four weeks read from them beside the same window
read from the tables.

Decisions of 28 days (`--decisions N`, or 100 000) are put into SQLite as `benchmarks/pages/bulk.py`
does, their days are written by the product's own writer, the window is read both ways, and the rows
leave the tables. Seconds are of this process's processor time; `read_files_s` and `read_tables_s`
are of `store.traffic.examples.labelled` with the columns that a certification reads, and
`aggregate_s` is DuckDB's own: accuracy and cost per model and day over all files. The folder is
removed in the end.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.pages.bulk import Asked, Traffic, add_decisions
from benchmarks.shape import Figures, run
from knowgate import Window
from knowgate.spec import CascadeSpec, TierSpec
from services.days.leaving import leave
from services.days.writing import write_day
from store import schema
from store.days import day_files, day_reader
from store.engine import closing_engine, forget_past, reading, transaction
from store.releases.cascades import apply_cascade
from store.traffic.examples import labelled

DECISIONS, QUICK = 100_000, 5_000
DAYS = 28
END = datetime(2026, 3, 1, tzinfo=UTC)
START = END - timedelta(days=DAYS)
DAY = timedelta(days=1)
LATER = END + timedelta(days=365)
COLUMNS = ("ids", "tier", "role", "model", "p_t", "p_ik", "score", "ood", "correct", "label_source", "run_propensity",
           "label_propensity", "cost_usd", "occurred_at", "slice")  # fmt: skip
T = TypeVar("T")


def measure(quick: bool) -> Figures:
    count = QUICK if quick else DECISIONS
    folder = Path(tempfile.mkdtemp(prefix="knowgate-days-"))
    try:
        return _measured(folder, count)
    finally:
        shutil.rmtree(folder)


def _measured(folder: Path, count: int) -> dict[str, float | int | str | None]:
    base = str(folder / "shards")
    with closing_engine(f"sqlite:///{folder / 'knowgate.db'}") as engine:
        schema.upgrade(engine)
        tiers = tuple(TierSpec(name=name, model=name, parameters=1e9) for name in ("small", "large"))
        with transaction(engine) as session:
            apply_cascade(session, CascadeSpec(name="support", tiers=tiers), now=START)
        traffic = Traffic(cascade="support", start=START, end=END, hourly=count / DAYS / 24)
        asked = Asked(traffic=traffic, count=count, bundle="b" * 64, models=("small", "large"))
        _, filled_s = _timed(lambda: add_decisions(engine, asked))
        forget_past(engine)
        size = _size(folder)
        days = [Window(start=START + day * DAY, end=START + (day + 1) * DAY) for day in range(DAYS)]
        window = Window(start=START, end=END)

        def read() -> int:
            with reading(engine) as session:
                return labelled(session, "support", window, as_of=LATER, columns=COLUMNS).rows

        rows, tables_s = _timed(read)
        _, write_s = _timed(lambda: [write_day(engine, "support", day, base, now=LATER) for day in days])
        with reading(engine) as session:
            files = day_files.all_files(session)
        filed, files_s = _timed(read)
        assert filed == rows
        _, aggregate_s = _timed(lambda: _aggregated(files))
        gone, leave_s = _timed(lambda: leave(engine, 28 * DAY, now=LATER))
        connection = engine.raw_connection()
        connection.cursor().execute("VACUUM")
        connection.close()
        forget_past(engine)
        left = _size(folder)
    written = sum(file.bytes for file in files)
    return {
        "decisions": count,
        "attempts": rows,
        "files": len(files),
        "filled_us_per_decision": 1e6 * filled_s / count,
        "database_bytes_per_decision": size / count,
        "file_bytes_per_decision": written / count,
        "write_us_per_decision": 1e6 * write_s / count,
        "read_tables_s": tables_s,
        "read_files_s": files_s,
        "tables_vs_files": tables_s / files_s,
        "aggregate_s": aggregate_s,
        "left": gone,
        "leave_us_per_decision": 1e6 * leave_s / count,
        "database_bytes_after_per_decision": (left - written) / count,
    }


def _aggregated(files: Any) -> int:
    with day_reader.opened(files) as connection:
        rows = connection.sql(
            "SELECT model, date_trunc('day', occurred_at) AS day, count(*), sum(cost_usd), avg(labels[1].correct)"
            " FROM attempts GROUP BY ALL"
        ).fetchall()
    return len(rows)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _timed(thing: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time()
    found = thing()
    return found, time.process_time() - began


if __name__ == "__main__":
    if "--decisions" in sys.argv:
        at = sys.argv.index("--decisions")
        DECISIONS = int(sys.argv[at + 1])
        del sys.argv[at : at + 2]
    run("days", measure)
