"""How many decisions are known at their first and their last tier: as of a time, by whom one
trusts, within a window.
"""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from knowgate._records.records import Decision, LabelSource
from store.labelling.known import count_missing, known_decisions, recount
from store.labelling.known_hours import Question, forget_hours, kept_hours, missing_hours
from store.ledger.erasure import erase_decision
from store.tables import KnownHourRow
from store.traffic.decisions import add_decisions
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


class Kept:
    """Counts that are kept of two days, beside those of the rows."""

    def __init__(self, session: Session, cast: Any) -> None:
        self.session, self.window = session, cast.window(-30, 48 * 60)
        self.question = Question(cascade="geo", last=1, trusted=(LabelSource.GOLD, LabelSource.HUMAN))

    def keep(self, now: Any) -> None:
        """What the job does."""
        recount(self.session, self.question, self.window, now=now)
        while count_missing(self.session, self.question, self.window, now=now):
            pass

    def said(self, as_of: Any) -> int:
        """As it is read; it has to be what the rows say."""
        asked = {"last": 1, "as_of": as_of, "trusted": self.question.trusted}
        said = known_decisions(self.session, "geo", self.window, **asked)
        with self.session.begin_nested() as trial:
            forget_hours(self.session, self.question)
            assert said == known_decisions(self.session, "geo", self.window, **asked)
            trial.rollback()
        return said


@pytest.fixture
def kept(session: Session, cast: Any) -> Kept:
    return Kept(session, cast)


def test_hours_that_are_counted_are_not_looked_at_again(session: Session, cast: Any, kept: Kept) -> None:
    made = [cast.retained(90 * number) for number in range(30)]  # of equal answers
    assert not add_decisions(session, made, received_at=cast.at(2800)).rejected
    kept.keep(cast.at(3000))
    assert missing_hours(session, kept.question, kept.window) == []
    assert kept.said(cast.at(3000)) == 30
    assert len(kept_hours(session, kept.question, kept.window, as_of=cast.at(3000))) == 48
    assert kept_hours(session, kept.question, kept.window, as_of=cast.at(2999)) == {}  # it held not yet
    assert kept.said(cast.at(2999)) == 30 and kept.said(cast.at(2700)) == 0
    session.execute(update(KnownHourRow).values(known=7))
    asked = {"last": 1, "as_of": cast.at(3000), "trusted": kept.question.trusted}
    assert known_decisions(session, "geo", kept.window, **asked) == 7 * 48  # of the half hour none is known
    assert known_decisions(session, "geo", kept.window, **asked, at_most=9) == 9


def test_what_is_received_or_erased_after_hours_were_counted_counts(session: Session, cast: Any, kept: Kept) -> None:
    same, open_one, late = cast.retained(30), cast.escalated(200), cast.retained(400)
    assert not add_decisions(session, [same, open_one], received_at=cast.at(2900)).rejected
    kept.keep(cast.at(3000))
    assert kept.said(cast.at(3000)) == 1
    add_labels(session, [cast.label(open_one, 300, tier=tier) for tier in (0, 1)], received_at=cast.at(3001))
    assert kept.said(cast.at(3001)) == 2  # labels came
    add_decisions(session, [late], received_at=cast.at(3002))
    assert kept.said(cast.at(3002)) == 3 and kept.said(cast.at(3001)) == 2  # a decision came
    erase_decision(session, same.id, by="ada", now=cast.at(3003))
    assert kept.said(cast.at(3003)) == 2  # answers are gone
    kept.keep(cast.at(3100))
    assert len(kept_hours(session, kept.question, kept.window, as_of=cast.at(3100))) == 48
    assert kept.said(cast.at(3100)) == 2
    add_labels(session, [cast.label(late, 500, tier=0, correct=0.0)], received_at=cast.at(3096))  # it was under way
    assert kept.said(cast.at(3101)) == 2
    kept.keep(cast.at(3050))  # a clock was set back: all is counted anew
    assert kept.said(cast.at(3050)) == 2 and kept.said(cast.at(3200)) == 2


def test_hours_that_anything_came_for_are_counted_again_in_stretches(session: Session, cast: Any, kept: Kept) -> None:
    kept.keep(cast.at(3000))
    hours = [*range(30), 33, 35, 36]  # more than a day in a row, one alone, two
    made = [cast.retained(60 * hour + minute) for hour in hours for minute in range(1 + hour % 3)]
    assert not add_decisions(session, made, received_at=cast.at(3001)).rejected
    assert kept.said(cast.at(3001)) == len(made)
    kept.keep(cast.at(3100))
    counted = kept_hours(session, kept.question, kept.window, as_of=cast.at(3100))
    start = min(counted)
    assert {hour - start: known for hour, known in counted.items() if known} == {hour: 1 + hour % 3 for hour in hours}
    assert kept.said(cast.at(3100)) == len(made)
