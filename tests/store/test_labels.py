"""Labels: late, early, repeated, contradicting each other, and always read as of a time."""

from dataclasses import replace
from threading import Barrier, Thread
from typing import Any

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate.records import LabelSource
from store import ledger
from store.cascades import apply_cascade
from store.decisions import add_decisions
from store.engine import reading, transaction
from store.labels import add_labels, label_delays, labels_of, waiting_count


def test_a_label_without_a_tier_speaks_of_the_served_one(session: Session, cast: Any) -> None:
    kept, passed_on = cast.retained(0), cast.escalated(1)
    add_decisions(session, [kept, passed_on], received_at=cast.at(2))
    added = add_labels(session, [cast.label(kept), cast.label(passed_on)], received_at=cast.at(61))
    assert (added.stored, added.waiting, added.duplicates) == (2, 0, 0)
    assert [label.tier for label in labels_of(session, kept.id)] == [0]
    assert [label.tier for label in labels_of(session, passed_on.id)] == [1]


def test_a_label_that_repeats_exactly_changes_nothing(session: Session, cast: Any) -> None:
    sent = cast.retained(external_id="q")
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label(sent)], received_at=cast.at(61))
    before = labels_of(session, sent.id)
    by_other_names = [cast.label(sent), cast.label("q"), cast.label(sent, tier=0)]
    added = add_labels(session, by_other_names, received_at=cast.at(62))
    assert (added.stored, added.duplicates) == (0, 3)
    assert labels_of(session, sent.id) == before
    assert len(ledger.leaves_of(session, str(before[0].id))) == 1


def test_a_label_said_twice_in_a_batch_is_stored_once(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    added = add_labels(session, [cast.label(sent), cast.label(sent)], received_at=cast.at(61))
    assert (added.stored, added.duplicates) == (1, 1)


def test_a_changed_mind_is_a_further_label(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    labels = [cast.label(sent, correct=1.0), cast.label(sent, correct=0.0), cast.label(sent, correct=0.5)]
    add_labels(session, labels, received_at=cast.at(61))
    assert [label.correct for label in labels_of(session, sent.id)] == [1.0, 0.0, 0.5]


def test_labels_are_read_as_of_a_time(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label(sent, 10)], received_at=cast.at(30))
    add_labels(session, [cast.label(sent, 20, correct=0.0)], received_at=cast.at(40))
    assert [label.correct for label in labels_of(session, sent.id, as_of=cast.at(25))] == []
    assert [label.correct for label in labels_of(session, sent.id, as_of=cast.at(35))] == [1.0]
    assert [label.correct for label in labels_of(session, sent.id)] == [1.0, 0.0]


def test_a_label_that_comes_first_waits_for_its_decision(session: Session, cast: Any) -> None:
    by_id, by_name = cast.retained(0), cast.escalated(1, external_id="q")
    early = [cast.label(by_id, 5, correct=0.0), cast.label("q", 6, correct=0.25)]
    added = add_labels(session, early, received_at=cast.at(7))
    assert (added.stored, added.waiting) == (0, 2)
    assert waiting_count(session, "geo") == 2
    assert add_decisions(session, [by_id, by_name], received_at=cast.at(8)).adopted == 2
    assert waiting_count(session, "geo") == 0
    (first,) = labels_of(session, by_id.id)
    (second,) = labels_of(session, by_name.id)
    assert (first.tier, first.correct, first.received_at) == (0, 0.0, cast.at(7))
    assert (second.tier, second.correct) == (1, 0.25)
    assert len(ledger.leaves_of(session, str(first.id))) == 1


def test_a_waiting_label_that_repeats_waits_once(session: Session, cast: Any) -> None:
    add_labels(session, [cast.label("q")], received_at=cast.at(61))
    added = add_labels(session, [cast.label("q")], received_at=cast.at(62))
    assert (added.waiting, added.duplicates) == (0, 1)
    assert waiting_count(session, "geo") == 1


def test_a_repeated_external_id_means_the_newest_decision_at_the_labels_time(session: Session, cast: Any) -> None:
    first, second = cast.retained(10, external_id="q"), cast.retained(20, external_id="q")
    add_decisions(session, [first, second], received_at=cast.at(21))
    labels = [cast.label("q", 15, correct=0.15), cast.label("q", 25, correct=0.25), cast.label("q", 5, correct=0.05)]
    add_labels(session, labels, received_at=cast.at(30))
    assert [label.correct for label in labels_of(session, first.id)] == [0.15, 0.05]
    assert [label.correct for label in labels_of(session, second.id)] == [0.25]


def test_a_label_of_a_tier_that_did_not_run_is_named(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    added = add_labels(session, [cast.label(sent, tier=2), cast.label(sent, tier=1)], received_at=cast.at(61))
    assert added.stored == 1
    assert [(row.index, row.field, row.value) for row in added.rejected] == [(0, "tier", "2")]


def test_a_label_of_an_unknown_or_another_cascade_is_named(session: Session, cast: Any) -> None:
    apply_cascade(session, replace(cast.spec, name="other"), now=cast.at(0))
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    labels = [cast.label(sent, cascade="other"), cast.label("q", cascade="unheard"), cast.label(sent)]
    added = add_labels(session, labels, received_at=cast.at(61))
    assert added.stored == 1
    assert [(row.index, row.field, row.value) for row in added.rejected] == [
        (0, "cascade", "other"),
        (1, "cascade", "unheard"),
    ]


def test_a_label_by_a_name_that_no_database_can_hold_is_named(session: Session, cast: Any) -> None:
    added = add_labels(
        session, [cast.label("a\x00"), cast.label("q"), cast.label("q", cascade="b\x00")], received_at=cast.at(61)
    )
    assert added.waiting == 1
    assert [(row.index, row.field) for row in added.rejected] == [(0, "external_id"), (2, "cascade")]


def test_delays_run_from_the_decision_to_the_first_arrival(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label(sent, 10, source=LabelSource.JUDGE)], received_at=cast.at(20))
    add_labels(session, [cast.label(sent, 11, source=LabelSource.JUDGE)], received_at=cast.at(30))
    add_labels(session, [cast.label(sent, 12)], received_at=cast.at(50))
    delays = label_delays(session, "geo", cast.window(), as_of=cast.at(60))
    assert dict(zip(delays.source, delays.delay_s, strict=True)) == {"judge": 20 * 60.0, "gold": 50 * 60.0}
    assert label_delays(session, "geo", cast.window(), as_of=cast.at(19)).delay_s.shape == (0,)
    assert delays.delay_s.dtype == np.float64


def test_a_label_and_its_decision_in_parallel_always_meet(geo: Engine, cast: Any) -> None:
    for index in range(8):
        sent = cast.retained(index, external_id=f"q-{index}")
        barrier = Barrier(2)

        def ship(sent: Any = sent, barrier: Barrier = barrier) -> None:
            barrier.wait()
            with transaction(geo) as session:
                add_decisions(session, [sent], received_at=cast.at(20))

        def say(index: int = index, barrier: Barrier = barrier) -> None:
            barrier.wait()
            with transaction(geo) as session:
                add_labels(session, [cast.label(f"q-{index}")], received_at=cast.at(61))

        threads = [Thread(target=ship), Thread(target=say)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with reading(geo) as session:
            assert len(labels_of(session, sent.id)) == 1
            assert waiting_count(session, "geo") == 0


def test_a_label_waits_for_a_decision_whose_transaction_is_still_open(postgresql_url: str, cast: Any) -> None:
    from store.engine import open_engine

    opened = open_engine(postgresql_url)
    sent = cast.retained(external_id="q")
    with transaction(opened) as session:
        apply_cascade(session, cast.spec, now=cast.at(0))

    def say() -> None:
        with transaction(opened) as session:
            add_labels(session, [cast.label("q")], received_at=cast.at(61))

    with transaction(opened) as session:
        add_decisions(session, [sent], received_at=cast.at(1))
        speaker = Thread(target=say)
        speaker.start()
        speaker.join(timeout=0.3)
        assert speaker.is_alive()  # it looks for the decision, and waits for this transaction to end
    speaker.join()
    with reading(opened) as session:
        assert len(labels_of(session, sent.id)) == 1
    opened.dispose()
