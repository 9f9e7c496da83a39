"""A database from before leaves had versions: its leaves keep verifying, the rest is covered from
the upgrade on.
"""

import hashlib
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from benchmarks.tampering.deployment import NAME, START, build
from factories import make_label
from knowgate import Window, new_id
from knowgate._wire import codec
from services.audit.findings import Problem
from services.audit.verify import verify_ledger
from services.settings import read_settings
from store import schema
from store.engine import reading, transaction
from store.ledger import erasure
from store.ledger.ledger import seal_all
from store.sealing import coverage, leaves, merkle, states
from store.traffic.decisions import decisions_between
from store.traffic.labels import labels_of

AGES = Window(start=START - timedelta(days=30), end=START + timedelta(days=30))
_LEAF = sa.table(
    "ledger_leaf",
    sa.column("id", sa.Uuid()),
    *(sa.column(name, sa.Text()) for name in ("cascade", "kind", "subject", "hash", "salt", "payload")),
    sa.column("batch", sa.BigInteger()),
)
_BATCH = sa.table(
    "ledger_batch",
    *(sa.column(name, sa.BigInteger()) for name in ("number", "leaves")),
    *(sa.column(name, sa.Text()) for name in ("previous", "root", "hash")),
    sa.column("sealed_at", sa.DateTime(timezone=True)),
)


@pytest.fixture
def upgraded(engine: Engine, tmp_path: Path) -> Engine:
    """The deployment with the schema and the leaves of before, and what the upgrade made of it."""
    build(engine, read_settings({"KNOWGATE_DATA_DIR": str(tmp_path), "KNOWGATE_SIGNING_KEY": "5e" * 32}))
    former = _leaves(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM ledger_leaf"))
        connection.execute(text("DELETE FROM ledger_batch"))
        connection.execute(text("DELETE FROM waiting_label"))  # their leaves said what nobody can read any more
    schema.downgrade(engine, _revision_before("0027"))
    with engine.begin() as connection:
        _seal(connection, former)
    schema.upgrade(engine)
    return engine


def problems(engine: Engine, *statements: str) -> tuple[Problem, ...]:
    """What verification finds after these statements, which are undone."""
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
        with Session(connection) as session:
            return verify_ledger(session).problems


@pytest.mark.slow
def test_what_was_sealed_before_keeps_verifying_and_what_comes_after_does(upgraded: Engine) -> None:
    assert problems(upgraded) == ()
    schema.upgrade(upgraded)  # as at every start
    with transaction(upgraded) as session:
        newest = [decision for decision in decisions_between(session, NAME, AGES) if decision.prompt is not None][-1]
        erasure.erase_decision(session, newest.id, by="ada", now=START + timedelta(days=2))
        seal_all(session, now=START + timedelta(days=2))
    assert problems(upgraded) == ()


CHANGED = [
    ("UPDATE attempt SET p_t = 0.123 WHERE tier = 0", "decision", "attempts[0].p_t"),
    ("UPDATE attempt SET gates = NULL", "decision", "attempts[0].gates"),
    ("UPDATE decision SET slice = 'art'", "decision", "slice"),
    ("UPDATE label SET correct = 1 - correct", "label", "correct"),
    ("UPDATE label SET grader = 'judge@4' WHERE grader IS NOT NULL", "label", "grader"),
    ("DELETE FROM label WHERE source = 'judge'", "label", "not in its table"),
    ("UPDATE label SET arrival = decision_id WHERE source = 'judge'", "label", "no leaf"),
    ("UPDATE certification SET n = n + 1", "certification", "n is not"),
    ("UPDATE token SET role = 'admin'", "token", "role"),
    ("UPDATE alert SET cause = 'none'", "alert", "cause"),
    ("UPDATE ledger_leaf SET kind = 'note' WHERE version = 1 AND kind = 'label'", "ledger_leaf", "kind"),
    ("UPDATE ledger_leaf SET salt = NULL, payload = NULL WHERE version = 1", "ledger_leaf", "no erasure names it"),
    ("UPDATE ledger_leaf SET payload = '{}' WHERE version = 1 AND payload IS NOT NULL", "ledger_leaf", "altered"),
]


@pytest.mark.slow
def test_what_former_leaves_say_is_held_against_the_rows(upgraded: Engine) -> None:
    for statement, table, named in CHANGED:
        found = problems(upgraded, statement)
        assert any(problem.table == table and named in problem.what for problem in found), (statement, found)


@pytest.mark.slow
def test_nobody_can_add_a_leaf_of_the_former_version(upgraded: Engine) -> None:
    with reading(upgraded) as session:
        decision = next(decisions_between(session, NAME, AGES))
    with upgraded.connect() as connection:
        connection.execute(_LEAF.insert(), [_leaf("decision", str(decision.id), "{}")])
        with Session(connection) as session:
            found = verify_ledger(session).problems
    assert any("were there at the upgrade" in problem.what for problem in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "statement"),
    [("label", "UPDATE label SET correct = 1 - correct"), ("decision", "UPDATE decision SET slice = 'art'")],
)
def test_a_further_leaf_takes_nothing_from_what_a_former_one_says(upgraded: Engine, kind: str, statement: str) -> None:
    cover = coverage.of_kind(kind)
    assert cover is not None
    with upgraded.connect() as connection:
        connection.execute(text("SELECT 1"))
        with Session(connection) as session:
            there = [state for page in states.pages(session, cover, 1000) for state in page]
            keys = [cover.key(state.subject) for state in there if state.document.get("erased_at") is None]
            connection.execute(text(statement))
            leaves.note_stored(session, cover, keys)
            session.flush()
            found = verify_ledger(session).problems
    named = {"label": "correct", "decision": "slice"}[kind]
    assert any(problem.table == kind and named in problem.what for problem in found), found


def _leaves(engine: Engine) -> list[dict[str, Any]]:
    """The leaves that the former version wrote of these decisions and labels."""
    made = []
    with reading(engine) as session:
        for decision in decisions_between(session, NAME, AGES):
            said = codec.encode(decision)
            for attempt in said["attempts"]:
                if attempt["p_t_kind"] is None:
                    del attempt["p_t_kind"]
            gone = decision.prompt is None
            made.append(_leaf("decision", str(decision.id), None if gone else _canonical(said)))
            if gone:
                made.append(_leaf("erasure", str(decision.id), _canonical({"decision": str(decision.id)})))
            for label in labels_of(session, decision.id):
                sent = make_label(
                    cascade=NAME,
                    source=label.source,
                    correct=label.correct,
                    labelled_at=label.labelled_at,
                    decision_id=decision.id,
                    label_propensity=label.label_propensity,
                    grader=label.grader,
                )
                made.append(_leaf("label", str(label.id), codec.canonical(sent).decode()))
    return made


def _leaf(kind: str, subject: str, payload: str | None) -> dict[str, Any]:
    salt = os.urandom(16)
    return {
        "id": new_id(START),
        "cascade": NAME,
        "kind": kind,
        "subject": subject,
        "hash": hashlib.sha256(salt + (payload or "erased").encode()).hexdigest(),
        "salt": None if payload is None else salt.hex(),
        "payload": payload,
        "batch": None,
    }


def _seal(connection: Connection, former: list[dict[str, Any]]) -> None:
    """All but the last ten leaves, in one batch of the former version."""
    sealed = [leaf | {"batch": 1} for leaf in former[:-10]]
    connection.execute(_LEAF.insert(), [*sealed, *former[-10:]])
    root = merkle.root([bytes.fromhex(item) for item in sorted(leaf["hash"] for leaf in sealed)]).hex()
    chained = merkle.chain_hash(1, merkle.GENESIS, root, len(sealed), START).hex()
    sealed_at = START.replace(tzinfo=None) if connection.dialect.name == "sqlite" else START
    batch = {"number": 1, "previous": merkle.GENESIS, "root": root, "leaves": len(sealed), "hash": chained}
    connection.execute(_BATCH.insert(), [batch | {"sealed_at": sealed_at}])


def _revision_before(revision: str) -> str:
    before = ScriptDirectory(str(schema.MIGRATIONS)).get_revision(revision).down_revision
    assert isinstance(before, str)
    return before


def _canonical(said: Any) -> str:
    return json.dumps(said, sort_keys=True, separators=(",", ":"))
