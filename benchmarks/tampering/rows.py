"""Rows for tables that the deployment has nothing to say in yet, made up from the tables'
definitions.

A table that is added tomorrow is tampered with from tomorrow on; who wants its rows to be like real
ones adds them to `deployment`.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import JSON, Boolean, Column, Double, LargeBinary, Uuid, func, select
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger

from store import dialects
from store.sealing.coverage import COVERED
from store.tables.base import UtcDateTime

WANTED = 2  # rows of every table
_SINCE = datetime(2026, 3, 10, tzinfo=UTC)


def fill_the_rest(session: Session) -> None:
    """Rows for the covered tables that have fewer than two."""
    for cover in sorted(COVERED, key=lambda cover: len(cover.table.foreign_keys)):
        there = session.execute(select(func.count()).select_from(cover.table)).scalar_one()
        for at in range(there, WANTED):
            row = {column.name: _value(session, column, at) for column in cover.table.c}
            dialects.insert_new(session, cover.model, [row], returning=cover.keys[0])


def _value(session: Session, column: Column[Any], at: int) -> Any:
    if column.foreign_keys:
        referred = next(iter(column.foreign_keys)).column
        return session.scalar(select(referred).order_by(referred).offset(at).limit(1))
    for kind, value in _VALUES:
        if isinstance(column.type, kind):
            return value(at)
    return _allowed(column) or f"{column.name} {at}"


def _allowed(column: Column[Any]) -> str | None:
    """The first of the words that a check of the table lets the column hold."""
    checks = [str(item.sqltext) for item in column.table.constraints if isinstance(item, sa.CheckConstraint)]
    named = [re.search(rf"\b{column.name}\b in \('([^']+)'", text) for text in checks]
    return next((match[1] for match in named if match), None)


_VALUES: tuple[tuple[type, Any], ...] = (
    (Uuid, lambda at: UUID(int=(int(_SINCE.timestamp() * 1000) << 80) | 0x7 << 76 | 0b10 << 62 | at)),
    (UtcDateTime, lambda at: _SINCE + timedelta(hours=at)),
    (JSON, lambda at: {"at": at}),
    (Boolean, bool),
    (BigInteger, lambda at: at + 1),
    (Double, lambda at: 0.5),
    (LargeBinary, lambda at: bytes([at])),
)
