"""The join: one row per attempt, with the label in force as of a time."""

from dataclasses import replace
from datetime import UTC
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from knowgate._records.records import LabelSource, Reason
from store.engine import reading, transaction
from store.traffic.attempt_columns import uuids
from store.traffic.decisions import add_decisions
from store.traffic.examples import labelled
from store.traffic.label_sources import labels_by_source
from store.traffic.labels import add_labels
from store.traffic.uncertified import uncertified
from store.traffic.vectors import VectorRow, add_shard


def test_every_attempt_is_a_row_labelled_or_not(session: Session, cast: Any) -> None:
    first, second = cast.retained(0), cast.escalated(1)
    add_decisions(session, [second, first], received_at=cast.at(2))
    add_labels(session, [cast.label(first, label_propensity=0.5)], received_at=cast.at(61))
    rows = labelled(session, "geo", cast.window(), as_of=cast.at(120))
    assert rows.uuids() == [first.id, first.id, second.id, second.id]
    assert rows.tier.tolist() == [0, 1, 0, 1]
    assert rows.decision.tolist() == [0, 0, 1, 1]
    assert rows.role.tolist() == ["served", "exploration", "superseded", "served"]
    np.testing.assert_array_equal(rows.correct, [1.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(rows.label_propensity, [0.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(rows.run_propensity, [1.0, 0.05, np.nan, np.nan])
    np.testing.assert_array_equal(rows.p_t, [0.1 + 0.2, np.nan, 0.2, np.nan])
    assert rows.retained.tolist() == [True, False, False, False]
    assert rows.reason.tolist() == [None, None, "p_t", None]
    assert rows.answer.tolist() == ["France", "France", None, None]
    assert rows.label_source.tolist() == ["gold", None, None, None]
    assert rows.generation.tolist() == [4, 4, -1, -1]
    assert rows.occurred_at[0].astype(object).replace(tzinfo=UTC) == cast.at(0)
    assert np.isnat(rows.labelled_at).tolist() == [False, True, True, True]


def test_requests_that_no_certificate_covers_are_no_examples_and_their_cost_is_read_apart(
    session: Session, cast: Any
) -> None:
    plain, other = cast.escalated(1), cast.escalated(2)
    served = replace(other.served, fault=Reason.UNCERTIFIED_REQUEST, cost_usd=0.5, tokens_in=7, tokens_out=2)
    outside = replace(other, attempts=(served,), slice="tools")
    late = replace(outside, id=new_id(cast.at(3)), occurred_at=cast.at(3))
    add_decisions(session, [plain, outside], received_at=cast.at(4))
    add_decisions(session, [late], received_at=cast.at(90))
    add_labels(session, [cast.label(outside, tier=1)], received_at=cast.at(61))
    rows = labelled(session, "geo", cast.window(), as_of=cast.at(80))
    assert rows.uuids() == [plain.id, plain.id]
    apart = uncertified(session, "geo", cast.window(), as_of=cast.at(80))
    assert (uuids(apart.ids), apart.slice.tolist(), apart.usd.tolist()) == ([outside.id], ["tools"], [0.5])
    assert apart.gflops.tolist() == [cast.spec.tiers[1].gflops(9)]
    both = uncertified(session, "geo", cast.window(), as_of=cast.at(100))
    assert uuids(both.ids) == [outside.id, late.id]
    assert not len(uncertified(session, "geo", cast.window(5), as_of=cast.at(100)).ids)


def test_tiers_pair_by_decision(session: Session, cast: Any) -> None:
    sent = [cast.retained(0), cast.retained(1), cast.escalated(2)]
    add_decisions(session, sent, received_at=cast.at(3))
    labels = [cast.label(sent[0], tier=0), cast.label(sent[0], tier=1, correct=0.0), cast.label(sent[2], tier=1)]
    add_labels(session, labels, received_at=cast.at(61))
    rows = labelled(session, "geo", cast.window(), as_of=cast.at(120))
    assert (rows.rows, rows.decisions) == (6, 3)
    np.testing.assert_array_equal(rows.column_at("correct", 0), [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(rows.column_at("correct", 1), [0.0, np.nan, 1.0])
    assert rows.at_tier(1).tolist() == [1, 3, 5]
    assert rows.at_tier(2).tolist() == [-1, -1, -1]


def test_an_empty_window_has_no_rows_and_all_columns(session: Session, cast: Any) -> None:
    rows = labelled(session, "geo", cast.window(), as_of=cast.at(120))
    assert (rows.rows, rows.decisions) == (0, 0)
    assert rows.correct.dtype == np.float64
    assert rows.at_tier(0).shape == (0,)


def test_a_window_takes_its_start_and_leaves_its_end(session: Session, cast: Any) -> None:
    sent = [cast.escalated(minutes) for minutes in (9, 10, 19, 20)]
    add_decisions(session, sent, received_at=cast.at(21))
    rows = labelled(session, "geo", cast.window(10, 20), as_of=cast.at(120))
    assert rows.uuids()[::2] == [sent[1].id, sent[2].id]


def test_a_decision_received_later_is_not_there_yet(session: Session, cast: Any) -> None:
    add_decisions(session, [cast.escalated(0)], received_at=cast.at(30))
    assert labelled(session, "geo", cast.window(), as_of=cast.at(29)).rows == 0
    assert labelled(session, "geo", cast.window(), as_of=cast.at(30)).rows == 2


def test_a_label_counts_once_it_is_both_made_and_received(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label(sent, 40.9)], received_at=cast.at(40))  # dated ahead of its arrival
    known = [labelled(session, "geo", cast.window(), as_of=cast.at(at)).correct[0] for at in (39, 40.5, 41)]
    np.testing.assert_array_equal(known, [np.nan, np.nan, 1.0])


def test_a_vector_is_named_by_shard_and_row(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    place = VectorRow(decision_id=sent.id, tier=0, row=7, sha256="c" * 64)
    add_shard(session, "geo", "file:///shards/1.safetensors", "d" * 64, [place], dimension=8, now=cast.at(1))
    rows = labelled(session, "geo", cast.window(), as_of=cast.at(120))
    assert rows.shard.tolist() == ["file:///shards/1.safetensors", None]
    assert rows.row.tolist() == [7, -1]


said = st.tuples(
    st.sampled_from(list(LabelSource)),
    st.integers(0, 20),  # when it was made
    st.integers(0, 20),  # when it was received
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(said, max_size=8), as_of=st.integers(0, 21))
def test_the_label_in_force_is_the_strongest_source_and_in_it_the_newest_statement(
    geo: Engine, cast: Any, labels: list[tuple[LabelSource, int, int, float]], as_of: int
) -> None:
    """Against the plain definition, on both databases."""
    with Session(geo) as session:
        sent = cast.retained()
        add_decisions(session, [sent], received_at=cast.at(0))
        arrivals = []
        for source, made, received, correct in sorted(labels, key=lambda label: label[2]):
            label = cast.label(sent, made, source=source, correct=correct)
            if add_labels(session, [label], received_at=cast.at(received)).stored:
                arrivals.append((source, made, received, correct))
        rows = labelled(session, "geo", cast.window(), as_of=cast.at(as_of))
        session.rollback()
    expected = np.nan
    for source in LabelSource:
        candidates = [item for item in arrivals if item[0] is source and item[1] <= as_of and item[2] <= as_of]
        if candidates:
            expected = max(candidates, key=lambda item: item[1])[3]  # of one time only what says the same is stored
            break
    np.testing.assert_equal(rows.correct[0], expected)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_labels_that_say_the_same_the_one_that_tells_its_propensity_is_in_force(
    session: Session, cast: Any, order: tuple[int, int]
) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(0))
    said = (cast.label(sent, label_propensity=0.5, grader="anna"), cast.label(sent))
    for at, index in enumerate(order):
        assert add_labels(session, [said[index]], received_at=cast.at(61 + at)).stored == 1
    rows = labelled(session, "geo", cast.window(), as_of=cast.at(120))
    assert rows.label_propensity[0] == 0.5
    labels = labels_by_source(session, "geo", cast.window(), as_of=cast.at(120))
    assert (labels.label_propensity.tolist(), labels.grader.tolist()) == ([0.5], ["anna"])


@pytest.mark.slow
def test_a_window_of_twenty_thousand_decisions_joins_in_one_read(geo: Engine, cast: Any) -> None:
    total, batch = 20_000, 5_000
    for start in range(0, total, batch):
        sent = [cast.escalated(index / 100) for index in range(start, start + batch)]
        labels = [cast.label(item, 2000, tier=tier) for item in sent for tier in (0, 1)]
        with transaction(geo) as session:
            add_decisions(session, sent, received_at=cast.at(1000))
            assert add_labels(session, labels, received_at=cast.at(2000)).stored == 2 * batch
    with reading(geo) as session:
        rows = labelled(session, "geo", cast.window(), as_of=cast.at(3000))
    assert (rows.rows, rows.decisions) == (2 * total, total)
    assert not np.isnan(rows.correct).any()
