"""What a sealed batch of the ledger says of answers: labels, and verdicts on attempts.

Whoever gives these away goes by batches: every row that is committed has a leaf, and every leaf is
sealed once, so that none is missed and none comes twice, whenever it was committed. What was erased
since is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource
from store.batches import batched
from store.sealing import coverage, row_leaves, sealed_rows
from store.tables import AttemptRow, DecisionRow, LabelRow, LedgerLeafRow

EXPORTED = "knowgate.evaluation"  # under which an evaluation's id is kept where it is given to
EVENTS, ASSESSMENTS = "gen_ai_events", "assessments"  # topics of the outbox: a message for each batch
KINDS = ("label", "decision")  # of leaves
_OF_ANSWERS = (
    LedgerLeafRow.kind.in_(KINDS),
    LedgerLeafRow.version > 1,  # the former named their rows in another way
    LedgerLeafRow.revision == 1,
)
_CHUNK = 500  # decisions at once


class EvaluationName(StrEnum):
    CORRECTNESS = "correctness"  # what a label says
    VERDICT = "knowgate.verdict"  # 1 where a tier's answer was kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One statement about one tier's answer."""

    id: str  # the same whenever it is read
    name: EvaluationName
    cascade: str
    decision_id: UUID
    tier: int
    model: str
    value: float  # in [0, 1]
    label: str
    at: datetime
    source: LabelSource | None = None  # None = knowgate's own verdict
    grader: str | None = None
    origin: str | None = None  # the system that a label was taken from, and its id there
    explanation: str | None = None
    trace_id: str | None = None
    span_id: str | None = None  # of the run where it has one, else of the caller


def newest_batch(session: Session) -> int | None:
    """The newest sealed batch that says anything of answers; None before the first."""
    return session.scalar(select(func.max(LedgerLeafRow.batch)).where(*_OF_ANSWERS))


def batches_after(session: Session, number: int) -> tuple[int, ...]:
    """The sealed batches behind this one that say anything of answers.

    A message for a batch has a leaf of its own: were every batch reported, each would be about the
    one before.
    """
    query = select(LedgerLeafRow.batch).where(LedgerLeafRow.batch > number, *_OF_ANSWERS)
    return tuple(int(batch) for batch in session.scalars(query.distinct().order_by(LedgerLeafRow.batch)) if batch)


def evaluations_of(session: Session, batch: int) -> Iterator[Evaluation]:
    """What a batch says, some hundred decisions at a time."""
    for chunk in batched(_subjects(session, batch, "decision"), _CHUNK):
        yield from _verdicts(session, [UUID(subject) for subject in chunk])
    cover = coverage.of_model(LabelRow)
    for chunk in batched(_subjects(session, batch, "label"), _CHUNK):
        yield from _labels(session, [cover.key(subject) for subject in chunk])


def _subjects(session: Session, batch: int, kind: str) -> Iterator[str]:
    """The rows that the batch's leaves of this kind speak of."""
    leaf = LedgerLeafRow
    query = select(leaf.id, leaf.subject, leaf.version).where(leaf.batch == batch, *_OF_ANSWERS, leaf.kind == kind)
    of_rows = []
    for key, subject, version in session.execute(query.order_by(leaf.id)):
        if version == row_leaves.VERSION:
            of_rows.append(key)
        else:
            yield subject
    yield from sealed_rows.subjects_of(session, of_rows)


def _verdicts(session: Session, ids: Sequence[UUID]) -> Iterator[Evaluation]:
    for decision, attempt, reason in _attempts(session, ids):
        if attempt.action is None:
            continue
        kept = attempt.action == "retain"
        yield Evaluation(
            id=f"{decision.id}/{attempt.tier}",
            name=EvaluationName.VERDICT,
            cascade=decision.cascade,
            decision_id=decision.id,
            tier=attempt.tier,
            model=attempt.model,
            value=float(kept),
            label=attempt.action,
            at=decision.occurred_at,
            explanation=reason,
            trace_id=decision.trace_id,
            span_id=attempt.span_id or decision.span_id,
        )


def _labels(session: Session, keys: Sequence[tuple[object, ...]]) -> Iterator[Evaluation]:
    decisions = [UUID(str(key[0])) for key in keys]
    attempts = {(one.id, attempt.tier): (one, attempt) for one, attempt, _ in _attempts(session, decisions)}
    wanted = {tuple(map(str, key)) for key in keys}
    for row in session.scalars(
        select(LabelRow).where(LabelRow.decision_id.in_(decisions)).order_by(LabelRow.received_at, LabelRow.arrival)
    ):
        found = attempts.get((row.decision_id, row.tier))
        if found is None or (str(row.decision_id), str(row.tier), row.source, row.digest) not in wanted:
            continue
        decision, attempt = found
        yield Evaluation(
            id=str(row.arrival),
            name=EvaluationName.CORRECTNESS,
            cascade=decision.cascade,
            decision_id=decision.id,
            tier=row.tier,
            model=attempt.model,
            value=row.correct,
            label="correct" if row.correct >= 0.5 else "incorrect",
            at=row.labelled_at,
            source=LabelSource(row.source),
            grader=row.grader,
            origin=row.origin,
            trace_id=decision.trace_id,
            span_id=attempt.span_id or decision.span_id,
        )


def _attempts(session: Session, ids: Sequence[UUID]) -> Iterator[tuple[DecisionRow, AttemptRow, str | None]]:
    """Attempts with their decision and the reason of their verdict."""
    query = (
        select(DecisionRow, AttemptRow, AttemptRow.__table__.c.reason)
        .join(AttemptRow, AttemptRow.decision_id == DecisionRow.id)
        .where(DecisionRow.id.in_(ids), DecisionRow.erased_at.is_(None))
        .order_by(DecisionRow.id, AttemptRow.tier)
    )
    yield from ((row[0], row[1], row[2]) for row in session.execute(query))
