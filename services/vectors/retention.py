"""Retention: vectors of old decisions are forgotten, and their bytes with the next compaction and
sweep.

Only vectors. Decisions, attempts and labels are the evidence that certificates and the ledger speak
of, and `knowgate erase` takes what is personal in them: they stay, or leave for the files of their
days (`services.days.leaving`). The
limit is a whole day, so that a shard that lies across it is written anew once a day and not once an
hour.
"""

import logging
from datetime import datetime, timedelta

from sqlalchemy import Engine

from knowgate.errors import RecordInvalid
from services.vectors.shard_files import Guard, unguarded
from services.windows import floor_time
from store.engine import reading, transaction
from store.releases import cascades
from store.traffic import shard_moves

log = logging.getLogger("knowgate.vectors")

DAY = timedelta(days=1)


def forget_expired(engine: Engine, retention: timedelta | None, *, now: datetime, guard: Guard = unguarded) -> int:
    """Forget the vectors that are older than their cascade, or else `retention`, allows; how many.
    None = for ever.
    """
    with reading(engine) as session:
        names = cascades.cascade_names(session)
    forgotten = 0
    for cascade in names:
        before = _limit(engine, cascade, retention, now)
        while before is not None and (some := _forget_some(engine, cascade, before, guard)):
            forgotten += some
    return forgotten


def _limit(engine: Engine, cascade: str, retention: timedelta | None, now: datetime) -> datetime | None:
    """The time before which vectors are forgotten; None = they stay, as those of a cascade that
    nobody can read do: it may have asked for longer than the deployment does, and what is forgotten
    does not come back.
    """
    try:
        with reading(engine) as session:
            kept = cascades.cascade(session, cascade).vector_retention or retention
        return None if kept is None else floor_time(now - kept, DAY)
    except (RecordInvalid, OverflowError) as error:
        log.error("no vectors of %s are forgotten: it cannot be read (%s): apply a good file again", cascade, error)
        return None


def _forget_some(engine: Engine, cascade: str, before: datetime, guard: Guard) -> int:
    with transaction(engine) as session:
        guard(session)
        shard_moves.hold_moves(session)
        return shard_moves.forget_vectors(session, cascade, before=before)
