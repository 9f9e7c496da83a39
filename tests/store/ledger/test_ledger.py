"""The ledger: a leaf with every row, batches that chain, and roots that outlive erasure."""

import hashlib
import json
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Engine, bindparam, delete, select, update
from sqlalchemy.orm import Session

from store.engine import reading, transaction
from store.errors import StoreError
from store.jobs import job_runs
from store.ledger import ledger
from store.sealing import changes, coverage, leaves, merkle, states
from store.sealing.sealed_rows import sealed_row
from store.tables import AlarmStateRow, AlertRow, AttemptRow, Base
from store.tokens import TokenRole, create_token, find_token, note_use
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels, labels_of
from store.watching.alarm_states import put_alarm_state
from store.watching.alerts import AlertRecord, open_alert, resolve_alert


def root_of(session: Session, number: int) -> str:
    return merkle.root([bytes.fromhex(leaf.hash) for leaf in ledger.leaves(session, number)]).hex()


def test_each_row_has_its_leaf_and_the_leaf_its_salt(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label(sent)], received_at=cast.at(61))
    kinds = {leaf.kind: leaf for leaf in ledger.unsealed(session)}
    assert set(kinds) == {"upgrade", "cascade", "cascade_version", "fingerprint", "decision", "label"}
    (label,) = labels_of(session, sent.id)
    first, last = kinds["label"].subject.split("..")
    assert first == last and first.startswith(f"{sent.id}/{label.tier}/gold/")
    row = sealed_row(session, first)
    assert row is not None and row.leaf == kinds["label"].id
    said = row.text or ""
    assert str(label.id) in said
    content = hashlib.sha256(bytes.fromhex(row.salt or "") + said.encode()).digest()
    under = hashlib.sha256(b"knowgate.row.v1\n" + first.encode() + b"\n" + content)
    assert (row.content, row.hash) == (content.hex(), under.hexdigest())
    for leaf in kinds.values():
        assert leaf.salt is not None
        assert leaf.payload is not None
        header = json.dumps([str(leaf.id), leaf.kind, leaf.cascade, leaf.subject, leaf.revision], separators=(",", ":"))
        content = hashlib.sha256(bytes.fromhex(leaf.salt) + leaf.payload.encode()).digest()
        hashed = hashlib.sha256(b"knowgate.leaf.v2\n" + header.encode() + b"\n" + content)
        assert hashed.hexdigest() == leaf.hash


def test_each_state_of_a_row_has_its_leaf_and_none_is_said_twice(session: Session, cast: Any) -> None:
    record = AlertRecord(cascade="geo", rule="risk", cause="it fell", details="{}", opened_at=cast.at(0))
    key = open_alert(session, record)
    resolve_alert(session, "geo", "risk", resolution="it rose", now=cast.at(5))
    for _ in range(2):
        put_alarm_state(session, "geo", "risk", '{"wealth":1.5}', now=cast.at(5))
    opened, resolved = ledger.leaves_of(session, str(key))
    assert (opened.revision, resolved.revision) == (1, 2)
    assert "resolution" not in str(opened.payload)
    assert '"resolution":"it rose"' in str(resolved.payload)
    assert len(ledger.leaves_of(session, "geo/risk")) == 1


def test_what_is_left_out_of_coverage_moves_without_a_leaf(session: Session, cast: Any) -> None:
    text = create_token(session, "one", TokenRole.READ, cast.at(0))
    found = find_token(session, text)
    assert found is not None
    note_use(session, found, now=cast.at(9))
    claim = job_runs.claim(
        session, "monitor", "geo", cast.window(), owner="one", lease=timedelta(hours=1), now=cast.at(0)
    )
    assert claim is not None
    job_runs.heartbeat(session, claim, lease=timedelta(hours=1), now=cast.at(1))
    kinds = [leaf.kind for leaf in ledger.unsealed(session)]
    assert (kinds.count("token"), kinds.count("job_run")) == (1, 1)
    job_runs.finish(session, claim, "done", now=cast.at(2))
    assert [leaf.revision for leaf in ledger.leaves_of(session, str(claim.id))] == [1, 2]


def test_an_update_of_many_rows_in_one_statement_is_not_let_by(session: Session, cast: Any) -> None:
    put_alarm_state(session, "geo", "risk", "{}", now=cast.at(0))
    statement = update(AlarmStateRow).where(AlarmStateRow.rule == bindparam("of")).values(updated_at=cast.at(1))
    with pytest.raises(StoreError, match="noted=False"):
        session.execute(statement, [{"of": "risk"}], execution_options={"synchronize_session": False})


def test_every_column_of_every_table_is_covered_or_is_listed_with_a_reason() -> None:
    listed = {(gap.table, gap.column) for gap in coverage.NOT_COVERED}
    columns = {(cover.kind, name) for cover in coverage.COVERED for name in cover.columns}
    for part in (cover.part for cover in coverage.COVERED if cover.part is not None):
        columns |= {(part.table.name, name) for name in (*part.columns, part.parent)}
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            names = {(table.name, column.name), (table.name, "*")}
            assert table.name in coverage.LEDGER or (table.name, column.name) in columns or names & listed
    assert all(gap.why for gap in coverage.NOT_COVERED)


def test_equal_payloads_have_different_hashes(session: Session, cast: Any) -> None:
    for _ in range(2):
        ledger.append_leaf(session, "geo", "note", "1", "{}", now=cast.at(0))
    first, second = ledger.leaves_of(session, "1")
    assert first.payload == second.payload
    assert first.hash != second.hash


def test_sealed_batches_chain(session: Session, cast: Any) -> None:
    add_decisions(session, [cast.escalated(index) for index in range(2)], received_at=cast.at(5))
    for index in range(2):
        ledger.append_leaf(session, "geo", "note", str(index), "{}", now=cast.at(5))
    assert len(ledger.unsealed(session)) == 6  # with those of the upgrade, the cascade and its version
    first = ledger.seal(session, now=cast.at(6), limit=3)
    second = ledger.seal(session, now=cast.at(7), limit=3)
    assert ledger.seal(session, now=cast.at(8)) is None
    assert first is not None
    assert second is not None
    assert ledger.batches(session) == (first, second)
    assert (first.number, first.leaves, first.previous) == (1, 3, merkle.GENESIS)
    assert (second.number, second.leaves, second.previous) == (2, 3, first.hash)
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
        for index in range(57):
            ledger.append_leaf(session, "geo", "note", str(index), "{}", now=cast.at(60))
        assert len(ledger.unsealed(session)) == 60
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


def test_a_row_that_is_taken_away_and_comes_back_goes_on_in_its_leaves(session: Session, cast: Any) -> None:
    put_alarm_state(session, "geo", "risk", "{}", now=cast.at(0))
    session.execute(delete(AlarmStateRow), execution_options={"noted": False})
    gone = states.State(subject="geo/risk", cascade="geo", document={})
    leaves.note_gone(session, coverage.of_model(AlarmStateRow), [gone])
    put_alarm_state(session, "geo", "risk", "{}", now=cast.at(0))
    assert [leaf.revision for leaf in ledger.leaves_of(session, "geo/risk")] == [1, 2, 3]


def test_a_row_that_is_changed_as_an_object_is_refused(session: Session, cast: Any) -> None:
    put_alarm_state(session, "geo", "risk", "{}", now=cast.at(0))
    row = session.scalars(select(AlarmStateRow)).one()
    row.state = {"wealth": 2}
    with pytest.raises(StoreError, match="by statements"):
        session.flush()


@pytest.mark.parametrize(
    "statement",
    [
        update(AlertRow).values(opened_at=None),
        update(AlertRow).values(resolved_at=None, cause="none"),
        delete(AlertRow),
        update(AttemptRow).values(p_t=0.5),
        delete(AttemptRow),
    ],
)
def test_a_statement_that_verification_would_report_is_refused_before_it_is_made(
    session: Session, statement: Any
) -> None:
    with pytest.raises(StoreError, match=r"store/sealing/changes\.py"):
        session.execute(statement)


def test_what_may_change_are_columns_of_covered_tables() -> None:
    for kind, may in changes.CHANGES.items():
        cover = coverage.of_kind(kind)
        assert cover is not None
        named = {cover.part.named} if cover.part is not None else set()
        assert (may.columns | may.once) - {changes.EVERY} <= (set(cover.columns) | named) - set(cover.keys)
