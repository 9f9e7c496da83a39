"""Where hidden states lie. The vectors themselves are in safetensors shards; here is (shard, row, sha256)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from knowgate.ids import new_decision_id
from store import adoption, dialects, partitions
from store.tables import DecisionRow, VectorPlaceRow, VectorShardRow


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """One file of vectors."""

    id: UUID
    cascade: str
    url: str
    sha256: str  # hex, of the file
    dimension: int


def add_shard(
    session: Session, cascade: str, url: str, sha256: str, rows: Sequence[VectorRow], *, dimension: int, now: datetime
) -> UUID:
    """Record a written shard and whose vectors it holds; its id. The same URL again changes nothing.

    An attempt that has a vector already keeps the place it has.
    """
    shard = new_decision_id(now)
    made = dialects.insert_new(
        session,
        VectorShardRow,
        [
            {
                "id": shard,
                "cascade": cascade,
                "url": url,
                "sha256": sha256,
                "dimension": dimension,
                "created_at": now,
            }
        ],
        returning="id",
    )
    if not made:
        return session.execute(select(VectorShardRow.id).where(VectorShardRow.url == url)).scalar_one()
    partitions.ensure_partitions(session, partitions.months_of({row.decision_id for row in rows}, now=now))
    placed = [
        {
            "decision_id": row.decision_id,
            "tier": row.tier,
            "shard": shard,
            "row": row.row,
            "sha256": row.sha256,
        }
        for row in sorted(rows, key=lambda row: (row.decision_id, row.tier))
    ]
    dialects.insert_new(session, VectorPlaceRow, placed, returning="row")
    return shard


def shards(session: Session) -> tuple[ShardRecord, ...]:
    """All files that vectors lie in, oldest first."""
    return tuple(
        ShardRecord(id=row.id, cascade=row.cascade, url=row.url, sha256=row.sha256, dimension=row.dimension)
        for row in session.scalars(select(VectorShardRow).order_by(VectorShardRow.id))
    )


def move_shard(session: Session, shard: UUID, *, url: str, sha256: str) -> None:
    """Point a shard at another file that holds its rows in the same places."""
    session.execute(update(VectorShardRow).where(VectorShardRow.id == shard).values(url=url, sha256=sha256))


def vector_rows(session: Session, cascade: str, tier: int, ids: Iterable[UUID]) -> dict[UUID, VectorPlace]:
    """Where the vectors of these decisions' attempts at `tier` lie; ids without one are left out."""
    places = {}
    for chunk in adoption.chunks(ids):
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
    return VectorPlace(shard=shard.id, url=shard.url, row=place.row, sha256=place.sha256, dimension=shard.dimension)
