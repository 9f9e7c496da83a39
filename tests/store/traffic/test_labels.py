"""Labels: late, early, repeated, contradicting each other, and always read as of a time."""

import json
from dataclasses import replace
from threading import Barrier, Event, Thread
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource
from store.engine import reading, transaction
from store.labelling.graders import GraderError, add_error, graders
from store.ledger import ledger
from store.releases.cascades import apply_cascade
from store.traffic.decisions import add_decisions
from store.traffic.examples import labelled
from store.traffic.label_sources import labels_by_source
from store.traffic.labels import add_labels, labels_of, waiting_count, waiting_counts, waiting_external_ids


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
    assert [leaf.kind for leaf in ledger.unsealed(session)].count("label") == 1


def test_the_callers_trace_may_stand_for_the_external_id(session: Session, cast: Any) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    early, late = (cast.escalated(at, external_id=f"q{at}", trace_id=trace) for at in (0, 1))
    assert add_labels(session, [cast.label(trace)], received_at=cast.at(61)).waiting == 1
    assert add_decisions(session, [early], received_at=cast.at(62)).adopted == 1
    add_decisions(session, [late], received_at=cast.at(63))
    added = add_labels(session, [cast.label(trace, correct=0.5)], received_at=cast.at(64))
    assert (added.stored, added.waiting) == (1, 0)
    assert [one.decisions for one in added.ambiguous] == [2]
    assert [[label.correct for label in labels_of(session, one.id)] for one in (early, late)] == [[1.0], [0.5]]


def test_a_label_keeps_where_it_came_from_also_while_it_waits(session: Session, cast: Any) -> None:
    sent = cast.retained(external_id="q")
    add_labels(session, [replace(cast.label("q"), origin="mlflow:a-1")], received_at=cast.at(61))
    add_decisions(session, [sent], received_at=cast.at(62))
    again = add_labels(session, [replace(cast.label("q"), origin="mlflow:a-1")], received_at=cast.at(63))
    assert again.duplicates == 1
    assert [label.origin for label in labels_of(session, sent.id)] == ["mlflow:a-1"]


def test_a_label_said_twice_in_a_batch_is_stored_once(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    added = add_labels(session, [cast.label(sent), cast.label(sent)], received_at=cast.at(61))
    assert (added.stored, added.duplicates) == (1, 1)


def test_a_changed_mind_is_a_further_label(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    labels = [cast.label(sent, 58, correct=1.0), cast.label(sent, 59, correct=0.0), cast.label(sent, correct=0.5)]
    add_labels(session, labels, received_at=cast.at(61))
    assert [label.correct for label in labels_of(session, sent.id)] == [1.0, 0.0, 0.5]


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
    assert [json.loads(leaf.payload or "").get("gone") for leaf in ledger.leaves_of(session, str(first.id))] == [
        None,
        True,
    ]


def test_names_that_labels_wait_for_are_those_of_their_cascade_without_the_parked(session: Session, cast: Any) -> None:
    waits = [cast.label("q"), cast.label("q", tier=0), cast.label("r"), cast.label("early", 8)]
    assert add_labels(session, [*waits, cast.label(cast.retained(5))], received_at=cast.at(61)).waiting == 5
    assert waiting_external_ids(session, "geo") == {"q", "r", "early"}
    assert waiting_external_ids(session, "other") == set()
    late = [cast.retained(0, external_id="r"), cast.retained(10, external_id="early")]
    add_decisions(session, late, received_at=cast.at(63))
    assert waiting_external_ids(session, "geo") == {"q"}


def test_a_waiting_label_that_repeats_waits_once(session: Session, cast: Any) -> None:
    add_labels(session, [cast.label("q")], received_at=cast.at(61))
    added = add_labels(session, [cast.label("q")], received_at=cast.at(62))
    assert (added.waiting, added.duplicates) == (0, 1)
    assert waiting_count(session, "geo") == 1


def test_a_repeated_external_id_means_the_newest_decision_at_the_labels_time(session: Session, cast: Any) -> None:
    first, second = cast.retained(10, external_id="q"), cast.retained(20, external_id="q")
    add_decisions(session, [first, second], received_at=cast.at(21))
    labels = [cast.label("q", 15, correct=0.15), cast.label("q", 25, correct=0.25), cast.label("q", 5, correct=0.05)]
    added = add_labels(session, labels, received_at=cast.at(30))
    assert [(row.index, row.field, row.value) for row in added.rejected] == [(2, "labelled_at", cast.at(5).isoformat())]
    assert [label.correct for label in labels_of(session, first.id)] == [0.15]
    assert [label.correct for label in labels_of(session, second.id)] == [0.25]


def test_a_label_of_a_tier_that_did_not_run_is_named(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    added = add_labels(session, [cast.label(sent, tier=2), cast.label(sent, tier=1)], received_at=cast.at(61))
    assert added.stored == 1
    assert [(row.index, row.field, row.value) for row in added.rejected] == [(0, "tier", "2")]


def test_a_label_of_a_tier_that_the_cascade_lacks_does_not_wait_for_its_decision(session: Session, cast: Any) -> None:
    added = add_labels(session, [cast.label("q", tier=2), cast.label("q", tier=1)], received_at=cast.at(61))
    assert added.waiting == 1
    (refused,) = added.rejected
    assert (refused.index, refused.field, refused.value) == (0, "tier", "2")
    assert "0 to 1" in refused.cure


def test_a_label_made_before_its_decision_or_after_now_is_named(session: Session, cast: Any) -> None:
    sent = cast.retained(10, external_id="q")
    add_decisions(session, [sent], received_at=cast.at(11))
    labels = [cast.label(sent, 8), cast.label(sent, 9.5), cast.label(sent, 70), cast.label("other", 70)]
    added = add_labels(session, labels, received_at=cast.at(61))
    assert [label.labelled_at for label in labels_of(session, sent.id)] == [cast.at(9.5)]  # clocks differ a little
    assert [(row.index, row.field, row.value) for row in added.rejected] == [
        (0, "labelled_at", cast.at(8).isoformat()),
        (2, "labelled_at", cast.at(70).isoformat()),
        (3, "labelled_at", cast.at(70).isoformat()),
    ]
    assert "nobody could judge its answer before" in added.rejected[0].cure
    assert "correct the clock" in added.rejected[1].cure


def test_a_waiting_label_that_its_decision_cannot_take_is_parked_with_the_reason(session: Session, cast: Any) -> None:
    sent, named = cast.escalated(10), cast.retained(10, external_id="q")
    alone = replace(named, attempts=named.attempts[:1])
    early = [cast.label(sent, 5), cast.label("q", 15, tier=1), cast.label("q", 15), cast.label("away", 15)]
    assert add_labels(session, early, received_at=cast.at(20)).waiting == 4
    assert add_decisions(session, [sent, alone], received_at=cast.at(21)).adopted == 1
    found = {one.reason: one.labels for one in waiting_counts(session, "geo")}
    assert found == {None: 1, "made before its decision": 1, "tier 1 did not run": 1}
    assert waiting_count(session, "geo") == 3


def test_a_grader_is_noted_once_and_its_labels_name_it(session: Session, cast: Any) -> None:
    sent = cast.retained(0, external_id="q")
    judged = replace(cast.label(sent, source=LabelSource.JUDGE), grader="judge@1")
    add_labels(session, [replace(judged, decision_id=None, external_id="q")], received_at=cast.at(61))
    add_decisions(session, [sent], received_at=cast.at(62))
    again = replace(judged, labelled_at=cast.at(61))
    other = replace(again, grader="judge@2")  # the same verdict of another version is another label
    assert add_labels(session, [again, other, other], received_at=cast.at(63)).stored == 2
    assert [label.grader for label in labels_of(session, sent.id)] == ["judge@1", "judge@1", "judge@2"]
    error = GraderError(
        grader="judge@1",
        measured_at=cast.at(70),
        window=cast.window(),
        wrong=20,
        wrong_called_right=3,
        right=80,
        right_called_wrong=2,
    )
    add_error(session, "geo", error)
    add_error(session, "geo", replace(error, measured_at=cast.at(80), wrong_called_right=5))
    (first, second) = graders(session, "geo", as_of=cast.at(75))
    assert (first.name, first.source, first.first_seen_at, first.error) == ("judge@1", "judge", cast.at(61), error)
    assert second.error is None  # never measured
    (first, _) = graders(session, "geo", as_of=cast.at(90))
    assert first.error is not None and first.error.wrong_called_right == 5


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


def in_force(session: Session, cast: Any) -> list[float]:
    found = labelled(session, "geo", cast.window(), as_of=cast.at(600))
    by_source = labels_by_source(session, "geo", cast.window(), as_of=cast.at(600))
    known = [float(value) for value in found.correct[np.isfinite(found.correct)]]
    assert known == by_source.correct.tolist()
    return known


@pytest.mark.parametrize("waits", [False, True])
def test_an_older_statement_never_supersedes_a_newer_one_whenever_it_comes(
    session: Session, cast: Any, waits: bool
) -> None:
    sent = cast.retained(external_id="q")
    if not waits:
        add_decisions(session, [sent], received_at=cast.at(1))
    first, revised = cast.label("q", 10), cast.label("q", 20, correct=0.0)
    for at, label in ((70, first), (71, revised), (72, replace(first, grader="anna")), (73, cast.label("q", 15))):
        add_labels(session, [label], received_at=cast.at(at))
    if waits:
        assert add_decisions(session, [sent], received_at=cast.at(80)).adopted == 4
    assert in_force(session, cast) == [0.0]
    assert len(labels_of(session, sent.id)) == 4


@pytest.mark.parametrize("graders", [(None, None), ("anna", "bert"), (None, "bert")])
def test_two_labels_of_a_batch_that_contradict_each_other_are_both_refused(
    session: Session, cast: Any, graders: tuple[str | None, str | None]
) -> None:
    sent, other = cast.retained(external_id="q"), cast.retained(1)
    add_decisions(session, [sent, other], received_at=cast.at(2))
    batch = [cast.label(other), cast.label("q", grader=graders[0]), cast.label(sent, correct=0.0, grader=graders[1])]
    added = add_labels(session, batch, received_at=cast.at(61))
    assert (added.stored, [(row.index, row.field) for row in added.rejected]) == (1, [(1, "correct"), (2, "correct")])
    assert "says correct 0" in added.rejected[0].cure and "later labelled_at" in added.rejected[0].cure
    assert labels_of(session, sent.id) == ()


def test_a_label_that_contradicts_a_stored_one_is_refused_and_a_later_correction_is_not(
    session: Session, cast: Any
) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label(sent, label_propensity=0.5)], received_at=cast.at(61))
    against = [cast.label(sent, correct=0.25), cast.label(sent, label_propensity=0.4), cast.label(sent, grader="anna")]
    added = add_labels(session, against, received_at=cast.at(62))
    assert ([row.index for row in added.rejected], added.stored) == ([0, 1], 1)
    again = add_labels(session, [cast.label(sent, label_propensity=0.5)], received_at=cast.at(63))
    assert (again.duplicates, again.rejected) == (1, ())
    fine = [
        cast.label(sent, 61, correct=0.25),
        cast.label(sent, correct=0.0, source=LabelSource.HUMAN),
    ]
    assert add_labels(session, fine, received_at=cast.at(64)).stored == 2
    assert in_force_gold(session, cast) == 0.25


def in_force_gold(session: Session, cast: Any) -> float:
    return float(labelled(session, "geo", cast.window(), as_of=cast.at(600)).correct[0])


def test_a_waiting_label_that_contradicts_a_waiting_one_is_refused(session: Session, cast: Any) -> None:
    add_labels(session, [cast.label("q")], received_at=cast.at(61))
    added = add_labels(session, [cast.label("q", correct=0.0), cast.label("q")], received_at=cast.at(62))
    assert ([row.index for row in added.rejected], added.duplicates) == ([0], 1)
    assert waiting_count(session, "geo") == 1


def test_waiting_labels_that_prove_to_speak_of_one_answer_and_contradict_are_parked(
    session: Session, cast: Any
) -> None:
    sent = cast.retained(external_id="q")
    named = [cast.label("q"), cast.label(sent, correct=0.0), cast.label("q", 61, source=LabelSource.HUMAN)]
    assert add_labels(session, named, received_at=cast.at(62)).waiting == 3
    assert add_decisions(session, [sent], received_at=cast.at(63)).adopted == 1
    assert [label.source for label in labels_of(session, sent.id)] == [LabelSource.HUMAN]
    (parked,) = waiting_counts(session, "geo")
    assert (parked.reason, parked.labels) == ("another label of its source and time says otherwise", 2)


def test_labels_of_two_transactions_at_once_cannot_contradict_each_other(geo: Engine, cast: Any) -> None:
    sent = cast.retained()
    with transaction(geo) as session:
        add_decisions(session, [sent], received_at=cast.at(1))
    said = Event()
    refused: list[int] = []

    def contradict() -> None:
        with transaction(geo) as session:
            added = add_labels(session, [cast.label(sent, correct=0.0)], received_at=cast.at(62))
            refused.append(len(added.rejected))
            said.set()

    other = Thread(target=contradict)
    with transaction(geo) as session:
        add_labels(session, [cast.label(sent)], received_at=cast.at(61))
        other.start()
        said.wait(0.3)  # the other would have stored its label by now, had it not to wait for this one
    other.join()
    with reading(geo) as session:
        assert [label.correct for label in labels_of(session, sent.id)] == [1.0]
    assert refused == [1]


def test_a_waiting_label_is_not_taken_by_a_decision_of_another_cascade(session: Session, cast: Any) -> None:
    apply_cascade(session, replace(cast.spec, name="law"), now=cast.at(0))
    theirs, ours = cast.retained(cascade="law", external_id="q"), cast.retained(1, external_id="q")
    by_id = cast.label(theirs)  # of cascade geo, which the decision is not of
    assert add_labels(session, [by_id, cast.label("q")], received_at=cast.at(61)).waiting == 2
    assert add_decisions(session, [theirs], received_at=cast.at(62)).adopted == 0
    assert labels_of(session, theirs.id) == ()
    assert {row.reason: row.labels for row in waiting_counts(session, "geo")} == {
        None: 1,
        "the decision is of another cascade": 1,
    }
    assert add_decisions(session, [ours], received_at=cast.at(63)).adopted == 1
    assert len(labels_of(session, ours.id)) == 1


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            {"label_propensity": 0.5},
            {"label_propensity": 0.4},
            "says correct 1 (label_propensity 0.5) and this one correct 1 (label_propensity 0.4):",
        ),
        ({"correct": 0.3}, {"correct": 0.1 + 0.2}, "says correct 0.3 and this one correct 0.30000000000000004:"),
    ],
)
def test_a_contradiction_shows_what_differs(session: Session, cast: Any, first: Any, second: Any, said: str) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(2))
    add_labels(session, [cast.label(sent, **first)], received_at=cast.at(61))
    (refused,) = add_labels(session, [cast.label(sent, **second)], received_at=cast.at(62)).rejected
    assert said in refused.cure


@pytest.mark.parametrize("chance", [1e-320, 9e-10])
def test_a_propensity_that_no_estimate_can_weigh_by_is_refused(session: Session, cast: Any, chance: float) -> None:
    sent, other = cast.retained(), cast.retained(1)
    tried = replace(other, attempts=tuple(replace(attempt, run_propensity=chance) for attempt in other.attempts))
    added = add_decisions(session, [sent, tried], received_at=cast.at(2))
    assert [(row.index, row.field) for row in added.rejected] == [(1, "attempts.run_propensity")]
    said = [cast.label(sent, label_propensity=chance), cast.label(sent, label_propensity=1e-9)]
    stored = add_labels(session, said, received_at=cast.at(61))
    assert (stored.stored, [(row.index, row.field) for row in stored.rejected]) == (1, [(0, "label_propensity")])
    assert "a propensity of at least 1e-09 is expected" in stored.rejected[0].cure
