"""How many decisions say what a promise is about, first tier beside last."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from knowgate._records.records import LabelSource, Window
from store import partitions
from store.tables import AttemptRow, DecisionRow, LabelRow


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

    Counted up to `at_most`, beyond which who asks "so many?" need not wait.
    """
    within = (DecisionRow.cascade == cascade, *_within(DecisionRow.id, window), DecisionRow.received_at <= as_of)
    known = _labelled(0, window, as_of, trusted)
    if last is not None:
        known = or_(and_(known, _labelled(last, window, as_of, trusted)), _agree(last, window))
    counted: Any = select(DecisionRow.id).where(*within, known).limit(at_most).subquery()
    return session.scalar(select(func.count()).select_from(counted)) or 0


def _within(decision_id: Any, window: Window) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Said of each table, so that its partitions are pruned."""
    return decision_id >= partitions.first_id(window.start), decision_id < partitions.first_id(window.end)


def _labelled(tier: int, window: Window, as_of: datetime, trusted: Collection[LabelSource]) -> ColumnElement[bool]:
    return exists().where(
        LabelRow.decision_id == DecisionRow.id,
        LabelRow.tier == tier,
        LabelRow.source.in_([source.value for source in trusted]),
        LabelRow.labelled_at <= as_of,
        LabelRow.received_at <= as_of,
        *_within(LabelRow.decision_id, window),
    )


def _agree(last: int, window: Window) -> ColumnElement[bool]:
    first, final = aliased(AttemptRow), aliased(AttemptRow)
    return exists().where(
        first.decision_id == DecisionRow.id,
        first.tier == 0,
        final.decision_id == DecisionRow.id,
        final.tier == last,
        first.answer == final.answer,
        *_within(first.decision_id, window),
        *_within(final.decision_id, window),
    )
