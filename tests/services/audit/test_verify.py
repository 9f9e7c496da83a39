"""Verification: an untouched deployment verifies, whatever was done with it; what was changed is
named and hides nothing else.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from benchmarks.tampering.deployment import NAME, START, build
from knowgate._bundles import signing
from services.audit.findings import Check, Findings
from services.audit.heads import Head, head_of, parse_head, read_head
from services.audit.verify import Verification, verify_ledger
from services.audit.verify_row_leaves import ALTERED
from services.command_line import app, exit_code_of
from services.errors import InputInvalid
from services.settings import Settings, read_settings
from store import schema
from store.engine import open_engine, reading, transaction
from store.ledger import erasure, ledger
from store.ledger.ledger import seal_all
from store.sealing import coverage, leaves, merkle, states
from store.sealing.leaves import Entry
from store.sealing.row_leaves import note_batch, packed, read_payload, unpacked
from store.sealing.sealed_rows import empty_row, subjects_of
from store.tables import LedgerLeafRow
from store.traffic import shard_moves

KEY = "5e" * 32
EMPTY = head_of((), None).note


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployment with something in every table, and the head that left it; what a test changes is
    undone.
    """

    engine: Engine
    head: Head

    def after(self, *acts: str | Callable[[Session], None], **given: Any) -> Verification:
        """What verification finds after these statements and acts of somebody whom no foreign key
        stops.
        """
        with self.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA foreign_keys = OFF")
            else:
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text("SELECT 1"))  # begins, so that a session's end is not that of the transaction
            for act in acts:
                if isinstance(act, str):
                    connection.exec_driver_sql(act)
                    continue
                with Session(connection) as session:
                    act(session)
                    session.flush()
            with Session(connection) as session:
                return verify_ledger(session, **given)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def deployed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{folder / 'knowgate.db'}")
    else:
        server = request.getfixturevalue("postgresql_server")
        maker = create_engine(server, isolation_level="AUTOCOMMIT")
        with maker.connect() as connection:
            connection.execute(text("CREATE DATABASE knowgate_verified"))
        maker.dispose()
        engine = open_engine(server.set(database="knowgate_verified"))
    schema.upgrade(engine)
    yield Deployed(engine=engine, head=build(engine, settings_in(folder)))
    engine.dispose()


def settings_in(folder: Path) -> Settings:
    return read_settings({"KNOWGATE_DATA_DIR": str(folder), "KNOWGATE_SIGNING_KEY": KEY})


def verified(engine: Engine, **given: Any) -> Verification:
    with reading(engine) as session:
        return verify_ledger(session, **given)


def test_an_untouched_deployment_verifies_and_leads_to_its_head(deployed: Deployed) -> None:
    found = deployed.after(head=deployed.head, public_key=signing.public_key_of(KEY))
    assert (found.verified, found.problems) == (True, ())
    assert [check.name for check in found.checks] == ["batches", "roots", "leaves", "rows", "files", "head"]
    assert found.erased == 2


@pytest.mark.slow
def test_what_retention_forgets_and_what_is_forgotten_after_it_still_verifies(engine: Engine, tmp_path: Path) -> None:
    build(engine, settings_in(tmp_path))
    with transaction(engine) as session:
        shard_moves.hold_moves(session)
        assert shard_moves.forget_vectors(session, NAME, before=START + timedelta(minutes=10)) > 0
        ids = [use.shard.id for use in shard_moves.shard_use(session)]
        shard_moves.forget_vectors(session, NAME, before=START + timedelta(days=1))
        assert shard_moves.supersede_empty(session, ids, now=START + timedelta(days=1)) == len(ids)
        shard_moves.forget_superseded(session, ids=ids[:1])
    assert verified(engine).problems == ()
    gone = Deployed(engine=engine, head=parse_head(EMPTY)).after("DELETE FROM vector_shard")
    assert [problem.table for problem in gone.problems] == ["vector_shard"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "table", "named"),
    [
        ("UPDATE label SET digest = 'ab' WHERE source = 'judge' AND correct = 1", "label", "no leaf"),
        ("UPDATE label SET grader = 'judge@3' WHERE grader IS NOT NULL", "label", ALTERED),
        ("UPDATE label SET received_at = labelled_at", "label", ALTERED),
        ("DELETE FROM label", "label", "not in its table"),
        ("UPDATE decision SET served_tier = 1 - served_tier", "decision", ALTERED),
        ("UPDATE decision SET spec_version = 1", "decision", ALTERED),
        ("UPDATE decision SET received_at = occurred_at", "decision", ALTERED),
        ("UPDATE attempt SET gflops = gflops / 2", "decision", ALTERED),
        ("DELETE FROM attempt WHERE tier = 1 AND role = 'exploration'", "decision", ALTERED),
        ("UPDATE bundle SET status = 'certified'", "bundle", "status"),
        ("UPDATE bundle SET document = '{}'", "bundle", "document"),
        ("UPDATE certification SET n = n + 1", "certification", "n is not"),
        ("UPDATE promotion SET outcome = 'promoted' WHERE outcome = 'refused'", "promotion", "outcome"),
        ("UPDATE assignment SET generation = 9", "assignment", "generation"),
        ("DELETE FROM assignment_history WHERE generation = 2", "assignment_history", "not in its table"),
        ("UPDATE alert SET resolved_at = opened_at WHERE resolved_at IS NULL", "alert", "resolved_at"),
        ("UPDATE cascade SET version = 1 WHERE name = 'facts'", "cascade", "version"),
        ("UPDATE cascade_version SET spec = '{}'", "cascade_version", "spec"),
        ("UPDATE vector_row SET sha256 = 'ab'", "vector_shard", "vectors"),
        ("UPDATE acknowledgement SET accepted = NOT accepted", "acknowledgement", "accepted"),
        ("UPDATE cohort_figure SET low = high", "cohort_figure", "low"),
        ("DELETE FROM drift_report", "drift_report", "not in its table"),
        ("UPDATE alarm_state SET state = '{}'", "alarm_state", "state"),
        ("UPDATE job_run SET outcome = 'nothing to do' WHERE job = 'monitor'", "job_run", "outcome"),
        ("UPDATE outbox SET due_at = NULL", "outbox", "due_at"),
        ("UPDATE token SET role = 'admin'", "token", "role"),
        ("UPDATE grader_error SET wrong = wrong + 1", "grader_error", "wrong"),
        ("UPDATE delivery SET delivered_at = created_at", "delivery", "delivered_at"),
    ],
)
def test_a_changed_row_is_named_with_what_differs(deployed: Deployed, statement: str, table: str, named: str) -> None:
    problems = deployed.after(statement).problems
    assert any(problem.table == table and named in problem.what for problem in problems), problems


def test_rows_that_somebody_added_are_found_in_every_table(deployed: Deployed) -> None:
    found = deployed.after(
        "INSERT INTO label SELECT decision_id, tier, 'human', digest, arrival, correct, labelled_at, received_at,"
        " label_propensity, grader, origin FROM label WHERE source = 'judge'",
        "INSERT INTO alarm_state SELECT 'other', rule, state, updated_at FROM alarm_state",
        "INSERT INTO assignment_history SELECT cascade, 99, document, swapped_at FROM assignment_history"
        " WHERE generation = 1",
    ).problems
    assert {problem.table for problem in found} == {"label", "alarm_state", "assignment_history"}
    assert all("no leaf" in problem.what for problem in found)


def test_labels_that_were_swapped_between_two_decisions_are_found(deployed: Deployed) -> None:
    with deployed.engine.connect() as connection:
        query = "SELECT decision_id, digest FROM label WHERE source = 'judge' ORDER BY decision_id LIMIT 2"
        (one, its), (two, other) = connection.execute(text(query)).all()
    found = deployed.after(
        f"UPDATE label SET decision_id = '{two}', source = 'feedback' WHERE decision_id = '{one}' AND digest = '{its}'",
        f"UPDATE label SET decision_id = '{one}' WHERE decision_id = '{two}' AND digest = '{other}'",
        f"UPDATE label SET source = 'judge' WHERE decision_id = '{two}' AND source = 'feedback'",
    )
    assert {problem.table for problem in found.problems} == {"label"}
    assert len({problem.id for problem in found.problems}) > 1


@pytest.mark.parametrize(
    ("kind", "statement", "named"),
    [
        ("decision", "UPDATE attempt SET p_t = 0.123", "states it anew"),
        ("decision", "UPDATE decision SET slice = 'art'", "states it anew"),
        ("label", "UPDATE label SET correct = 1 - correct", "states it anew"),
        ("certification", "UPDATE certification SET n = n + 1000", "another n"),
        ("promotion", "UPDATE promotion SET outcome = 'refused'", "another outcome"),
        ("cascade_version", "UPDATE cascade_version SET spec = '{}'", "another spec"),
        ("bundle", "UPDATE bundle SET document = '{}'", "another document"),
        ("alert", "UPDATE alert SET resolved_at = NULL, resolution = NULL", "another resolution, resolved_at"),
        ("token", "UPDATE token SET revoked_at = NULL", "another revoked_at"),
        ("label", "DELETE FROM label", "rows of this table are kept"),
        ("alert", "DELETE FROM alert", "rows of this table are kept"),
    ],
)
def test_a_further_leaf_makes_nothing_true_that_cannot_become_of_a_row(
    deployed: Deployed, kind: str, statement: str, named: str
) -> None:
    def forge(session: Session) -> None:
        """As somebody does who knows the code."""
        cover = coverage.of_kind(kind)
        assert cover is not None
        there = [state for page in states.pages(session, cover, 1000) for state in page]
        session.connection().execute(text(statement))
        if statement.startswith("DELETE"):
            leaves.note_gone(session, cover, there)
        else:
            leaves.note_stored(session, cover, [cover.key(state.subject) for state in there])

    found = deployed.after(forge).problems
    assert any(problem.table == kind and named in problem.what for problem in found), found


def test_a_row_that_was_taken_away_and_is_there_again_is_found(deployed: Deployed) -> None:
    def forge(session: Session) -> None:
        cover = coverage.of_kind("vector_shard")
        assert cover is not None
        first, *_ = states.pages(session, cover, 1)  # all of them: a cursor must not stay open
        leaves.note_gone(session, cover, first)

    (problem,) = deployed.after(forge).problems
    assert (problem.table, problem.what) == ("vector_shard", "it was taken away, and is there again")


@pytest.mark.parametrize("kind", ["decision", "bundle", "label", "certification"])
def test_an_erasure_that_was_none_is_found(deployed: Deployed, kind: str) -> None:
    def forge(session: Session) -> None:
        cover = coverage.of_kind(kind)
        assert cover is not None
        there = [state for page in states.pages(session, cover, 1000) for state in page]
        subject = next(state.subject for state in there if state.document.get("erased_at") is None)
        emptied = erasure.empty_leaves(session, [subject])
        column = {"decision": "slice = 'art'", "bundle": "document = '{}'", "label": "correct = 1 - correct"}
        session.connection().execute(text(f"UPDATE {kind} SET {column.get(kind, 'n = n + 1')}"))
        leaves.note_stored(session, cover, [cover.key(subject)])
        said = json.dumps({"decision": subject, "leaves": emptied})
        ledger.append_leaf(session, NAME, "erasure", subject, said, now=START)

    named = "it was not erased" if kind == "decision" else f"no erasure takes what is said of {kind}"
    assert any(named in problem.what for problem in deployed.after(forge).problems)


def test_an_erasure_of_another_decision_empties_no_leaf_of_this_one(deployed: Deployed) -> None:
    def forge(session: Session) -> None:
        open_leaves = [leaf.id for leaf in ledger.unsealed(session, 10_000) if leaf.kind == "decision"]
        named = set(subjects_of(session, open_leaves))
        emptied = erasure.empty_leaves(session, [min(named)])
        said = json.dumps({"decision": max(named), "leaves": emptied})
        ledger.append_leaf(session, NAME, "erasure", max(named), said, now=START)
        others.append(max(named))

    others: list[str] = []
    found = {problem.what for problem in deployed.after(forge).problems if problem.check == "leaves"}
    assert found == {f"it is empty, and the erasure that names it is of decision {others[0]}"}


def test_true_in_a_document_is_no_1(deployed: Deployed) -> None:
    to_json = "" if deployed.engine.dialect.name == "sqlite" else "::json"
    found = deployed.after(f"UPDATE attempt SET gates = replace(CAST(gates AS text), 'true', '1'){to_json}")
    assert any(problem.table == "decision" and problem.what == ALTERED for problem in found.problems)


def test_values_and_tables_that_no_driver_reads_hide_nothing_else(deployed: Deployed) -> None:
    deep = "[" * 5000 + "]" * 5000
    statements = [f"UPDATE attempt SET gates = '{deep}'", "UPDATE alert SET cause = 'none'"]
    if deployed.engine.dialect.name == "postgresql":
        statements += [
            "UPDATE label SET received_at = 'infinity'",
            "UPDATE certification SET decided_at = '0099-01-01 BC'",
        ]
        statements += [
            "UPDATE ledger_batch SET sealed_at = '-infinity' WHERE number = 1",
            "DROP TABLE cohort_figure CASCADE",
        ]
        tables = {"decision", "alert", "label", "certification", "ledger_batch", "cohort_figure"}
    else:
        statements += ["DROP TABLE cohort_figure", "ALTER TABLE drift_report DROP COLUMN document"]
        tables = {"decision", "alert", "cohort_figure", "drift_report"}
    found = deployed.after(*statements)
    assert {problem.table for problem in found.problems} == tables
    assert deployed.after("DROP TABLE ledger_leaf").problems[0].table == "ledger_leaf"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE ledger_leaf SET salt = NULL, payload = NULL WHERE kind = 'decision'", "altered"),
        ("UPDATE ledger_leaf SET kind = 'note' WHERE kind = 'label'", "altered"),
        ("UPDATE ledger_leaf SET kind = 'token' WHERE kind = 'label'", "altered"),
        ("UPDATE ledger_leaf SET subject = 'other' WHERE kind = 'cascade'", "altered"),
        ("UPDATE ledger_leaf SET cascade = 'other' WHERE kind = 'decision'", "altered"),
        ("UPDATE ledger_leaf SET revision = revision + 1 WHERE kind = 'alert'", "altered"),
        ("UPDATE ledger_leaf SET version = 1", "altered"),
        ("UPDATE ledger_leaf SET version = 4", "version"),
        ("UPDATE ledger_leaf SET rows = (SELECT max(rows) FROM ledger_leaf) WHERE kind = 'alert'", "rows stand beside"),
        ("UPDATE ledger_leaf SET payload = '{}' WHERE batch IS NULL", "altered"),
        ("UPDATE ledger_leaf SET salt = 'zz'", "altered"),
    ],
)
def test_a_changed_leaf_is_found(deployed: Deployed, statement: str, named: str) -> None:
    found = [problem for problem in deployed.after(statement).problems if problem.check == "leaves"]
    assert found and all(named in problem.what for problem in found)


def test_a_leaf_that_was_emptied_without_an_erasure_is_found(deployed: Deployed) -> None:
    with reading(deployed.engine) as session:
        leaf = next(leaf for leaf in ledger.unsealed(session, 10_000) if leaf.kind == "alert")
    content = merkle.content_hash(bytes.fromhex(leaf.salt or ""), (leaf.payload or "").encode()).hex()
    emptied = deployed.after(
        f"UPDATE ledger_leaf SET salt = NULL, payload = NULL, content = '{content}' WHERE subject = '{leaf.subject}'",
        "UPDATE alert SET cause = 'none'",
    )
    found = {(problem.check, problem.what) for problem in emptied.problems}
    assert ("leaves", "it is empty, and no erasure names it") in found
    assert ("rows", "its newest leaf is empty") in found


def test_a_row_whose_salt_was_taken_without_an_erasure_is_found(deployed: Deployed) -> None:
    def forge(session: Session) -> None:
        leaf = next(leaf.id for leaf in ledger.unsealed(session, 10_000) if leaf.kind == "decision")
        assert empty_row(session, next(subjects_of(session, [leaf]))) is not None

    found = {(problem.check, problem.what) for problem in deployed.after(forge).problems}
    assert found == {
        ("leaves", "it is empty, and no erasure names it"),
        ("rows", "its leaves were emptied, and it was not erased"),
        ("rows", "its newest leaf is empty"),
    }


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda rows, sealed: rows[:48] + rows, "the rows beside it cannot be read"),
        (lambda rows, sealed: b"", "the rows beside it cannot be read"),
        (lambda rows, sealed: None, "the rows beside it cannot be read"),
        (lambda rows, sealed: bytes(range(16)) + rows[16:], ALTERED),
        (lambda rows, sealed: rows[:16] + bytes(32) + rows[48:], "its root is not over its rows of decision"),
        (lambda rows, sealed: packed(sealed[1:]), "the rows beside it cannot be read"),
        (lambda rows, sealed: packed(tuple(reversed(sealed))), "its root is not over its rows of decision"),
        (lambda rows, sealed: packed((replace(sealed[0], subject=NAME), *sealed[1:])), "its root is not over its rows"),
    ],
)
def test_what_stands_beside_a_leaf_of_rows_is_under_its_root(
    deployed: Deployed, changed: Callable[[bytes, Any], bytes | None], named: str
) -> None:
    def forge(session: Session) -> None:
        query = select(LedgerLeafRow).where(LedgerLeafRow.kind == "decision", LedgerLeafRow.version == 3)
        leaf = next(leaf for leaf in session.scalars(query) if read_payload(leaf.payload).rows > 1)
        leaf.rows = changed(bytes(leaf.rows or b""), unpacked(leaf.rows, read_payload(leaf.payload).rows))

    found = deployed.after(forge).problems
    assert any(named in problem.what for problem in found), found


def test_a_row_that_is_in_the_leaves_of_two_batches_is_found(deployed: Deployed) -> None:
    def forge(session: Session) -> None:
        cover = coverage.of_kind("label")
        assert cover is not None
        rows = session.execute(select(cover.table)).mappings().all()
        note_batch(session, cover, rows[:2], {})

    (problem,) = deployed.after(forge).problems
    assert (problem.table, problem.what) == ("label", "2 rows are in the leaves of two batches")


@pytest.mark.parametrize(
    ("statement", "check", "named"),
    [
        ("DELETE FROM ledger_batch WHERE number = 1", "batches", "missing"),
        ("UPDATE ledger_batch SET previous = root WHERE number = 2", "batches", "not chained"),
        ("UPDATE ledger_batch SET root = previous WHERE number = 2", "roots", "not over its leaves"),
        ("UPDATE ledger_batch SET hash = root WHERE number = 2", "batches", "does not hash"),
        ("UPDATE ledger_batch SET hash = root WHERE number = 2", "batches", "not chained"),
        ("UPDATE ledger_batch SET leaves = leaves - 1 WHERE number = 2", "roots", "sealed over"),
        (
            "UPDATE ledger_batch SET sealed_at = '2026-01-01 00:00:00.000000' WHERE number = 2",
            "batches",
            "does not hash",
        ),
        ("UPDATE ledger_leaf SET batch = NULL WHERE batch = 2 AND kind = 'alert'", "roots", "sealed over"),
        ("UPDATE ledger_leaf SET batch = 9 WHERE batch = 2", "roots", "it is not there"),
        ("UPDATE ledger_leaf SET batch = 1 WHERE batch = 2", "roots", "it has no leaves"),
    ],
)
def test_a_changed_batch_is_found_by_each_of_its_fields(
    deployed: Deployed, statement: str, check: str, named: str
) -> None:
    problems = deployed.after(statement).problems
    assert any(problem.check == check and named in problem.what for problem in problems), problems


BROKEN = {
    "a decision without its served attempt": "DELETE FROM attempt WHERE tier = 1 AND role = 'served'",
    "an unknown reason": "UPDATE attempt SET reason = 'no such reason' WHERE tier = 0",
    "an unknown kind of P(T)": "UPDATE attempt SET p_t_kind = 'no such kind'",
    "a bundle's document": "UPDATE bundle SET document = '[1]'",
    "a spec": "UPDATE cascade_version SET spec = '7'",
    "an assignment": "UPDATE assignment SET document = '\"x\"'",
}
BROKEN_IN_SQLITE = {
    "JSON that ends early": "UPDATE bundle SET document = '{'",
    "text for a time": "UPDATE decision SET occurred_at = 'yesterday'",
    "text for a number": "UPDATE attempt SET p_t = 'high', tokens_in = 'many'",
    "text for an id": "UPDATE certification SET id = 'x' || id",
    "bytes that are no text": "UPDATE decision SET slice = CAST(x'fffe' AS TEXT)",
    "a batch without a time": "UPDATE ledger_batch SET sealed_at = 'x'",
    "a leaf in no batch there is": "UPDATE ledger_leaf SET batch = 'x' WHERE kind = 'alert'",
    "a leaf without an id": "UPDATE ledger_leaf SET id = 'x' WHERE kind = 'upgrade'",
}


@pytest.mark.parametrize("what", [*BROKEN, *BROKEN_IN_SQLITE])
def test_what_cannot_be_read_is_a_problem_and_hides_no_other(deployed: Deployed, what: str) -> None:
    if what in BROKEN_IN_SQLITE and deployed.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL refuses such a value")
    statement = (BROKEN | BROKEN_IN_SQLITE)[what]
    alone = deployed.after(statement).problems
    both = deployed.after(statement, "UPDATE token SET revoked_at = NULL").problems
    assert alone
    assert "token" in {problem.table for problem in both}
    assert len(both) == len(alone) + 1


@pytest.mark.parametrize("kind", ["note", "Token", ""])
def test_a_leaf_that_hashes_to_what_it_says_of_a_kind_there_is_not_is_found(
    engine: Engine, trivia: str, kind: str
) -> None:
    entry = Entry(cascade=trivia, kind=kind, subject="x", payload="{}")
    with transaction(engine) as session:
        leaves.append(session, [entry])
    (problem,) = verified(engine).problems
    assert (problem.check, problem.table) == ("leaves", "ledger_leaf")
    assert problem.what == f"its kind is {kind!r}, which there is not"
    assert str(problem) == f"ledger_leaf {problem.id}: its kind is {kind!r}, which there is not"


def test_findings_keep_a_hundred_problems_of_a_check_by_name_and_count_all() -> None:
    found = Findings()
    found.problem("roots", "ledger_batch", 1, "nothing was looked at")
    for number in range(101):
        found.problem("leaves", "ledger_leaf", number, "altered")
    found.checked("batches", 3)
    found.checked("batches", 4)
    assert found.checks == (
        Check(name="batches", checked=7, problems=0),
        Check(name="roots", checked=0, problems=1),
        Check(name="leaves", checked=0, problems=101),
    )
    assert [problem.id for problem in found.problems] == ["1", *map(str, range(100))]


def test_every_unsealed_leaf_is_counted(engine: Engine, trivia: str) -> None:
    entry = Entry(cascade=trivia, kind="erasure", subject="x", payload='{"leaves":[]}')
    with transaction(engine) as session:
        seal_all(session, now=START)
        leaves.append(session, [entry] * 1234)
    found = verified(engine)
    assert (found.verified, found.unsealed) == (True, 1234)


def test_batches_that_were_cut_off_with_their_rows_are_found_by_the_head_alone(deployed: Deployed) -> None:
    newest = "('q70', 'q71', 'q72', 'q80', 'q81')"
    cut = (
        f"DELETE FROM attempt WHERE decision_id IN (SELECT id FROM decision WHERE external_id IN {newest})",
        f"DELETE FROM decision WHERE external_id IN {newest}",
        "DELETE FROM ring WHERE alert_id IN (SELECT id FROM alert WHERE rule = 'undeclared_model')",
        "DELETE FROM alert WHERE rule = 'undeclared_model'",
        f"DELETE FROM ledger_leaf WHERE batch = {deployed.head.batches} OR batch IS NULL",
        f"DELETE FROM ledger_batch WHERE number = {deployed.head.batches}",
    )
    assert deployed.after(*cut).verified
    (problem,) = deployed.after(*cut, head=deployed.head).problems
    assert problem.check == "head" and "cut off" in problem.what


@pytest.mark.parametrize("other", [{"root": bytes(32)}, {"last": "ab" * 32}])
def test_a_head_speaks_of_these_batches_by_its_root_and_by_its_last_batch(
    deployed: Deployed, other: dict[str, Any]
) -> None:
    assert deployed.after(head=deployed.head).verified
    (problem,) = deployed.after(head=replace(deployed.head, **other)).problems
    assert (problem.check, problem.id) == ("head", str(deployed.head.batches))
    assert problem.what == "the batches up to here are not those of the head"


def test_a_head_is_a_signed_note_as_others_read_it(deployed: Deployed) -> None:
    head = deployed.head
    body, signatures = head.note.split("\n\n")
    origin, size, root, last = body.split("\n")
    assert (origin, size, last) == ("knowgate.ledger", "4", f"batch {head.last}")
    assert base64.b64decode(root) == head.root
    dash, name, signed = signatures.rstrip("\n").split(" ")
    public = bytes.fromhex(signing.public_key_of(KEY))
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    assert (dash, name) == ("\u2014", origin)
    assert base64.b64decode(signed)[:4] == key_id
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signed)[4:], f"{body}\n".encode())
    assert parse_head(head.note) == head


def test_a_head_of_another_key_or_without_one_does_not_pass_for_ours(deployed: Deployed) -> None:
    with reading(deployed.engine) as session:
        hashes = ledger.batch_hashes(session)
    ours = signing.public_key_of(KEY)
    for other, named in ((head_of(hashes, "77" * 32), "not this key's"), (head_of(hashes, None), "not signed")):
        assert deployed.after(head=other).verified
        (problem,) = deployed.after(head=other, public_key=ours).problems
        assert named in problem.what
    assert deployed.after(head=head_of(hashes[:2], KEY), public_key=ours).verified


def test_a_head_may_carry_signatures_of_more_than_one_key_and_of_others(deployed: Deployed) -> None:
    with reading(deployed.engine) as session:
        hashes = ledger.batch_hashes(session)
    head, ours = head_of(hashes, "77" * 32), signing.public_key_of(KEY)
    other, ours_line = head.note.splitlines()[-1], deployed.head.note.splitlines()[-1]
    witness = other.replace("knowgate.ledger", "witness.example/1")
    for signatures in ([other, ours_line], [ours_line, other], [witness, ours_line]):
        both = parse_head(head.text + "\n" + "".join(f"{line}\n" for line in signatures))
        assert deployed.after(head=both, public_key=ours).verified
    alone = parse_head(f"{head.text}\n{witness}\n")
    assert not deployed.after(head=alone, public_key=ours).verified


@pytest.mark.parametrize("spoil", [lambda note: note.replace("\n", "\r\n"), lambda note: note + "and more\n"])
def test_a_head_that_was_changed_on_its_way_is_no_head(deployed: Deployed, spoil: Callable[[str], str]) -> None:
    assert parse_head(deployed.head.note) == deployed.head
    with pytest.raises(ValueError, match=r"anew|where signatures"):
        parse_head(spoil(deployed.head.note))


ROOT = base64.b64encode(bytes(32)).decode()
HEAD = f"knowgate.ledger\n12\n{ROOT}\nbatch ab\n\n"


def test_the_plainest_head_is_read() -> None:
    assert parse_head(HEAD) == Head(batches=12, root=bytes(32), last="ab")
    signed = base64.b64encode(b"12345").decode()
    assert parse_head(f"{HEAD}\u2014 knowgate.ledger {signed}\n").signatures == (b"12345",)


@pytest.mark.parametrize(
    ("whole", "spoilt", "named"),
    [
        ("\n\n", "\n", "a note of four lines is expected, the first of them knowgate.ledger"),
        ("batch ab", "batch ab\nmore", "a note of four lines"),
        ("knowgate.ledger", "knowgate.other", "a note of four lines"),
        ("batch ab", "bunch ab", "a note of four lines"),
        ("12", "012", "its second line is a number of batches, its third a SHA-256 in base64"),
        ("12", "-12", "its second line is a number"),
        ("12", "\uff11", "its second line is a number"),
        (ROOT, base64.b64encode(bytes(31)).decode(), "its third a SHA-256"),
        (ROOT, base64.b64encode(bytes(33)).decode(), "its third a SHA-256"),
        (ROOT, "A", "'A' is no base64"),
        ("\n\n", "\n\n\u2014 knowgate.ledger AAAAAA==\n", "AAAAAA==' stands where signatures do"),
        ("\n\n", "\n\nknowgate.ledger MTIzNDU=\n", "'knowgate.ledger MTIzNDU=' stands where signatures do"),
        ("12\n", "12\r\n", "its lines end as another system ends them"),
    ],
)
def test_each_part_of_a_head_is_looked_at(whole: str, spoilt: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_head(HEAD.replace(whole, spoilt, 1))


@pytest.mark.parametrize(
    "note",
    ["", "knowgate.ledger\n1\n", "other\n1\nAAAA\nbatch x\n\n", "knowgate.ledger\n01\nAAAA\nbatch x\n\n", "\x00" * 50],
)
def test_what_is_no_head_is_refused(tmp_path: Path, note: str) -> None:
    with pytest.raises(InputInvalid, match="is not there"):
        read_head(str(tmp_path / "head"))
    (tmp_path / "head").write_text(note)
    with pytest.raises(InputInvalid, match="no head"):
        read_head(str(tmp_path / "head"))


@pytest.fixture
def run(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int | None, str]]:
    """Runs a command in the deployment; its exit code and what it printed."""
    engine = open_engine(sqlite_url)
    build(engine, settings_in(tmp_path))
    engine.dispose()
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("KNOWGATE_SIGNING_KEY", KEY)

    def start(*arguments: str) -> tuple[int | None, str]:
        result = CliRunner().invoke(app, ["audit", *arguments])
        failed = isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit)
        return exit_code_of(result.exception) if failed else result.exit_code, result.stdout  # type: ignore[arg-type]

    return start


def test_the_commands_export_a_head_and_hold_the_database_against_it(
    run: Callable[..., tuple[int | None, str]], tmp_path: Path, sqlite_url: str
) -> None:
    place = str(tmp_path / "kept" / "head")
    assert run("head", "--out", place) == (0, "")
    assert run("head") == (0, Path(place).read_text())
    code, printed = run("verify", "--head", place)
    assert code == 0 and "4 batches" in printed and "ok      head" in printed
    engine = open_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE bundle SET document = '{'"))
        connection.execute(text("DELETE FROM ledger_batch WHERE number = 4"))
    engine.dispose()
    code, printed = run("verify", "--head", place, "--json")
    report = json.loads(printed)
    assert (code, report["verified"]) == (3, False)
    assert {problem["table"] for problem in report["problems"]} >= {"bundle", "ledger_batch"}
    assert {check["name"]: check["problems"] > 0 for check in report["checks"]} == {
        "batches": False,
        "roots": True,
        "leaves": False,
        "rows": True,
        "files": False,
        "head": True,
    }
    code, printed = run("verify")
    assert code == 3 and "rows: bundle " in printed
    assert run("verify", "--public-key", "ab")[0] == 2
    assert run("verify", "--head", str(tmp_path / "nothing"))[0] == 2
