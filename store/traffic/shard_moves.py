"""Moving rows from shard to shard, and letting go of shards: the SQL of compaction, retention and
sweeping.

Decisions:
- A row is moved by a compare-and-swap: it goes only from the very place it was read at. One that
  was erased, forgotten or moved meanwhile undoes the whole move, since the new file holds what it
  should not.
- A shard that lost its last row is superseded and keeps its record: its file stays for those who
  still read it, and an erasure still finds it. `forget_superseded` ends that.
- Moves, retention and sweeps exclude each other (`hold_moves`). The database knows nothing of
  files: who removes one does so after the transaction that let go of it has ended.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, exists, func, select, update
from sqlalchemy.orm import Session

from store import dialects, partitions
from store.claims import changed
from store.errors import RowsMoved
from store.sealing import coverage, leaves
from store.tables import AttemptRow, VectorPlaceRow, VectorShardRow
from store.traffic.vectors import ShardRecord, hold_files, read_shard, shard_row

_PLACE = dialects.table_of(VectorPlaceRow)
_FORGOTTEN_AT_ONCE = 20_000  # rows in one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardUse:
    """A shard, and how much of it is still referred to."""

    shard: ShardRecord
    live: int  # rows that something refers to
    nameable: bool  # it carries no fingerprint, and its rows' attempts do

    @property
    def dead(self) -> bool:
        """Whether it holds vectors that nothing refers to."""
        return self.live < self.shard.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRow:
    """One attempt's vector, where it lies, and what SQL says it is a hidden state of."""

    decision_id: UUID
    tier: int
    shard: UUID
    row: int
    sha256: str
    fingerprint: str | None


def hold_moves(session: Session, *, alone: bool = False) -> None:
    """Say that rows are moved or forgotten until the transaction ends: only one does so at a time.

    With `alone`, nobody writes shards meanwhile either.
    """
    dialects.lock(session, "knowgate.shard_moves")
    hold_files(session, alone=alone)


def shard_use(session: Session) -> tuple[ShardUse, ...]:
    """Every shard that is not superseded with the number of rows referred to, oldest first."""
    live = select(VectorPlaceRow.shard, func.count().label("live")).group_by(VectorPlaceRow.shard).subquery()
    named = exists().where(
        VectorPlaceRow.shard == VectorShardRow.id,
        AttemptRow.decision_id == VectorPlaceRow.decision_id,
        AttemptRow.tier == VectorPlaceRow.tier,
        AttemptRow.fingerprint.is_not(None),
    )
    query = (
        select(VectorShardRow, func.coalesce(live.c.live, 0))
        .outerjoin(live, live.c.shard == VectorShardRow.id)
        .where(VectorShardRow.superseded_at.is_(None))
        .order_by(VectorShardRow.id)
        .execution_options(populate_existing=True)
    )
    counts = session.execute(query).all()
    nameless = [row.id for row, _ in counts if row.fingerprint is None]
    nameable = set(session.scalars(select(VectorShardRow.id).where(VectorShardRow.id.in_(nameless), named)))
    return tuple(ShardUse(shard=read_shard(row), live=count, nameable=row.id in nameable) for row, count in counts)


def live_rows(session: Session, shards: Iterable[UUID]) -> tuple[LiveRow, ...]:
    """The rows of these shards that something refers to, by shard and row."""
    query = (
        select(
            VectorPlaceRow.decision_id,
            VectorPlaceRow.tier,
            VectorPlaceRow.shard,
            VectorPlaceRow.row,
            VectorPlaceRow.sha256,
            AttemptRow.fingerprint,
        )
        .outerjoin(
            AttemptRow,
            (AttemptRow.decision_id == VectorPlaceRow.decision_id) & (AttemptRow.tier == VectorPlaceRow.tier),
        )
        .where(VectorPlaceRow.shard.in_(sorted(shards)))
        .order_by(VectorPlaceRow.shard, VectorPlaceRow.row)
    )
    return tuple(LiveRow(**row) for row in session.execute(query).mappings())


def put_shard(
    session: Session,
    cascade: str,
    url: str,
    sha256: str,
    *,
    dimension: int,
    rows: int,
    fingerprint: str | None,
    now: datetime,
) -> UUID:
    """Record a shard whose rows are about to be moved to it; its id, the one it has where it is
    known already.
    """
    row = shard_row(cascade, url, sha256, dimension=dimension, rows=rows, fingerprint=fingerprint, now=now)
    made = dialects.insert_new(session, VectorShardRow, [row], returning="id")
    if made:
        return UUID(str(made[0]))
    revived = update(VectorShardRow).where(VectorShardRow.url == url).values(superseded_at=None, rows=rows)
    return session.scalars(revived.returning(VectorShardRow.id)).one()


def move_rows(session: Session, rows: Sequence[LiveRow], shard: UUID) -> None:
    """Move the rows to `shard`, the i-th to its row i. Raises RowsMoved where one is not where it
    was read.
    """
    statement = (
        update(_PLACE)
        .where(
            _PLACE.c.decision_id == bindparam("of_decision"),
            _PLACE.c.tier == bindparam("of_tier"),
            _PLACE.c.shard == bindparam("from_shard"),
            _PLACE.c.row == bindparam("from_row"),
            _PLACE.c.sha256 == bindparam("of_sha256"),
        )
        .values(shard=bindparam("to_shard"), row=bindparam("to_row"))
    )
    moves = [
        {
            "of_decision": row.decision_id,
            "of_tier": row.tier,
            "from_shard": row.shard,
            "from_row": row.row,
            "of_sha256": row.sha256,
            "to_shard": shard,
            "to_row": at,
        }
        for at, row in enumerate(rows)
    ]
    session.execute(statement, moves, execution_options={"synchronize_session": False, "noted": False})
    arrived = session.scalar(select(func.count()).where(VectorPlaceRow.shard == shard)) or 0
    if arrived != len(rows):
        raise RowsMoved(len(rows), arrived)
    _note(session, {shard, *(row.shard for row in rows)})


def supersede_empty(session: Session, shards: Iterable[UUID], *, now: datetime) -> int:
    """Say of those of these shards that nothing refers to that they are superseded; how many."""
    result = session.execute(
        update(VectorShardRow)
        .where(
            VectorShardRow.id.in_(sorted(shards)),
            VectorShardRow.superseded_at.is_(None),
            ~exists().where(VectorPlaceRow.shard == VectorShardRow.id),
        )
        .values(superseded_at=now),
        execution_options={"synchronize_session": False},
    )
    return changed(result)


def forget_superseded(
    session: Session, *, before: datetime | None = None, ids: Iterable[UUID] | None = None
) -> tuple[str, ...]:
    """Forget superseded shards: those superseded before a time, or these, or all; the URLs of their
    files.
    """
    statement = delete(VectorShardRow).where(
        VectorShardRow.superseded_at.is_not(None), ~exists().where(VectorPlaceRow.shard == VectorShardRow.id)
    )
    if before is not None:
        statement = statement.where(VectorShardRow.superseded_at < before)
    if ids is not None:
        statement = statement.where(VectorShardRow.id.in_(sorted(ids)))
    gone = session.scalars(statement.returning(VectorShardRow.url), execution_options={"synchronize_session": False})
    return tuple(sorted(gone))


def forget_vectors(session: Session, cascade: str, *, before: datetime) -> int:
    """Forget where some of the vectors lie that are of decisions before this time; how many, 0 when
    none is left.
    """
    old = (
        select(VectorPlaceRow.decision_id, VectorPlaceRow.tier, VectorPlaceRow.shard)
        .join(VectorShardRow, VectorShardRow.id == VectorPlaceRow.shard)
        .where(VectorShardRow.cascade == cascade, VectorPlaceRow.decision_id < partitions.first_id(before))
        .order_by(VectorPlaceRow.decision_id, VectorPlaceRow.tier)
        .limit(_FORGOTTEN_AT_ONCE)
    )
    keys = session.execute(old).all()
    statement = delete(_PLACE).where(
        _PLACE.c.decision_id == bindparam("of_decision"), _PLACE.c.tier == bindparam("of_tier")
    )
    if keys:
        named = [{"of_decision": row.decision_id, "of_tier": row.tier} for row in keys]
        session.execute(statement, named, execution_options={"noted": False})
        _note(session, [row.shard for row in keys])
    return len(keys)


def _note(session: Session, shards: Iterable[UUID]) -> None:
    leaves.note_stored(session, coverage.of_model(VectorShardRow), [(shard,) for shard in sorted(set(shards))])
