"""Retention: vectors of old decisions are forgotten, and their bytes with the next compaction and sweep.

Only vectors. Decisions, attempts and labels stay: they are the evidence that certificates and the ledger speak of, a
small part of the size, and `knowgate erase` takes what is personal in them. The limit is a whole day, so that a shard
that lies across it is written anew once a day and not once an hour.
"""

from datetime import datetime, timedelta

from sqlalchemy import Engine

from services.jobs.windows import floor_time
from services.shard_files import Guard, unguarded
from store import cascades, shard_moves
from store.engine import reading, transaction

DAY = timedelta(days=1)


def forget_expired(engine: Engine, retention: timedelta | None, *, now: datetime, guard: Guard = unguarded) -> int:
    """Forget the vectors that are older than their cascade, or else `retention`, allows; how many. None = for ever."""
    with reading(engine) as session:
        kept = {name: cascades.cascade(session, name).vector_retention for name in cascades.cascade_names(session)}
    forgotten = 0
    for cascade, own in kept.items():
        limit = own or retention
        if limit is None:
            continue
        before = floor_time(now - limit, DAY)
        while some := _forget_some(engine, cascade, before, guard):
            forgotten += some
    return forgotten


def _forget_some(engine: Engine, cascade: str, before: datetime, guard: Guard) -> int:
    with transaction(engine) as session:
        guard(session)
        shard_moves.hold_moves(session)
        return shard_moves.forget_vectors(session, cascade, before=before)
