"""Proofs for whoever has no database: that the ledger states something under a head, and that one
head grew out of another. deploy/audit/verify_ledger.py checks them, offline.

A leaf lies in the Merkle tree of its batch, the batch's hash in that of the head, and a row that
shares its leaf with others in a tree of the leaf's own: all proofs grow with the logarithm of what
there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.audit.heads import Head
from services.errors import Refused
from store.days.left_leaves import see_left_rows
from store.ledger import ledger
from store.ledger.ledger import Leaf, SealedBatch
from store.sealing import merkle
from store.sealing.sealed_rows import SealedRow, sealed_row

INCLUSION = "knowgate.proof.v1"
CONSISTENCY = "knowgate.consistency.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """Where a leaf is sealed: its place in its batch."""

    batch: SealedBatch
    index: int  # of its hash among the batch's, sorted; from 0
    path: tuple[str, ...]  # hex hashes from the leaf up to the batch's root


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafProof:
    """One leaf under a head."""

    leaf: Leaf
    row: SealedRow | None  # where the leaf speaks of a batch of rows: the row among them
    sealed: Sealed
    path: tuple[str, ...]  # hex hashes from the batch's hash up to the head's root


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """What is stated of one subject, under one head."""

    format: str
    subject: str
    head: str  # the note
    leaves: tuple[LeafProof, ...]
    later: int  # leaves of the subject that the head does not cover: in later batches, or not sealed yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """That the ledger of the older head is still there in that of the newer one."""

    format: str
    older: str  # the note
    newer: str
    path: tuple[str, ...]  # hex hashes


def place_of(session: Session, leaf: Leaf) -> Sealed | None:
    """Where the leaf is sealed; None where it is not yet."""
    if leaf.batch is None:
        return None
    hashes = ledger.leaf_hashes(session, leaf.batch)
    index = hashes.index(leaf.hash)
    steps = merkle.proof([bytes.fromhex(item) for item in hashes], index)
    return Sealed(batch=ledger.sealed_batch(session, leaf.batch), index=index, path=_hex(steps))


def prove(session: Session, subject: str, head: Head) -> Inclusion:
    """The proof of all that is stated of `subject` under `head`. Raises Refused where nothing is,
    and where the head is not of this ledger.
    """
    see_left_rows(session)
    hashes = batch_hashes_under(session, head)
    proven, leaves, row = [], ledger.leaves_of(session, subject), sealed_row(session, subject)
    for leaf in leaves:
        sealed = None if leaf.batch is None or leaf.batch > head.batches else place_of(session, leaf)
        if sealed is not None:
            path = _hex(merkle.proof(hashes, sealed.batch.number - 1))
            own = row if row is not None and row.leaf == leaf.id else None
            proven.append(LeafProof(leaf=leaf, row=own, sealed=sealed, path=path))
    if not proven:
        raise Refused(f"nothing of {subject} is sealed under this head: the scheduler seals every ten minutes")
    later = len(leaves) - len(proven)
    return Inclusion(format=INCLUSION, subject=subject, head=head.note, leaves=tuple(proven), later=later)


def prove_consistency(session: Session, older: Head, newer: Head) -> Consistency:
    """The proof that `newer` grew out of `older`. Raises Refused where one is not of this
    ledger, or they are the wrong way round.
    """
    if older.batches > newer.batches:
        raise Refused(f"the older head is of {older.batches} batches, the newer of {newer.batches}: turn them round")
    batch_hashes_under(session, older)
    path = merkle.consistency(batch_hashes_under(session, newer), older.batches)
    return Consistency(format=CONSISTENCY, older=older.note, newer=newer.note, path=tuple(item.hex() for item in path))


def batch_hashes_under(session: Session, head: Head) -> list[bytes]:
    """The hashes of the batches that the head is over. Raises Refused where it is not of this
    ledger.
    """
    hashes = [bytes.fromhex(item) for item in ledger.batch_hashes(session)[: head.batches]]
    if not hashes or len(hashes) < head.batches or merkle.root(hashes) != head.root:
        raise Refused(f"the head of {head.batches} batches is not of this ledger: `knowgate audit verify` says more")
    return hashes


def _hex(steps: Sequence[merkle.Step]) -> tuple[str, ...]:
    return tuple(step.sibling.hex() for step in steps)
