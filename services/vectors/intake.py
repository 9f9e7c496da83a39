"""New vectors to shards: one per cascade, fingerprint and dimension, none above the bound, and
their places in SQL.

The caller's transaction has said `hold_files` before anything else. The files are written before it
ends, so a row of the database never points at a file that is not there. A commit that fails leaves
a file that nothing points at; it is named by its content, so a retry finds it again, and a sweep
removes it otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from knowgate._records.records import Fingerprint
from store.shards.shards import SHARD_BYTES, cut, write_shard
from store.traffic.vectors import VectorRow, add_shard


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVector:
    """One attempt's hidden state, finite in float16."""

    cascade: str
    decision_id: UUID
    tier: int
    fingerprint: Fingerprint | None
    values: npt.NDArray[np.float16]  # [d]


def vector_name(decision_id: UUID, tier: int) -> str:
    """The id that a row has in its shard."""
    return f"{decision_id}/{tier}"


def store_vectors(
    session: Session, vectors: Sequence[NewVector], base_url: str, *, now: datetime, shard_bytes: int = SHARD_BYTES
) -> int:
    """Write the vectors under `base_url` and record where each lies; how many. Raises
    ShardRefused.
    """
    groups: dict[tuple[str, Fingerprint | None, int], list[NewVector]] = {}
    for vector in vectors:
        groups.setdefault((vector.cascade, vector.fingerprint, len(vector.values)), []).append(vector)
    for (cascade, fingerprint, dimension), members in groups.items():
        for run in cut(len(members), dimension, shard_bytes):
            _store_shard(session, cascade, fingerprint, members[run], base_url, now)
    return len(vectors)


def _store_shard(
    session: Session,
    cascade: str,
    fingerprint: Fingerprint | None,
    members: Sequence[NewVector],
    base_url: str,
    now: datetime,
) -> None:
    ids = [vector_name(member.decision_id, member.tier) for member in members]
    hidden = np.stack([member.values for member in members])
    shard = write_shard(base_url, hidden, ids, fingerprint=fingerprint)
    rows = [
        VectorRow(decision_id=member.decision_id, tier=member.tier, row=row, sha256=shard.row_sha256[row])
        for row, member in enumerate(members)
    ]
    add_shard(
        session,
        cascade,
        shard.url,
        shard.sha256,
        rows,
        dimension=shard.dimension,
        now=now,
        fingerprint=fingerprint,
    )
