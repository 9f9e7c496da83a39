"""Rows whose leaf is that of their batch: where it is, and the row's way up to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store.batches import batched
from store.sealing import coverage, merkle, row_leaves, row_texts, states
from store.sealing.coverage import Cover
from store.sealing.row_leaves import Said, Sealed
from store.tables import LedgerLeafRow

_CHUNK = 50  # leaves whose rows are read at once
_PAGE = 1000  # rows that are read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRow:
    """A row under the leaf of its batch."""

    leaf: UUID
    subject: str
    hash: str  # hex; what lies under the root that the leaf's payload names
    salt: str | None  # hex; None = erased
    text: str | None  # what the row says now, as it was sealed; None = erased, or not to be said any more
    content: str  # hex SHA-256 over salt and text, as sealed
    index: int  # among the leaf's rows; from 0
    path: tuple[str, ...]  # hex hashes from the row up to the root over the leaf's rows
    root: str  # hex; the leaf's payload has to name it


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidRow:
    """What a leaf of many rows says of one."""

    subject: str
    salt: str | None  # hex; None = erased
    text: str | None  # as above
    content: str  # hex


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    leaf: UUID
    cover: Cover
    said: Said
    rows: bytes
    sealed: tuple[Sealed, ...]
    index: int


def sealed_row(session: Session, subject: str) -> SealedRow | None:
    """The row of this name under the leaf of its batch; None where it has none."""
    found = _find(session, subject)
    if found is None:
        return None
    one = found.sealed[found.index]
    hashes = [each.hash for each in found.sealed]
    steps = merkle.proof(hashes, found.index)
    return SealedRow(
        leaf=found.leaf,
        subject=subject,
        hash=one.hash.hex(),
        salt=None if one.salt is None else one.salt.hex(),
        text=None if one.salt is None else _text(session, found),
        content=one.content.hex(),
        index=found.index,
        path=tuple(step.sibling.hex() for step in steps),
        root=merkle.root(hashes).hex(),
    )


def empty_row(session: Session, subject: str) -> str | None:
    """Take the salt of this row from its leaf; the row's hash, None where there was none to
    take.
    """
    found = _find(session, subject, hold=True)
    if found is None or found.sealed[found.index].salt is None:
        return None
    session.execute(
        update(LedgerLeafRow)
        .where(LedgerLeafRow.id == found.leaf)
        .values(rows=row_leaves.without_salt(found.rows, found.index))
    )
    return found.sealed[found.index].hash.hex()


def rows_of(session: Session, leaf: UUID) -> tuple[SaidRow, ...]:
    """What the leaf of this id says of its rows, in their order."""
    query = select(LedgerLeafRow.kind, LedgerLeafRow.payload, LedgerLeafRow.rows).where(LedgerLeafRow.id == leaf)
    kind, payload, rows = session.execute(query).one()
    cover, said = coverage.of_kind(kind), row_leaves.read_payload(payload)
    assert cover is not None
    made: list[SaidRow] = []
    for some in batched(row_leaves.unpacked(rows, said.rows), _PAGE):
        keys = [cover.key(one.subject) for one in some]
        texts = row_texts.read_texts(session, cover, keys, said.columns, said.parts)
        made += (_said(one, texts.get(one.subject)) for one in some)
    return tuple(made)


def _said(one: Sealed, text: bytes | None) -> SaidRow:
    known = one.salt is not None and text is not None
    return SaidRow(
        subject=one.subject,
        salt=None if one.salt is None else one.salt.hex(),
        text=text.decode() if known and text is not None else None,
        content=one.content.hex(),
    )


def _text(session: Session, found: _Found) -> str | None:
    subject = found.sealed[found.index].subject
    key = found.cover.key(subject)
    text = row_texts.read_texts(session, found.cover, [key], found.said.columns, found.said.parts).get(subject)
    return None if text is None else text.decode()


def subjects_of(session: Session, leaves: Sequence[UUID]) -> Iterator[str]:
    """The rows that these leaves speak of."""
    for some in batched(leaves, _CHUNK):
        query = select(LedgerLeafRow.payload, LedgerLeafRow.rows).where(LedgerLeafRow.id.in_(some))
        for payload, rows in session.execute(query.order_by(LedgerLeafRow.id)):
            yield from (one.subject for one in row_leaves.unpacked(rows, row_leaves.read_payload(payload).rows))


def _find(session: Session, subject: str, *, hold: bool = False) -> _Found | None:
    for cover in (cover for cover in coverage.COVERED if cover.by_batch):
        try:
            key = cover.key(subject)
        except ValueError:
            continue
        named = [cover.table.c[name] == value for name, value in zip(cover.keys, key, strict=True)]
        received_at = session.scalar(select(cover.table.c.received_at).where(*named))
        if received_at is None and (left := states.read_rows(session, cover, [key])[0]):
            received_at = states.as_time(left[0]["received_at"])
        if received_at is not None:
            first, end = row_leaves.leaf_ids(received_at)
            return _in_leaves(session, cover, (first, end), subject, hold)
    return None


def _in_leaves(session: Session, cover: Cover, ids: tuple[UUID, UUID], subject: str, hold: bool) -> _Found | None:
    leaf = LedgerLeafRow
    here = (leaf.id >= ids[0], leaf.id < ids[1], leaf.kind == cover.kind, leaf.version == row_leaves.VERSION)
    for key, named in session.execute(select(leaf.id, leaf.subject).where(*here)).all():
        first, _, last = named.partition(row_leaves.BETWEEN)
        if not first <= subject <= last:
            continue
        query = select(leaf.payload, leaf.rows).where(leaf.id == key)
        payload, rows = session.execute(query.with_for_update() if hold else query).one()
        said = row_leaves.read_payload(payload)
        sealed = row_leaves.unpacked(rows, said.rows)
        index = next((at for at, one in enumerate(sealed) if one.subject == subject), None)
        if index is not None:
            return _Found(leaf=key, cover=cover, said=said, rows=bytes(rows or b""), sealed=sealed, index=index)
    return None
