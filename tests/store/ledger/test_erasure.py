"""Erasure: what is personal is gone everywhere, what is counted stays, and the roots verify."""

import dataclasses
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store.errors import DecisionUnknown
from store.ledger import ledger
from store.ledger.erased import erased_by
from store.ledger.erasure import erase_decision
from store.sealing import merkle
from store.sealing.sealed_rows import sealed_row
from store.tables import Base
from store.traffic.decisions import add_decisions, decision, find_decision, stored_decision
from store.traffic.examples import labelled
from store.traffic.labels import add_labels, waiting_count
from store.traffic.vectors import VectorRow, add_shard, vector_rows

TRACE, SPAN, RUN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "run-of-somebody"
HASHED = "keyed hash of the prompt"  # no hex, of which the ledger is full
PERSONAL = ("Paris lies in", HASHED, "France", "q-personal", TRACE, SPAN, RUN)


def everything(session: Session) -> str:
    """Every cell of every table, as text."""
    rows = [str(row) for table in Base.metadata.sorted_tables for row in session.execute(table.select())]
    return "\n".join(rows)


def test_nothing_personal_is_left_in_any_table(session: Session, cast: Any) -> None:
    sent = cast.retained(external_id="q-personal", prompt_hash=HASHED, trace_id=TRACE, span_id=SPAN)
    sent = replace(sent, attempts=tuple(replace(one, span_id=RUN) for one in sent.attempts))
    parked = cast.label(TRACE, -5, correct=0.5)
    assert add_labels(session, [parked], received_at=cast.at(0)).waiting == 1
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label("q-personal")], received_at=cast.at(61))
    for fact in PERSONAL:
        assert fact in everything(session)
    erased = erase_decision(session, sent.id, by="ada", now=cast.at(70))
    assert erased.leaves == 3  # of the decision, and of the label that waited and was parked
    session.flush()
    left = everything(session)
    assert [fact for fact in PERSONAL if fact in left] == []
    assert find_decision(session, "geo", "q-personal") is None
    assert stored_decision(session, sent.id).erased_at == cast.at(70)


def test_every_number_stays(session: Session, cast: Any) -> None:
    sent = cast.retained(external_id="q")
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label(sent)], received_at=cast.at(61))
    before = labelled(session, "geo", cast.window(), as_of=cast.at(120))
    erase_decision(session, sent.id, by="ada", now=cast.at(70))
    after = labelled(session, "geo", cast.window(), as_of=cast.at(120))
    for field in dataclasses.fields(before):
        if field.name not in ("prompt", "prompt_hash", "answer", "answer_key"):
            np.testing.assert_array_equal(getattr(before, field.name), getattr(after, field.name))
    assert decision(session, sent.id).served.signals == sent.served.signals


def test_sealed_roots_still_verify(session: Session, cast: Any) -> None:
    sent = [cast.retained(index) for index in range(3)]
    add_decisions(session, sent, received_at=cast.at(4))
    batch = ledger.seal(session, now=cast.at(5))
    assert batch is not None
    before = sealed_row(session, str(sent[1].id))
    erase_decision(session, sent[1].id, by="ada", now=cast.at(6))
    hashes = [bytes.fromhex(leaf.hash) for leaf in ledger.leaves(session, batch.number)]
    assert merkle.root(hashes).hex() == batch.root
    rows = {str(one.id): sealed_row(session, str(one.id)) for one in sent}
    assert [row is not None and row.salt is None for row in rows.values()] == [False, True, False]
    emptied = rows[str(sent[1].id)]
    assert before is not None and emptied == dataclasses.replace(before, salt=None, text=None)
    about = {(leaf.kind, leaf.revision): leaf for leaf in ledger.leaves_of(session, str(sent[1].id))}
    assert about.keys() == {("decision", 1), ("decision", 2), ("erasure", 1)}
    assert emptied.root == json.loads(about["decision", 1].payload or "")["root"]
    named = json.loads(about["erasure", 1].payload or "")
    assert (named["by"], named["leaves"]) == ("ada", [emptied.hash])
    assert "prompt" not in json.loads(about["decision", 2].payload or "")


def test_the_vectors_places_are_handed_over_and_forgotten(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    place = VectorRow(decision_id=sent.id, tier=0, row=7, sha256="c" * 64)
    add_shard(session, "geo", "file:///1.safetensors", "d" * 64, [place], dimension=8, now=cast.at(1))
    erased = erase_decision(session, sent.id, by="ada", now=cast.at(2))
    assert [(item.url, item.row) for item in erased.vectors] == [("file:///1.safetensors", 7)]
    assert vector_rows(session, "geo", 0, [sent.id]) == {}


def test_erasing_again_changes_nothing_more(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    erase_decision(session, sent.id, by="ada", now=cast.at(2))
    again = erase_decision(session, sent.id, by="ada", now=cast.at(3))
    assert (again.vectors, again.leaves) == ((), 0)
    assert stored_decision(session, sent.id).erased_at == cast.at(2)


def test_a_copy_sent_after_erasure_brings_nothing_back(session: Session, cast: Any) -> None:
    sent = cast.retained(external_id="q-personal")
    add_decisions(session, [sent], received_at=cast.at(1))
    erase_decision(session, sent.id, by="ada", now=cast.at(2))
    assert add_decisions(session, [sent], received_at=cast.at(3)).duplicates == 1
    assert decision(session, sent.id).prompt is None
    assert "q-personal" not in everything(session)


def test_a_label_waiting_for_a_tier_that_did_not_run_goes_too(session: Session, cast: Any) -> None:
    sent = cast.retained(external_id="q-personal")
    sent = replace(sent, attempts=sent.attempts[:1])
    add_labels(session, [cast.label("q-personal", tier=1)], received_at=cast.at(61))
    add_decisions(session, [sent], received_at=cast.at(62))
    assert waiting_count(session, "geo") == 1
    erase_decision(session, sent.id, by="ada", now=cast.at(2))
    assert waiting_count(session, "geo") == 0
    assert "q-personal" not in everything(session)


def test_other_decisions_keep_theirs(session: Session, cast: Any) -> None:
    gone, kept = cast.retained(0, external_id="a"), cast.retained(1, external_id="b")
    add_decisions(session, [gone, kept], received_at=cast.at(2))
    before = decision(session, kept.id)
    erase_decision(session, gone.id, by="ada", now=cast.at(3))
    assert decision(session, kept.id) == before
    row = sealed_row(session, str(kept.id))
    assert row is not None and row.salt is not None


def test_an_unknown_decision_cannot_be_erased(session: Session, cast: Any) -> None:
    with pytest.raises(DecisionUnknown):
        erase_decision(session, new_id(cast.at(0)), by="ada", now=cast.at(0))


def test_who_asked_is_read_from_the_ledger_and_not_known_of_before(session: Session, cast: Any) -> None:
    asked, before, never = (cast.retained(index) for index in range(3))
    add_decisions(session, [asked, before, never], received_at=cast.at(4))
    erase_decision(session, asked.id, by="grace", now=cast.at(5))
    ledger.append_leaf(session, "geo", "erasure", str(before.id), '{"leaves": []}', now=cast.at(5))
    assert [erased_by(session, one.id) for one in (asked, before, never)] == ["grace", None, None]
