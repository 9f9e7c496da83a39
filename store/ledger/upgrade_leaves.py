"""What a database of the former version of leaves is given at its upgrade.

Its leaves stay valid, and say what they said. The rows of tables that had no leaves, or leaves that
said less, are stated once as they are then: from that day on they are covered. Decisions and
labels, which may be millions, keep the leaves they have. One leaf of kind `upgrade` says how many
leaves of the former version there were, and which of them were empty, so that none can be added or
emptied later.
"""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store import documents
from store.ledger import ledger
from store.ledger.leaf_reading import FORMER, PAGE
from store.sealing import coverage, leaves, states
from store.sealing.leaves import Entry
from store.tables import LedgerLeafRow

UPGRADE = "upgrade"
SUBJECT = "leaves of version 2"
KEPT = frozenset({"decision", "label"})  # tables whose former leaves are enough


def state_once(session: Session, *, now: datetime) -> bool:
    """Write these leaves where it was not done before; whether they were written."""
    if ledger.leaves_of(session, SUBJECT):
        return False
    former = LedgerLeafRow.version == FORMER
    count = session.execute(select(func.count()).select_from(LedgerLeafRow).where(former)).scalar_one()
    empty = session.scalars(select(LedgerLeafRow.hash).where(former, LedgerLeafRow.payload.is_(None))).all()
    for cover in coverage.COVERED:
        if cover.kind not in KEPT or not count:
            for page in states.pages(session, cover, PAGE):
                leaves.note_states(session, cover, page, now=now)
    said = documents.write({"former": count, "leaves": sorted(empty)})
    leaves.append(session, [Entry(cascade="", kind=UPGRADE, subject=SUBJECT, payload=said)], now=now)
    return True
