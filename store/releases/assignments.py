"""The assignment: the one small mutable thing per cascade, changed by compare-and-swap on its
generation.

Whoever swaps says which generation it read; if that is no longer in force, nothing is changed. All
generations are kept, and what each runtime last acknowledged.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from store import dialects
from store.claims import changed
from store.errors import GenerationMoved, RecordUnreadable
from store.rows import record_of, row_of
from store.tables import AcknowledgementRow, AssignmentHistoryRow, AssignmentRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeState:
    """What one runtime last said about the assignment it was given."""

    cascade: str
    runtime: str  # the runtime's own name: host and process
    generation: int  # that it serves
    bundle: str | None
    accepted: bool  # False = it refused a newer one and stays at `generation`
    detail: str | None  # why it refused
    at: datetime  # by its own clock
    version: str | None = None  # of the wheel
    heard_at: datetime | None = None  # by the service's clock; None of a word from before that was kept
    again_s: float | None = None  # so often, in seconds, it says at least that it is there; None = it does not
    unshipped_bytes: int | None = None  # that its spool holds and the service does not have
    refused_rows: int | None = None  # since it started: by a full spool, or by the service

    @property
    def seen_at(self) -> datetime:
        """When it was last heard of."""
        return self.heard_at or self.at

    def silent(self, now: datetime) -> bool:
        """Whether it has not been heard of for several times as long as it said; never of one that
        speaks only when something changes.
        """
        return self.again_s is not None and now - self.seen_at > MISSED * timedelta(seconds=self.again_s)

    def gone(self, now: datetime) -> bool:
        """Whether it has been silent for so long that nobody misses it."""
        return now - self.seen_at > FORGOTTEN_AFTER


MISSED = 3  # so many words in a row, and a runtime is silent
FORGOTTEN_AFTER = timedelta(days=7)  # and then it is gone


def assignment(session: Session, cascade: str) -> Assignment | None:
    """The assignment in force; None before the first one. Raises RecordUnreadable."""
    document = session.scalar(select(AssignmentRow.document).where(AssignmentRow.cascade == cascade))
    try:
        return None if document is None else codec.decode(Assignment, document)
    except RecordInvalid as error:
        cure = "restore the database from a backup; `knowgate audit verify` says what else was changed"
        raise RecordUnreadable(cascade, "assignment", error, cure) from error


def swap_assignment(
    session: Session, new: Assignment, *, expected_generation: int | None, now: datetime | None = None
) -> None:
    """Put `new` in force where `expected_generation` is (None = where there is none yet), with its
    ledger leaf.

    Raises GenerationMoved when another generation is in force, or when `new` is not a later one.
    """
    swapped_at = now or new.issued_at
    row = {
        "cascade": new.cascade,
        "generation": new.generation,
        "document": codec.encode(new),
        "swapped_at": swapped_at,
    }
    if expected_generation is None:
        swapped = bool(dialects.insert_new(session, AssignmentRow, [row], returning="generation"))
    else:
        result = session.execute(
            update(AssignmentRow)
            .where(
                AssignmentRow.cascade == new.cascade,
                AssignmentRow.generation == expected_generation,
                AssignmentRow.generation < new.generation,
            )
            .values(generation=new.generation, document=row["document"], swapped_at=swapped_at),
            execution_options={"synchronize_session": False},
        )
        swapped = changed(result) == 1
    if not swapped:
        query = select(AssignmentRow.generation).where(AssignmentRow.cascade == new.cascade)
        raise GenerationMoved(new.cascade, expected_generation, session.scalar(query))
    dialects.insert_new(session, AssignmentHistoryRow, [row], returning="generation")


def add_acknowledgement(session: Session, acknowledgement: RuntimeState) -> None:
    """Keep a runtime's last word in place of its word before."""
    row = row_of(AcknowledgementRow, acknowledgement, acknowledged_at=acknowledgement.at)
    dialects.upsert(session, AcknowledgementRow, [row])


def acknowledgements(session: Session, cascade: str) -> tuple[RuntimeState, ...]:
    """Every runtime's last word, by its name."""
    query = select(AcknowledgementRow).where(AcknowledgementRow.cascade == cascade).order_by(AcknowledgementRow.runtime)
    return tuple(
        record_of(RuntimeState, row, at=row.acknowledged_at)
        for row in session.scalars(query.execution_options(populate_existing=True))
    )
