"""Verification of the ledger, as one list of checks: the batches chain, every root is over its
leaves, every leaf hashes to what it says, every row of every covered table says what its newest
leaf says, and the whole holds what an exported head was signed over.

Nothing ends it early: what cannot be read is a problem of its own, and the rest is checked. It
reads every leaf once and every row at most twice, in pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Table
from sqlalchemy.orm import Session

from services.audit.findings import Check, Findings, Problem
from services.audit.heads import Head, check_head, check_signature
from services.audit.verify_files import check_files
from services.audit.verify_leaves import LeavesRead, check_batches, check_leaves
from services.audit.verify_rows import check_rows
from services.audit.witnesses import Witness, check_witness
from store.days.left_leaves import see_left_rows
from store.ledger.leaf_reading import RawBatch, raw_batches
from store.ledger.raw_reading import any_value, what_is_gone
from store.sealing import coverage
from store.sealing.coverage import Cover
from store.sealing.inserts import table_of
from store.tables import LedgerBatchRow, LedgerLeafRow


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


def verify_ledger(
    session: Session,
    *,
    head: Head | None = None,
    public_key: str | None = None,
    witnesses: Sequence[Witness] = (),
) -> Verification:
    """Check all batches, leaves and rows; with `head`, also that it was made of this very database.

    With `public_key`, the head must be signed by it; by every one of `witnesses` too.
    """
    findings, read = Findings(), LeavesRead()
    sealed: Sequence[RawBatch] = ()
    see_left_rows(session)
    with any_value(session):
        covers, ledger_is_there = _there(session, findings)
        if ledger_is_there:
            sealed = raw_batches(session)
            check_batches(findings, sealed)
            read = check_leaves(session, findings, sealed, covers)
            check_rows(session, findings, covers, read.former_labels, read.rows)
    if any(cover.kind == "day_file" for cover in covers):
        check_files(session, findings)
    if head is not None:
        check_head(findings, sealed, head)
        if public_key is not None:
            check_signature(findings, head, public_key)
        for witness in witnesses:
            check_witness(findings, head, witness)
    return Verification(
        verified=not findings.problems,
        batches=len(sealed),
        entries=read.sealed,
        unsealed=read.unsealed,
        erased=read.erased,
        checks=findings.checks,
        problems=tuple(findings.problems),
    )


def _there(session: Session, findings: Findings) -> tuple[Sequence[Cover], bool]:
    """The covered tables that are there, and whether the ledger's own are; one that is not is a
    problem.
    """
    covers = []
    for cover in coverage.COVERED:
        tables = [cover.table] if cover.part is None else [cover.table, cover.part.table]
        if _are_there(session, findings, "rows", tables):
            covers.append(cover)
    return covers, _are_there(session, findings, "leaves", [table_of(LedgerLeafRow), table_of(LedgerBatchRow)])


def _are_there(session: Session, findings: Findings, check: str, tables: Sequence[Table]) -> bool:
    gone = [(table, what) for table in tables if (what := what_is_gone(session, table)) is not None]
    for table, what in gone:
        findings.problem(check, table.name, "*", what)
    return not gone
