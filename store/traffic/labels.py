"""Labels: append-only statements about attempts, whatever order they arrive in.

A label that repeats exactly changes nothing, by whichever name it came. Within a source the newest
statement is in force (by the time it was made, whenever it came), between sources gold > human >
judge > feedback (`store.traffic.examples` reads so); nothing is ever overwritten, so every read can
be made as of a time. A label that comes before its decision waits for it.

What cannot be true is refused: a label made in the future, or before the decision it speaks of was
made; one of a tier that the cascade does not have, or that did not run; and two that contradict
each other (`store.statements`). Where that shows only when the decision arrives, the label is
parked with the reason, and counted (`waiting_counts`).
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from knowgate._records.receipts import Rejected
from knowgate._records.records import Label, LabelSource, Window
from store import dialects, partitions, statements
from store.clocks import ahead, ahead_cure
from store.days.day_files import touch
from store.days.recall import left_decisions, recall
from store.labelling.graders import note_graders
from store.rejections import find_unstorable
from store.releases.cascades import cascade, cascade_names
from store.rows import record_of, row_of
from store.tables import DecisionRow, LabelRow, WaitingLabelRow
from store.traffic import adoption
from store.traffic.adoption import Ambiguous, Target, label_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsAdded:
    """What became of a batch of labels."""

    stored: int
    waiting: int  # for a decision that has not arrived yet
    duplicates: int
    rejected: tuple[Rejected, ...]
    ambiguous: tuple[Ambiguous, ...] = ()  # external ids that several decisions share


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Labels that no decision has taken up."""

    reason: str | None  # why they are parked; None = their decision has not arrived yet
    labels: int
    oldest: datetime  # arrival of the first of them


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLabel:
    """A label and the attempt it speaks of."""

    id: UUID  # its arrival
    decision_id: UUID
    tier: int
    source: LabelSource
    correct: float
    labelled_at: datetime
    received_at: datetime
    label_propensity: float | None
    grader: str | None
    origin: str | None = None


def add_labels(session: Session, labels: Sequence[Label], *, received_at: datetime) -> LabelsAdded:
    """Store labels with their ledger leaves; those whose decision is not there yet wait for it.

    Within the batch a later label is a later arrival. Rejected are labels of an unknown cascade, of
    another cascade's decision, of a tier that did not run or is none of the cascade's, made after
    `received_at` or before their decision, and those that contradict another of their source,
    attempt and time.
    """
    # Before the tables are read: whoever makes a partition waits for their readers, and must not
    # hold what we need.
    partitions.ensure_partitions(session, [partitions.month_of(received_at)])
    rejected = list(_inadmissible(session, labels, received_at))
    bad = {row.index for row in rejected}
    admitted = [(index, label) for index, label in enumerate(labels) if index not in bad]
    statements.hold_statements(session, {label.cascade for _, label in admitted})
    recall(session, {one.decision_id for _, one in admitted if one.decision_id is not None}, now=received_at)
    targets = _find(session, [label for _, label in admitted])
    lasts = {name: cascade(session, name).last for name in sorted({label.cascade for _, label in admitted})}
    rows: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    named: list[tuple[str | None, Target]] = []
    said: dict[UUID, Label] = {}
    indexes: dict[UUID, int] = {}
    for (index, label), target in zip(admitted, targets, strict=True):
        fault = _fault(index, label, target, lasts)
        if fault is not None:
            rejected.append(fault)
            continue
        arrival = _arrival_id(received_at, index)
        said[arrival], indexes[arrival] = label, index
        if target is None:
            waiting.append(_waiting_row(label, arrival, received_at))
        else:
            tier = target.served_tier if label.tier is None else label.tier
            rows.append(adoption.label_row(label, target.id, tier, arrival=arrival, received_at=received_at))
            named.append((label.external_id, target))
    against = statements.contradicted(session, rows, waiting)
    rejected += [_contradiction(indexes[arrival], said.pop(arrival), other) for arrival, other in against.items()]
    rows, waiting = ([row for row in kept if row["arrival"] in said] for kept in (rows, waiting))
    note_graders(session, said.values(), now=received_at)
    stored = _insert(session, LabelRow, rows, ("decision_id", "tier", "source", "digest"))
    touch(session, {row["decision_id"] for row in rows}, now=received_at)
    kept = _insert(session, WaitingLabelRow, waiting, ("digest",))
    duplicates = len(labels) - len(rejected) - len(stored) - len(kept)
    return LabelsAdded(
        stored=len(stored),
        waiting=len(kept),
        duplicates=duplicates,
        rejected=_in_order(rejected),
        ambiguous=adoption.ambiguous(named),
    )


def labels_of(session: Session, decision_id: UUID) -> tuple[StoredLabel, ...]:
    """All labels of a decision's attempts in the order of their arrival."""
    query = select(LabelRow).where(LabelRow.decision_id == decision_id)
    rows = list(session.scalars(query.order_by(LabelRow.received_at, LabelRow.arrival)))
    for left in () if rows else left_decisions(session, [decision_id]):
        rows = sorted((LabelRow(**row) for row in left.labels), key=lambda row: (row.received_at, row.arrival))
    return tuple(record_of(StoredLabel, row, id=row.arrival) for row in rows)


def waiting_count(session: Session, cascade: str) -> int:
    """How many labels of this cascade wait for their decision, or are parked."""
    query = select(func.count()).select_from(WaitingLabelRow).where(WaitingLabelRow.cascade == cascade)
    return session.execute(query).scalar_one()


def waiting_counts(session: Session, cascade: str) -> tuple[Waiting, ...]:
    """How many labels of this cascade no decision has taken up, by the reason; the most frequent
    first.
    """
    count = func.count()
    query = (
        select(WaitingLabelRow.parked, count, func.min(WaitingLabelRow.received_at))
        .where(WaitingLabelRow.cascade == cascade)
        .group_by(WaitingLabelRow.parked)
        .order_by(count.desc(), WaitingLabelRow.parked)
    )
    return tuple(Waiting(reason=row[0], labels=row[1], oldest=row[2]) for row in session.execute(query))


def waiting_external_ids(session: Session, cascade: str) -> frozenset[str]:
    """The external ids that labels of this cascade wait for; parked ones wait for nothing."""
    query = select(WaitingLabelRow.external_id).where(
        WaitingLabelRow.cascade == cascade, WaitingLabelRow.external_id.is_not(None), WaitingLabelRow.parked.is_(None)
    )
    return frozenset(str(name) for name in session.scalars(query.distinct()))


def label_count(session: Session, cascade: str, window: Window, *, as_of: datetime) -> int:
    """How many attempts of a window's decisions had a label at `as_of`."""
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    labelled = (
        select(LabelRow.decision_id, LabelRow.tier)
        .join(DecisionRow, DecisionRow.id == LabelRow.decision_id)
        .where(
            DecisionRow.cascade == cascade,
            LabelRow.decision_id >= low,
            LabelRow.decision_id < high,
            LabelRow.received_at <= as_of,
        )
        .distinct()
        .subquery()
    )
    return session.execute(select(func.count()).select_from(labelled)).scalar_one()


def _find(session: Session, labels: Sequence[Label]) -> list[Target | None]:
    targets = adoption.find_targets(session, labels)
    missing = {label.cascade for label, target in zip(labels, targets, strict=True) if target is None}
    if not missing or not dialects.is_postgresql(session):
        return targets
    for name in sorted(missing):
        adoption.hold_labels(session, name)
    return adoption.find_targets(session, labels)


def _inadmissible(session: Session, labels: Sequence[Label], received_at: datetime) -> Iterator[Rejected]:
    """The labels that no decision need be looked for."""
    known = cascade_names(session)
    for index, label in enumerate(labels):
        if label.cascade not in known:
            cure = f"no such cascade (known: {', '.join(known) or 'none'}); run `knowgate cascade apply` first"
            yield Rejected(index=index, field="cascade", value=ascii(label.cascade)[1:-1], cure=cure)
            continue
        chance = None if label.label_propensity is None else float(label.label_propensity)
        named = (
            ("external_id", label.external_id),
            ("tier", label.tier),
            ("grader", label.grader),
            ("origin", label.origin),
            ("label_propensity", chance),
        )
        unstorable = find_unstorable(index, named)
        if unstorable is not None:
            yield unstorable
        elif ahead(label.labelled_at, received_at):
            cure = ahead_cure(received_at)
            yield Rejected(index=index, field="labelled_at", value=label.labelled_at.isoformat(), cure=cure)


def _in_order(rejected: Iterable[Rejected]) -> tuple[Rejected, ...]:
    return tuple(sorted(rejected, key=lambda row: row.index))


def _fault(index: int, label: Label, target: Target | None, lasts: Mapping[str, int]) -> Rejected | None:
    if target is None:
        last = lasts[label.cascade]
        if label.tier is None or label.tier <= last:
            return None
        cure = f"cascade {label.cascade} has the tiers 0 to {last}; name one of them"
        return Rejected(index=index, field="tier", value=str(label.tier), cure=cure)
    if target.cascade != label.cascade:
        cure = f"decision {target.id} is one of {target.cascade}; name that cascade"
        return Rejected(index=index, field="cascade", value=label.cascade, cure=cure)
    if label.tier is not None and label.tier not in target.tiers:
        ran = ", ".join(str(tier) for tier in sorted(target.tiers))
        return Rejected(index=index, field="tier", value=str(label.tier), cure=f"only these tiers ran: {ran}")
    if adoption.too_early(target, label.labelled_at):
        cure = f"decision {target.id} is of {target.occurred_at.isoformat()}, so nobody could judge its answer before"
        return Rejected(index=index, field="labelled_at", value=label.labelled_at.isoformat(), cure=cure)
    return None


def _contradiction(index: int, label: Label, other: str) -> Rejected:
    said = statements.in_words(label.correct, label.label_propensity, label.grader)
    cure = (
        f"another {label.source.value} label of this answer, made at the same time ({label.labelled_at.isoformat()}),"
        f" says {other} and this one {said}: keep one, or give a correction its own, later labelled_at"
    )
    return Rejected(index=index, field="correct", value=said.split()[1], cure=cure)


def _insert(
    session: Session, model: type[LabelRow | WaitingLabelRow], rows: list[dict[str, Any]], keys: tuple[str, ...]
) -> list[UUID]:
    # In order of the key, so that two batches which share labels wait for each other and never in a
    # circle; the sort is stable, so the first of two equal labels in a batch is the one that is
    # kept.
    rows.sort(key=lambda row: tuple(row[key] for key in keys))
    return dialects.insert_new(session, model, rows, returning="arrival")


def _arrival_id(received_at: datetime, index: int) -> UUID:
    """A UUIDv7 of `received_at` whose order within the millisecond is that of the batch."""
    millis = int(received_at.timestamp() * 1000) & (2**48 - 1)
    tail = (index & (2**24 - 1)) << 50 | int.from_bytes(os.urandom(7), "big") & (2**50 - 1)  # 74 bits
    return UUID(int=millis << 80 | 0x7 << 76 | (tail >> 62) << 64 | 0b10 << 62 | tail & (2**62 - 1))


def _waiting_row(label: Label, arrival: UUID, received_at: datetime) -> dict[str, Any]:
    named = (label.cascade, str(label.decision_id), label.external_id, label.tier, label.source.value)
    digest = label_digest(label.correct, label.labelled_at, label.label_propensity, *named, grader=label.grader)
    return row_of(WaitingLabelRow, label, arrival=arrival, digest=digest, received_at=received_at)
