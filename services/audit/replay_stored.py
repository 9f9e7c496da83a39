"""Replay of what the store holds: one decision, or all of a window."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate import Bundle, Decision, Window, read_bundle
from services.audit.replay import Replay, replay
from store.batches import batched
from store.releases import bundles
from store.shards import shards
from store.shards.shards import Float16Array
from store.traffic import decisions, vectors

PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayCount:
    """How a window's replay went."""

    decisions: int
    attempts: int
    vectors: int
    mismatches: int
    examples: tuple[Replay, ...]  # the first few that came out differently


def replay_decision(session: Session, decision: Decision) -> Replay:
    """Replay one stored decision. Raises BundleUnknown where its bundle is gone."""
    return next(_replays(session, [decision], _Bundles(session)))


def replay_window(session: Session, cascade: str, window: Window, *, examples: int = 10) -> ReplayCount:
    """Replay every decision of a window of decision time."""
    bundles_read = _Bundles(session)
    count = attempts = recomputed = wrong = 0
    shown: list[Replay] = []
    for page in batched(decisions.decisions_between(session, cascade, window), PAGE):
        for result in _replays(session, page, bundles_read):
            count += 1
            attempts += result.attempts
            recomputed += result.vectors
            wrong += len(result.mismatches)
            if result.mismatches and len(shown) < examples:
                shown.append(result)
    return ReplayCount(decisions=count, attempts=attempts, vectors=recomputed, mismatches=wrong, examples=tuple(shown))


class _Bundles:
    """Bundles by id, each read and checked once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._read: dict[str, Bundle] = {}

    def of(self, decision: Decision) -> Bundle | None:
        if decision.bundle is None:
            return None
        if decision.bundle not in self._read:
            content = bundles.bundle_content(self._session, decision.bundle)
            self._read[decision.bundle] = read_bundle(content, expected_id=decision.bundle)
        return self._read[decision.bundle]


def _replays(session: Session, page: Sequence[Decision], bundles_read: _Bundles) -> Iterator[Replay]:
    stored = stored_vectors(session, page)
    for decision in page:
        yield replay(decision, bundles_read.of(decision), stored.get(decision.id, {}))


def stored_vectors(session: Session, page: Sequence[Decision]) -> dict[UUID, dict[int, Float16Array]]:
    """The stored hidden states of the attempts that were decided, by decision and tier."""
    wanted: dict[int, list[UUID]] = {}
    for decision in page:
        for attempt in decision.attempts:
            if attempt.verdict is not None:
                wanted.setdefault(attempt.tier, []).append(decision.id)
    by_decision: dict[UUID, dict[int, Float16Array]] = {}
    for tier, ids in wanted.items():
        by_shard: dict[str, list[tuple[UUID, int]]] = {}
        for decision_id, place in vectors.vector_rows(session, page[0].cascade, tier, ids).items():
            by_shard.setdefault(place.url, []).append((decision_id, place.row))
        for url, places in by_shard.items():
            rows = shards.read_rows(url, [row for _, row in places])
            for (decision_id, _), vector in zip(places, rows, strict=True):
                by_decision.setdefault(decision_id, {})[tier] = vector
    return by_decision
