"""Erasing one decision: everything personal goes, the numbers stay.

Gone are prompt, its hash, answers, external id, where its vectors lie, labels that wait under its
external id, and the salt and payload of every ledger leaf that may hold one of these; of the leaf
of its batch, the row's salt. Left are signals, verdicts, costs and correctness, so no figure and no
certificate moves, and the hashes, so every sealed root still verifies. A new leaf states what is
left, and one of kind `erasure` names what was emptied, and who asked for it: what is empty and none
names was tampered with. The vectors themselves are in shards: the places returned are for the
caller to overwrite.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from store import documents
from store.errors import DecisionUnknown
from store.labelling.known_hours import forget_decision
from store.ledger import ledger
from store.rows import record_of
from store.sealing import coverage, leaves, merkle
from store.sealing.sealed_rows import empty_row
from store.tables import (
    AttemptRow,
    DecisionRow,
    LabelRow,
    LedgerLeafRow,
    VectorPlaceRow,
    WaitingLabelRow,
)
from store.traffic.vectors import VectorPlace, locked_shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was erased."""

    decision_id: UUID
    vectors: tuple[VectorPlace, ...]  # rows of shards that are to be overwritten
    leaves: int  # of the ledger, that lost what they say of it


def erase_decision(session: Session, decision_id: UUID, *, by: str, now: datetime) -> Erased:
    """Erase what is personal of a decision, and say so in the ledger, with who asked for it. Raises
    DecisionUnknown.

    No reason is kept: it would name whom it is about. Erasing again changes nothing more. A copy
    that is sent later finds the id taken, and is dropped.
    """
    row = session.execute(
        select(DecisionRow.cascade, DecisionRow.external_id, DecisionRow.trace_id, DecisionRow.erased_at).where(
            DecisionRow.id == decision_id
        )
    ).one_or_none()
    if row is None:
        raise DecisionUnknown(decision_id)
    if row.erased_at is not None:
        return Erased(decision_id=decision_id, vectors=(), leaves=0)
    subjects = [str(decision_id), *_label_arrivals(session, decision_id)]
    for name in {row.external_id, row.trace_id}:
        subjects += _drop_waiting(session, decision_id, row.cascade, name)
    vectors = _drop_vectors(session, decision_id)
    emptied = empty_leaves(session, subjects)
    _clear(session, decision_id, now)
    forget_decision(session, row.cascade, decision_id)  # answers that are gone are the same no more
    leaves.note_stored(session, coverage.of_model(DecisionRow), [(decision_id,)], now=now)
    note = {"decision": str(decision_id), "erased_at": now.isoformat(), "by": by, "leaves": emptied}
    ledger.append_leaf(session, row.cascade, "erasure", str(decision_id), documents.write(note), now=now)
    return Erased(decision_id=decision_id, vectors=vectors, leaves=len(emptied))


def _clear(session: Session, decision_id: UUID, now: datetime) -> None:
    unnoted = {"noted": False}  # one leaf for both, and none that states what is cleared next
    answers = update(AttemptRow).where(AttemptRow.decision_id == decision_id).values(answer=None, span_id=None)
    session.execute(answers, execution_options=unnoted)
    personal = (
        update(DecisionRow)
        .where(DecisionRow.id == decision_id)
        .values(prompt=None, prompt_hash=None, external_id=None, trace_id=None, span_id=None, erased_at=now)
    )
    session.execute(personal, execution_options=unnoted)


def empty_leaves(session: Session, subjects: list[str]) -> list[str]:
    """Take salt and payload of the leaves that speak of these subjects, and their rows' salts from
    the leaves of their batches; the hashes of what was emptied.
    """
    emptied = []
    query = select(LedgerLeafRow).where(LedgerLeafRow.subject.in_(subjects), LedgerLeafRow.payload.is_not(None))
    for leaf in session.scalars(query.order_by(LedgerLeafRow.id)).all():
        if leaf.payload == leaves.GONE or leaf.kind == "erasure":
            continue
        assert leaf.salt is not None and leaf.payload is not None
        leaf.content = merkle.content_hash(bytes.fromhex(leaf.salt), leaf.payload.encode()).hex()
        leaf.salt = leaf.payload = None
        emptied.append(leaf.hash)
    session.flush()
    emptied += [row for subject in subjects if (row := empty_row(session, subject)) is not None]
    return emptied


def _label_arrivals(session: Session, decision_id: UUID) -> list[str]:
    """What waiting labels and labels of the former version of leaves go by in the ledger."""
    query = select(LabelRow.arrival).where(LabelRow.decision_id == decision_id)
    return [str(arrival) for arrival in session.scalars(query)]


def _drop_waiting(session: Session, decision_id: UUID, cascade: str, external_id: str | None) -> list[str]:
    named = WaitingLabelRow.decision_id == decision_id
    if external_id is not None:
        # Only where no other decision goes by this name: then the label is another's.
        shared = session.scalar(
            select(DecisionRow.id)
            .where(
                DecisionRow.cascade == cascade,
                or_(DecisionRow.external_id == external_id, DecisionRow.trace_id == external_id),
                DecisionRow.id != decision_id,
            )
            .limit(1)
        )
        if shared is None:
            named = or_(named, (WaitingLabelRow.cascade == cascade) & (WaitingLabelRow.external_id == external_id))
    dropped = session.scalars(delete(WaitingLabelRow).where(named).returning(WaitingLabelRow.arrival))
    return [str(arrival) for arrival in dropped]


def _drop_vectors(session: Session, decision_id: UUID) -> tuple[VectorPlace, ...]:
    # Deleted and reported in one statement: a row that is just being moved is reported where it was
    # moved to.
    gone = session.execute(
        delete(VectorPlaceRow)
        .where(VectorPlaceRow.decision_id == decision_id)
        .returning(VectorPlaceRow.tier, VectorPlaceRow.shard, VectorPlaceRow.row, VectorPlaceRow.sha256),
        execution_options={"synchronize_session": False},
    ).all()
    shards = {shard.id: shard for shard in locked_shards(session, {row.shard for row in gone})}
    return tuple(
        record_of(
            VectorPlace,
            row,
            url=shards[row.shard].url,
            dimension=shards[row.shard].dimension,
            fingerprint=shards[row.shard].fingerprint,
        )
        for row in sorted(gone, key=lambda row: row.tier)
    )
