"""Days are written once their labels are in, by a job whose effect is single; what comes late is
read beside them and taken in.
"""

from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine

from factories import make_decision, make_label
from knowgate import Decision
from services.audit.verify import verify_ledger
from services.clock import SimulatedClock
from services.days.writing import erase_from_files
from services.jobs.days import CHANGED_FOR, DaysJob
from services.jobs.job import JobContext, run_due
from services.jobs.seal import SealJob
from services.settings import read_settings
from services.vectors.shard_files import remove_files
from store.days import day_files
from store.days.day_files import DayFile
from store.engine import reading, transaction
from store.ledger.erasure import erase_decision
from store.partitions import first_id
from store.releases.cascades import cascade
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.traffic.vectors import hold_files
from tests.vector_cast import NOW, apply_trivia

DAY = timedelta(days=1)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NOW)


@pytest.fixture
def context(engine: Engine, tmp_path: Path, clock: SimulatedClock) -> JobContext:
    apply_trivia(engine)
    settings = read_settings({"KNOWGATE_DATA_DIR": str(tmp_path)})
    return JobContext(engine=engine, settings=settings, clock=clock, owner="test")


def decide(engine: Engine, *days: int) -> list[Decision]:
    made = [make_decision(NOW + day * DAY, cascade="trivia", prompt=f"prompt of day {day}") for day in days]
    with transaction(engine) as session:
        add_decisions(session, made, received_at=NOW + max(days) * DAY)
    return made


def files(engine: Engine) -> tuple[DayFile, ...]:
    with reading(engine) as session:
        return day_files.all_files(session)


def test_a_day_is_written_once_when_it_is_mature_and_sealed(context: JobContext, clock: SimulatedClock) -> None:
    engine = context.engine
    decide(engine, 0, 0, 1)
    with reading(engine) as session:
        horizon = cascade(session, "trivia").horizon
    clock.set(NOW + DAY + horizon)
    assert run_due(context, DaysJob()) == (), "not all is sealed that was said of the day"
    run_due(context, SealJob())
    (outcome,) = run_due(context, DaysJob())
    assert outcome.outcome == "wrote 1 files"
    (file,) = files(engine)
    assert (file.decisions, file.low, file.labels) == (2, first_id(NOW.replace(hour=0)), 0)
    assert run_due(context, DaysJob()) == (), "and not again"
    with reading(engine) as session:
        assert verify_ledger(session).verified


def write_all(context: JobContext, clock: SimulatedClock, *days: int) -> list[Decision]:
    """Decisions of these days, written."""
    made = decide(context.engine, *days)
    with reading(context.engine) as session:
        horizon = cascade(session, "trivia").horizon
    clock.set(NOW + (max(days) + 1) * DAY + horizon)
    run_due(context, SealJob())
    run_due(context, DaysJob())
    return made


def test_what_comes_late_is_said_at_once_and_taken_in_a_day_later(context: JobContext, clock: SimulatedClock) -> None:
    engine = context.engine
    first, _ = write_all(context, clock, 0, 1)
    (before, other) = files(engine)
    assert (before.changed_at, other.changed_at) == (None, None)
    said = make_label(first, labelled_at=NOW + timedelta(hours=1))
    with transaction(engine) as session:
        assert add_labels(session, [said], received_at=clock.now()).stored == 1
    (changed, other) = files(engine)
    assert (changed.changed_at, changed.sha256, other.changed_at) == (clock.now(), before.sha256, None)
    clock.set(clock.now() + 2 * CHANGED_FOR)
    decide_at = make_decision(clock.now(), cascade="trivia")
    with transaction(engine) as session:
        add_decisions(session, [decide_at], received_at=clock.now())
    run_due(context, SealJob())
    run_due(context, DaysJob())
    (again, _) = files(engine)
    assert (again.changed_at, again.labels) == (None, 1)
    assert not Path(before.url).exists() or again.url != before.url


def test_what_is_erased_is_in_no_file_of_a_day(context: JobContext, clock: SimulatedClock, tmp_path: Path) -> None:
    engine = context.engine
    first, second, _ = write_all(context, clock, 0, 0, 1)
    (before, _) = files(engine)
    assert texts_in(tmp_path) == {"prompt of day 0", "prompt of day 1"}
    with transaction(engine) as session:
        hold_files(session, alone=True)
        erase_decision(session, first.id, by="ada", now=context.clock.now())
        old = erase_from_files(session, first.id, context.settings.shards_url, now=context.clock.now())
    remove_files(old)
    assert old == (before.url,)
    (after, _) = files(engine)
    assert (after.erased, after.decisions, after.changed_at) == (1, 2, None)
    with transaction(engine) as session:
        hold_files(session, alone=True)
        erase_decision(session, second.id, by="ada", now=context.clock.now())
        remove_files(erase_from_files(session, second.id, context.settings.shards_url, now=context.clock.now()))
    assert texts_in(tmp_path) == {"prompt of day 1"}
    with reading(engine) as session:
        assert verify_ledger(session).verified


def test_a_file_that_is_gone_or_changed_is_found(context: JobContext, clock: SimulatedClock) -> None:
    write_all(context, clock, 0, 1)
    (first, second) = files(context.engine)
    Path(first.url).unlink()
    with Path(second.url).open("r+b") as file:
        file.seek(100)
        file.write(b"x")
    with reading(context.engine) as session:
        verification = verify_ledger(session)
    assert [problem.id.partition("/")[2] for problem in verification.problems] == [str(first.low), str(second.low)]


def texts_in(folder: Path) -> set[str]:
    """The prompts of all Parquet files of a folder, of whatever name."""
    found = [pq.read_table(path).column("prompt").to_pylist() for path in folder.rglob("*.parquet")]
    return {text for texts in found for text in texts if text is not None}
