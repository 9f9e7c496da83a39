"""Verification of what was sealed since the last one that found nothing: so much of it as a page
may wait for. The whole ledger is verified by `knowgate audit verify`.

The chain, the roots, the leaves and the rows that these leaves speak of are checked as there
(`services.audit.verify`). What only the whole can say is left to that: whether rows without a leaf
were added, and whether an erasure names every empty leaf.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from services.audit.findings import Findings
from services.audit.verify_leaves import LeavesRead, check_batches, check_leaves_of
from store.days.left_leaves import see_left_rows
from store.ledger.leaf_reading import RawBatch, raw_batches
from store.ledger.raw_reading import any_value
from store.ledger.verifications import VerificationRecord, last_good
from store.sealing import coverage

MOST_BATCHES = 1000
MOST_LEAVES = 10_000  # beyond the first batch


def verify_newest(
    session: Session, *, by: str, now: datetime, most_leaves: int = MOST_LEAVES
) -> VerificationRecord | None:
    """What was found in the batches after those that are verified; None where none is sealed
    since. Nothing is written. Of more than `most_leaves` only the first batches are looked at.
    """
    findings, good = Findings(), last_good(session)
    done = 0 if good is None else good.last_batch
    see_left_rows(session)
    with any_value(session):
        read = raw_batches(session, since=max(1, done), limit=MOST_BATCHES + 1)
        before = read[0] if good is not None and read else None
        sealed = _few(read if good is None else read[1:], most_leaves)
        if good is not None and (before is None or (before.number, before.hash) != (done, good.last_hash)):
            what = "it was verified, and is not there any more as it was then"
            findings.problem("batches", "ledger_batch", done, what)
        elif not sealed:
            return None
        check_batches(findings, sealed, before=before)
        leaves = check_leaves_of(session, findings, sealed, coverage.COVERED) if sealed else LeavesRead()
    return VerificationRecord(
        at=now,
        by=by,
        first_batch=int(sealed[0].number) if sealed else done,
        last_batch=int(sealed[-1].number) if sealed else done,
        last_hash=str(sealed[-1].hash) if sealed else str(good and good.last_hash),
        leaves=leaves.sealed,
        problems=sum(check.problems for check in findings.checks),
        said=str(findings.problems[0]) if findings.problems else None,
    )


def _few(sealed: Sequence[RawBatch], most_leaves: int) -> Sequence[RawBatch]:
    """The first of these batches, and as many of the next as may be waited for."""
    read, taken = 0, 0
    for batch in sealed:
        leaves = batch.leaves if isinstance(batch.leaves, int) else 0
        if taken and read + leaves > most_leaves:
            break
        read, taken = read + leaves, taken + 1
    return sealed[:taken]
