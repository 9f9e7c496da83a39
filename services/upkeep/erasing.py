"""A person's query, gone: its texts, its hidden states in shards, and what files still hold of it.
The figures stay as they were.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine

from services.days.writing import erase_from_files
from services.settings import Settings
from services.vectors.shard_files import blank_vectors, remove_files, remove_leftovers
from store.days.recall import recall
from store.engine import forget_past, transaction
from store.ledger.erasure import erase_decision
from store.traffic.vectors import hold_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure took away."""

    decision: UUID
    vectors: int
    ledger_entries: int
    removed_files: int  # shards, days' files, old ones and leftovers, that held something of it
    log_emptied: bool  # False = SQLite's log still holds what was erased


def erase(engine: Engine, settings: Settings, decision: UUID, *, by: str, now: datetime) -> Erased:
    """Erase what is personal of a decision, as somebody asks. Raises DecisionUnknown."""
    with transaction(engine) as session:
        hold_files(session, alone=True)
        recall(session, [decision], now=now)
        erased = erase_decision(session, decision, by=by, now=now)
        old = blank_vectors(session, erased.vectors)
        old += erase_from_files(session, decision, settings.shards_url, now=now)
        leftovers = remove_leftovers(session, settings.shards_url, decision, now=now, spare=old)
    remove_files(old)
    return Erased(
        decision=decision,
        vectors=len(erased.vectors),
        ledger_entries=erased.leaves,
        removed_files=len(old) + leftovers,
        log_emptied=forget_past(engine),
    )
