"""Where hidden states lie. The vectors themselves are in safetensors shards; here is (shard, row,
sha256).

Whoever writes, moves or removes shards first says so with `hold_files`: writers side by side, an
erasure or a sweep alone. So an erasure never misses a shard that is just being written, and a sweep
removes no file that is about to be referred to.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from knowgate._records.records import Fingerprint
from store import dialects, partitions
from store.batches import batched
from store.rows import record_of, row_of
from store.sealing import coverage, leaves
from store.shards.shard_format import require_fingerprint
from store.tables import AttemptRow, DecisionRow, VectorPlaceRow, VectorShardRow
from store.traffic.fingerprints import add_fingerprints, fingerprints

_CHUNK = 5000  # ids in one IN list


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorRow:
    """One attempt's vector in the shard that is being added."""

    decision_id: UUID
    tier: int
    row: int
    sha256: str  # hex, of the row's bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorPlace:
    """Where one attempt's vector lies."""

    shard: UUID
    url: str
    row: int
    sha256: str
    dimension: int
    fingerprint: str | None = None  # SHA-256 of the shard's; a key of `store.traffic.fingerprints.fingerprints`


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """One file of vectors."""

    id: UUID
    cascade: str
    url: str
    sha256: str  # hex, of the file
    dimension: int
    fingerprint: str | None  # SHA-256 of what its vectors are hidden states of
    rows: int  # that hold a vector
    superseded_at: datetime | None  # nothing refers to it since


def hold_files(session: Session, *, alone: bool = False) -> None:
    """Say that shards are written or removed until the transaction ends; the first thing such a
    transaction does.
    """
    dialects.lock(session, "knowgate.shards", shared=not alone)
    # On SQLite the first statement of a writing transaction takes the whole database; this is one.
    session.execute(select(VectorShardRow.id).limit(1))


def add_shard(
    session: Session,
    cascade: str,
    url: str,
    sha256: str,
    rows: Sequence[VectorRow],
    *,
    dimension: int,
    now: datetime,
    fingerprint: Fingerprint | None = None,
) -> UUID:
    """Record a written shard and whose vectors it holds; its id. The same URL again changes
    nothing.

    An attempt that has a vector already keeps the place it has. Raises FingerprintDiffers where
    `fingerprint`, which the shard carries, is not that of one of the attempts.
    """
    key = None
    if fingerprint is not None:
        _require_attempts(session, url, rows, fingerprint)
        (key,) = add_fingerprints(session, [fingerprint])
    row = shard_row(cascade, url, sha256, dimension=dimension, rows=len(rows), fingerprint=key, now=now)
    shard: UUID = row["id"]
    made = dialects.insert_new(session, VectorShardRow, [row], returning="id", noted=False)
    if not made:
        return session.execute(select(VectorShardRow.id).where(VectorShardRow.url == url)).scalar_one()
    partitions.ensure_partitions(session, partitions.months_of({row.decision_id for row in rows}, now=now))
    placed = [
        row_of(VectorPlaceRow, place, shard=shard)
        for place in sorted(rows, key=lambda place: (place.decision_id, place.tier))
    ]
    dialects.insert_new(session, VectorPlaceRow, placed, returning="row")
    leaves.note_stored(session, coverage.of_model(VectorShardRow), [(shard,)])
    return shard


def shard_row(
    cascade: str, url: str, sha256: str, *, dimension: int, rows: int, fingerprint: str | None, now: datetime
) -> dict[str, Any]:
    """The row of a shard that is not there yet."""
    return row_of(
        VectorShardRow,
        id=new_id(now),
        cascade=cascade,
        url=url,
        sha256=sha256,
        dimension=dimension,
        created_at=now,
        fingerprint=fingerprint,
        rows=rows,
    )


def shards(session: Session, *, superseded: bool = False) -> tuple[ShardRecord, ...]:
    """All files that vectors lie in, oldest first; with `superseded` also those that nothing refers
    to any more.
    """
    query = select(VectorShardRow).order_by(VectorShardRow.id).execution_options(populate_existing=True)
    if not superseded:
        query = query.where(VectorShardRow.superseded_at.is_(None))
    return tuple(read_shard(row) for row in session.scalars(query))


def shard_of(session: Session, shard: UUID) -> ShardRecord | None:
    """One file of vectors; None where it is gone."""
    row = session.get(VectorShardRow, shard)
    return None if row is None else read_shard(row)


def locked_shards(session: Session, ids: Iterable[UUID]) -> tuple[ShardRecord, ...]:
    """These shards, each locked until the transaction ends: nobody else points them at another file
    meanwhile.
    """
    query = select(VectorShardRow).where(VectorShardRow.id.in_(sorted(ids))).order_by(VectorShardRow.id)
    rows = session.scalars(query.with_for_update().execution_options(populate_existing=True))
    return tuple(read_shard(row) for row in rows)


def move_shard(session: Session, shard: UUID, *, url: str, sha256: str, rows: int | None = None) -> None:
    """Point a shard at another file that holds its rows in the same places; `rows` of them still
    hold a vector.
    """
    values: dict[str, object] = {"url": url, "sha256": sha256}
    if rows is not None:
        values["rows"] = rows
    session.execute(update(VectorShardRow).where(VectorShardRow.id == shard).values(**values))


def vector_rows(session: Session, cascade: str, tier: int, ids: Iterable[UUID]) -> dict[UUID, VectorPlace]:
    """Where the vectors of these decisions' attempts at `tier` lie; ids without one are
    left out.
    """
    places = {}
    for chunk in batched(ids, _CHUNK):
        query = (
            select(VectorPlaceRow, VectorShardRow)
            .join(VectorShardRow, VectorShardRow.id == VectorPlaceRow.shard)
            .join(DecisionRow, DecisionRow.id == VectorPlaceRow.decision_id)
            .where(DecisionRow.cascade == cascade, VectorPlaceRow.decision_id.in_(chunk), VectorPlaceRow.tier == tier)
        )
        for place, shard in session.execute(query):
            places[place.decision_id] = read_place(place, shard)
    return places


def read_place(place: VectorPlaceRow, shard: VectorShardRow) -> VectorPlace:
    """The record of a place and its shard."""
    return record_of(VectorPlace, place, url=shard.url, dimension=shard.dimension, fingerprint=shard.fingerprint)


def read_shard(row: VectorShardRow) -> ShardRecord:
    """The record of a shard."""
    return record_of(ShardRecord, row)


def _require_attempts(session: Session, url: str, rows: Sequence[VectorRow], wanted: Fingerprint) -> None:
    """Raises FingerprintDiffers where an attempt of these rows was read with another model, layer
    or template.
    """
    known: Mapping[str, Fingerprint] = fingerprints(session)
    named = {(row.decision_id, row.tier) for row in rows}
    for chunk in batched({row.decision_id for row in rows}, _CHUNK):
        query = select(AttemptRow.decision_id, AttemptRow.tier, AttemptRow.fingerprint).where(
            AttemptRow.decision_id.in_(chunk)
        )
        for decision_id, tier, fingerprint in session.execute(query):
            if fingerprint is not None and (decision_id, tier) in named:
                require_fingerprint(
                    f"the attempt of {decision_id} at tier {tier}, of {url},", known[fingerprint], wanted
                )
