"""The upkeep of vectors, whole: forget what is too old, merge what is small, sweep what nothing
refers to.

In this order, so that what was forgotten is left behind by the merge, and what the merge let go of
is swept when its time has come.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from services.settings import Settings
from services.vectors.retention import forget_expired
from services.vectors.shard_compaction import Compacted, compact
from services.vectors.shard_files import Guard, Swept, sweep, unguarded


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What was done."""

    forgotten: int  # vectors past their retention
    compacted: Compacted
    swept: Swept


def keep_up(engine: Engine, settings: Settings, *, now: datetime, guard: Guard = unguarded) -> Upkeep:
    """Do all of it; `guard` is called first in each transaction. Raises ShardRefused, RowsMoved."""
    return Upkeep(
        forgotten=forget_expired(engine, settings.vector_retention, now=now, guard=guard),
        compacted=compact(engine, settings.shards_url, shard_bytes=settings.shard_bytes, now=now, guard=guard),
        swept=sweep(engine, settings.shards_url, now=now, grace=settings.shard_grace, guard=guard),
    )
