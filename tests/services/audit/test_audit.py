"""Audit: what was decided replays; whoever changes a row, a leaf or a batch is found out."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, text

from factories import make_label
from knowgate import Bundle, Decision, Reason, Role, Signals, Window, decide
from services.audit.explain import explain, find_decision
from services.audit.replay import replay
from services.audit.verify import verify_ledger
from services.clock import SimulatedClock
from services.commands.explanation import explanation_lines
from services.errors import InputInvalid
from store.engine import reading, transaction
from store.jobs import job_runs
from store.jobs.occasions import Occasion, TrainingReason
from store.ledger.ledger import seal_all
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels


@pytest.fixture
def sealed(engine: Engine, trivia: str, decision: Callable[..., Decision], clock: SimulatedClock) -> list[Decision]:
    """Five decisions and a label, sealed."""
    made = [decision(index) for index in range(5)]
    label = make_label(cascade=trivia, labelled_at=clock.now(), decision_id=made[0].id, tier=0)
    with transaction(engine) as session:
        add_decisions(session, made, received_at=clock.now())
        add_labels(session, [label], received_at=clock.now())
        seal_all(session, now=clock.now())
    return made


@pytest.mark.usefixtures("sealed")
def test_an_untouched_ledger_verifies(engine: Engine) -> None:
    with reading(engine) as session:
        found = verify_ledger(session)
    assert (found.verified, found.batches, found.unsealed, found.problems) == (True, 1, 0, ())
    assert [check.name for check in found.checks] == ["batches", "roots", "leaves", "rows"]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE attempt SET p_t = 0.99 WHERE tier = 0", "the row was altered"),
        ("UPDATE label SET correct = 0", "label"),
        ("UPDATE ledger_leaf SET payload = '{}'", "was altered"),
        ("UPDATE ledger_batch SET leaves = 5", "sealed over 5"),
        ("DELETE FROM label", "not in its table"),
    ],
)
@pytest.mark.usefixtures("sealed")
def test_whoever_changes_something_is_found_out(engine: Engine, statement: str, problem: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))
    with reading(engine) as session:
        found = verify_ledger(session)
    assert not found.verified
    assert any(problem in str(one) for one in found.problems), found.problems


def test_a_request_that_no_certificate_covers_is_explained_and_has_nothing_to_replay(
    engine: Engine, trivia: str, decision: Callable[..., Decision], clock: SimulatedClock
) -> None:
    made = decision(0)
    fault, note = Reason.UNCERTIFIED_REQUEST, "no certificate covers tools"
    served = replace(made.attempts[-1], role=Role.SERVED, verdict=None, fault=fault, note=note)
    with transaction(engine) as session:
        add_decisions(session, [replace(made, attempts=(served,))], received_at=clock.now())
        seal_all(session, now=clock.now())
    with reading(engine) as session:
        explained = explain(session, find_decision(session, str(made.id), trivia))
        assert verify_ledger(session).verified
    lines = explanation_lines(explained)
    assert "  nothing is decided here: uncertified_request, no certificate covers the request" in lines
    assert f"  note         {note}" in lines
    assert (explained.replay.attempts, explained.replay.matches) == (0, True)


def test_a_decision_is_explained(engine: Engine, sealed: list[Decision]) -> None:
    with reading(engine) as session:
        explained = explain(session, find_decision(session, "q0", None))
    assert explained.decision.id == sealed[0].id
    assert [label.correct for label in explained.labels] == [1.0]
    assert [place.proven for place in explained.ledger] == [True]


def test_an_explanation_says_what_its_bundle_was_trained_for(
    engine: Engine, promoted: Bundle, decision: Callable[..., Decision], clock: SimulatedClock
) -> None:
    now, week = clock.now(), timedelta(days=7)
    occasion = Occasion(reason=TrainingReason.ASKED, why="a new market", key="asked:1", asked_by="ada")
    window = Window(start=now - week, end=now)
    with transaction(engine) as session:
        add_decisions(session, [decision(0, bundle=promoted.id)], received_at=now)
        run = job_runs.claim(session, "train", "trivia", window, owner="t", lease=week, now=now, occasion=occasion)
        assert run is not None
        job_runs.finish(session, run, "certified", now=now, bundle=promoted.id)
    with reading(engine) as session:
        explained = explain(session, find_decision(session, "q0", None))
        assert verify_ledger(session).verified
    assert explained.trained_for == occasion
    assert "  trained for  asked: a new market (ada)" in explanation_lines(explained)
    with engine.begin() as connection:
        connection.execute(text("UPDATE job_run SET reason = 'schedule'"))
    with reading(engine) as session:
        (problem,) = verify_ledger(session).problems
    assert "job_run" in str(problem) and "reason" in str(problem)


@pytest.mark.usefixtures("sealed")
def test_an_unknown_decision_is_said_to_be_unknown(engine: Engine) -> None:
    with reading(engine) as session, pytest.raises(InputInvalid, match="no decision has this id"):
        find_decision(session, "nobody", None)


def served_by(bundle: Bundle, decision: Decision, hidden: np.ndarray) -> Decision:  # type: ignore[type-arg]
    models = bundle.tiers[0]
    assert models is not None
    signals = models.signals(p_t=0.9, hidden=hidden, tokens_in=100, slice=decision.slice)
    small, large = decision.attempts
    ruled = replace(small, signals=signals, verdict=decide(bundle.document.policy, signals))
    return replace(decision, bundle=bundle.id, attempts=(ruled, large))


def test_a_replay_from_the_vector_agrees_and_a_changed_vector_does_not(
    bundle: Bundle, decision: Callable[..., Decision]
) -> None:
    hidden = np.array([-1.0, 0.2, 0.3, 0.4], dtype=np.float16)
    made = served_by(bundle, decision(), hidden)
    same = replay(made, bundle, {0: hidden})
    assert same.matches and (same.attempts, same.vectors) == (1, 1)
    changed = replay(made, bundle, {0: hidden + np.float16(4.0)})
    assert {mismatch.what for mismatch in changed.mismatches} >= {"p_ik", "action"}


def test_a_changed_signal_no_longer_leads_to_the_stored_verdict(
    bundle: Bundle, decision: Callable[..., Decision]
) -> None:
    made = served_by(bundle, decision(), np.array([-1.0, 0, 0, 0], dtype=np.float16))
    small, large = made.attempts
    forged = replace(made, attempts=(replace(small, signals=Signals(p_t=0.9, p_ik=0.99)), large))
    assert [mismatch.what for mismatch in replay(forged, bundle, {}).mismatches] == ["verdict"]
