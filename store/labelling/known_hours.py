"""Known decisions counted by the hour of their decision, so that who asks how many there are need
not look at a quarter of a year of them.

A count holds for what was received up to `read_until`. A reader leaves out the hours that anything
was received for since (decisions that came late, labels), and looks at those itself; so what it
says is never older than the rows. What an erasure takes is forgotten with it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, delete, func, select
from sqlalchemy.orm import Session

from knowgate._records.ids import decided_at
from knowgate._records.records import LabelSource, Window
from store import dialects, partitions
from store.tables import DecisionRow, KnownCountRow, KnownHourRow, LabelRow

HOUR = timedelta(hours=1)
OVERLAP = timedelta(minutes=5)  # looked at twice: what was under way while it was counted was not seen
MOST_TOUCHED = 20_000  # rows that are looked through for their hours; of more no count is believed
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is counted: decisions whose tier 0 is labelled, and tier `last` too unless it is None,
    by sources that are `trusted`.
    """

    cascade: str
    last: int | None
    trusted: Collection[LabelSource]

    @property
    def key(self) -> str:
        """What its counts are kept under."""
        sources = ",".join(sorted(source.value for source in self.trusted))
        return f"{'' if self.last is None else self.last}:{sources}"


def kept_hours(session: Session, question: Question, window: Window, *, as_of: datetime) -> Mapping[int, int]:
    """The counts of whole hours of a window of decision time that hold as of a time, by hour since
    1970.
    """
    until = read_until(session, question)
    if until is None or until > as_of:
        return {}
    first, end = _whole_hours(window)
    query = select(KnownHourRow.hour, KnownHourRow.known).where(
        *_of(KnownHourRow, question),
        KnownHourRow.hour >= first,
        KnownHourRow.hour < end,
        KnownHourRow.counted_at <= as_of,
    )
    counts = {row.hour: row.known for row in session.execute(query)}
    touched = touched_hours(session, question, since=until, window=window) if counts else frozenset()
    return {} if touched is None else {hour: known for hour, known in counts.items() if hour not in touched}


def read_until(session: Session, question: Question) -> datetime | None:
    """Up to when everything received is counted; None before anything was."""
    found: datetime | None = session.scalar(select(KnownCountRow.read_until).where(*_of(KnownCountRow, question)))
    return found


def touched_hours(session: Session, question: Question, *, since: datetime, window: Window) -> frozenset[int] | None:
    """The hours of a window of decision time that decisions or labels were received for since a
    time; None where they are too many to be looked through.
    """
    asked = {"cascade": question.cascade, "since": since - OVERLAP, "since_id": partitions.first_id(since - OVERLAP)}
    asked |= {"low": partitions.first_id(window.start), "high": partitions.first_id(window.end)}
    hours: set[int] = set()
    for query in _received():
        found = session.scalars(query, asked).all()
        if len(found) == MOST_TOUCHED:
            return None
        hours |= {hour_of(decision_id) for decision_id in found}
    return frozenset(hours)


@cache
def _received() -> tuple[Select[Any], ...]:
    """The ids of the decisions that came, and of those that labels came for, since a time."""
    # The ids are not plain columns: what came since is little, and the window's own index is long.
    decided = func.coalesce(DecisionRow.id, DecisionRow.id)
    said_of = func.coalesce(LabelRow.decision_id, LabelRow.decision_id)
    of_decisions = select(DecisionRow.id).where(
        DecisionRow.cascade == bindparam("cascade"),
        DecisionRow.received_at >= bindparam("since"),
        decided >= bindparam("low"),
        decided < bindparam("high"),
    )
    of_labels = (
        select(LabelRow.decision_id)
        .join(DecisionRow, DecisionRow.id == LabelRow.decision_id)
        .where(
            LabelRow.arrival >= bindparam("since_id"),
            said_of >= bindparam("low"),
            said_of < bindparam("high"),
            func.coalesce(DecisionRow.cascade, "") == bindparam("cascade"),
        )
    )
    return of_decisions.limit(MOST_TOUCHED), of_labels.limit(MOST_TOUCHED)


def put_hours(session: Session, question: Question, counts: Mapping[int, int], *, now: datetime) -> None:
    """Keep these counts, made `now`."""
    same: dict[str, Any] = {"cascade": question.cascade, "question": question.key, "counted_at": now}
    rows = [same | {"hour": hour, "known": counts[hour]} for hour in sorted(counts)]
    if rows:
        dialects.upsert(session, KnownHourRow, rows)


def put_read_until(session: Session, question: Question, *, now: datetime) -> None:
    """Say that everything received up to now is counted, in the hours that are kept."""
    row = {"cascade": question.cascade, "question": question.key, "read_until": now}
    dialects.upsert(session, KnownCountRow, [row])


def forget_hours(session: Session, question: Question) -> None:
    """Begin anew."""
    session.execute(delete(KnownHourRow).where(*_of(KnownHourRow, question)))


def forget_decision(session: Session, cascade: str, decision_id: UUID) -> None:
    """Forget the counts of a decision's hour, as it changes: until the transaction ends nobody
    counts.
    """
    hold_counts(session, cascade)
    of_hour = (KnownHourRow.cascade == cascade, KnownHourRow.hour == hour_of(decision_id))
    session.execute(delete(KnownHourRow).where(*of_hour), execution_options={"synchronize_session": False})


def hold_counts(session: Session, cascade: str) -> None:
    """Let no other transaction count or erase in this cascade until this one ends."""
    dialects.lock(session, f"knowgate.known.{cascade}")


def missing_hours(session: Session, question: Question, window: Window) -> list[int]:
    """The whole hours of a window that have no count, in order."""
    first, end = _whole_hours(window)
    there = set(session.scalars(select(KnownHourRow.hour).where(*_of(KnownHourRow, question))))
    return [hour for hour in range(first, end) if hour not in there]


def gaps(window: Window, hours: Collection[int]) -> Iterator[Window]:
    """The parts of a window that these hours leave."""
    start = window.start
    for hour in sorted(hours):
        if start < hour_start(hour):
            yield Window(start=start, end=hour_start(hour))
        start = hour_start(hour + 1)
    if start < window.end:
        yield Window(start=start, end=window.end)


def hour_of(decision_id: UUID) -> int:
    """The hour of decision time that an id carries, since 1970."""
    return (decided_at(decision_id) - _EPOCH) // HOUR


def hour_start(hour: int) -> datetime:
    return _EPOCH + hour * HOUR


def _whole_hours(window: Window) -> tuple[int, int]:
    return -((_EPOCH - window.start) // HOUR), (window.end - _EPOCH) // HOUR


def _of(model: Any, question: Question) -> tuple[Any, ...]:
    return model.cascade == question.cascade, model.question == question.key
