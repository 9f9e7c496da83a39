"""A deployment's vectors for tests: decisions stored with theirs, and what SQL and the files say of
them afterwards.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from factories import make_decision, make_fingerprint
from knowgate import Attempt, Decision, Fingerprint, Role
from knowgate.spec import CascadeSpec, Privacy, TierSpec
from services.vectors.intake import NewVector, store_vectors
from store.engine import reading, transaction
from store.releases.cascades import apply_cascade
from store.shards.row_reader import require_stored
from store.shards.shards import read_rows
from store.traffic.decisions import add_decisions
from store.traffic.vectors import VectorPlace, hold_files, vector_rows

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DIMENSION = 8
FINGERPRINT = make_fingerprint(model="tiny", layer=1)
DEEPER = replace(FINGERPRINT, layer=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A decision whose small tier has a vector."""

    id: UUID
    values: npt.NDArray[np.float16]


def apply_trivia(engine: Engine, *, retention: timedelta | None = None) -> None:
    """The cascade `trivia`, of a small and a large tier."""
    tiers = (TierSpec(name="small", model="tiny", parameters=1e6), TierSpec(name="large", model="big", parameters=1e8))
    spec = CascadeSpec(name="trivia", tiers=tiers, privacy=Privacy.FULL, vector_retention=retention)
    with transaction(engine) as session:
        apply_cascade(session, spec, now=NOW - timedelta(days=400))


def push(
    engine: Engine,
    base_url: str,
    count: int,
    *,
    seed: int,
    at: datetime = NOW,
    fingerprint: Fingerprint | None = FINGERPRINT,
    shard_fingerprint: Fingerprint | None = FINGERPRINT,
    dimension: int = DIMENSION,
    cascade: str = "trivia",
) -> list[Held]:
    """Store `count` decisions and their vectors as one push does."""
    values = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float16)
    made = [_decision(cascade, at, fingerprint) for _ in range(count)]
    with transaction(engine) as session:
        hold_files(session)
        add_decisions(session, made, received_at=at)
        vectors = [
            NewVector(cascade=cascade, decision_id=one.id, tier=0, fingerprint=shard_fingerprint, values=value)
            for one, value in zip(made, values, strict=True)
        ]
        store_vectors(session, vectors, base_url, now=at)
    return [Held(id=one.id, values=value) for one, value in zip(made, values, strict=True)]


def places(engine: Engine, pushed: Iterable[Held], cascade: str = "trivia") -> dict[UUID, VectorPlace]:
    """Where SQL says that their vectors lie."""
    with reading(engine) as session:
        return vector_rows(session, cascade, 0, [one.id for one in pushed])


def check_readable(engine: Engine, pushed: Sequence[Held], cascade: str = "trivia") -> None:
    """Every one of them is read where SQL says, is what was stored, and hashes to what SQL says."""
    found = places(engine, pushed, cascade)
    assert set(found) == {one.id for one in pushed}
    by_url: dict[str, list[Held]] = {}
    for one in pushed:
        by_url.setdefault(found[one.id].url, []).append(one)
    for url, members in by_url.items():
        rows = read_rows(url, [found[one.id].row for one in members])
        np.testing.assert_array_equal(rows, np.stack([one.values for one in members]))
        for one, row in zip(members, rows, strict=True):
            require_stored(url, found[one.id].row, row, found[one.id].sha256)


def files_with(folder: Path, values: npt.NDArray[np.float16]) -> list[Path]:
    """Files of a folder, of whatever name, whose raw bytes contain this vector's."""
    return [path for path in folder.rglob("*") if path.is_file() and values.tobytes() in path.read_bytes()]


def _decision(cascade: str, at: datetime, fingerprint: Fingerprint | None) -> Decision:
    small = Attempt(tier=0, role=Role.SUPERSEDED, model="tiny", fingerprint=fingerprint, vector=0)
    return make_decision(at, cascade=cascade, attempts=(small, Attempt(tier=1, role=Role.SERVED, model="big")))
