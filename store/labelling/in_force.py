"""Which label of an attempt is in force: among those made and received by a time the strongest
source's, and within it the newest statement.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import Subquery, case, func, select

from knowgate._records.records import LabelSource
from store import dialects
from store.statements import newest_first
from store.tables import LabelRow

_LABEL = dialects.table_of(LabelRow)


def labels_in_force(
    ids: tuple[UUID, UUID], as_of: datetime, sources: Collection[LabelSource], *, each: bool = False
) -> Subquery:
    """The labels of these sources for decisions of a range of ids; in force are those whose `place`
    is 1, one per attempt, or, of `each` source, one per attempt and source.
    """
    low, high = ids
    strength = case({source.value: rank for rank, source in enumerate(LabelSource)}, value=_LABEL.c.source)
    of_one = (_LABEL.c.decision_id, _LABEL.c.tier, *((_LABEL.c.source,) if each else ()))
    place = func.row_number().over(partition_by=of_one, order_by=(strength, *newest_first(_LABEL.c)))
    return (
        select(
            _LABEL.c.decision_id,
            _LABEL.c.tier,
            _LABEL.c.source,
            _LABEL.c.correct,
            _LABEL.c.labelled_at,
            _LABEL.c.received_at,
            _LABEL.c.label_propensity,
            _LABEL.c.grader,
            place.label("place"),
        )
        .where(
            _LABEL.c.decision_id >= low,
            _LABEL.c.decision_id < high,
            _LABEL.c.labelled_at <= as_of,
            _LABEL.c.received_at <= as_of,
            _LABEL.c.source.in_([source.value for source in sources]),
        )
        .subquery()
    )
