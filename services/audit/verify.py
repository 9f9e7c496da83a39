"""Verification of the ledger: the chain holds, every batch's root is over its leaves, and the rows still say what
their leaves said.

The first two show that nobody changed the ledger; the third, that nobody changed the rows beside it. A decision, a
label or a bundle that was altered by hand in its table is found by its leaf.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate import codec
from knowgate.records import Label
from store import bundles, decision_rows, decisions, labels, ledger, merkle
from store.errors import StoreError
from store.ledger import Leaf, SealedBatch

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
        problems += [problem for leaf in leaves for problem in _row_problems(session, leaf)]
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


def _row_problems(session: Session, leaf: Leaf) -> Iterator[str]:
    check = _ROW_CHECKS.get(leaf.kind)
    if check is None or leaf.payload is None:
        return
    try:
        same = check(session, leaf.subject, leaf.payload)
    except StoreError as error:
        yield f"{leaf.kind} {leaf.subject} is in the ledger and not in its table: {error}"
        return
    if not same:
        yield f"{leaf.kind} {leaf.subject} does not say what its leaf says: the row was altered"


def _same_decision(session: Session, subject: str, payload: str) -> bool:
    return decision_rows.payload(decisions.decision(session, UUID(subject))) == payload


def _same_label(session: Session, subject: str, payload: str) -> bool:
    said = codec.decode(Label, codec.parse(payload))
    stored = labels.stored_label(session, UUID(subject))
    if stored is None:
        return labels.is_waiting(session, UUID(subject))
    return (stored.source, stored.correct, stored.labelled_at) == (said.source, said.correct, said.labelled_at)


def _same_bundle(session: Session, subject: str, payload: str) -> bool:
    return hashlib.sha256(bundles.bundle_content(session, subject)).hexdigest() == subject


_ROW_CHECKS: dict[str, Callable[[Session, str, str], bool]] = {
    "decision": _same_decision,
    "label": _same_label,
    "bundle": _same_bundle,
}
