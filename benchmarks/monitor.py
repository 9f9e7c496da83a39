"""What watching costs as the history grows: processor time and memory of one run of the monitor.

A cascade of hourly windows with 10⁴ to 10⁶ decisions in 28 days, three of ten labelled by people
and by a grader, on SQLite and on PostgreSQL; and as many in one day. Every run has a process of its
own. `hour_cpu_s` is a run in the middle of a day, `day_cpu_s` one that ends a day: its report, a
week's figures, what drift is compared with, a month of the grader's errors. `day_peak_mb` is the
most memory beyond what the process held before. Imports are left out: Evidently alone takes
seconds. `growth` is the exponent of the hour's time against the length of the history at one rate:
0 where a history of 28 days costs what one of 2.8 does. `labelled_*` is the join of the whole
history with the columns that figures read, `train_window_mb` what the trainer holds of it before
vectors are read. All are of the process that asks: what PostgreSQL's own processes take is not in
them.
"""

import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from benchmarks.pages.bulk import Asked, Traffic, add_decisions
from benchmarks.pages.props import DAY, HOUR, NOW, Cast, assign, bundle_of, declare, store
from benchmarks.shape import Figures, run
from benchmarks.tables import peak_mb
from knowgate import Bundle, Window, write_bundle
from knowgate._records.records import Label, LabelSource
from monitoring.rows.attempts import COLUMNS
from monitoring.watching.watch import watch_window
from store import partitions, schema
from store.engine import closing_engine, reading, transaction
from store.labelling.graders import note_graders
from store.releases.cascades import cascade
from store.traffic.examples import labelled
from tests import postgresql

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (500, 5_000)
NAME = "support"
END = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
LONG, SHORT = 28 * DAY, 28 * DAY / 10
MODELS = ("qwen3-8b", "llama-3.3-70b")
# A grader has said what the gold labels say, so that its errors are looked for.
_COPIED = "decision_id, tier, digest, arrival, correct, labelled_at, received_at"
_GRADED = (
    f"INSERT INTO label ({_COPIED}, source, label_propensity, grader)"
    f" SELECT {_COPIED}, 'judge', 1.0, 'judge@1' FROM label WHERE source = 'gold'"
)
Flat = dict[str, float | int | str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run took in a process of its own."""

    cpu_s: float
    peak_mb: float


def fill(url: str, decisions: int, length: timedelta) -> None:
    """An empty database, with a cascade that decided so many queries evenly up to `END`."""
    cast = Cast(name=NAME, since=END - length - 8 * DAY)
    traffic = Traffic(
        cascade=NAME,
        start=END - length,
        end=END,
        hourly=decisions / (length / HOUR),
        slices=tuple(f"topic {at}" for at in range(9)),
    )
    with closing_engine(url) as engine:
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _hurry)
        schema.upgrade(engine)
        bundle = _trained(bundle_of(cast, 1), Window(start=END - length, end=END - length / 2))
        with transaction(engine) as session:
            partitions.ensure_partitions(session, {(END - length).date(), END.date()})
            declare(session, cast)
            store(session, cast, bundle, 1, cast.since + DAY)
            assign(session, cast, bundle.id, 1, cast.since + DAY)
            judged = Label(
                cascade=NAME,
                source=LabelSource.JUDGE,
                correct=1.0,
                labelled_at=cast.since,
                grader="judge@1",
                external_id="one of its labels",
            )
            note_graders(session, [judged], now=cast.since)
        add_decisions(engine, Asked(traffic=traffic, count=decisions, bundle=bundle.id, models=MODELS))
        with engine.begin() as connection:
            connection.exec_driver_sql(_GRADED)
            connection.exec_driver_sql("ANALYZE")


def _hurry(connection: Any, _record: object) -> None:
    """Nothing here has to survive a power cut, and rows name only what is there."""
    for setting in ("synchronous = OFF", "foreign_keys = OFF", "cache_size = -400000"):
        connection.execute(f"PRAGMA {setting}")


def _trained(bundle: Bundle, window: Window) -> Bundle:
    """The same bundle, as if it were made from a window of the history."""
    return write_bundle(replace(bundle.document, training_window=window), bundle.tiers)


def hour(engine: Engine) -> None:
    """A run in the middle of the last day."""
    _watch(engine, END - 6 * HOUR)


def day(engine: Engine) -> None:
    """The run that ends the last day."""
    _watch(engine, END)


def _watch(engine: Engine, end: Any) -> None:
    window, now = Window(start=end - HOUR, end=end), end + timedelta(minutes=2)
    assert watch_window(engine, NAME, window, now=now, fence=lambda _session: None).decisions


def join(engine: Engine) -> None:
    """The whole history as figures read it."""
    with reading(engine) as session:
        trusted = cascade(session, NAME).targets.trusted
        whole = Window(start=END - LONG, end=END)
        assert labelled(session, NAME, whole, as_of=NOW, columns=COLUMNS, trusted=trusted).rows


def train(engine: Engine) -> None:
    """The whole history as the trainer reads it."""
    from training.rows.dataset import read_window  # the monitor never loads torch

    with reading(engine) as session:
        spec = cascade(session, NAME)
    assert read_window(engine, spec, Window(start=END - LONG, end=END), as_of=NOW).n


def _cost(task: Callable[[Engine], None], url: str) -> Cost:
    for name in ("evidently", "pyarrow.compute", *(("training.rows.dataset",) if task is train else ())):
        import_module(name)
    with closing_engine(url) as engine:
        before, began = peak_mb(), time.process_time()
        task(engine)
        return Cost(cpu_s=time.process_time() - began, peak_mb=peak_mb() - before)


def alone(task: Callable[[Engine], None], url: str) -> Cost:
    """What a task costs in a fresh process; what it raises is raised here."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_cost, task, url).result()


def measure(quick: bool) -> Figures:
    sizes = QUICK_SIZES if quick else SIZES
    figures: Flat = {}
    with _databases() as new:
        for kind in ("sqlite", "postgresql"):
            for decisions in sizes:
                figures |= _of_history(new(kind), decisions, f"{kind}_{decisions}")
            url = new(kind)
            fill(url, sizes[-1] // 10, SHORT)
            short, long = alone(hour, url).cpu_s, figures[f"hour_cpu_s_{kind}_{sizes[-1]}"]
            figures[f"growth_{kind}"] = math.log10(float(long or 0.0) / short)
            url = new(kind)
            fill(url, sizes[-1], DAY)
            cost = alone(day, url)
            figures |= {f"busy_day_cpu_s_{kind}": cost.cpu_s, f"busy_day_peak_mb_{kind}": cost.peak_mb}
    return figures


def _of_history(url: str, decisions: int, name: str) -> Flat:
    fill(url, decisions, LONG)
    hourly, daily, joined, trained = (alone(task, url) for task in (hour, day, join, train))
    return {
        f"hour_cpu_s_{name}": hourly.cpu_s,
        f"day_cpu_s_{name}": daily.cpu_s,
        f"day_peak_mb_{name}": daily.peak_mb,
        f"labelled_cpu_s_{name}": joined.cpu_s,
        f"labelled_mb_{name}": joined.peak_mb,
        f"train_window_mb_{name}": trained.peak_mb,
    }


@contextmanager
def _databases() -> Iterator[Callable[[str], str]]:
    """Makes an empty database of a kind; its URL."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases = postgresql.Databases(stack.enter_context(postgresql.server()))

        def new(kind: str) -> str:
            if kind == "sqlite":
                return f"sqlite:///{folder / f'{len(list(folder.iterdir()))}.db'}"
            return stack.enter_context(databases.lent()).render_as_string(hide_password=False)

        yield new


if __name__ == "__main__":
    run("monitor", measure)
