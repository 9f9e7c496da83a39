"""Looking for decisions: what one tier decided about them and whether it was right, a page at a
time.

A page begins behind the last row of the page before, by the values that order them (a keyset): the
hundredth page costs what the first does. Rows are chosen first and their labels are read for those
of the page alone; where right and wrong are asked for, a decision's label is looked up by its key.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from knowgate._records.records import Action, LabelSource, Reason
from store import dialects, partitions
from store.rejections import storable
from store.statements import newest_first
from store.tables import AttemptRow, DecisionRow, LabelRow

_DECISION = dialects.table_of(DecisionRow)
_ATTEMPT = dialects.table_of(AttemptRow)
_LABEL = dialects.table_of(LabelRow)
RIGHT = 0.5  # a label of at least this says that the answer was right
_STRENGTH = {source.value: rank for rank, source in enumerate(LabelSource)}


class Order(StrEnum):
    """Which decisions come first."""

    NEWEST = "newest"
    SUREST = "surest"  # of which the tier was surest: by its score, else its P(T)
    STRANGEST = "strangest"  # the most unlike what the probe has seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which decisions are looked for; None asks for nothing."""

    cascade: str
    tier: int = 0  # whose attempt is looked at
    since: datetime | None = None
    until: datetime | None = None
    slice: str | None = None
    external_id: str | None = None
    bundle: str | None = None
    action: Action | None = None
    reason: Reason | None = None
    right: bool | None = None  # by the label in force
    sure_from: float | None = None  # score, else P(T)
    sure_to: float | None = None
    ood_from: float | None = None
    order: Order = Order.NEWEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Behind which row a page begins."""

    id: UUID
    value: float | None = None  # that orders it; None where its time does


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One decision, with what the tier asked for did."""

    id: UUID
    occurred_at: datetime
    external_id: str | None
    slice: str | None
    generation: int | None
    bundle: str | None
    served_tier: int
    model: str | None  # what follows is None where the tier was not asked
    action: Action | None
    reason: Reason | None
    p_t: float | None
    p_ik: float | None
    score: float | None
    ood: float | None
    sure: float | None
    correct: float | None  # by the label in force of the tier's answer
    served_correct: float | None  # of the answer that was served
    cost_usd: float | None  # of all attempts; None where one is unknown

    def place(self, order: Order) -> Place:
        """Where the page behind this row begins."""
        value = {Order.NEWEST: None, Order.SUREST: self.sure, Order.STRANGEST: self.ood}[order]
        return Place(id=self.id, value=value)


def search(session: Session, wanted: Wanted, *, limit: int, after: Place | None = None) -> tuple[Found, ...]:
    """At most `limit` of the decisions that are wanted, behind `after`, in their order."""
    texts = (wanted.cascade, wanted.slice, wanted.external_id, wanted.bundle)
    if not all(storable(text) for text in texts if text is not None):
        return ()
    page = _page(wanted, after, limit)
    correct, served = _label_in_force(page.c.id, wanted.tier), _label_in_force(page.c.id, page.c.served_tier)
    query = select(page, correct.label("correct"), served.label("served_correct"), _cost(page).label("cost_usd"))
    return tuple(_found(row) for row in session.execute(query.order_by(*_ordered(page.c, wanted.order))))


_SURE: Any = func.coalesce(_ATTEMPT.c.score, _ATTEMPT.c.p_t)
_OF_DECISION = ("id", "occurred_at", "external_id", "slice", "generation", "bundle", "served_tier")
_OF_ATTEMPT = ("model", "action", "p_t", "p_ik", "score", "ood")


def _page(wanted: Wanted, after: Place | None, limit: int) -> Subquery:
    reason = func.coalesce(_ATTEMPT.c.reason, _ATTEMPT.c.fault)
    columns = [*(_DECISION.c[name] for name in _OF_DECISION), *(_ATTEMPT.c[name] for name in _OF_ATTEMPT)]
    same = (_ATTEMPT.c.decision_id == _DECISION.c.id, _ATTEMPT.c.tier == wanted.tier)
    query: Select[Any] = select(*columns, reason.label("reason"), _SURE.label("sure"))
    query = query.select_from(_DECISION).outerjoin(_ATTEMPT, and_(*same, *_within(_ATTEMPT.c.decision_id, wanted)))
    query = query.where(_DECISION.c.cascade == wanted.cascade, *_within(_DECISION.c.id, wanted))
    query = _narrowed(query, wanted)
    chosen = {"id": _DECISION.c.id, "sure": _SURE, "ood": _ATTEMPT.c.ood}
    by = _BY[wanted.order]
    if by is not None:
        query = query.where(chosen[by].is_not(None))
    if after is not None:
        query = query.where(_behind(after, chosen["id"], None if by is None else chosen[by]))
    order = [chosen["id"].desc()] if by is None else [chosen[by].desc(), chosen["id"].desc()]
    return query.order_by(*order).limit(limit).subquery()


_BY = {Order.NEWEST: None, Order.SUREST: "sure", Order.STRANGEST: "ood"}


def _within(key: Any, wanted: Wanted) -> list[ColumnElement[bool]]:
    """Said of each table, so that its partitions are pruned."""
    bounds: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        bounds.append(key >= partitions.first_id(wanted.since))
    if wanted.until is not None:
        bounds.append(key < partitions.first_id(wanted.until))
    return bounds


def _narrowed(query: Select[Any], wanted: Wanted) -> Select[Any]:
    for column, value in (
        (_DECISION.c.slice, wanted.slice),
        (_DECISION.c.bundle, wanted.bundle),
        (_ATTEMPT.c.action, None if wanted.action is None else wanted.action.value),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.external_id is not None:
        query = query.where(_DECISION.c.id.in_(_named(wanted.cascade, wanted.external_id)))
    if wanted.reason is not None:
        query = query.where(_for_reason(wanted.reason))
    if wanted.sure_from is not None:
        query = query.where(wanted.sure_from <= _SURE)
    if wanted.sure_to is not None:
        query = query.where(wanted.sure_to >= _SURE)
    if wanted.ood_from is not None:
        query = query.where(_ATTEMPT.c.ood >= wanted.ood_from)
    if wanted.right is not None:
        said = _label_in_force(_DECISION.c.id, wanted.tier)
        query = query.where(said >= RIGHT if wanted.right else said < RIGHT)
    return query


def _named(cascade: str, external_id: str) -> Select[Any]:
    """Found by their own index, however many others there are: SQLite would else follow the order
    of the page, through all of them.
    """
    named = _DECISION.alias()
    return select(named.c.id).where(named.c.cascade == cascade, named.c.external_id == external_id)


def _for_reason(reason: Reason) -> ColumnElement[bool]:
    if reason is not Reason.UNCERTIFIED_REQUEST:
        return _ATTEMPT.c.reason == reason.value
    last = _ATTEMPT.alias()  # the one tier that was asked is not the one that is looked at
    return exists().where(last.c.decision_id == _DECISION.c.id, last.c.fault == reason.value)


def _behind(after: Place, key: Any, value: Any) -> ColumnElement[bool]:
    if value is None or after.value is None:
        return and_(key < after.id)
    return or_(value < after.value, and_(value == after.value, key < after.id))


def _ordered(columns: Any, order: Order) -> list[Any]:
    by = _BY[order]
    return [columns.id.desc()] if by is None else [columns[by].desc(), columns.id.desc()]


def _label_in_force(decision_id: Any, tier: Any) -> Any:
    """Of the labels of an attempt the strongest source's newest (`store.traffic.examples`)."""
    label = _LABEL.alias()
    strength = case(_STRENGTH, value=label.c.source)
    return (
        select(label.c.correct)
        .where(label.c.decision_id == decision_id, label.c.tier == tier)
        .order_by(strength, *newest_first(label.c))
        .limit(1)
        .scalar_subquery()
    )


def _cost(page: Subquery) -> Any:
    """Of all attempts that ran; null where one is not known."""
    attempt = _ATTEMPT.alias()
    known = case((func.count() == func.count(attempt.c.cost_usd), func.sum(attempt.c.cost_usd)))
    ran = (attempt.c.decision_id == page.c.id, attempt.c.role != "skipped")
    return select(known).where(*ran).scalar_subquery()


def _found(row: Any) -> Found:
    values = dict(row._mapping)
    action, reason = values.pop("action"), values.pop("reason")
    return Found(
        action=None if action is None else Action(action), reason=None if reason is None else Reason(reason), **values
    )
