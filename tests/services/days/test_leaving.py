"""Rows of written days leave the database, and everything is answered as before."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from factories import make_decision, make_label
from knowgate import Decision, Window
from services.audit.explain import explain
from services.audit.replay_stored import replay_window
from services.audit.verify import verify_ledger
from services.days.leaving import leave
from services.days.writing import erase_from_files, rewrite_changed, write_day
from services.vectors.shard_files import remove_files
from store.days import day_files
from store.days.recall import recall
from store.engine import reading, transaction
from store.ledger import ledger
from store.ledger.erasure import erase_decision
from store.tables import AttemptRow, DecisionRow, LabelRow
from store.traffic.decisions import add_decisions, decisions_between, find_decision, stored_decision
from store.traffic.examples import labelled
from store.traffic.labels import add_labels, labels_of
from store.traffic.vectors import hold_files
from tests.vector_cast import NOW, apply_trivia

DAY = timedelta(days=1)
LATER = NOW + 300 * DAY
SPAN = Window(start=NOW.replace(hour=0), end=NOW.replace(hour=0) + 2 * DAY)


@pytest.fixture
def made(engine: Engine) -> list[Decision]:
    """Decisions of two days with labels, all sealed."""
    apply_trivia(engine)
    made = [
        make_decision(NOW + at * timedelta(hours=9), cascade="trivia", prompt=f"prompt {at}", external_id=f"query {at}")
        for at in range(4)
    ]
    labels = [make_label(one, correct=correct) for one, correct in zip(made, (1.0, 0.0, 1.0), strict=False)]
    with transaction(engine) as session:
        add_decisions(session, made, received_at=NOW + 2 * DAY)
        add_labels(session, labels, received_at=NOW + 2 * DAY)
        ledger.seal_all(session, now=NOW + 2 * DAY)
    return made


def let_go(engine: Engine, base: str) -> int:
    """Write both days and let their rows leave."""
    for day in (Window(start=SPAN.start, end=SPAN.start + DAY), Window(start=SPAN.start + DAY, end=SPAN.end)):
        write_day(engine, "trivia", day, base, now=LATER)
    rewrite_changed(engine, "trivia", base, before=LATER + DAY, now=LATER)
    return leave(engine, 28 * DAY, now=LATER)


def counts(engine: Engine) -> tuple[int, ...]:
    with reading(engine) as session:
        tables = (DecisionRow, AttemptRow, LabelRow)
        return tuple(session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


def answers(engine: Engine, made: list[Decision]) -> list[Any]:
    """What is asked of decisions, one by one and as a window."""
    with reading(engine) as session:
        rows = labelled(session, "trivia", SPAN, as_of=LATER)
        return [
            [stored_decision(session, one.id) for one in made],
            [labels_of(session, one.id) for one in made],
            [explain(session, one) for one in made],
            [find_decision(session, "trivia", f"query {at}") for at in range(len(made))],
            list(decisions_between(session, "trivia", SPAN)),
            replay_window(session, "trivia", SPAN),
            [rows.correct.tolist(), rows.model.tolist(), rows.occurred_at.tolist()],
        ]


def test_what_left_the_tables_is_answered_from_files(engine: Engine, made: list[Decision], tmp_path: Path) -> None:
    before = answers(engine, made)
    assert let_go(engine, str(tmp_path)) == len(made)
    assert counts(engine) == (0, 0, 0)
    assert str(answers(engine, made)) == str(before)
    with reading(engine) as session:
        assert verify_ledger(session).problems == ()
    assert leave(engine, 28 * DAY, now=LATER) == 0


def test_rows_stay_while_something_that_came_is_in_no_file(
    engine: Engine, made: list[Decision], tmp_path: Path
) -> None:
    write_day(engine, "trivia", Window(start=SPAN.start, end=SPAN.start + DAY), str(tmp_path), now=LATER)
    with transaction(engine) as session:
        add_labels(session, [make_label(made[0], correct=0.0, labelled_at=NOW + 3 * DAY)], received_at=LATER)
    assert leave(engine, 28 * DAY, now=LATER) == 0
    assert counts(engine)[0] == len(made)


@pytest.mark.slow
def test_what_is_said_of_a_decision_that_left_brings_it_back(
    engine: Engine, made: list[Decision], tmp_path: Path
) -> None:
    let_go(engine, str(tmp_path))
    late = make_label(made[3], correct=0.0, labelled_at=NOW + 3 * DAY)
    with transaction(engine) as session:
        assert add_labels(session, [late, late], received_at=LATER).stored == 1
        again = add_decisions(session, [made[1]], received_at=LATER)
    assert (again.stored, again.duplicates) == ((), 1)
    assert counts(engine)[0] == 2
    with reading(engine) as session:
        rows = labelled(session, "trivia", SPAN, as_of=LATER)
    assert rows.correct.tolist()[3] == 0.0
    assert let_go(engine, str(tmp_path)) == 2
    assert counts(engine) == (0, 0, 0)
    with reading(engine) as session:
        assert len(labels_of(session, made[3].id)) == 1
        assert verify_ledger(session).problems == ()


@pytest.mark.slow
def test_a_decision_that_left_is_erased(engine: Engine, made: list[Decision], tmp_path: Path) -> None:
    base = str(tmp_path)
    let_go(engine, base)
    with transaction(engine) as session:
        hold_files(session, alone=True)
        recall(session, [made[0].id], now=LATER)
        erase_decision(session, made[0].id, by="ada", now=LATER)
        old = erase_from_files(session, made[0].id, base, now=LATER)
    remove_files(old)
    with reading(engine) as session:
        assert find_decision(session, "trivia", "query 0") is None
        assert stored_decision(session, made[0].id).decision.prompt is None
        referred = {file.url for file in day_files.all_files(session)}
    assert {str(path) for path in tmp_path.rglob("*.parquet")} == referred
    let_go(engine, base)
    with reading(engine) as session:
        assert stored_decision(session, made[0].id).erased_at == LATER
        assert verify_ledger(session).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["gone", "altered"])
def test_no_row_leaves_for_a_file_that_is_not_what_was_written(
    engine: Engine, made: list[Decision], tmp_path: Path, harm: str
) -> None:
    base = str(tmp_path)
    for day in (Window(start=SPAN.start, end=SPAN.start + DAY), Window(start=SPAN.start + DAY, end=SPAN.end)):
        write_day(engine, "trivia", day, base, now=LATER)
    before, (first, *_) = str(answers(engine, made)), sorted(tmp_path.rglob("*.parquet"))
    if harm == "gone":
        first.unlink()
    else:
        content = bytearray(first.read_bytes())
        content[len(content) // 2] ^= 1
        first.chmod(0o600)
        first.write_bytes(content)
    leave(engine, 28 * DAY, now=LATER)
    assert str(answers(engine, made)) == before, "what its file cannot say is in the tables"
    assert rewrite_changed(engine, "trivia", base, before=LATER + DAY, now=LATER) == 1
    leave(engine, 28 * DAY, now=LATER)
    assert counts(engine)[0] == 0 and str(answers(engine, made)) == before
