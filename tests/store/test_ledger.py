"""The ledger: a leaf with every row, batches that chain, and roots that outlive erasure."""

from threading import Barrier, Thread
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store import ledger, merkle
from store.decisions import add_decisions
from store.engine import reading, transaction
from store.labels import add_labels, labels_of


def root_of(session: Session, number: int) -> str:
    return merkle.root([bytes.fromhex(leaf.hash) for leaf in ledger.leaves(session, number)]).hex()


def test_each_row_has_its_leaf_and_the_leaf_its_salt(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label(sent)], received_at=cast.at(61))
    kinds = {leaf.kind: leaf for leaf in ledger.unsealed(session)}
    assert set(kinds) == {"decision", "label"}
    assert kinds["label"].subject == str(labels_of(session, sent.id)[0].id)
    for leaf in kinds.values():
        assert leaf.salt is not None
        assert leaf.payload is not None
        assert merkle.leaf_hash(bytes.fromhex(leaf.salt), leaf.payload.encode()).hex() == leaf.hash


def test_equal_payloads_have_different_hashes(session: Session, cast: Any) -> None:
    for _ in range(2):
        ledger.append_leaf(session, "geo", "note", "1", "{}", now=cast.at(0))
    first, second = ledger.leaves_of(session, "1")
    assert first.payload == second.payload
    assert first.hash != second.hash


def test_sealed_batches_chain(session: Session, cast: Any) -> None:
    add_decisions(session, [cast.escalated(index) for index in range(5)], received_at=cast.at(5))
    first = ledger.seal(session, now=cast.at(6), limit=3)
    second = ledger.seal(session, now=cast.at(7), limit=3)
    assert ledger.seal(session, now=cast.at(8)) is None
    assert first is not None
    assert second is not None
    assert ledger.batches(session) == (first, second)
    assert (first.number, first.leaves, first.previous) == (1, 3, merkle.GENESIS)
    assert (second.number, second.leaves, second.previous) == (2, 2, first.hash)
    for batch in (first, second):
        assert root_of(session, batch.number) == batch.root
        chained = merkle.chain_hash(batch.number, batch.previous, batch.root, batch.leaves, batch.sealed_at)
        assert chained.hex() == batch.hash
    assert ledger.unsealed(session) == ()


def test_a_leaf_is_proven_to_lie_under_its_root(session: Session, cast: Any) -> None:
    sent = [cast.escalated(index) for index in range(7)]
    add_decisions(session, sent, received_at=cast.at(8))
    batch = ledger.seal(session, now=cast.at(9))
    assert batch is not None
    (leaf,) = ledger.leaves_of(session, str(sent[3].id))
    assert leaf.batch == batch.number
    hashes = [bytes.fromhex(item.hash) for item in ledger.leaves(session, batch.number)]
    steps = merkle.proof(hashes, hashes.index(bytes.fromhex(leaf.hash)))
    assert merkle.verify(bytes.fromhex(leaf.hash), steps, bytes.fromhex(batch.root))


def test_sealing_in_parallel_puts_each_leaf_in_one_batch_of_one_chain(geo: Engine, cast: Any) -> None:
    with transaction(geo) as session:
        add_decisions(session, [cast.escalated(index) for index in range(60)], received_at=cast.at(60))
    barrier = Barrier(3)

    def seal() -> None:
        barrier.wait()
        for _ in range(4):
            with transaction(geo) as session:
                ledger.seal(session, now=cast.at(61), limit=7)

    threads = [Thread(target=seal) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(geo) as session:
        batches = ledger.batches(session)
        assert sum(batch.leaves for batch in batches) == 60
        assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
        assert [batch.previous for batch in batches[1:]] == [batch.hash for batch in batches[:-1]]
        assert [root_of(session, batch.number) for batch in batches] == [batch.root for batch in batches]
