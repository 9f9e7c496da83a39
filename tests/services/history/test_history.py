"""An outcome table becomes history and comes out of it again; nothing is guessed on the way."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy import Engine

from factories import make_fingerprint
from knowgate import Fingerprint, LabelSource, Role, Window, decided_at
from knowgate._deciding.privacy import SecretKey
from services.errors import InputInvalid, TableInvalid
from services.history.export_outcomes import export_outcomes
from services.history.hidden_states import HiddenSource, HiddenStates, read_hidden_states
from services.history.import_outcomes import Imported, import_outcomes, require_tiers
from services.history.recorded_decisions import Recorded, recorded_decisions
from services.outcome_tables.outcomes import KNOWN, OutcomeTable, read_outcomes, write_outcomes
from store.engine import reading
from store.errors import CascadeUnknown
from store.releases import cascades
from store.shards import shards
from store.traffic import decisions, labels, vectors

START = datetime(2026, 2, 1, tzinfo=UTC)
SPAN = Window(start=START, end=START + timedelta(days=10))
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
KEY = SecretKey(b"a hash key for tests")

FULL = (
    "query_id,tier,model,p_t,entropy,margin,p_t_kind,correct,slice,occurred_at,labelled_at,run_propensity,"
    "label_propensity,label_source,role\n"
    "a,0,tiny,0.91,0.2,0.85,option,1,law,2026-02-01T00:00:00Z,2026-02-02T00:00:00Z,1,0.5,human,superseded\n"
    "a,1,huge,0.99,,,first_token,1,law,2026-02-01T00:00:00Z,2026-02-02T00:00:00Z,1,0.5,human,served\n"
    "b,0,tiny,0.4,1.1,0.1,option,,art,2026-02-01T01:00:00.25Z,,1,,,served\n"
    "b,1,huge,,,,,0,art,2026-02-01T01:00:00.25Z,2026-02-01T02:00:00Z,0.25,1,gold,exploration\n"
    "c,0,tiny,0.95,,,mean,,,2026-02-02T00:00:00Z,,1,,,served\n"
    "d,0,tiny,,,,,,,2026-02-02T01:00:00Z,,0.25,,,skipped\n"
    "d,1,huge,,,,,,,2026-02-02T01:00:00Z,,1,,,served\n"
)


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], OutcomeTable]:
    """Makes an outcome table of CSV text."""

    def make(text: str) -> OutcomeTable:
        path = tmp_path / "outcomes.csv"
        path.write_text(text)
        return read_outcomes(path)

    return make


@pytest.fixture
def complete(table: Callable[[str], OutcomeTable]) -> OutcomeTable:
    """Three queries on two tiers, all run and all graded, without a time."""
    rows = "".join(f"q{index},{tier},m{tier},0.{index + 3},{index % 2}\n" for index in range(3) for tier in (0, 1))
    return table("query_id,tier,model,p_t,correct\n" + rows)


def store(engine: Engine, rows: Any, **options: Any) -> Imported:
    return import_outcomes(engine, rows, "trivia", key=KEY, now=NOW, **options)


def roles(row: Recorded) -> list[tuple[int, Role]]:
    return [(attempt.tier, attempt.role) for attempt in row.decision.attempts]


def test_a_fully_recorded_table_left_nothing_to_chance(complete: OutcomeTable) -> None:
    rows = list(recorded_decisions(complete, "trivia", span=SPAN))
    assert [row.decision.external_id for row in rows] == ["q0", "q1", "q2"]
    for row in rows:
        assert roles(row) == [(0, Role.SUPERSEDED), (1, Role.SERVED)]
        assert [attempt.run_propensity for attempt in row.decision.attempts] == [1.0, 1.0]
        assert [label.label_propensity for label in row.labels] == [1.0, 1.0]
        assert all(label.source is LabelSource.GOLD for label in row.labels)


def test_queries_without_a_time_are_spread_evenly_over_the_span(complete: OutcomeTable) -> None:
    times = [row.decision.occurred_at for row in recorded_decisions(complete, "trivia", span=SPAN)]
    assert times == [START + index * timedelta(days=10) / 3 for index in range(3)]
    with pytest.raises(TableInvalid, match="--start and --end"):
        list(recorded_decisions(complete, "trivia"))


def test_an_incomplete_table_keeps_unknown_propensities_unknown(table: Callable[[str], OutcomeTable]) -> None:
    partial = table("query_id,tier,model,correct\na,0,tiny,1\na,1,huge,\nb,0,tiny,0\n")
    first, second = recorded_decisions(partial, "trivia", span=SPAN)
    assert [attempt.run_propensity for attempt in first.decision.attempts] == [None, None]
    assert first.labels[0].label_propensity is None
    assert roles(second) == [(0, Role.SERVED)]


def test_a_last_tier_that_ran_by_chance_was_an_exploration(table: Callable[[str], OutcomeTable]) -> None:
    explored = table("query_id,tier,model,run_propensity\na,0,tiny,1\na,1,huge,0.25\nb,0,tiny,1\nb,1,huge,1\n")
    first, second = recorded_decisions(explored, "trivia", span=SPAN)
    assert roles(first) == [(0, Role.SERVED), (1, Role.EXPLORATION)]
    assert roles(second) == [(0, Role.SUPERSEDED), (1, Role.SERVED)]
    assert first.decision.exploration_rate == second.decision.exploration_rate == 0.25


def test_an_id_is_made_of_the_row_and_carries_its_time(complete: OutcomeTable) -> None:
    first = [row.decision for row in recorded_decisions(complete, "trivia", span=SPAN)]
    again = [row.decision for row in recorded_decisions(complete, "trivia", span=SPAN)]
    other = [row.decision for row in recorded_decisions(complete, "other", span=SPAN)]
    assert [row.id for row in first] == [row.id for row in again]
    assert not {row.id for row in first} & {row.id for row in other}
    for row in first:
        assert row.id.version == 7
        assert abs(decided_at(row.id) - row.occurred_at) < timedelta(milliseconds=1)


def test_roles_that_do_not_fit_together_are_named(table: Callable[[str], OutcomeTable]) -> None:
    twice = table("query_id,tier,model,role\na,0,tiny,served\na,1,huge,served\n")
    with pytest.raises(TableInvalid, match=r"query 'a'.*2 served"):
        list(recorded_decisions(twice, "trivia", span=SPAN))
    half = table("query_id,tier,model,role\na,0,tiny,served\na,1,huge,\n")
    with pytest.raises(TableInvalid, match="tier 1 has no role"):
        list(recorded_decisions(half, "trivia", span=SPAN))


@pytest.mark.usefixtures("trivia")
def test_an_imported_table_is_there_once_however_often_it_comes(engine: Engine, complete: OutcomeTable) -> None:
    heard: list[int] = []
    done = store(engine, recorded_decisions(complete, "trivia", span=SPAN), report=heard.append)
    assert (done.decisions, done.labels, done.duplicates, heard) == (3, 6, 0, [3])
    again = store(engine, recorded_decisions(complete, "trivia", span=SPAN))
    assert (again.decisions, again.labels, again.duplicates) == (0, 0, 3)
    with reading(engine) as session:
        decision = decisions.find_decision(session, "trivia", "q1")
        assert decision is not None
        assert [row.correct for row in labels.labels_of(session, decision.id)] == [1.0, 1.0]


@pytest.mark.usefixtures("trivia")
def test_a_query_of_tomorrow_is_not_imported(engine: Engine, table: Callable[[str], OutcomeTable]) -> None:
    when = (NOW + timedelta(hours=2)).isoformat()
    rows = "".join(f"q,{tier},m{tier},0.5,{when}\n" for tier in (0, 1))
    outcomes = table("query_id,tier,model,p_t,occurred_at\n" + rows)
    with pytest.raises(TableInvalid, match=r"occurred_at of query 'q' is .*: it is after now .*; correct the clock"):
        store(engine, recorded_decisions(outcomes, "trivia"))


@pytest.mark.usefixtures("trivia")
def test_a_label_that_is_refused_is_told_by_its_query(engine: Engine, table: Callable[[str], OutcomeTable]) -> None:
    head = "query_id,tier,model,p_t,correct,occurred_at,labelled_at\n"
    rows = "".join(
        f"{name},{tier},m{tier},0.5,1,2026-03-02T09:00:00Z,2026-03-0{day}T10:00:00Z\n"
        for name, day in (("a", 2), ("b", 1))
        for tier in (0, 1)
    )
    with pytest.raises(TableInvalid, match=r"query 'b': labelled_at is '2026-03-01.*nobody could judge"):
        store(engine, recorded_decisions(table(head + rows), "trivia"))


def test_queries_from_before_ids_begin_are_refused(complete: OutcomeTable) -> None:
    span = Window(start=datetime(1969, 12, 31, tzinfo=UTC), end=START)
    with pytest.raises(TableInvalid, match=r"--start is 1969-12-31.*: give a time from 1970 on"):
        list(recorded_decisions(complete, "trivia", span=span))


@pytest.mark.usefixtures("trivia")
def test_a_correction_needs_a_time_of_its_own(engine: Engine, table: Callable[[str], OutcomeTable]) -> None:
    head = "query_id,tier,model,p_t,correct,labelled_at\n"
    first = table(head + "q,0,m0,0.5,1,2026-03-02T00:00:00Z\nq,1,m1,0.5,1,\n")
    other = table(head + "q,0,m0,0.5,0,2026-03-02T00:00:00Z\nq,1,m1,0.5,1,\n")
    later = table(head + "q,0,m0,0.5,0,2026-03-03T00:00:00Z\nq,1,m1,0.5,1,\n")
    store(engine, recorded_decisions(first, "trivia", span=SPAN))
    with pytest.raises(TableInvalid, match=r"correct is '0': another gold label of this answer.*later labelled_at"):
        store(engine, recorded_decisions(other, "trivia", span=SPAN))
    assert store(engine, recorded_decisions(later, "trivia", span=SPAN)).labels == 1


@pytest.mark.usefixtures("trivia")
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_history_exported_is_the_table_that_was_imported(
    engine: Engine, table: Callable[[str], OutcomeTable], tmp_path: Path, suffix: str
) -> None:
    given = table(FULL)
    store(engine, recorded_decisions(given, "trivia"))
    with reading(engine) as session:
        exported = export_outcomes(session, "trivia", SPAN, as_of=NOW)
    path = tmp_path / f"exported{suffix}"
    write_outcomes(exported, path)
    again = read_outcomes(path)
    for name in (*(name for name in KNOWN if name not in ("query_id", "tier", "cost_usd")), "query_ids", "ran"):
        one, other = getattr(given, name), getattr(again, name)
        assert ((one == other) | ((one != one) & (other != other))).all(), name


@pytest.mark.usefixtures("trivia")
def test_a_kind_of_p_t_that_nobody_said_is_exported_as_the_cascade_declared_it(
    engine: Engine, complete: OutcomeTable
) -> None:
    store(engine, recorded_decisions(complete, "trivia", span=SPAN))
    with reading(engine) as session:
        exported = export_outcomes(session, "trivia", SPAN, as_of=NOW)
    shows = np.isfinite(exported.p_t)
    assert set(exported.p_t_kind[shows]) == {"first_token"}
    assert all(kind is None for kind in exported.p_t_kind[~shows])


@pytest.mark.usefixtures("trivia")
def test_an_export_holds_what_was_known_then(engine: Engine, table: Callable[[str], OutcomeTable]) -> None:
    store(engine, recorded_decisions(table(FULL), "trivia"))
    with reading(engine) as session:
        before = export_outcomes(session, "trivia", SPAN, as_of=NOW)
        assert np.isfinite(before.correct).sum() == 3
        with pytest.raises(InputInvalid, match="no decision"):
            export_outcomes(session, "trivia", SPAN, as_of=START)
        with pytest.raises(CascadeUnknown):
            export_outcomes(session, "unheard-of", SPAN, as_of=NOW)


@pytest.mark.usefixtures("trivia")
def test_a_table_of_more_tiers_than_the_cascade_is_refused(
    engine: Engine, table: Callable[[str], OutcomeTable]
) -> None:
    three = table("query_id,tier,model\na,0,s\na,1,m\na,2,l\n")
    with reading(engine) as session, pytest.raises(TableInvalid, match="3 tiers and cascade trivia has 2"):
        require_tiers(three, cascades.cascade(session, "trivia"))


def fingerprint() -> Fingerprint:
    return make_fingerprint(model="tiny", layer=1)


@pytest.mark.usefixtures("trivia")
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_hidden_states_go_with_their_attempts(
    engine: Engine, complete: OutcomeTable, tmp_path: Path, suffix: str
) -> None:
    hidden = np.arange(8, dtype=np.float32).reshape(2, 4)
    path = tmp_path / f"hidden{suffix}"
    if suffix == ".npz":
        np.savez(path, hidden=hidden, query_id=np.array(["q2", "q0"]), tier=np.array([0, 0]))
    else:
        save_file({"hidden": hidden, "tier": np.array([0, 0])}, path, metadata={"query_id": json.dumps(["q2", "q0"])})
    source = HiddenSource(
        states=read_hidden_states(path, complete), fingerprint=fingerprint(), shards_url=str(tmp_path / "shards")
    )
    rows = list(recorded_decisions(complete, "trivia", span=SPAN))
    assert store(engine, rows, hidden=source).vectors == 2
    ids = {row.decision.external_id: row.decision.id for row in rows}
    with reading(engine) as session:
        places = vectors.vector_rows(session, "trivia", 0, ids.values())
        stored = decisions.decision(session, ids["q2"])
    assert set(places) == {ids["q0"], ids["q2"]}
    np.testing.assert_array_equal(shards.read_rows(places[ids["q2"]].url, [places[ids["q2"]].row])[0], hidden[0])
    assert stored.attempts[0].fingerprint == fingerprint() and stored.attempts[1].fingerprint is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"hidden": np.ones((1, 4)), "tier": [0]}, "query_id"),
        ({"hidden": np.ones(4), "query_id": ["q0"], "tier": [0]}, r"\[n, d\]"),
        ({"hidden": np.ones((2, 4)), "query_id": ["q0"], "tier": [0]}, "2 vectors, 1 query ids"),
        ({"hidden": np.full((1, 4), np.nan), "query_id": ["q0"], "tier": [0]}, "not finite"),
        ({"hidden": np.ones((1, 4)), "query_id": ["q9"], "tier": [0]}, "which the table has not"),
        ({"hidden": np.ones((1, 4)), "query_id": ["q0"], "tier": [5]}, "which the table has not"),
        ({"hidden": np.ones((2, 4)), "query_id": ["q0", "q0"], "tier": [0, 0]}, "two vectors"),
        ({"hidden": np.array([[{}]], dtype=object), "query_id": ["q0"], "tier": [0]}, "cannot be read"),
    ],
)
def test_hidden_states_that_do_not_fit_are_named(
    complete: OutcomeTable, tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    path = tmp_path / "hidden.npz"
    content: dict[str, Any] = {name: np.asarray(values) for name, values in arrays.items()}
    np.savez(path, **content)
    with pytest.raises(TableInvalid, match=message):
        read_hidden_states(path, complete)


def test_hidden_states_are_found_by_query_and_tier() -> None:
    states = HiddenStates(vectors=np.ones((1, 2), np.float16), row_of={("q0", 0): 0})
    assert states.of("q0", 0) is not None and states.of("q0", 1) is None
