"""Verification of the ledger, as one list of checks: the batches chain, every root is over its leaves, every leaf
hashes to what it says, every row of every covered table says what its newest leaf says, and the whole holds what an
exported head was signed over.

Nothing ends it early: what cannot be read is a problem of its own, and the rest is checked. It reads every leaf and
every row twice, in pages.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.audit.findings import Check, Findings, Problem
from services.audit.heads import Head, check_head, check_signature
from services.audit.verify_leaves import check_batches, check_leaves
from services.audit.verify_rows import check_rows
from store.leaf_reading import raw_batches
from store.states import any_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the ledger's verification found."""

    verified: bool
    batches: int
    entries: int  # sealed leaves
    unsealed: int  # leaves that the next batch will hold
    erased: int  # leaves whose payload was erased on request; their hashes still hold
    checks: tuple[Check, ...]
    problems: tuple[Problem, ...]  # the first of each check; empty = verified


def verify_ledger(session: Session, *, head: Head | None = None, public_key: str | None = None) -> Verification:
    """Check all batches, leaves and rows; with `head`, also that it was made of this very database.

    With `public_key`, the head must be signed by it.
    """
    found = Findings()
    with any_text(session):
        sealed = raw_batches(session)
        check_batches(found, sealed)
        read = check_leaves(session, found, sealed)
        check_rows(session, found, read.former_labels)
    if head is not None:
        check_head(found, sealed, head)
        if public_key is not None:
            check_signature(found, head, public_key)
    return Verification(
        verified=not found.problems,
        batches=len(sealed),
        entries=read.sealed,
        unsealed=read.unsealed,
        erased=read.erased,
        checks=found.checks,
        problems=tuple(found.problems),
    )
