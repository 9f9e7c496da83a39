"""Rows as Arrow: both ways to them give what was sent, of one snapshot."""

from dataclasses import replace
from itertools import count
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, Select, create_engine, make_url, select
from sqlalchemy.orm import Session

from knowgate._records.records import Decision, Signals
from store import partitions
from store.column_reader import ID, TEXT, TIME, read_columns
from store.dialects import table_of
from store.engine import reading, transaction
from store.releases.cascades import apply_cascade
from store.tables import AttemptRow, DecisionRow
from store.traffic.decisions import add_decisions

SCHEMA = pa.schema(
    [
        ("id", ID),
        ("slice", TEXT),
        ("answer", TEXT),
        ("occurred_at", TIME),
        ("p_t", pa.float64()),
        ("tokens_in", pa.float64()),
        ("tier", pa.int64()),
        ("kept", pa.bool_()),
    ]
)
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
chances = st.none() | st.floats(0.0, 1.0)
wholes = st.none() | st.integers(0, 2**53)
asked = st.lists(st.tuples(texts, texts, chances, wholes), min_size=1, max_size=4)
minutes = count(step=10)  # every example has a window of its own


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=asked)
def test_what_was_sent_is_read_either_way_whatever_it_holds(geo: Engine, cast: Any, asked: list[Any]) -> None:
    first = next(minutes)
    sent = [_decision(cast, first + at / 10, *one) for at, one in enumerate(asked)]
    with transaction(geo) as session:
        add_decisions(session, sent, received_at=cast.at(first + 10))
    expected = [
        {
            "id": one.id.bytes,
            "slice": one.slice,
            "answer": attempt.answer,
            "occurred_at": one.occurred_at.replace(tzinfo=None),
            "p_t": attempt.signals.p_t,
            "tokens_in": attempt.tokens_in,
            "tier": attempt.tier,
            "kept": None if attempt.verdict is None else attempt.verdict.action == "retain",
        }
        for one in sent
        for attempt in one.attempts
    ]
    with reading(geo) as session:
        for many in (False, True):
            assert _read(session, _rows(cast, first, first + 10), many=many) == expected


def test_both_ways_see_the_snapshot_of_the_transaction(geo: Engine, cast: Any) -> None:
    with transaction(geo) as session:
        add_decisions(session, [cast.retained(0)], received_at=cast.at(1))
    with reading(geo) as session:
        before = _read(session, _rows(cast, 0, 60), many=False)
        with transaction(geo) as other:
            add_decisions(other, [cast.escalated(2)], received_at=cast.at(3))
        assert _read(session, _rows(cast, 0, 60), many=True) == before
    assert len(before) == 2


def test_a_transaction_that_writes_reads_what_it_wrote(session: Session, cast: Any) -> None:
    add_decisions(session, [cast.retained(0)], received_at=cast.at(1))
    assert len(_read(session, _rows(cast, 0, 60), many=True)) == 2


def test_where_adbc_cannot_connect_the_cursor_reads_and_the_log_says_so_without_the_password(
    postgresql_url: str, cast: Any, caplog: pytest.LogCaptureFixture
) -> None:
    plain = make_url(postgresql_url).set(drivername="postgresql").render_as_string(hide_password=False)
    elsewhere = "postgresql+psycopg://ada:secret@127.0.0.1:9/none"
    engine = create_engine(elsewhere, creator=lambda: psycopg.connect(plain, options="-c timezone=UTC"))
    with transaction(engine) as session:
        apply_cascade(session, cast.spec, now=cast.at(-60))
        add_decisions(session, [cast.retained(0)], received_at=cast.at(1))
    with reading(engine) as session:
        assert len(_read(session, _rows(cast, 0, 60), many=True)) == 2
    engine.dispose()
    assert "ADBC cannot connect" in caplog.text and "secret" not in caplog.text


def _rows(cast: Any, first: float, last: float) -> Select[Any]:
    decision, attempt = table_of(DecisionRow), table_of(AttemptRow)
    columns = (decision.c.id, decision.c.slice, attempt.c.answer, decision.c.occurred_at, attempt.c.p_t)
    return (
        select(*columns, attempt.c.tokens_in, attempt.c.tier, (attempt.c.action == "retain").label("kept"))
        .join(attempt, attempt.c.decision_id == decision.c.id)
        .where(decision.c.id >= partitions.first_id(cast.at(first)), decision.c.id < partitions.first_id(cast.at(last)))
        .order_by(decision.c.id, attempt.c.tier)
    )


def _read(session: Session, statement: Select[Any], *, many: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pa.Table.from_batches(
        [*read_columns(session, statement, SCHEMA, many=many)], schema=SCHEMA
    ).to_pylist()
    return found


def _decision(cast: Any, at: float, name: Any, answer: Any, p_t: Any, tokens: Any) -> Decision:
    plain: Decision = cast.retained(at, slice=name)
    small, large = plain.attempts
    small = replace(small, signals=Signals(p_t=p_t), tokens_in=tokens, answer=answer)
    return replace(plain, attempts=(small, large))
