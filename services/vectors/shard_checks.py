"""What `knowgate vectors verify` looks at: that every vector SQL speaks of is there, and is what
was stored.

Per shard: the file is there and whole, hashes to what was written, has the dimension and the
fingerprint of its record; each row that SQL refers to is in it, under its decision's id, with the
hash that SQL has, finite, and of the fingerprint its attempt was stored with. Every fault is named
with the shard and the cure; none ends the look at the others. A shard that is erased from or merged
during the look is looked at again, as it is then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine

from knowgate._records.records import Fingerprint
from services.vectors.intake import vector_name
from store.engine import reading
from store.errors import ShardRefused
from store.shards.row_reader import require_stored
from store.shards.shard_format import require_fingerprint
from store.shards.shards import MappedShard, shard_ids, verify_shard
from store.traffic.fingerprints import fingerprints
from store.traffic.shard_moves import LiveRow, live_rows
from store.traffic.vectors import ShardRecord, shard_of, shards

PROBLEMS_SHOWN = 100
_RESTORE = "restore it from a backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCheck:
    """What was found."""

    shards: int
    vectors: int
    nameless: int  # shards that carry no fingerprint
    problems: tuple[str, ...]  # empty = all is well

    @property
    def verified(self) -> bool:
        return not self.problems


def check_shards(engine: Engine) -> ShardCheck:
    """Read every shard and compare it with what SQL says of it."""
    with reading(engine) as session:
        stored, known = shards(session), fingerprints(session)
    problems: list[str] = []
    vectors = 0
    for shard in stored:
        rows, problems_of = _look(engine, shard.id, known)
        vectors += rows
        problems += problems_of
    return ShardCheck(
        shards=len(stored),
        vectors=vectors,
        nameless=sum(shard.fingerprint is None for shard in stored),
        problems=tuple(problems[:PROBLEMS_SHOWN]),
    )


def _look(engine: Engine, shard: UUID, known: dict[str, Fingerprint]) -> tuple[int, list[str]]:
    """How many rows a shard has, and what is wrong with it as long as nobody changes it."""
    while True:
        record, rows = _record(engine, shard)
        problems = [] if record is None or not rows else list(_problems(record, rows, known))
        if not problems or (record, rows) == _record(engine, shard):
            return len(rows), problems


def _record(engine: Engine, shard: UUID) -> tuple[ShardRecord | None, tuple[LiveRow, ...]]:
    with reading(engine) as session:
        return shard_of(session, shard), live_rows(session, [shard])


def _problems(shard: ShardRecord, rows: Sequence[LiveRow], known: dict[str, Fingerprint]) -> Iterator[str]:
    named = None if shard.fingerprint is None else known[shard.fingerprint]
    try:
        with MappedShard(shard.url, fingerprint=named, dimension=shard.dimension) as opened:
            yield from _row_problems(opened, shard, rows, known)
        if not verify_shard(shard.url, shard.sha256):
            yield f"{shard.url} does not hash to {shard.sha256[:12]}… any more: {_RESTORE}"
    except ShardRefused as error:
        yield str(error)


def _row_problems(
    opened: MappedShard, shard: ShardRecord, rows: Sequence[LiveRow], known: dict[str, Fingerprint]
) -> Iterator[str]:
    ids = shard_ids(shard.url)
    for row in rows:
        try:
            (vector,) = opened.read([row.row])
            require_stored(shard.url, row.row, vector, row.sha256)
            attempt = None if row.fingerprint is None else known[row.fingerprint]
            require_fingerprint(f"row {row.row} of {shard.url}", opened.fingerprint, attempt)
        except ShardRefused as error:
            yield str(error)
            continue
        expected = vector_name(row.decision_id, row.tier)
        if ids and ids[row.row] not in (expected, str(row.decision_id)):
            yield f"row {row.row} of {shard.url} is of {ids[row.row]}, not of {expected}: {_RESTORE}"
