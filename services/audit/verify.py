"""Verification of the ledger: the chain holds, every batch's root is over its leaves, and the rows still say what
their leaves said.

The first two show that nobody changed the ledger; the third, that nobody changed the rows beside it. A decision, a
label or a bundle that was altered by hand in its table is found by its leaf.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate import codec
from knowgate.errors import RecordInvalid
from knowgate.records import Label
from store import bundles, ledger, merkle, subjects
from store.errors import BundleUnknown
from store.ledger import Leaf, SealedBatch
from store.subjects import Statement

PROBLEMS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the ledger's verification found."""

    batches: int
    entries: int  # sealed leaves
    unsealed: int  # at least; leaves that the next batch will hold
    erased: int  # leaves whose payload was erased on request; their hashes still hold
    problems: tuple[str, ...]  # empty = verified

    @property
    def verified(self) -> bool:
        return not self.problems


def verify_ledger(session: Session) -> Verification:
    """Check the whole chain, every leaf, and every row that a leaf speaks of."""
    sealed = ledger.batches(session)
    problems = list(_chain_problems(sealed))
    entries = erased = 0
    for batch in sealed:
        leaves = ledger.leaves(session, batch.number)
        entries += len(leaves)
        erased += sum(leaf.payload is None for leaf in leaves)
        problems += _batch_problems(batch, leaves)
        problems += _row_problems(session, leaves)
    return Verification(
        batches=len(sealed),
        entries=entries,
        unsealed=len(ledger.unsealed(session)),
        erased=erased,
        problems=tuple(problems[:PROBLEMS_SHOWN]),
    )


def _chain_problems(sealed: tuple[SealedBatch, ...]) -> Iterator[str]:
    previous = merkle.GENESIS
    for expected, batch in enumerate(sealed, start=1):
        if batch.number != expected:
            yield f"batch {expected} is missing: batch {batch.number} follows"
            return
        if batch.previous != previous:
            yield f"batch {batch.number} is chained to {batch.previous[:12]}…, the batch before is {previous[:12]}…"
        chained = merkle.chain_hash(batch.number, batch.previous, batch.root, batch.leaves, batch.sealed_at).hex()
        if chained != batch.hash:
            yield f"batch {batch.number} does not hash to what it says"
        previous = batch.hash


def _batch_problems(batch: SealedBatch, leaves: tuple[Leaf, ...]) -> Iterator[str]:
    if len(leaves) != batch.leaves:
        yield f"batch {batch.number} holds {len(leaves)} leaves, it was sealed over {batch.leaves}"
    if merkle.root([bytes.fromhex(leaf.hash) for leaf in leaves]).hex() != batch.root:
        yield f"batch {batch.number}: the root is not over these leaves"
    for leaf in leaves:
        if leaf.payload is not None and leaf.salt is not None:
            held = merkle.leaf_hash(bytes.fromhex(leaf.salt), leaf.payload.encode()).hex()
            if held != leaf.hash:
                yield f"the leaf of {leaf.kind} {leaf.subject} was altered"


def _row_problems(session: Session, leaves: Sequence[Leaf]) -> Iterator[str]:
    """What the tables no longer say as these leaves do."""
    told = {kind: [leaf for leaf in leaves if leaf.kind == kind and leaf.payload is not None] for kind in _ROW_CHECKS}
    for kind, check in _ROW_CHECKS.items():
        for leaf, same in check(session, told[kind]):
            if same is None:
                yield f"{kind} {leaf.subject} is in the ledger and not in its table"
            elif not same:
                yield f"{kind} {leaf.subject} does not say what its leaf says: the row was altered"


Checked = Iterator[tuple[Leaf, bool | None]]  # whether the row says the same; None = there is no such row


def _check_decisions(session: Session, leaves: Sequence[Leaf]) -> Checked:
    held = subjects.decision_payloads(session, [UUID(leaf.subject) for leaf in leaves])
    for leaf in leaves:
        found = held.get(UUID(leaf.subject))
        yield leaf, None if found is None else found == leaf.payload


def _check_labels(session: Session, leaves: Sequence[Leaf]) -> Checked:
    held = subjects.label_statements(session, [UUID(leaf.subject) for leaf in leaves])
    for leaf in leaves:
        found = held.get(UUID(leaf.subject))
        yield leaf, None if found is None else found == _stated(leaf)


def _stated(leaf: Leaf) -> Statement | None:
    """What a label's leaf says; None where it no longer is a label."""
    try:
        said = codec.decode(Label, codec.parse(leaf.payload or ""))
    except RecordInvalid:
        return None
    return Statement(
        source=said.source.value,
        correct=said.correct,
        labelled_at=said.labelled_at,
        label_propensity=said.label_propensity,
    )


def _check_bundles(session: Session, leaves: Sequence[Leaf]) -> Checked:
    for leaf in leaves:
        try:
            content = bundles.bundle_content(session, leaf.subject)
        except BundleUnknown:
            yield leaf, None
            continue
        document = bundles.bundle(session, leaf.subject).document
        yield leaf, hashlib.sha256(content).hexdigest() == leaf.subject and document == leaf.payload


_ROW_CHECKS: dict[str, Callable[[Session, Sequence[Leaf]], Checked]] = {
    "decision": _check_decisions,
    "label": _check_labels,
    "bundle": _check_bundles,
}
