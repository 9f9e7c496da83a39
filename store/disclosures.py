"""What was shown to whom: decisions that a person looked at, and what was given away as a file.

Each is added and never changed, with its leaf in the ledger. What programs read over the API to do
their work (assignments, bundles, metrics) is not here.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store import dialects
from store.rows import records, row_of
from store.tables import DisclosureRow


class Shown(StrEnum):
    """How something was shown."""

    EXPLAINED = "explained"  # one decision, with all that it rests on
    PROVEN = "proven"  # what the ledger states of one row
    EXPORTED = "exported"  # many rows, as a file
    BACKED_UP = "backed_up"  # all


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """One time that something was shown."""

    at: datetime
    by: str
    act: Shown
    what: str  # a decision's id; a cascade, and what of it


def add_disclosure(session: Session, disclosure: Disclosure) -> None:
    """Store it, with its ledger leaf."""
    row = row_of(DisclosureRow, disclosure, id=new_id(disclosure.at))
    dialects.insert_new(session, DisclosureRow, [row], returning="id")


def newest_disclosures(session: Session, *, limit: int) -> tuple[Disclosure, ...]:
    """The latest ones, newest first."""
    query = select(DisclosureRow).order_by(DisclosureRow.at.desc(), DisclosureRow.id.desc()).limit(limit)
    return records(session, Disclosure, query)
