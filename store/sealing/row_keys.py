"""The rows of many primary keys, found by the index whatever the database.

Of `(a, b) IN (...)` SQLite reads the whole table, and PostgreSQL makes one long OR; of thousands of
parameters their drivers spend longer on each than on its row. So keys are given as one parameter: a
JSON list, which the database unfolds and joins, or of one column on PostgreSQL an array.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement, Select, and_, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from store.sealing.inserts import folded, is_postgresql, unfolded

_DIALECT = sqlite.dialect()
Columns = Sequence[Column[Any]]


def of_keys(session: Session, query: Select[Any], columns: Columns, keys: Iterable[tuple[Any, ...]]) -> Select[Any]:
    """Those of a query's rows that have one of these keys in these columns of a table."""
    wanted = list(dict.fromkeys(keys))
    if is_postgresql(session):
        return _of_postgresql(query, columns, wanted)
    each = func.json_each(sa.literal(_as_stored(columns, wanted), sa.Text())).table_valued("value")
    return query.join(each, and_(*(item == _item(each, at) for at, item in enumerate(columns))))


def _of_postgresql(query: Select[Any], columns: Columns, keys: Sequence[tuple[Any, ...]]) -> Select[Any]:
    if len(columns) == 1:
        one = columns[0]
        return query.where(one == sa.any_(sa.literal([key[0] for key in keys], postgresql.ARRAY(one.type))))
    names = [item.name for item in columns]
    rows = sa.literal(folded([dict(zip(names, key, strict=True)) for key in keys]), sa.Text())
    wanted = unfolded(columns[0].table, names, rows).subquery("wanted")
    return query.join(wanted, and_(*(item == wanted.c[item.name] for item in columns)))


def _item(each: Any, at: int) -> ColumnElement[Any]:
    return func.json_extract(each.c.value, f"$[{at}]")


def _as_stored(columns: Columns, keys: Sequence[tuple[Any, ...]]) -> str:
    """The keys as SQLite keeps them."""
    bound = [item.type.dialect_impl(_DIALECT).bind_processor(_DIALECT) for item in columns]
    return json.dumps(
        [[value if bind is None else bind(value) for bind, value in zip(bound, key, strict=True)] for key in keys]
    )
