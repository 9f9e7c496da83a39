"""What all tables share: the naming of constraints, aware times, JSON, and ids that sort by time.

Constraint names are fixed, so that a migration can name what it changes on both databases. Ids are
UUIDs: native on PostgreSQL, 32 hex digits on SQLite; both sort a UUIDv7 by its time. Times are kept
in UTC and come back aware.
"""

from datetime import UTC, datetime
from enum import StrEnum
from types import UnionType
from typing import Any, ClassVar, get_args
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Boolean, DateTime, Dialect, Double, MetaData, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator, TypeEngine

from store.errors import NaiveTime

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC to the microsecond; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise NaiveTime(value)
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


JsonType = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Base(DeclarativeBase):
    """The base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        UUID: Uuid(),
        str: Text(),
        float: Double(),
        int: BigInteger(),
    }


def scalar_type(hint: Any) -> TypeEngine[Any] | None:
    """The type of the column that holds a record's field of this type; None for what is not one
    value.
    """
    kind = get_args(hint)[0] if isinstance(hint, UnionType) else hint
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        kind = str
    known: dict[Any, TypeEngine[Any]] = {**Base.type_annotation_map, bool: Boolean()}
    return known.get(kind)


def where_known(column: str) -> dict[str, Any]:
    """What keeps an index to the rows whose column is not null, on either database."""
    known = text(f"{column} IS NOT NULL")
    return {"postgresql_where": known, "sqlite_where": known}
