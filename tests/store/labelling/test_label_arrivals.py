"""Labels as they come in, a day and a source at a time."""

from datetime import date
from typing import Any

from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource
from store.labelling.label_arrivals import Arrivals, arrivals_per_day
from store.traffic.decisions import add_decisions, time_of_newest
from store.traffic.labels import add_labels


def test_labels_are_counted_by_the_day_on_which_they_came(session: Session, cast: Any) -> None:
    made = [cast.retained(minute) for minute in range(4)]
    add_decisions(session, made, received_at=cast.at(10))
    first, second = cast.at(60), cast.at(24 * 60)
    add_labels(session, [cast.label(one) for one in made[:2]], received_at=first)
    add_labels(session, [cast.label(made[2]), cast.label(made[3], source=LabelSource.JUDGE)], received_at=second)
    by_day = [
        Arrivals(day=date(2026, 3, 10), source=LabelSource.GOLD, labels=2),
        Arrivals(day=date(2026, 3, 11), source=LabelSource.GOLD, labels=1),
        Arrivals(day=date(2026, 3, 11), source=LabelSource.JUDGE, labels=1),
    ]
    early = cast.at(-60)
    assert list(arrivals_per_day(session, "geo", since=early, decided_since=early)) == by_day
    assert list(arrivals_per_day(session, "geo", since=second, decided_since=early)) == by_day[1:]
    assert [one.labels for one in arrivals_per_day(session, "geo", since=early, decided_since=cast.at(1))] == [1, 1, 1]
    assert arrivals_per_day(session, "other", since=first, decided_since=early) == ()


def test_the_time_of_the_so_many_newest_decision(session: Session, cast: Any) -> None:
    add_decisions(session, [cast.retained(minute) for minute in range(5)], received_at=cast.at(10))
    asked = [(1, 4), (3, 2), (99, 0)]
    assert [time_of_newest(session, "geo", number, before=cast.at(5)) for number, _ in asked] == [
        cast.at(minute) for _, minute in asked
    ]
    assert time_of_newest(session, "geo", 1, before=cast.at(3)) == cast.at(2)
    assert time_of_newest(session, "geo", 1, before=cast.at(0)) is None
