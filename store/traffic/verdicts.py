"""What sources that are not trusted said, beside the trusted labels of the same answers: counted
where the rows lie, since few answers have both.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Subquery, and_, case, func, or_, select
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Window
from store import dialects, partitions
from store.labelling.graders import GraderError
from store.labelling.in_force import labels_in_force
from store.tables import AttemptRow, DecisionRow
from store.traffic.uncertified import CERTIFIABLE

_DECISION = dialects.table_of(DecisionRow)
_ATTEMPT = dialects.table_of(AttemptRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How many answers have both, and how many of the verdicts are wrong."""

    answers: int
    wrong: int


def compared_verdicts(
    session: Session, cascade: str, window: Window, *, as_of: datetime, trusted: Collection[LabelSource]
) -> Compared:
    """The strongest verdict on each answer of a window of decision time, as it was known at
    `as_of`; requests that no certificate covers are left out.
    """
    said = labels_in_force(_ids(window), as_of, _others(trusted))
    truth = labels_in_force(_ids(window), as_of, trusted)
    wrong = or_(and_(_right(said), ~_right(truth)), and_(~_right(said), _right(truth)))
    attempt = (_ATTEMPT.c.decision_id == said.c.decision_id) & (_ATTEMPT.c.tier == said.c.tier)
    both = _both(select(func.count(), _times(wrong)), said, truth, cascade, window, as_of)
    answers, missed = session.execute(both.join(_ATTEMPT, attempt).where(CERTIFIABLE)).one()
    return Compared(answers=answers, wrong=missed or 0)


def measured_errors(
    session: Session, cascade: str, window: Window, *, as_of: datetime, trusted: Collection[LabelSource]
) -> tuple[GraderError, ...]:
    """Each named grader that is not trusted, by name, where at least one answer of the window has a
    trusted label too. Measured at `as_of`.
    """
    said = labels_in_force(_ids(window), as_of, _others(trusted), each=True)
    truth = labels_in_force(_ids(window), as_of, trusted)
    counts = (
        _times(~_right(truth)),
        _times(and_(~_right(truth), _right(said))),
        _times(_right(truth)),
        _times(and_(_right(truth), ~_right(said))),
    )
    query = _both(select(said.c.grader, *counts), said, truth, cascade, window, as_of)
    rows = session.execute(query.where(said.c.grader.is_not(None)).group_by(said.c.grader).order_by(said.c.grader))
    return tuple(
        GraderError(
            grader=grader,
            measured_at=as_of,
            window=window,
            wrong=wrong,
            wrong_called_right=wrong_called_right,
            right=right,
            right_called_wrong=right_called_wrong,
        )
        for grader, wrong, wrong_called_right, right, right_called_wrong in rows
    )


def _both(query: Any, said: Subquery, truth: Subquery, cascade: str, window: Window, as_of: datetime) -> Any:
    """The query over answers that have both, of the cascade's decisions that had come by then."""
    low, high = _ids(window)
    answer = (truth.c.decision_id == said.c.decision_id) & (truth.c.tier == said.c.tier)
    return (
        query.select_from(said)
        .join(truth, answer & (truth.c.place == 1))
        .join(_DECISION, _DECISION.c.id == said.c.decision_id)
        .where(
            said.c.place == 1,
            _DECISION.c.cascade == cascade,
            _DECISION.c.id >= low,
            _DECISION.c.id < high,
            _DECISION.c.received_at <= as_of,
        )
    )


def _ids(window: Window) -> tuple[UUID, UUID]:
    return partitions.first_id(window.start), partitions.first_id(window.end)


def _others(trusted: Collection[LabelSource]) -> list[LabelSource]:
    return [source for source in LabelSource if source not in trusted]


def _right(labels: Subquery) -> ColumnElement[bool]:
    """Exactly half counts as right."""
    found: ColumnElement[bool] = labels.c.correct >= 0.5
    return found


def _times(of: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((of, 1), else_=0))
