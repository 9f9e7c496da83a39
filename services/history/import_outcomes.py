"""`knowgate import`: an outcome table as history, a batch per transaction.

Ids are made of the rows, so an import that was cut off is simply run again: what is there changes
nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._deciding.privacy import SecretKey
from knowgate._records.receipts import Rejected
from knowgate._records.records import Decision, LabelSource, Window
from knowgate.spec import CascadeSpec
from services.errors import TableInvalid
from services.history.hidden_states import HiddenSource
from services.history.recorded_decisions import Recorded, recorded_decisions
from services.outcome_tables.outcomes import OutcomeTable
from services.privacy import kept
from services.vectors.intake import NewVector, store_vectors
from store.batches import batched
from store.clocks import ahead, ahead_cure
from store.engine import reading, transaction
from store.releases import cascades
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.traffic.vectors import hold_files

BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did."""

    cascade: str
    decisions: int
    duplicates: int
    labels: int
    vectors: int
    undeclared: int  # attempts of models that the cascade does not declare; nothing is learned from them
    rows_read: int = 0  # of the file that the rows came from
    lines_in_file: int | None = None  # None where it has none (Parquet)


def import_outcomes(
    engine: Engine,
    rows: Iterable[Recorded],
    cascade: str,
    *,
    key: SecretKey,
    now: datetime,
    hidden: HiddenSource | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Stores the rows as history of `cascade`; `report` is called after each batch with its number
    of queries.

    Raises CascadeUnknown, and TableInvalid for a row that the store refuses.
    """
    with reading(engine) as session:
        spec = cascades.cascade(session, cascade)
    done = Imported(cascade=cascade, decisions=0, duplicates=0, labels=0, vectors=0, undeclared=0)
    for batch in batched(rows, BATCH):
        with transaction(engine) as session:
            done = _add(done, _import_batch(session, batch, spec, key, now, hidden))
        report(len(batch))
    return done


def import_table(
    engine: Engine,
    table: OutcomeTable,
    cascade: str,
    *,
    span: Window | None,
    source: LabelSource,
    key: SecretKey,
    now: datetime,
    hidden: HiddenSource | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Stores a whole table as history of `cascade`; `recorded_decisions` says what `span` and
    `source` are for.

    Raises as `import_outcomes` does, and TableInvalid for a table that is not one of the cascade.
    """
    with reading(engine) as session:
        spec = cascades.cascade(session, cascade)
    require_tiers(table, spec)
    require_label_coin(table, spec)
    rows = recorded_decisions(table, cascade, span=span, source=source)
    done = import_outcomes(engine, rows, cascade, key=key, now=now, hidden=hidden, report=report)
    return replace(done, rows_read=table.rows_read, lines_in_file=table.lines_in_file)


def require_tiers(table: OutcomeTable, spec: CascadeSpec) -> None:
    """Raises TableInvalid where the table has more or fewer tiers than the cascade."""
    if table.tiers != len(spec.tiers):
        raise TableInvalid(
            f"the table has {table.tiers} tiers and cascade {spec.name} has {len(spec.tiers)}; name the one it is of"
        )


def require_label_coin(table: OutcomeTable, spec: CascadeSpec) -> None:
    """Raises TableInvalid where the table's labels were drawn in another way than the cascade
    declares.

    Stored decisions take the declaration's word for it, so labels drawn otherwise would weigh what
    they do not.
    """
    other = [str(coin) for coin in table.label_coin if coin is not None and coin != spec.label_coin]
    if other:
        raise TableInvalid(
            f"label_coin of {len(other)} queries is {other[0]!r}, and cascade {spec.name} declares"
            f" {spec.label_coin.value!r}: set label_coin in its file and apply it before these are imported"
        )


def _import_batch(
    session: Session,
    batch: Sequence[Recorded],
    spec: CascadeSpec,
    key: SecretKey,
    now: datetime,
    hidden: HiddenSource | None,
) -> Imported:
    if hidden is not None:
        hold_files(session)
    _require_past(batch, now)
    decisions = [kept(_printed(row.decision, hidden), spec.privacy, key) for row in batch]
    added = add_decisions(session, decisions, received_at=now)
    _require_all(added.rejected, batch)
    vectors = 0
    if hidden is not None:
        fresh = set(added.stored)
        new_vectors = _new_vectors([row for row in batch if row.decision.id in fresh], hidden)
        vectors = store_vectors(session, new_vectors, hidden.shards_url, now=now, shard_bytes=hidden.shard_bytes)
    said = [(row, label) for row in batch for label in row.labels]
    labels = add_labels(session, [label for _, label in said], received_at=now)
    _require_all(labels.rejected, [row for row, _ in said])
    return Imported(
        cascade=spec.name,
        decisions=len(added.stored),
        duplicates=added.duplicates,
        labels=labels.stored,
        vectors=vectors,
        undeclared=sum(one.attempts for one in added.undeclared),
    )


def _require_past(batch: Sequence[Recorded], now: datetime) -> None:
    """A decision that has not been made yet is one of a wrong clock, and its labels would be
    refused for it.
    """
    late = next((row.decision for row in batch if ahead(row.decision.occurred_at, now)), None)
    if late is not None:
        when = late.occurred_at.isoformat()
        raise TableInvalid(f"occurred_at of query {late.external_id!r} is {when}: {ahead_cure(now)}")


def _printed(decision: Decision, hidden: HiddenSource | None) -> Decision:
    """The decision whose attempts with hidden states carry the fingerprint."""
    if hidden is None:
        return decision
    query = str(decision.external_id)
    attempts = tuple(
        attempt if hidden.states.of(query, attempt.tier) is None else replace(attempt, fingerprint=hidden.fingerprint)
        for attempt in decision.attempts
    )
    return replace(decision, attempts=attempts)


def _new_vectors(batch: Sequence[Recorded], hidden: HiddenSource) -> list[NewVector]:
    return [
        NewVector(
            cascade=row.decision.cascade,
            decision_id=row.decision.id,
            tier=attempt.tier,
            fingerprint=hidden.fingerprint,
            values=vector,
        )
        for row in batch
        for attempt in row.decision.attempts
        if (vector := hidden.states.of(str(row.decision.external_id), attempt.tier)) is not None
    ]


def _require_all(rejected: Sequence[Rejected], rows: Sequence[Recorded]) -> None:
    """A history with holes is worse than none: the first row that is refused ends the import."""
    if rejected:
        first = rejected[0]
        query = rows[first.index].decision.external_id
        raise TableInvalid(f"query {query!r}: {first.field} is {first.value!r}: {first.cure}")


def _add(one: Imported, other: Imported) -> Imported:
    return Imported(
        cascade=one.cascade,
        decisions=one.decisions + other.decisions,
        duplicates=one.duplicates + other.duplicates,
        labels=one.labels + other.labels,
        vectors=one.vectors + other.vectors,
        undeclared=one.undeclared + other.undeclared,
    )
