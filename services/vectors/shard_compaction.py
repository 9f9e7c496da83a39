"""Compaction: small shards of one fingerprint become large ones, and vectors that nothing refers to
are left behind.

1. Choose what to merge (`next_merge`, a pure function): shards that hold vectors nobody refers to,
   runs of small ones.
2. Read their live rows, each compared with its hash, up to one shard's bound; write the new shard.
3. In the same transaction move the references, each from the very place it was read at, and say of
   the shards that lost their last row that they are superseded. Their files stay until a sweep
   finds them old enough.
4. Again, until nothing is left to merge.

A crash before the commit leaves the new file as an orphan and every reference as it was; a crash
after it, nothing to do. A shard that is damaged is left as it is and named: compaction never passes
on a row that is not what was stored, and never drops one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._records.records import Fingerprint
from services.vectors.intake import vector_name
from services.vectors.shard_files import Guard, unguarded
from store.engine import transaction
from store.errors import RowsMoved, ShardRefused
from store.shards.row_reader import require_stored
from store.shards.shard_format import ITEM_BYTES, Float16Array, require_fingerprint
from store.shards.shards import MappedShard, rows_of_one, write_shard
from store.traffic import shard_moves
from store.traffic.fingerprints import fingerprints
from store.traffic.shard_moves import LiveRow, ShardUse

_TRIES = 3  # where rows were moved meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What a compaction did."""

    merged: int  # shards that nothing refers to any more
    written: int  # shards
    moved: int  # vectors
    damaged: tuple[str, ...]  # why a shard was left as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What one transaction did; `refused` names a shard that has to be left alone."""

    merged: int = 0
    written: int = 0
    moved: int = 0
    refused: tuple[UUID, str] | None = None


class _Damaged(Exception):
    """A shard among those that are merged cannot be read as it was written."""

    def __init__(self, shard: UUID, why: str) -> None:
        super().__init__(why)
        self.shard = shard
        self.why = why


def compact(engine: Engine, shards_url: str, *, shard_bytes: int, now: datetime, guard: Guard = unguarded) -> Compacted:
    """Merge until nothing is left to merge; `guard` is called first in each transaction.

    Raises ShardRefused where nothing can be written, RowsMoved where others move the same rows
    again and again.
    """
    steps: list[_Step] = []
    damaged: dict[UUID, str] = {}
    while (step := _tried(engine, shards_url, shard_bytes, now, guard, damaged.keys())) is not None:
        steps.append(step)
        damaged |= [] if step.refused is None else [step.refused]
    return Compacted(
        merged=sum(step.merged for step in steps),
        written=sum(step.written for step in steps),
        moved=sum(step.moved for step in steps),
        damaged=tuple(damaged.values()),
    )


def next_merge(uses: Sequence[ShardUse], shard_bytes: int) -> tuple[ShardUse, ...]:
    """The shards that are worth merging next, all of one cascade, fingerprint and dimension; none:
    nothing is.

    Shards that hold vectors nobody refers to, or could be given a fingerprint, always are. Of small
    ones (below half the bound) a run is taken in which each is no larger than all smaller ones
    together: so a vector is rewritten a logarithmic number of times, however often new small shards
    arrive.
    """

    def kind(use: ShardUse) -> tuple[str, str, int]:
        return (use.shard.cascade, use.shard.fingerprint or "", use.shard.dimension)

    for _, group in groupby(sorted(uses, key=kind), key=kind):
        members = list(group)
        nameable = {use.shard.id for use in members if use.nameable}
        chosen = nameable or {use.shard.id for use in members if use.dead}
        small = sorted(
            (use for use in members if _size(use) < shard_bytes // 2), key=lambda use: (_size(use), use.shard.id)
        )
        sizes = np.array([_size(use) for use in small])
        before = np.cumsum(sizes) - sizes
        fitting = np.flatnonzero((sizes <= before) & (np.arange(len(small)) > 0))
        if len(fitting) and not nameable:
            chosen |= {use.shard.id for use in small[: int(fitting[-1]) + 1]}
        if chosen:
            return tuple(sorted((use for use in members if use.shard.id in chosen), key=lambda use: use.shard.id))
    return ()


def _size(use: ShardUse) -> int:
    return use.live * use.shard.dimension * ITEM_BYTES


def _tried(
    engine: Engine, shards_url: str, shard_bytes: int, now: datetime, guard: Guard, left_alone: Collection[UUID]
) -> _Step | None:
    for attempt in range(_TRIES):
        try:
            with transaction(engine) as session:
                guard(session)
                return _merge(session, shards_url, shard_bytes, now, left_alone)
        except _Damaged as damage:
            return _Step(refused=(damage.shard, damage.why))
        except RowsMoved:
            if attempt == _TRIES - 1:
                raise
    return None


def _merge(
    session: Session, shards_url: str, shard_bytes: int, now: datetime, left_alone: Collection[UUID]
) -> _Step | None:
    shard_moves.hold_moves(session)
    uses = [use for use in shard_moves.shard_use(session) if use.shard.id not in left_alone]
    chosen = next_merge(uses, shard_bytes)
    if not chosen:
        return None
    first = chosen[0].shard
    most = rows_of_one(first.dimension, shard_bytes)
    chosen = _enough(chosen, most)
    ids = [use.shard.id for use in chosen]
    rows, name = _fitting(chosen, shard_moves.live_rows(session, ids), most)
    if rows:
        known = fingerprints(session)
        fingerprint = None if name is None else known[name]
        hidden = _read(chosen, rows, known, fingerprint)
        names = [vector_name(row.decision_id, row.tier) for row in rows]
        written = write_shard(shards_url, hidden, names, fingerprint=fingerprint)
        shard = shard_moves.put_shard(
            session,
            first.cascade,
            written.url,
            written.sha256,
            dimension=first.dimension,
            rows=len(rows),
            fingerprint=name,
            now=now,
        )
        shard_moves.move_rows(session, rows, shard)
    merged = shard_moves.supersede_empty(session, ids, now=now)
    return _Step(merged=merged, written=int(bool(rows)), moved=len(rows))


def _enough(chosen: Sequence[ShardUse], most: int) -> tuple[ShardUse, ...]:
    """The first shards that together have `most` rows, or all of them."""
    before = np.cumsum([0, *(use.live for use in chosen[:-1])])
    return tuple(use for use, rows in zip(chosen, before, strict=True) if rows < most)


def _fitting(chosen: Sequence[ShardUse], rows: Sequence[LiveRow], most: int) -> tuple[list[LiveRow], str | None]:
    """The first rows that fit one shard, oldest shard first, and the fingerprint that all of them
    have.
    """
    place = {use.shard.id: at for at, use in enumerate(chosen)}
    said = {use.shard.id: use.shard.fingerprint for use in chosen}
    ordered = sorted(rows, key=lambda row: (place[row.shard], row.row))
    if not ordered:
        return [], None
    # A shard that says nothing may hold rows of several, and of none: those that can be named go
    # first.
    named = [(row, said[row.shard] or row.fingerprint) for row in ordered]
    name = next((name for _, name in named if name is not None), None)
    return [row for row, own in named if own == name][:most], name


def _read(
    chosen: Sequence[ShardUse],
    rows: Sequence[LiveRow],
    known: dict[str, Fingerprint],
    fingerprint: Fingerprint | None,
) -> Float16Array:
    """The vectors of these rows, each what was stored. Raises _Damaged."""
    hidden: Float16Array = np.empty((len(rows), chosen[0].shard.dimension), dtype=np.float16)
    for use in chosen:
        at = np.array([place for place, row in enumerate(rows) if row.shard == use.shard.id], dtype=np.int64)
        if not len(at):
            continue
        try:
            with MappedShard(use.shard.url, fingerprint=fingerprint, dimension=use.shard.dimension) as shard:
                shard.read_into(hidden, at, np.array([rows[place].row for place in at], dtype=np.int64))
            for place in at.tolist():
                row = rows[place]
                named = None if row.fingerprint is None else known[row.fingerprint]
                require_fingerprint(f"row {row.row} of {use.shard.url}, by its attempt,", named, fingerprint)
                require_stored(use.shard.url, row.row, hidden[place], row.sha256)
        except ShardRefused as error:
            raise _Damaged(use.shard.id, str(error)) from error
    return hidden
