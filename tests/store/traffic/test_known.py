"""How many decisions are known at their first and their last tier: as of a time, by whom one
trusts, within a window.
"""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from knowgate._records.records import Decision, LabelSource
from store.traffic.decisions import add_decisions
from store.traffic.known import known_decisions
from store.traffic.labels import add_labels


@pytest.fixture
def count(session: Session, cast: Any) -> Any:
    """Counts, with gold and human labels, from noon on, at the end of the day."""

    def known(start: float = 0, end: float = 24 * 60, **changes: Any) -> int:
        asked = {"last": 1, "as_of": cast.at(24 * 60), "trusted": (LabelSource.GOLD, LabelSource.HUMAN)}
        return known_decisions(session, "geo", cast.window(start, end), **(asked | changes))

    return known


def store(session: Session, cast: Any, made: list[Decision], *labels: Any) -> None:
    assert not add_decisions(session, made, received_at=cast.at(600)).rejected
    add_labels(session, list(labels), received_at=cast.at(700))


def test_a_decision_is_known_where_its_first_and_its_last_tier_are_labelled(
    session: Session, cast: Any, count: Any
) -> None:
    whole, half, other, judged = (cast.escalated(minute) for minute in range(4))
    labels = [cast.label(whole, tier=tier) for tier in (0, 1)]
    labels += [cast.label(whole, 61, tier=0, correct=0.0), cast.label(half, tier=0), cast.label(other, tier=1)]
    labels += [cast.label(judged, tier=tier, source=LabelSource.JUDGE) for tier in (0, 1)]
    store(session, cast, [whole, half, other, judged], *labels)
    assert (count(), count(last=None)) == (1, 2)
    assert count(trusted=tuple(LabelSource)) == 2
    assert (count(0, 1), count(1, 60), count(-60, 0)) == (1, 0, 0)
    assert (count(as_of=cast.at(699)), count(as_of=cast.at(59)), count(as_of=cast.at(700))) == (0, 0, 1)


def test_answers_that_are_the_same_are_known_without_a_label_where_the_drop_is_promised(
    session: Session, cast: Any, count: Any
) -> None:
    same = cast.retained(0)
    small, large = same.attempts
    differ = replace(cast.retained(1), attempts=(small, replace(large, answer="Spain")))
    unsaid = replace(cast.retained(2), attempts=(replace(small, answer=None), replace(large, answer=None)))
    alone = replace(cast.retained(3), attempts=(small,))
    store(session, cast, [same, differ, unsaid, alone])
    assert (count(), count(last=None)) == (1, 0)
    labels = [cast.label(one, tier=tier) for one in (same, differ) for tier in (0, 1)]
    add_labels(session, labels, received_at=cast.at(701))
    assert (count(), count(last=None)) == (2, 2)


def test_who_asks_whether_there_are_so_many_is_told_no_more(session: Session, cast: Any, count: Any) -> None:
    made = [cast.escalated(minute) for minute in range(5)]
    store(session, cast, made, *(cast.label(one, tier=tier) for one in made for tier in (0, 1)))
    assert [count(at_most=most) for most in (1, 3, 5, 9)] == [1, 3, 5, 5]
