"""Which attempt a label speaks of, and labels that wait until it is there.

A label names its decision by id, or by the user's external id, in whose place the id of the
caller's trace may stand. Where an external id was used more
than once, the label speaks of the newest decision at or before the time it was made; where all are
later, of the earliest, and as it cannot be true of that it is refused, or parked if it came first.
Which decision was meant is a guess then, so it is reported (`Ambiguous`). A label without a tier
speaks of the served one.

On PostgreSQL a label could look for a decision that another transaction has not committed yet, and
that decision for the label: neither would see the other. So a label that finds nothing takes its
cascade's lock, which waits for all decisions under way, and looks again.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from knowgate._records.records import Decision, Label
from store import dialects
from store.batches import batched
from store.clocks import CLOCKS_DIFFER
from store.rows import record_of
from store.statements import CONTRADICTS, contradicting
from store.tables import AttemptRow, DecisionRow, LabelRow, WaitingLabelRow

_CHUNK = 5000  # ids in one IN list


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A decision as labels see it."""

    id: UUID
    cascade: str
    occurred_at: datetime
    served_tier: int
    tiers: frozenset[int]  # that ran
    namesakes: int = 1  # decisions of its external id that it was chosen from, itself among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """A label's external id that several decisions share; the label was taken for one of them."""

    cascade: str
    external_id: str
    decision_id: UUID  # that it was taken for
    decisions: int  # that share the id

    def __str__(self) -> str:
        return (
            f"external_id {self.external_id!r} is that of {self.decisions} decisions of {self.cascade}; the label was"
            f" taken for {self.decision_id}: name the decision by decision_id, or give each query an id of its own"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What became of the labels that had waited for a batch of decisions."""

    labels: int
    ambiguous: tuple[Ambiguous, ...] = ()


def hold_decisions(session: Session, cascade: str) -> None:
    """Say that decisions of this cascade are being stored; many may say so at once."""
    dialects.lock(session, _lock_name(cascade), shared=True)


def hold_labels(session: Session, cascade: str) -> None:
    """Wait for the decisions of this cascade under way, and keep further ones out until the
    transaction ends.
    """
    dialects.lock(session, _lock_name(cascade))


def find_targets(session: Session, labels: Sequence[Label]) -> list[Target | None]:
    """Per label the decision it speaks of; None where there is none yet."""
    by_id = {target.id: target for target in _targets_by_id(session, labels)}
    by_external: dict[tuple[str, str], list[Target]] = {}
    for key, target in _targets_by_external_id(session, labels):
        by_external.setdefault(key, []).append(target)
    return [
        by_id.get(label.decision_id)
        if label.decision_id is not None
        else choose(by_external.get((label.cascade, str(label.external_id)), []), label.labelled_at)
        for label in labels
    ]


def choose(targets: Iterable[Target], labelled_at: datetime) -> Target | None:
    """The newest of the decisions at or before `labelled_at`, else the earliest; None of none."""
    ordered = sorted(targets, key=lambda target: (target.occurred_at, target.id))
    before = [target for target in ordered if target.occurred_at <= labelled_at]
    chosen = before[-1] if before else ordered[0] if ordered else None
    return chosen if chosen is None or len(ordered) == 1 else replace(chosen, namesakes=len(ordered))


def ambiguous(named: Iterable[tuple[str | None, Target]]) -> tuple[Ambiguous, ...]:
    """The external ids (None = named by the decision's id) that stood for one of several decisions,
    each once.
    """
    ambiguous_names = {
        (target.cascade, external_id, target.id): target.namesakes
        for external_id, target in named
        if external_id is not None and target.namesakes > 1
    }
    return tuple(
        Ambiguous(cascade=cascade, external_id=external_id, decision_id=decision_id, decisions=decisions)
        for (cascade, external_id, decision_id), decisions in sorted(ambiguous_names.items())
    )


def too_early(target: Target, labelled_at: datetime) -> bool:
    """Whether a label was made before its decision, beyond what clocks may differ by."""
    return labelled_at < target.occurred_at - CLOCKS_DIFFER


def label_digest(
    correct: float, labelled_at: datetime, label_propensity: float | None, *names: object, grader: str | None = None
) -> str:
    """What tells one statement from another: equal for a label that repeats exactly."""
    by = () if grader is None else (grader,)  # nothing where none is given, as of the labels before graders had names
    stated = (float(correct), labelled_at.astimezone(UTC).isoformat(), label_propensity, *names, *by)
    return hashlib.sha256(repr(stated).encode()).hexdigest()[:32]


def adopt(session: Session, decisions: Sequence[Decision]) -> Adopted:
    """Move the labels that waited for these newly stored decisions to their attempts."""
    waiting = _waiting_for(session, decisions)
    if not waiting:
        return Adopted(labels=0)
    targets = {item.id: _target(item) for item in decisions}
    by_external: dict[tuple[str, str], list[Target]] = {}
    for item in decisions:
        for name in _names(item):
            by_external.setdefault((item.cascade, name), []).append(targets[item.id])
    rows: list[dict[str, Any]] = []
    named: list[tuple[str | None, Target]] = []
    parked: dict[str, list[UUID]] = {}
    for row in waiting:
        target = (
            targets.get(row.decision_id)
            if row.decision_id is not None
            else choose(by_external.get((row.cascade, str(row.external_id)), []), row.labelled_at)
        )
        if target is None:
            continue
        tier = target.served_tier if row.tier is None else row.tier
        reason = _why_parked(row, target, tier)
        if reason is not None:
            parked.setdefault(reason, []).append(row.arrival)
            continue
        rows.append(label_row(row, target.id, tier, arrival=row.arrival, received_at=row.received_at))
        named.append((row.external_id, target))
    against = contradicting(rows)
    parked |= {CONTRADICTS: sorted(against)} if against else {}
    rows = [row for row in rows if row["arrival"] not in against]
    moved = [row["arrival"] for row in rows]
    dialects.insert_new(session, LabelRow, rows, returning="arrival")
    for chunk in batched(moved, _CHUNK):
        session.execute(
            delete(WaitingLabelRow).where(WaitingLabelRow.arrival.in_(chunk)),
            execution_options={"synchronize_session": False},
        )
    for reason, arrivals in sorted(parked.items()):
        for chunk in batched(arrivals, _CHUNK):
            session.execute(
                update(WaitingLabelRow).where(WaitingLabelRow.arrival.in_(chunk)).values(parked=reason),
                execution_options={"synchronize_session": False},
            )
    return Adopted(labels=len(moved), ambiguous=ambiguous(named))


def _why_parked(row: WaitingLabelRow, target: Target, tier: int) -> str | None:
    """Why a decision that a waiting label names does not take it up; None where it does.

    It stays: by an external id it may speak of another decision that is still under way.
    """
    if target.cascade != row.cascade:
        return "the decision is of another cascade"
    if tier not in target.tiers:
        return f"tier {tier} did not run"
    if too_early(target, row.labelled_at):
        return "made before its decision"
    return None


def _targets_by_id(session: Session, labels: Sequence[Label]) -> Iterator[Target]:
    ids = sorted({label.decision_id for label in labels if label.decision_id is not None})
    for chunk in batched(ids, _CHUNK):
        rows = session.execute(_TARGET.where(DecisionRow.id.in_(chunk))).all()
        tiers = _tiers(session, [row.id for row in rows])
        for row in rows:
            yield _read_target(row, tiers)


def _targets_by_external_id(session: Session, labels: Sequence[Label]) -> Iterator[tuple[tuple[str, str], Target]]:
    named: dict[str, set[str]] = {}
    for label in labels:
        if label.external_id is not None:
            named.setdefault(label.cascade, set()).add(label.external_id)
    for cascade, external_ids in sorted(named.items()):
        for chunk in batched(sorted(external_ids), _CHUNK):
            named_so = or_(DecisionRow.external_id.in_(chunk), DecisionRow.trace_id.in_(chunk))
            rows = session.execute(_TARGET.where(DecisionRow.cascade == cascade, named_so)).all()
            tiers = _tiers(session, [row.id for row in rows])
            for row in rows:
                for name in _names(row):
                    yield (cascade, name), _read_target(row, tiers)


def _tiers(session: Session, ids: Sequence[UUID]) -> Mapping[UUID, frozenset[int]]:
    by_id: dict[UUID, set[int]] = {}
    for chunk in batched(ids, _CHUNK):
        query = select(AttemptRow.decision_id, AttemptRow.tier).where(AttemptRow.decision_id.in_(chunk))
        for decision_id, tier in session.execute(query):
            by_id.setdefault(decision_id, set()).add(tier)
    return {key: frozenset(tiers) for key, tiers in by_id.items()}


def _waiting_for(session: Session, decisions: Sequence[Decision]) -> list[WaitingLabelRow]:
    waiting: dict[UUID, WaitingLabelRow] = {}
    for chunk in batched(decisions, _CHUNK):
        ids = [item.id for item in chunk]
        names: dict[str, list[str]] = {}
        for item in chunk:
            names.setdefault(item.cascade, []).extend(_names(item))
        by_name = [
            (WaitingLabelRow.cascade == cascade) & WaitingLabelRow.external_id.in_(external_ids)
            for cascade, external_ids in names.items()
        ]
        for row in session.scalars(select(WaitingLabelRow).where(or_(WaitingLabelRow.decision_id.in_(ids), *by_name))):
            waiting[row.arrival] = row
            session.expunge(row)
    return [waiting[key] for key in sorted(waiting)]


def label_row(
    said: Label | WaitingLabelRow, decision_id: UUID, tier: int, *, arrival: UUID, received_at: datetime
) -> dict[str, Any]:
    """The row of what is said of an attempt."""
    return {
        "decision_id": decision_id,
        "tier": tier,
        "source": str(said.source),
        "digest": label_digest(said.correct, said.labelled_at, said.label_propensity, grader=said.grader),
        "arrival": arrival,
        "correct": said.correct,
        "labelled_at": said.labelled_at,
        "received_at": received_at,
        "label_propensity": said.label_propensity,
        "grader": said.grader,
        "origin": said.origin,
    }


def _names(item: Any) -> set[str]:
    """What a label may call a decision by, beside its id."""
    return {name for name in (item.external_id, item.trace_id) if name is not None}


def _target(item: Decision) -> Target:
    return Target(
        id=item.id,
        cascade=item.cascade,
        occurred_at=item.occurred_at,
        served_tier=item.served.tier,
        tiers=frozenset(attempt.tier for attempt in item.attempts),
    )


def _read_target(row: Any, tiers: Mapping[UUID, frozenset[int]]) -> Target:
    return record_of(Target, row, tiers=tiers.get(row.id, frozenset()), namesakes=1)


def _lock_name(cascade: str) -> str:
    return f"knowgate.labels.{cascade}"


_TARGET = select(
    DecisionRow.id,
    DecisionRow.cascade,
    DecisionRow.external_id,
    DecisionRow.trace_id,
    DecisionRow.occurred_at,
    DecisionRow.served_tier,
)
