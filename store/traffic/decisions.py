"""Decisions and their attempts: stored once, however often they are sent.

A spool ships at least once, so a decision that is there already changes nothing. A decision belongs
to the window of the time in its UUIDv7: the id alone says in which cohort, and on PostgreSQL in
which partition, it lies; an `occurred_at` far from it is therefore refused. A row that cannot be
stored is named and the others are stored.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from heapq import merge
from itertools import chain
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from knowgate._records.ids import decided_at
from knowgate._records.receipts import Rejected, Undeclared
from knowgate._records.records import Decision, Window
from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec
from store import dialects, partitions
from store.batches import batched
from store.days.day_files import files_between, left_files, touch
from store.days.day_reader import newest_named
from store.days.recall import left_decisions, recall
from store.errors import CascadeUnknown, DecisionUnknown
from store.rejections import all_storable, find_unstorable, storable
from store.releases.cascades import cascade_names, versioned_cascade
from store.sealing import coverage, row_leaves
from store.tables import AttemptRow, DecisionRow
from store.traffic import adoption, decision_rows
from store.traffic.adoption import Ambiguous
from store.traffic.decision_rows import left_between, left_rows
from store.traffic.fingerprints import add_fingerprints, fingerprints
from store.traffic.undeclared import undeclared_models

CLOCK_TOLERANCE = timedelta(hours=1)  # between the time in the id and `occurred_at`
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What became of a batch of decisions."""

    stored: tuple[UUID, ...]
    duplicates: int  # were there already, or came twice in the batch; they changed nothing
    rejected: tuple[Rejected, ...]
    adopted: int  # labels that had waited for one of these decisions
    ambiguous: tuple[Ambiguous, ...] = ()  # external ids of those labels that several of the stored ones share
    undeclared: tuple[Undeclared, ...] = ()  # of the stored ones; facts, so kept, but nothing is learned from them


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDecision:
    """A decision with what the store knows beside it."""

    decision: Decision
    received_at: datetime
    erased_at: datetime | None
    spec_version: int  # of the cascade, whose prices filled the costs
    gflops: tuple[float | None, ...]  # per attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    decision: Decision
    spec: CascadeSpec
    version: int


def add_decisions(session: Session, decisions: Sequence[Decision], *, received_at: datetime) -> Added:
    """Store the decisions that are not there yet, with their attempts and ledger leaves, and adopt
    waiting labels.

    Costs are filled from the prices in force at `occurred_at`; prompts and answers are kept as
    privacy allows.
    """
    priced, rejected = _admit(session, decisions)
    # Before any other lock: making a partition waits for all who read the tables, and a label that
    # reads them may be waiting for this cascade's lock.
    months = partitions.months_of(priced, now=received_at) | {partitions.month_of(received_at)}
    partitions.ensure_partitions(session, months)
    for name in sorted({item.decision.cascade for item in priced.values()}):
        adoption.hold_decisions(session, name)
    # In order of id, so that two batches which share decisions wait for each other and never in a
    # circle.
    ordered = [priced[key] for key in sorted(priced)]
    rows = [
        decision_rows.decision_row(item.decision, item.spec, version=item.version, received_at=received_at)
        for item in ordered
    ]
    recall(session, list(priced), now=received_at)
    stored = set(dialects.insert_new(session, DecisionRow, rows, returning="id", noted=False))
    fresh = [item for item in ordered if item.decision.id in stored]
    attempts = _add_attempts(session, fresh)
    made = [row for row in rows if row["id"] in stored]
    row_leaves.note_batch(session, coverage.of_model(DecisionRow), made, attempts)
    adopted = adoption.adopt(session, [item.decision for item in fresh])
    touch(session, stored, now=received_at)
    return Added(
        stored=tuple(item.decision.id for item in fresh),
        duplicates=len(decisions) - len(rejected) - len(fresh),
        rejected=rejected,
        adopted=adopted.labels,
        ambiguous=adopted.ambiguous,
        undeclared=undeclared_models((item.decision, item.spec) for item in fresh),
    )


def decision(session: Session, decision_id: UUID) -> Decision:
    """The decision of this id. Raises DecisionUnknown."""
    return stored_decision(session, decision_id).decision


def stored_decision(session: Session, decision_id: UUID) -> StoredDecision:
    """The decision of this id, with what the store knows beside it. Raises DecisionUnknown."""
    row = session.get(DecisionRow, decision_id)
    if row is None:
        left = next(left_decisions(session, [decision_id]), None)
        if left is None:
            raise DecisionUnknown(decision_id)
        row, attempts = left_rows(left)
    else:
        query = select(AttemptRow).where(AttemptRow.decision_id == decision_id)
        attempts = list(session.scalars(query.order_by(AttemptRow.tier)))
    return StoredDecision(
        decision=decision_rows.read_decision(row, attempts, fingerprints(session)),
        received_at=row.received_at,
        erased_at=row.erased_at,
        spec_version=row.spec_version,
        gflops=tuple(attempt.gflops for attempt in attempts),
    )


def first_time(session: Session, cascade: str) -> datetime | None:
    """When the cascade's first decision was made; None before it."""
    return _first_time(session, _ids(cascade).order_by(DecisionRow.id))


def next_time(session: Session, cascade: str, since: datetime) -> datetime | None:
    """When the cascade's first decision at or after `since` was made; None where there is none."""
    return _first_time(
        session, _ids(cascade).where(DecisionRow.id >= partitions.first_id(since)).order_by(DecisionRow.id)
    )


def late_times(
    session: Session, cascade: str, *, since: datetime, until: datetime, made_before: datetime
) -> tuple[datetime, ...]:
    """When the decisions were made that arrived after `since` and by `until`, of those made before
    `made_before`.
    """
    arrived = session.scalars(
        select(DecisionRow.id)
        .where(
            DecisionRow.cascade == cascade,
            DecisionRow.received_at > since,
            DecisionRow.received_at <= until,
            DecisionRow.id < partitions.first_id(made_before),
        )
        .order_by(DecisionRow.id)
    )
    return tuple(decided_at(decision_id) for decision_id in arrived)


def last_time(session: Session, cascade: str) -> datetime | None:
    """When the cascade's newest decision was made; None before the first."""
    return _first_time(session, _ids(cascade).order_by(DecisionRow.id.desc()))


def time_of_newest(session: Session, cascade: str, number: int, *, before: datetime) -> datetime | None:
    """When the cascade's `number`-th newest decision before a time was made, its first one where
    there are not so many; None where there is none.
    """
    older = _ids(cascade).where(DecisionRow.id < partitions.first_id(before)).order_by(DecisionRow.id.desc())
    newest = older.limit(number).subquery()
    first: UUID | None = session.scalar(select(newest.c.id).order_by(newest.c.id).limit(1))
    return None if first is None else decided_at(first)


def _ids(cascade: str) -> Select[Any]:
    return select(DecisionRow.id).where(DecisionRow.cascade == cascade)


def _first_time(session: Session, ids: Select[Any]) -> datetime | None:
    first = session.scalar(ids.limit(1))
    return None if first is None else decided_at(first)


def count_between(session: Session, cascade: str, window: Window, *, bundle: str | None = None) -> int:
    """How many decisions of the cascade lie in a window of decision time; with `bundle`, those that
    it made.
    """
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    within = [DecisionRow.cascade == cascade, DecisionRow.id >= low, DecisionRow.id < high]
    if bundle is not None:
        within.append(DecisionRow.bundle == bundle)
    return session.scalar(select(func.count()).select_from(DecisionRow).where(*within)) or 0


def find_decision(session: Session, cascade: str, external_id: str) -> Decision | None:
    """The newest decision of this external id; None when there is none."""
    if not (storable(cascade) and storable(external_id)):
        return None
    named = _ids(cascade).where(DecisionRow.external_id == external_id)
    decision_id = session.scalar(named.order_by(DecisionRow.id.desc()).limit(1))
    if decision_id is None:
        decision_id = newest_named(left_files(session, cascade), external_id)
    return None if decision_id is None else decision(session, decision_id)


def external_ids(session: Session, cascade: str) -> Iterator[str]:
    """The external ids of the cascade's decisions, one after another and never all at once."""
    query = select(DecisionRow.external_id).where(DecisionRow.cascade == cascade, DecisionRow.external_id.is_not(None))
    for name in session.scalars(query.execution_options(yield_per=10_000)):
        yield str(name)


def external_ids_of(session: Session, ids: Collection[UUID]) -> dict[UUID, str | None]:
    """The external id of each of these decisions."""
    found: dict[UUID, str | None] = {}
    for chunk in batched(sorted(ids), _PAGE):
        rows = session.execute(select(DecisionRow.id, DecisionRow.external_id).where(DecisionRow.id.in_(chunk)))
        found |= {row.id: row.external_id for row in rows}
    gone = [one for one in ids if one not in found]
    return found | {one.decision["id"]: one.decision["external_id"] for one in left_decisions(session, gone)}


def external_ids_between(session: Session, cascade: str, window: Window, *, as_of: datetime) -> dict[UUID, str | None]:
    """The external id of each decision of a window of decision time that had been received by
    then.
    """
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    of = (DecisionRow.cascade == cascade, DecisionRow.id >= low, DecisionRow.id < high)
    query = select(DecisionRow.id, DecisionRow.external_id).where(*of, DecisionRow.received_at <= as_of)
    found = {row.id: row.external_id for row in session.execute(query.order_by(DecisionRow.id))}
    for file in files_between(session, cascade, low, high):
        if file.left_at is not None:
            start, end = max(low, file.low), min(high, file.high)
            left = left_between(session, file, start, end, as_of=as_of, fingerprints=fingerprints(session))
            found |= {one.id: one.external_id for one in left}
    return found


def decisions_between(
    session: Session, cascade: str, window: Window, *, as_of: datetime | None = None
) -> Iterator[Decision]:
    """The cascade's decisions of a window of decision time, oldest first, read a page at a time.

    With `as_of`, only those that had been received by then.
    """
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    for file in files_between(session, cascade, low, high):
        if file.left_at is not None:
            start, end = max(low, file.low), min(high, file.high)
            yield from _stored_between(session, cascade, low, start, as_of)
            known = fingerprints(session)
            here = _stored_between(session, cascade, start, end, as_of)
            yield from merge(
                here, left_between(session, file, start, end, as_of=as_of, fingerprints=known), key=lambda one: one.id
            )
            low = end
    yield from _stored_between(session, cascade, low, high, as_of)


def _stored_between(
    session: Session, cascade: str, low: UUID, high: UUID, as_of: datetime | None
) -> Iterator[Decision]:
    known = fingerprints(session)
    after = DecisionRow.id >= low
    while True:
        query = select(DecisionRow).where(DecisionRow.cascade == cascade, after, DecisionRow.id < high)
        if as_of is not None:
            query = query.where(DecisionRow.received_at <= as_of)
        rows = list(session.scalars(query.order_by(DecisionRow.id).limit(_PAGE)))
        attempts = _attempts_of(session, [row.id for row in rows])
        for row in rows:
            yield decision_rows.read_decision(row, attempts[row.id], known)
        for loaded in (*rows, *(attempt for group in attempts.values() for attempt in group)):
            session.expunge(loaded)  # a long window must not pile up in the session
        if len(rows) < _PAGE:
            return
        after = DecisionRow.id > rows[-1].id


def _attempts_of(session: Session, ids: Sequence[UUID]) -> dict[UUID, list[AttemptRow]]:
    attempts: dict[UUID, list[AttemptRow]] = {item: [] for item in ids}
    if ids:
        query = select(AttemptRow).where(AttemptRow.decision_id.in_(ids))
        for attempt in session.scalars(query.order_by(AttemptRow.decision_id, AttemptRow.tier)):
            attempts[attempt.decision_id].append(attempt)
    return attempts


def _admit(session: Session, decisions: Sequence[Decision]) -> tuple[dict[UUID, _Priced], tuple[Rejected, ...]]:
    specs: dict[str, tuple[int, CascadeSpec] | None] = {}
    priced: dict[UUID, _Priced] = {}
    rejected = []
    for index, item in enumerate(decisions):
        if item.cascade not in specs:
            specs[item.cascade] = _spec(session, item.cascade)
        declared = specs[item.cascade]
        if declared is None:
            known = ", ".join(cascade_names(session)) or "none"
            cure = f"no such cascade (known: {known}); run `knowgate cascade apply` first"
            rejected.append(Rejected(index=index, field="cascade", value=item.cascade, cure=cure))
            continue
        version, spec = declared
        fault = _fault(index, item, spec)
        if fault is not None:
            rejected.append(fault)
        elif item.id not in priced:
            priced[item.id] = _Priced(decision=item, spec=spec, version=version)
    return priced, tuple(rejected)


def _spec(session: Session, name: str) -> tuple[int, CascadeSpec] | None:
    try:
        return versioned_cascade(session, name)
    except CascadeUnknown:
        return None


def _fault(index: int, item: Decision, spec: CascadeSpec) -> Rejected | None:
    try:
        carried = decided_at(item.id)
    except RecordInvalid as error:
        return Rejected(index=index, field="id", value=str(item.id), cure=error.cure)
    if abs(carried - item.occurred_at) > CLOCK_TOLERANCE:
        cure = f"the id carries {carried.isoformat()}; make it with new_id(occurred_at)"
        return Rejected(index=index, field="occurred_at", value=item.occurred_at.isoformat(), cure=cure)
    for attempt in item.attempts:
        if attempt.tier > spec.last:
            cure = f"{spec.name} has tiers 0 to {spec.last}; apply a cascade that has more, or correct the tier"
            return Rejected(index=index, field="attempts.tier", value=str(attempt.tier), cure=cure)
    return None if _is_storable(item) else find_unstorable(index, _named_values(item))


def _is_storable(item: Decision) -> bool:
    """Whether nothing of a decision has to be looked at by itself."""
    records: list[Any] = [item, *item.attempts, *(one.fingerprint for one in item.attempts if one.fingerprint)]
    values = chain.from_iterable(_all_fields(record.__class__)(record) for record in records)
    return all_storable(values, (one.run_propensity for one in item.attempts if one.run_propensity is not None))


@cache
def _all_fields(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(field.name for field in fields(kind)))


def _named_values(item: Decision) -> Iterator[tuple[str, str | float | None]]:
    """Every text, whole number and propensity of a decision."""
    yield from _values("", item)
    for attempt in item.attempts:
        yield from _values("attempts.", attempt)
        if attempt.run_propensity is not None:
            yield "attempts.run_propensity", float(attempt.run_propensity)
        if attempt.fingerprint is not None:
            yield from _values("attempts.fingerprint.", attempt.fingerprint)


def _values(path: str, record: Any) -> Iterator[tuple[str, str | float | None]]:
    for name, named in _named_fields(record.__class__, path):
        value = getattr(record, name)
        if value is not None and isinstance(value, (str, int)):
            yield named, value


@cache
def _named_fields(kind: type[Any], path: str) -> tuple[tuple[str, str], ...]:
    return tuple((field.name, path + field.name) for field in fields(kind))


def _add_attempts(session: Session, fresh: Sequence[_Priced]) -> dict[UUID, list[dict[str, Any]]]:
    """Store the attempts of these decisions; their rows."""
    attempts = [attempt for item in fresh for attempt in item.decision.attempts]
    add_fingerprints(session, [one.fingerprint for one in attempts if one.fingerprint is not None])
    rows = {item.decision.id: decision_rows.attempt_rows(item.decision, item.spec) for item in fresh}
    # The decisions are new, so no attempt of theirs can be there.
    dialects.copy_rows(session, dialects.table_of(AttemptRow), [row for group in rows.values() for row in group])
    return rows
