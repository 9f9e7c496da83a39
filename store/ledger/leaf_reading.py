"""Reading the whole ledger as it stands, whatever somebody wrote into it: verification takes
nothing for granted.

Values are the driver's own; one that is not of its column's type stays as it is, for the caller to
find fault with.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select, type_coerce
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from store.batches import batched
from store.sealing import merkle, row_leaves
from store.sealing.inserts import table_of
from store.sealing.leaves import SALT_BYTES, VERSION
from store.sealing.states import as_time, as_uuid
from store.tables import LedgerBatchRow, LedgerLeafRow

PAGE = 5000
FORMER = 1  # the version whose hashes cover salt and payload alone


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLeaf:
    """A leaf as it stands in its table, without the rows that it may speak of (`rows_beside`)."""

    id: Any
    version: Any
    cascade: Any
    kind: Any
    subject: Any
    revision: Any
    hash: Any
    salt: Any
    payload: Any
    content: Any
    batch: Any
    beside: Any  # whether rows stand beside it

    @property
    def emptied(self) -> bool:
        return self.payload is None

    @property
    def of_rows(self) -> bool:
        return bool(self.version == row_leaves.VERSION)

    def of_row(self, subject: str, row_hash: str) -> "RawLeaf":
        """What stands in it for one of its rows whose salt was taken."""
        return replace(self, subject=subject, hash=row_hash, salt=None, payload=None)

    def fault(self) -> str | None:
        """What keeps its hash from being over what it says; None where it is."""
        try:
            content = self._content()
            if self.version == FORMER:
                hashed = content
            elif self.version in (VERSION, row_leaves.VERSION):
                key = as_uuid(self.id)
                hashed = merkle.leaf_hash(
                    merkle.header(key, self.kind, self.cascade, self.subject, self.revision), content
                )
            else:
                return f"its version is {self.version!r}, which there is not"
        except (ValueError, TypeError, AttributeError) as error:
            return f"it cannot be read ({error})"
        if self.beside and not self.of_rows:
            return "rows stand beside it, and it is of one row"
        return None if hashed.hex() == self.hash else "it does not hash to what it says"

    def _content(self) -> bytes:
        if self.payload is None:
            if self.salt is not None:
                raise ValueError("it has a salt and no payload")
            return bytes.fromhex(self.hash if self.version == FORMER else self.content)
        salt = bytes.fromhex(self.salt)
        if len(salt) != SALT_BYTES or self.content is not None:
            raise ValueError("salt, payload and content do not belong together")
        return merkle.content_hash(salt, self.payload.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBatch:
    """A sealed batch as it stands in its table."""

    number: Any
    previous: Any
    root: Any
    leaves: Any
    sealed_at: Any
    hash: Any

    def fault(self) -> str | None:
        """What keeps its hash from being over what it says; None where it is."""
        try:
            sealed_at = as_time(self.sealed_at)
            chained = merkle.chain_hash(self.number, self.previous, self.root, self.leaves, sealed_at).hex()
        except (ValueError, TypeError, AttributeError) as error:
            return f"it cannot be read ({error})"
        return None if chained == self.hash else "it does not hash to what it says"


def raw_batches(session: Session, *, since: int = 0, limit: int | None = None) -> tuple[RawBatch, ...]:
    """The sealed batches from this number on, at most `limit`, by their numbers."""
    table = table_of(LedgerBatchRow)
    query = select(*map(_raw, table.c)).order_by(table.c.number).limit(limit)
    if since:
        query = query.where(table.c.number >= since)
    return tuple(RawBatch(**row) for row in session.execute(query).mappings())


def raw_leaves(session: Session, between: tuple[int, int] | None = None) -> Iterator[list[RawLeaf]]:
    """All leaves, or those from one batch to another, those of a batch one after the other, a page
    at a time.
    """
    table = table_of(LedgerLeafRow)
    query = _leaves().order_by(table.c.batch)
    if between is not None:
        query = query.where(table.c.batch.between(*between))
    for page in session.execute(query, execution_options={"yield_per": PAGE}).mappings().partitions():
        yield [RawLeaf(**row) for row in page]


def leaves_about(session: Session, kind: str, subjects: Sequence[str]) -> dict[str, list[RawLeaf]]:
    """The leaves of one kind about these subjects."""
    by_subject: dict[str, list[RawLeaf]] = {}
    table = table_of(LedgerLeafRow)
    for some in batched(subjects, PAGE):
        query = _leaves().where(table.c.kind == kind, table.c.subject.in_(some))
        for row in session.execute(query).mappings():
            by_subject.setdefault(row["subject"], []).append(RawLeaf(**row))
    return by_subject


def rows_beside(session: Session, leaves: Sequence[RawLeaf]) -> dict[Any, Any]:
    """What stands beside these leaves of the rows that they speak of, by the leaves' ids."""
    table = table_of(LedgerLeafRow)
    query = select(_raw(table.c.id), _raw(table.c.rows)).where(_raw(table.c.id).in_([leaf.id for leaf in leaves]))
    return {row.id: row.rows for row in session.execute(query)}


def _leaves() -> Any:
    columns = table_of(LedgerLeafRow).c
    return select(*(_raw(item) for item in columns if item.name != "rows"), columns.rows.is_not(None).label("beside"))


def _raw(column: Any) -> Any:
    return type_coerce(column, NullType()).label(column.name)
