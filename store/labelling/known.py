"""How many decisions say what a promise is about, first tier beside last."""

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, bindparam, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from knowgate._records.records import LabelSource, Window
from store import partitions
from store.labelling import known_hours
from store.labelling.known_hours import Question, gaps, hour_of, hour_start, kept_hours
from store.tables import AttemptRow, DecisionRow, LabelRow

_AT_ONCE = 24  # hours that are counted in one transaction


def known_decisions(
    session: Session,
    cascade: str,
    window: Window,
    *,
    last: int | None,
    as_of: datetime,
    trusted: Collection[LabelSource],
    at_most: int | None = None,
) -> int:
    """The decisions of a window of decision time whose tier 0 was labelled by a trusted source by
    `as_of`, and, unless it is None, tier `last` too; where both gave the same text that tells the
    drop without a label.

    Hours whose count is kept and holds are not looked at again. Counted up to `at_most`, beyond
    which who asks "so many?" need not wait.
    """
    question = Question(cascade=cascade, last=last, trusted=trusted)
    kept = kept_hours(session, question, window, as_of=as_of)
    total = sum(kept.values())
    for gap in gaps(window, kept):
        left = None if at_most is None else at_most - total
        if left is not None and left <= 0:
            break
        asked = _asked(question, gap, as_of) | ({} if left is None else {"left": left})
        total += session.scalar(_counted(*_kind(question), cut=left is not None), asked) or 0
    return total if at_most is None else min(total, at_most)


def recount(session: Session, question: Question, window: Window, *, now: datetime) -> None:
    """Count the kept hours of a window again that anything was received for since they were; call
    it before `count_missing`.
    """
    known_hours.hold_counts(session, question.cascade)
    since = known_hours.read_until(session, question)
    touched = None
    if since is not None and since <= now:  # else a clock was set back, and nothing is known of what came since
        touched = known_hours.touched_hours(session, question, since=since, window=window)
    if touched is None:
        known_hours.forget_hours(session, question)
    else:
        kept = touched - set(known_hours.missing_hours(session, question, window))
        for hours in _runs(sorted(kept)):
            _count(session, question, hours, now)
    known_hours.put_read_until(session, question, now=now)


def count_missing(session: Session, question: Question, window: Window, *, now: datetime) -> bool:
    """Count the newest hours of a window that were not counted yet, a day of them; whether that was
    not the last.
    """
    known_hours.hold_counts(session, question.cascade)
    missing = known_hours.missing_hours(session, question, window)
    _count(session, question, missing[-_AT_ONCE:], now)
    return len(missing) > _AT_ONCE


def _runs(hours: list[int]) -> Iterator[list[int]]:
    """Hours that follow one another, a day of them at most: a statement each."""
    run: list[int] = []
    for hour in hours:
        if run and (hour != run[-1] + 1 or len(run) == _AT_ONCE):
            yield run
            run = []
        run.append(hour)
    if run:
        yield run


def _count(session: Session, question: Question, hours: list[int], now: datetime) -> None:
    if not hours:
        return
    window = Window(start=hour_start(hours[0]), end=hour_start(hours[-1] + 1))
    found = session.scalars(_known(*_kind(question)), _asked(question, window, now))
    counts = Counter(hour_of(key) for key in found)
    known_hours.put_hours(session, question, {hour: counts[hour] for hour in hours}, now=now)


# Statements are built once: to build one takes longer than to run it.


def _kind(question: Question) -> tuple[int | None, tuple[str, ...]]:
    """What a statement is built for."""
    return question.last, tuple(sorted(source.value for source in question.trusted))


def _asked(question: Question, window: Window, as_of: datetime) -> dict[str, Any]:
    """What a statement is run with."""
    ids = {"low": partitions.first_id(window.start), "high": partitions.first_id(window.end)}
    return {"cascade": question.cascade, "as_of": as_of} | ids


@cache
def _counted(last: int | None, trusted: tuple[str, ...], *, cut: bool) -> Select[Any]:
    """How many decisions are known, up to `left` of them where it is `cut`."""
    known = _known(last, trusted)
    counted = known.limit(bindparam("left", type_=BigInteger())) if cut else known
    return select(func.count()).select_from(counted.subquery())


@cache
def _known(last: int | None, trusted: tuple[str, ...]) -> Select[Any]:
    """The ids of the decisions that are known."""
    known = _labelled(0, trusted)
    if last is not None:
        known = or_(and_(known, _labelled(last, trusted)), _agree(last))
    return select(DecisionRow.id).where(
        DecisionRow.cascade == bindparam("cascade"),
        *_within(DecisionRow.id),
        DecisionRow.received_at <= bindparam("as_of"),
        known,
    )


def _within(decision_id: Any) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Said of each table, so that its partitions are pruned."""
    return decision_id >= bindparam("low"), decision_id < bindparam("high")


def _labelled(tier: int, trusted: tuple[str, ...]) -> ColumnElement[bool]:
    return exists().where(
        LabelRow.decision_id == DecisionRow.id,
        LabelRow.tier == tier,
        LabelRow.source.in_(trusted),
        LabelRow.labelled_at <= bindparam("as_of"),
        LabelRow.received_at <= bindparam("as_of"),
        *_within(LabelRow.decision_id),
    )


def _agree(last: int) -> ColumnElement[bool]:
    first, final = aliased(AttemptRow), aliased(AttemptRow)
    return exists().where(
        first.decision_id == DecisionRow.id,
        first.tier == 0,
        final.decision_id == DecisionRow.id,
        final.tier == last,
        first.answer == final.answer,
        *_within(first.decision_id),
        *_within(final.decision_id),
    )
