"""The ledger's own checks: batches in their chain, roots over leaves, leaves over what they say.

All leaves are read once, batch after batch. What is emptied, a leaf or a row under the leaf of its
batch, has to be of a decision or of a label that waits, and named by an erasure (of that decision)
or by the upgrade, which are leaves themselves; a leaf of the former version has to be one of those
that were there at the upgrade.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from services.audit.findings import Findings
from services.audit.named_rows import RowsRead
from services.audit.verify_row_leaves import check_row_leaves
from services.audit.verify_rows import check_rows_about, check_subjects
from store.ledger import former_leaves
from store.ledger.leaf_reading import FORMER, RawBatch, RawLeaf, raw_leaves
from store.ledger.upgrade_leaves import UPGRADE
from store.sealing import coverage, merkle
from store.sealing.coverage import Cover

ERASURE = "erasure"
_LEAF, _BATCH = "ledger_leaf", "ledger_batch"
_PERSONAL = ("decision", "waiting_label")  # kinds whose leaves an erasure empties; of the former version labels too


@dataclass(slots=True)
class LeavesRead:
    """What the pass over all leaves saw."""

    sealed: int = 0
    unsealed: int = 0
    erased: int = 0
    former: int = 0  # leaves of the former version
    former_labels: set[str] = field(default_factory=set)  # arrivals that those of labels speak of
    rows: RowsRead = field(default_factory=RowsRead)
    _emptied: dict[str, RawLeaf] = field(default_factory=dict)  # by their hashes
    _named: dict[str, str | None] = field(default_factory=dict)  # such a hash: the decision it was erased with
    _former_then: int = 0  # what the upgrade says of `former`


def check_batches(findings: Findings, sealed: Sequence[RawBatch], *, before: RawBatch | None = None) -> None:
    """The chain: numbers from 1, or from the batch `before` on, each batch linked to the one
    before, each hash over what the batch says.
    """
    first, previous = (1, merkle.GENESIS) if before is None else (before.number + 1, before.hash)
    for expected, batch in enumerate(sealed, start=first):
        if batch.number != expected:
            findings.problem("batches", _BATCH, expected, f"it is missing: batch {batch.number} follows")
            break
        if batch.previous != previous:
            findings.problem("batches", _BATCH, batch.number, "it is not chained to the batch before")
        if (fault := batch.fault()) is not None:
            findings.problem("batches", _BATCH, batch.number, fault)
        previous = batch.hash
    findings.checked("batches", len(sealed))


def check_leaves(
    session: Session, findings: Findings, sealed: Sequence[RawBatch], covers: Sequence[Cover]
) -> LeavesRead:
    """Roots, hashes and kinds; that every leaf's row of the tables that are there is there, or was
    taken away on purpose.
    """
    read = LeavesRead()
    for page in _checked(findings, read, sealed, raw_leaves(session)):
        _check_rows_of(session, findings, read, covers, page)
    for leaf in read._emptied.values():
        if (fault := _why_empty_is_wrong(read, leaf)) is not None:
            findings.problem("leaves", _LEAF, leaf.id, fault)
    if read.former != read._former_then:
        said = f"{read.former} leaves are of the former version, {read._former_then} were there at the upgrade"
        findings.problem("leaves", _LEAF, "former", said)
    return read


def check_leaves_of(
    session: Session, findings: Findings, sealed: Sequence[RawBatch], covers: Sequence[Cover]
) -> LeavesRead:
    """The same of some batches in a row, and the rows that their leaves speak of.

    Whether an erasure names an empty leaf, only a pass over all leaves can say.
    """
    read = LeavesRead()
    for page in _checked(findings, read, sealed, raw_leaves(session, (sealed[0].number, sealed[-1].number))):
        _check_rows_of(session, findings, read, covers, page)
        check_rows_about(session, findings, covers, page)
    return read


def _check_rows_of(
    session: Session, findings: Findings, read: LeavesRead, covers: Sequence[Cover], page: Sequence[RawLeaf]
) -> None:
    """Whether the rows are there that a page's leaves speak of; those of batches as they were."""
    check_subjects(session, findings, covers, page)
    for emptied in check_row_leaves(session, findings, read.rows, covers, page):
        read.erased += 1
        read._emptied[emptied.hash] = emptied


def _checked(
    findings: Findings, read: LeavesRead, sealed: Sequence[RawBatch], pages: Iterable[list[RawLeaf]]
) -> Iterator[list[RawLeaf]]:
    """The pages, once their leaves are looked at; at the end of them the roots."""
    roots = _Roots(findings, sealed)
    for page in pages:
        for leaf in page:
            _check_leaf(findings, read, leaf)
            roots.add(leaf)
        yield page
        findings.checked("leaves", len(page))
    roots.end()


def _why_empty_is_wrong(read: LeavesRead, leaf: RawLeaf) -> str | None:
    if leaf.hash not in read._named:
        return "it is empty, and no erasure names it"
    if leaf.version != FORMER and leaf.kind not in _PERSONAL:
        return f"it is empty, and no erasure takes what is said of {leaf.kind}"
    erased_with = read._named[leaf.hash]
    if leaf.kind == "decision" and erased_with not in (None, leaf.subject):
        return f"it is empty, and the erasure that names it is of decision {erased_with}"
    return None


def _check_leaf(findings: Findings, read: LeavesRead, leaf: RawLeaf) -> None:
    if leaf.batch is None:
        read.unsealed += 1
    else:
        read.sealed += 1
    if (fault := leaf.fault()) is not None:
        findings.problem("leaves", _LEAF, leaf.id, f"the leaf of {leaf.kind} {leaf.subject} was altered: {fault}")
        return
    if leaf.version == FORMER:
        read.former += 1
        known = leaf.kind in former_leaves.KINDS
        if leaf.kind == "label" and not leaf.emptied:
            read.former_labels.add(leaf.subject)
    else:
        known = leaf.kind in (ERASURE, UPGRADE) or coverage.of_kind(leaf.kind) is not None
    if not known:
        findings.problem("leaves", _LEAF, leaf.id, f"its kind is {leaf.kind!r}, which there is not")
    cover = coverage.of_kind(leaf.kind)
    if cover is not None and cover.by_batch and not leaf.of_rows:
        read.rows.own.add(leaf.kind, [str(leaf.subject)])
    if leaf.emptied:
        read.erased += 1
        read._emptied[leaf.hash] = leaf
    elif not leaf.of_rows:
        _check_payload(findings, read, leaf)


def _check_payload(findings: Findings, read: LeavesRead, leaf: RawLeaf) -> None:
    try:
        said = json.loads(leaf.payload)
        if leaf.kind in (ERASURE, UPGRADE) and leaf.version != FORMER:
            erased_with = leaf.subject if leaf.kind == ERASURE else None
            read._named |= dict.fromkeys(said["leaves"], erased_with)
        if leaf.kind == UPGRADE:
            read._former_then += said["former"]
    except (ValueError, KeyError, TypeError) as error:
        findings.problem("leaves", _LEAF, leaf.id, f"its payload is none of {leaf.kind}: {error!r}")


class _Roots:
    """Makes each batch's root of its leaves, which come one batch after the other."""

    def __init__(self, findings: Findings, sealed: Iterable[RawBatch]) -> None:
        self._findings = findings
        self._open: dict[Any, RawBatch] = {batch.number: batch for batch in sealed}
        self._number: Any = None
        self._hashes: list[str] = []
        self._unreadable = False

    def add(self, leaf: RawLeaf) -> None:
        if leaf.batch is None:
            return
        if leaf.batch != self._number:
            self._close()
            self._number = leaf.batch
        self._hashes.append(str(leaf.hash))

    def end(self) -> None:
        self._close()
        for batch in self._open.values():
            what = f"it has no leaves, it was sealed over {batch.leaves}"
            self._findings.problem("roots", _BATCH, batch.number, what)

    def _close(self) -> None:
        hashes, self._hashes = self._hashes, []
        if self._number is None:
            return
        batch = self._open.pop(self._number, None)
        self._findings.checked("roots", 1)
        if batch is None:
            self._findings.problem("roots", _BATCH, self._number, f"{len(hashes)} leaves name it, and it is not there")
            return
        if len(hashes) != batch.leaves:
            said = f"{len(hashes)} leaves name it, it was sealed over {batch.leaves}"
            self._findings.problem("roots", _BATCH, batch.number, said)
        try:
            root = merkle.root([bytes.fromhex(item) for item in sorted(hashes)]).hex()
        except ValueError:
            root = None
        if root != batch.root:
            self._findings.problem("roots", _BATCH, batch.number, "its root is not over its leaves")
