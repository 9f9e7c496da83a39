"""Merkle trees: known answers, inclusion proofs, and no leaf passed off as a node."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.sealing import merkle

hashes = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


def recursive_root(items: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if len(items) == 1:
        return hashlib.sha256(b"\x00" + items[0]).digest()
    split = 1
    while split * 2 < len(items):
        split *= 2
    return hashlib.sha256(b"\x01" + recursive_root(items[:split]) + recursive_root(items[split:])).digest()


@given(hashes)
def test_the_root_is_that_of_rfc_6962(items: list[bytes]) -> None:
    assert merkle.root(items) == recursive_root(items)


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(hashes, st.data())
def test_every_leaf_is_proven_and_no_other(items: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(items) - 1))
    steps = merkle.proof(items, index)
    root = merkle.root(items)
    assert merkle.verify(items[index], steps, root)
    assert not merkle.verify(hashlib.sha256(items[index]).digest(), steps, root)
    assert len(steps) <= (len(items) - 1).bit_length()


def test_an_inner_node_is_no_leaf() -> None:
    left, right = b"a" * 32, b"b" * 32
    node = hashlib.sha256(b"\x01" + hashlib.sha256(b"\x00" + left).digest() + hashlib.sha256(b"\x00" + right).digest())
    assert merkle.root([left, right]) == node.digest()
    assert merkle.root([node.digest()]) != merkle.root([left, right])


def test_a_proof_of_a_leaf_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError, match="2 leaves"):
        merkle.proof([b"a" * 32, b"b" * 32], 2)


def test_what_a_leaf_says_is_hashed_salt_then_payload() -> None:
    assert merkle.content_hash(b"salt", b"payload") == hashlib.sha256(b"saltpayload").digest()


def test_a_leafs_hash_covers_what_it_speaks_of() -> None:
    content = merkle.content_hash(b"salt", b"payload")
    stated = b"knowgate.leaf.v2\n" + b"header" + b"\n" + content
    assert merkle.leaf_hash(b"header", content) == hashlib.sha256(stated).digest()


def test_the_chain_covers_everything_a_batch_states() -> None:
    sealed_at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    stated = merkle.chain_hash(1, merkle.GENESIS, "ab", 3, sealed_at)
    elsewhere = sealed_at.astimezone(timezone(timedelta(hours=5)))
    assert merkle.chain_hash(1, merkle.GENESIS, "ab", 3, elsewhere) == stated
    changed = {
        merkle.chain_hash(2, merkle.GENESIS, "ab", 3, sealed_at),
        merkle.chain_hash(1, "1" * 64, "ab", 3, sealed_at),
        merkle.chain_hash(1, merkle.GENESIS, "ac", 3, sealed_at),
        merkle.chain_hash(1, merkle.GENESIS, "ab", 4, sealed_at),
        merkle.chain_hash(1, merkle.GENESIS, "ab", 3, sealed_at + timedelta(microseconds=1)),
    }
    assert len(changed | {stated}) == 6
