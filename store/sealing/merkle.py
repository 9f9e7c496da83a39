"""Merkle trees over salted leaves, and the chain over sealed batches. Pure: bytes in, bytes out.

The tree is that of RFC 6962 (section 2.1): an inner node is SHA-256(0x01 || left || right), a leaf
of the tree is SHA-256(0x00 || leaf hash), and a tree of n leaves splits at the largest power of two
below n. The prefixes keep a node from being passed off as a leaf. What a leaf says is hashed with a
salt, SHA-256(salt || payload): without the salt nobody can tell by guessing what an erased payload
said. A leaf's hash is over that and over what it speaks of, so that this holds when payload and
salt are gone.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

GENESIS = "0" * 64  # what the first batch is chained to


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of an inclusion proof: the sibling, and the side it stands on."""

    sibling: bytes
    left: bool


def content_hash(salt: bytes, payload: bytes) -> bytes:
    """What stands for the payload of a leaf; of the leaves of the former version, the whole leaf
    hash.
    """
    return hashlib.sha256(salt + payload).digest()


def leaf_hash(header: bytes, content: bytes) -> bytes:
    """What stands for one statement: what it speaks of, and the hash of what it says."""
    return hashlib.sha256(b"knowgate.leaf.v2\n" + header + b"\n" + content).digest()


def header(key: UUID, kind: str, cascade: str, subject: str, revision: int) -> bytes:
    """What a leaf's hash covers beside salt and payload."""
    return json.dumps([str(key), kind, cascade, subject, revision], separators=(",", ":")).encode()


def row_hash(subject: bytes, content: bytes) -> bytes:
    """What stands for one row in the root of a leaf that speaks of many."""
    return hashlib.sha256(b"knowgate.row.v1\n" + subject + b"\n" + content).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes in the given order; that of no leaves is SHA-256 of nothing."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    return _root([_leaf(item) for item in hashes])


def proof(hashes: Sequence[bytes], index: int) -> tuple[Step, ...]:
    """The siblings from leaf `index` up to the root. Raises IndexError outside the leaves."""
    if not 0 <= index < len(hashes):
        raise IndexError(f"index is {index}: there are {len(hashes)} leaves, counted from 0")
    return _proof([_leaf(item) for item in hashes], index)


def consistency(hashes: Sequence[bytes], size: int) -> tuple[bytes, ...]:
    """What shows that the first `size` leaves are still there, unchanged (RFC 6962, section
    2.1.2). Raises IndexError outside the leaves.
    """
    if not 0 < size <= len(hashes):
        raise IndexError(f"size is {size}: there are {len(hashes)} leaves")
    return tuple(_consistency([_leaf(item) for item in hashes], size, known=True))


def verify(item: bytes, steps: Sequence[Step], expected_root: bytes) -> bool:
    """Whether the leaf hash `item` lies under `expected_root`, by its proof."""
    node = _leaf(item)
    for step in steps:
        node = _node(step.sibling, node) if step.left else _node(node, step.sibling)
    return node == expected_root


def chain_hash(number: int, previous: str, batch_root: str, leaves: int, sealed_at: datetime) -> bytes:
    """What the next batch is chained to: it covers everything that a batch states. Times in UTC."""
    stated = f"{number}\n{previous}\n{batch_root}\n{leaves}\n{sealed_at.astimezone(UTC).isoformat()}"
    return hashlib.sha256(stated.encode()).digest()


def _root(nodes: list[bytes]) -> bytes:
    # Level by level, an odd last node rising as it is: the same tree as the recursive split,
    # without recursion.
    while len(nodes) > 1:
        paired = [_node(nodes[index], nodes[index + 1]) for index in range(0, len(nodes) - 1, 2)]
        nodes = paired + ([nodes[-1]] if len(nodes) % 2 else [])
    return nodes[0]


def _proof(nodes: list[bytes], index: int) -> tuple[Step, ...]:
    steps = []
    while len(nodes) > 1:
        sibling = index ^ 1
        if sibling < len(nodes):
            steps.append(Step(sibling=nodes[sibling], left=sibling < index))
        paired = [_node(nodes[at], nodes[at + 1]) for at in range(0, len(nodes) - 1, 2)]
        nodes = paired + ([nodes[-1]] if len(nodes) % 2 else [])
        index //= 2
    return tuple(steps)


def _consistency(nodes: list[bytes], size: int, *, known: bool) -> list[bytes]:
    """`known`: these nodes begin where the older tree does, whose root the reader has."""
    if size == len(nodes):
        return [] if known else [_root(nodes)]
    split = 1 << (len(nodes) - 1).bit_length() - 1
    if size <= split:
        return [*_consistency(nodes[:split], size, known=known), _root(nodes[split:])]
    return [*_consistency(nodes[split:], size - split, known=False), _root(nodes[:split])]


def _leaf(item: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + item).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
