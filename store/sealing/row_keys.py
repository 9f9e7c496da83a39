"""The rows of many primary keys, found by the index whatever the database.

Of `(a, b) IN (...)` SQLite reads the whole table, and PostgreSQL makes one long OR. So keys of
several columns are given as one JSON parameter, which the database unfolds and joins.
"""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Select, Table, and_, func
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from store.sealing.coverage import Cover
from store.sealing.inserts import folded, is_postgresql, unfolded

_DIALECT = sqlite.dialect()


def of_keys(session: Session, query: Select[Any], cover: Cover, keys: Sequence[tuple[Any, ...]]) -> Select[Any]:
    """Those of a query's rows of the covered table that have these primary keys."""
    columns = [cover.table.c[name] for name in cover.keys]
    if len(columns) == 1:
        return query.where(columns[0].in_([key[0] for key in keys]))
    if is_postgresql(session):
        rows = sa.literal(folded([dict(zip(cover.keys, key, strict=True)) for key in keys]), sa.Text())
        wanted = unfolded(cover.table, cover.keys, rows).subquery("wanted")
        return query.join(wanted, and_(*(item == wanted.c[item.name] for item in columns)))
    each = func.json_each(sa.literal(_as_stored(cover.table, cover.keys, keys), sa.Text())).table_valued("value")
    return query.join(each, and_(*(item == _item(each, at) for at, item in enumerate(columns))))


def _item(each: Any, at: int) -> ColumnElement[Any]:
    return func.json_extract(each.c.value, f"$[{at}]")


def _as_stored(table: Table, names: Sequence[str], keys: Sequence[tuple[Any, ...]]) -> str:
    """The keys as SQLite keeps them."""
    bound = [table.c[name].type.dialect_impl(_DIALECT).bind_processor(_DIALECT) for name in names]
    return json.dumps(
        [[value if bind is None else bind(value) for bind, value in zip(bound, key, strict=True)] for key in keys]
    )
