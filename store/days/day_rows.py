"""The rows of a range of decisions as they lie in a day's file.

They are read a page of decisions at a time, so that what is held is what the file will hold and
never the rows as Python objects.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from sqlalchemy import case, select, type_coerce
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from knowgate._records.records import LabelSource
from store.days import day_columns
from store.days.day_columns import DayColumn, attempt_columns, decision_columns, label_columns
from store.dialects import table_of
from store.statements import newest_first
from store.tables import AttemptRow, DecisionRow, LabelRow

_PAGE = 5000  # decisions
_DECISION, _ATTEMPT, _LABEL = table_of(DecisionRow), table_of(AttemptRow), table_of(LabelRow)


def rows_between(
    session: Session, cascade: str, low: UUID, high: UUID, *, most: int | None = None
) -> tuple[pa.Table, UUID]:
    """The rows of a cascade's decisions from `low` on and before `high`, until there are `most`
    attempts, by decision and tier; and the id that they are before.
    """
    pages, rows, after = [], 0, low
    while most is None or rows < most:
        ids = session.scalars(
            select(_DECISION.c.id)
            .where(_DECISION.c.cascade == cascade, _DECISION.c.id >= after, _DECISION.c.id < high)
            .order_by(_DECISION.c.id)
            .limit(_PAGE)
        ).all()
        if not ids:
            after = high
            break
        pages.append(_page(session, cascade, ids[0], ids[-1]))
        rows += pages[-1].num_rows
        after = UUID(int=ids[-1].int + 1)
        if len(ids) < _PAGE:
            after = high
            break
    return pa.concat_tables(pages) if pages else day_columns.schema().empty_table(), after


def first_between(session: Session, cascade: str, low: UUID, high: UUID) -> UUID | None:
    """The first decision of a range; None where it has none."""
    within = (_DECISION.c.cascade == cascade, _DECISION.c.id >= low, _DECISION.c.id < high)
    return session.scalar(select(_DECISION.c.id).where(*within).order_by(_DECISION.c.id).limit(1))


def rows_of(session: Session, ids: Sequence[UUID]) -> pa.Table:
    """The rows of these decisions that are there."""
    wanted = sorted(set(ids))
    pages = []
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        attempts = session.execute(_attempts(_DECISION.c.id.in_(some))).all()
        pages.append(_table(attempts, session.execute(_labels(_LABEL.c.decision_id.in_(some))).all()))
    return pa.concat_tables(pages) if pages else day_columns.schema().empty_table()


def _page(session: Session, cascade: str, first: UUID, last: UUID) -> pa.Table:
    within = (_DECISION.c.cascade == cascade) & _DECISION.c.id.between(first, last)
    # Said again of the other tables, so that their partitions are pruned too.
    attempts = session.execute(_attempts(within & _ATTEMPT.c.decision_id.between(first, last))).all()
    labels = session.execute(_labels(within & _LABEL.c.decision_id.between(first, last))).all()
    return _table(attempts, labels)


def _attempts(where: Any) -> Any:
    columns = [_raw(column) for column in (*attempt_columns(), *decision_columns())]
    joined = _DECISION.join(_ATTEMPT, _ATTEMPT.c.decision_id == _DECISION.c.id)
    return select(*columns).select_from(joined).where(where).order_by(_ATTEMPT.c.decision_id, _ATTEMPT.c.tier)


def _labels(where: Any) -> Any:
    strength = case({source.value: rank for rank, source in enumerate(LabelSource)}, value=_LABEL.c.source)
    keys = [type_coerce(_LABEL.c[name], NullType()) for name in ("decision_id", "tier")]
    joined = _LABEL.join(_DECISION, _DECISION.c.id == _LABEL.c.decision_id)
    return (
        select(*keys, *(_raw(column) for column in label_columns()))
        .select_from(joined)
        .where(where)
        .order_by(_LABEL.c.decision_id, _LABEL.c.tier, strength, *newest_first(_LABEL.c))
    )


def _raw(column: DayColumn) -> Any:
    return type_coerce(column.of, NullType()).label(column.name)


def _table(attempts: Sequence[Any], labels: Sequence[Any]) -> pa.Table:
    schema = day_columns.schema()
    if not attempts:
        return schema.empty_table()
    values = list(zip(*attempts, strict=True))
    columns = (*attempt_columns(), *decision_columns())
    arrays = [day_columns.to_arrow(column.of, said) for column, said in zip(columns, values, strict=True)]
    places = {(row[0], row[1]): at for at, row in enumerate(attempts)}
    counts = np.zeros(len(attempts), dtype=np.int32)
    for row in labels:
        counts[places[row[0], row[1]]] += 1
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    said = list(zip(*labels, strict=True))[2:] if labels else [()] * len(label_columns())
    parts = [day_columns.to_arrow(column.of, of) for column, of in zip(label_columns(), said, strict=True)]
    fields = list(schema.field(day_columns.LABELS).type.value_type)
    lists = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(parts, fields=fields))
    return pa.Table.from_arrays([*arrays, lists.cast(schema.field(day_columns.LABELS).type)], schema=schema)
