"""Looking for decisions: every question finds what it asks for, in its order, and pages neither
repeat nor leave out a row.
"""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from knowgate._records.records import Action, Decision, LabelSource, Reason, Role, Signals
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.traffic.search import Found, Order, Wanted, search

GEO = Wanted(cascade="geo")


def shown(decision: Decision, **signals: Any) -> Decision:
    """The decision, whose small tier showed these signals."""
    small, large = decision.attempts
    return replace(decision, attempts=(replace(small, signals=replace(small.signals, **signals)), large))


@pytest.fixture
def stored(session: Session, cast: Any) -> dict[str, Decision]:
    """Four decisions: kept and right, kept and wrong twice, escalated though right."""
    made = {
        "right": shown(cast.retained(1, external_id="a", slice="cities"), score=0.9, ood=0.2),
        "wrong": shown(cast.retained(2, external_id="b", slice="rivers"), score=0.7, ood=0.995),
        "surely wrong": shown(cast.retained(3, slice="rivers"), score=0.99, ood=None),
        "escalated": shown(cast.escalated(4), p_t=0.2),
    }
    add_decisions(session, list(made.values()), received_at=cast.at(5))
    labels = [
        cast.label(made["right"], tier=0, correct=1.0),
        cast.label(made["wrong"], tier=0, correct=0.0),
        cast.label(made["surely wrong"], tier=0, correct=1.0, source=LabelSource.JUDGE),
        cast.label(made["surely wrong"], tier=0, correct=0.0, source=LabelSource.HUMAN),
        cast.label(made["escalated"], tier=0, correct=1.0),
        cast.label(made["escalated"], tier=1, correct=0.0),
    ]
    assert add_labels(session, labels, received_at=cast.at(61)).stored == len(labels)
    return made


def found(session: Session, wanted: Wanted) -> list[Found]:
    return list(search(session, wanted, limit=10))


def names(session: Session, stored: dict[str, Decision], **asked: Any) -> list[str]:
    of = {decision.id: name for name, decision in stored.items()}
    return [of[one.id] for one in found(session, replace(GEO, **asked))]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["escalated", "surely wrong", "wrong", "right"]),
        ({"right": False, "action": Action.RETAIN, "order": Order.SUREST}, ["surely wrong", "wrong"]),
        ({"right": True, "action": Action.ESCALATE}, ["escalated"]),
        ({"right": True}, ["escalated", "right"]),
        ({"ood_from": 0.99, "order": Order.STRANGEST}, ["wrong"]),
        ({"order": Order.STRANGEST}, ["wrong", "right"]),
        ({"order": Order.SUREST}, ["surely wrong", "right", "wrong", "escalated"]),
        ({"slice": "rivers"}, ["surely wrong", "wrong"]),
        ({"external_id": "a"}, ["right"]),
        ({"external_id": "\x00"}, []),
        ({"reason": Reason.P_T}, ["escalated"]),
        ({"sure_from": 0.7, "sure_to": 0.9}, ["wrong", "right"]),
        ({"bundle": "b" * 64}, ["surely wrong", "wrong", "right"]),
        ({"tier": 1, "right": False}, ["escalated"]),
        ({"cascade": "other"}, []),
    ],
)
def test_a_question_finds_what_it_asks_for(
    session: Session, stored: dict[str, Decision], asked: dict[str, Any], expected: list[str]
) -> None:
    assert names(session, stored, **asked) == expected


def test_a_window_of_decision_time_bounds_what_is_found(
    session: Session, cast: Any, stored: dict[str, Decision]
) -> None:
    assert names(session, stored, since=cast.at(2), until=cast.at(4)) == ["surely wrong", "wrong"]


def test_a_row_says_what_the_tier_did_and_what_it_came_to(session: Session, stored: dict[str, Decision]) -> None:
    rows = {one.id: one for one in found(session, GEO)}
    wrong, escalated = rows[stored["surely wrong"].id], rows[stored["escalated"].id]
    assert (wrong.action, wrong.reason, wrong.sure, wrong.correct, wrong.served_correct) == (
        Action.RETAIN,
        None,
        0.99,
        0.0,  # a person's word is stronger than a grader's
        0.0,
    )
    assert (escalated.reason, escalated.sure, escalated.correct, escalated.served_correct) == (Reason.P_T, 0.2, 1, 0)
    assert wrong.cost_usd == pytest.approx(0.5 + (100 * 1.0 + 2 * 2.0) / 1e6) and escalated.cost_usd is None


def test_a_request_that_no_certificate_covers_is_found_by_its_reason(session: Session, cast: Any) -> None:
    made = cast.escalated(7)
    last = replace(made.attempts[1], fault=Reason.UNCERTIFIED_REQUEST)
    add_decisions(session, [replace(made, attempts=(last,)), cast.escalated(8)], received_at=cast.at(9))
    (one,) = found(session, replace(GEO, reason=Reason.UNCERTIFIED_REQUEST))
    assert (one.id, one.model, one.action, one.served_tier) == (made.id, None, None, 1)


@pytest.mark.parametrize("order", list(Order))
def test_pages_hold_every_row_once(session: Session, cast: Any, order: Order) -> None:
    made = [shown(cast.retained(minute), score=round(minute % 3 / 10, 1), ood=0.5) for minute in range(12)]
    add_decisions(session, made, received_at=cast.at(20))
    wanted, pages, after = replace(GEO, order=order), [], None
    while page := search(session, wanted, limit=5, after=after):
        pages.append(page)
        after = page[-1].place(order)
    rows = [row for page in pages for row in page]
    assert [len(page) for page in pages] == [5, 5, 2]
    assert {row.id for row in rows} == {one.id for one in made}
    values = [(row.place(order).value or 0.0, row.id) for row in rows]
    assert values == sorted(values, reverse=True)


def test_a_skipped_run_costs_nothing(session: Session, cast: Any) -> None:
    made = cast.retained(1)
    skipped = replace(cast.escalated(1).attempts[0], role=Role.SKIPPED, answer=None, signals=Signals())
    served = replace(made.attempts[1], role=Role.SERVED)
    add_decisions(session, [replace(made, attempts=(skipped, served))], received_at=cast.at(2))
    assert [one.cost_usd for one in found(session, GEO)] == [0.5]
