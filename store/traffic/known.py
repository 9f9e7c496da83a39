"""How many decisions say what a promise is about: whether its first and last tier were right."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Window
from store import partitions
from store.tables import DecisionRow, LabelRow


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
    """The decisions of a window of decision time whose tier 0 and, unless it is None, tier `last`
    were labelled by a trusted source by `as_of`; counted up to `at_most`, beyond which who asks "so
    many?" need not wait.
    """
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)

    def labelled(tier: int) -> ColumnElement[bool]:
        return exists().where(
            LabelRow.decision_id == DecisionRow.id,
            LabelRow.tier == tier,
            LabelRow.source.in_([source.value for source in trusted]),
            LabelRow.labelled_at <= as_of,
            LabelRow.received_at <= as_of,
            # Said again of the label, so that its partitions are pruned too.
            LabelRow.decision_id >= low,
            LabelRow.decision_id < high,
        )

    within = (
        DecisionRow.cascade == cascade,
        DecisionRow.id >= low,
        DecisionRow.id < high,
        DecisionRow.received_at <= as_of,
    )
    known = [labelled(tier) for tier in (last, 0) if tier is not None]
    found: Any = select(DecisionRow.id).where(*within, *known).limit(at_most).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0
