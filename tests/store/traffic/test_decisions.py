"""Decisions are stored once, as they were decided."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from knowgate._records.records import Decision, PTKind
from knowgate.spec import Privacy
from store.engine import reading, transaction
from store.errors import DecisionUnknown, NaiveTime
from store.ledger import ledger
from store.releases.cascades import apply_cascade
from store.sealing import coverage
from store.sealing.sealed_rows import sealed_row
from store.sealing.states import read_states
from store.tables import DecisionRow
from store.traffic.decisions import add_decisions, decision, decisions_between, find_decision, stored_decision


def test_a_decision_reads_back_as_it_was_sent(session: Session, cast: Any) -> None:
    sent = cast.retained(external_id="q-1")
    add_decisions(session, [sent], received_at=cast.at(1))
    small, large = sent.attempts
    priced = replace(small, cost_usd=cast.spec.tiers[0].prices[0].cost_usd(100, 2), vector=None)
    assert decision(session, sent.id) == replace(sent, attempts=(priced, large))


def test_what_was_not_priced_is_priced_from_the_dated_prices(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    stored = stored_decision(session, sent.id)
    assert stored.decision.attempts[0].cost_usd == pytest.approx((100 * 1.0 + 2 * 2.0) / 1e6)
    assert stored.decision.attempts[1].cost_usd == 0.5
    assert list(stored.gflops) == [pytest.approx(2 * 1e6 * 102 / 1e9), None]
    assert stored.spec_version == 1
    assert stored.received_at == cast.at(1)


def test_a_duplicate_changes_nothing(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    before = decision(session, sent.id)
    added = add_decisions(session, [replace(sent, slice="other")], received_at=cast.at(2))
    assert (added.stored, added.duplicates) == ((), 1)
    assert decision(session, sent.id) == before
    assert len(ledger.leaves_of(session, str(sent.id))) == 1


def test_a_decision_twice_in_a_batch_is_stored_once(session: Session, cast: Any) -> None:
    first, second = cast.retained(0), cast.escalated(1)
    added = add_decisions(session, [first, second, first], received_at=cast.at(2))
    assert added.stored == (first.id, second.id)
    assert added.duplicates == 1


def test_a_bad_row_is_named_and_the_good_ones_are_stored(session: Session, cast: Any) -> None:
    good = cast.retained()
    elsewhere = replace(cast.retained(), cascade="unheard")
    shifted = replace(cast.retained(), occurred_at=cast.at(90))
    three = replace(good.attempts[1], tier=2)
    deep = replace(cast.retained(), attempts=(good.attempts[0], three))
    beyond = replace(cast.retained(), id=UUID(int=(2**48 - 1) << 80 | 7 << 76 | 2 << 62))
    added = add_decisions(session, [elsewhere, shifted, good, deep, beyond], received_at=cast.at(2))
    assert added.stored == (good.id,)
    assert [(row.index, row.field) for row in added.rejected] == [
        (0, "cascade"),
        (1, "occurred_at"),
        (3, "attempts.tier"),
        (4, "id"),
    ]
    assert "known: geo" in added.rejected[0].cure


@pytest.mark.parametrize("text", ["a\x00b", "half \ud800"])
def test_a_text_that_no_database_can_hold_is_named(session: Session, cast: Any, text: str) -> None:
    good, bad = cast.retained(0), cast.retained(1, prompt=text)
    deep = replace(good.attempts[0], fingerprint=replace(good.attempts[0].fingerprint, revision=text))
    worse = replace(cast.retained(2), attempts=(deep,))
    added = add_decisions(session, [bad, worse, good], received_at=cast.at(2))
    assert added.stored == (good.id,)
    assert [row.field for row in added.rejected] == ["prompt", "attempts.fingerprint.revision"]


def test_a_number_that_no_column_can_hold_is_named(session: Session, cast: Any) -> None:
    good = cast.retained()
    changes: tuple[dict[str, Any], ...] = ({"tokens_in": 2**63}, {"run_propensity": 1e-10})
    bad = [replace(cast.retained(), attempts=(replace(good.attempts[0], **change),)) for change in changes]
    added = add_decisions(session, [*bad, good], received_at=cast.at(2))
    fields = [(0, "attempts.tokens_in"), (1, "attempts.run_propensity")]
    assert [(row.index, row.field) for row in added.rejected] == fields


def test_prompts_are_kept_as_the_cascades_privacy_allows(session: Session, cast: Any) -> None:
    kept = {}
    for privacy in Privacy:
        spec = replace(cast.spec, name=f"geo-{privacy}", privacy=privacy)
        apply_cascade(session, spec, now=cast.at(0))
        sent = cast.retained(cascade=spec.name)
        add_decisions(session, [sent], received_at=cast.at(1))
        stored = decision(session, sent.id)
        kept[privacy] = (stored.prompt, stored.prompt_hash, stored.served.answer)
    assert kept == {
        Privacy.NEVER: (None, None, None),
        Privacy.HASH: (None, "aa11", "France"),
        Privacy.FULL: ("Paris lies in", "aa11", "France"),
    }


def test_the_ledger_says_exactly_what_is_stored(session: Session, cast: Any) -> None:
    sent = cast.retained(external_id="q-1", trace_id="a" * 32, span_id="b" * 16)
    sent = replace(sent, attempts=tuple(replace(each, p_t_kind=PTKind.MEAN) for each in sent.attempts))
    add_decisions(session, [sent], received_at=cast.at(1))
    (leaf,) = ledger.leaves_of(session, str(sent.id))
    row = sealed_row(session, str(sent.id))
    assert row is not None and row.leaf == leaf.id and row.text is not None
    assert row.content == hashlib.sha256(bytes.fromhex(row.salt or "") + row.text.encode()).hexdigest()
    sealed = json.loads(leaf.payload or "")
    *values, attempts = json.loads(row.text)
    said = dict(zip(sealed["columns"], values, strict=True))
    assert said.keys() == {column.name for column in DecisionRow.__table__.columns}
    assert (said["received_at"], said["served_tier"]) == (cast.at(1).isoformat(), 0)
    assert [dict(zip(sealed["parts"], one, strict=True))["p_t_kind"] for one in attempts] == ["mean", "mean"]
    (stands,) = read_states(session, coverage.of_model(DecisionRow), [(sent.id,)])
    assert stands.document.items() >= {name: value for name, value in said.items() if value is not None}.items()


def test_an_unknown_decision_is_named(session: Session, cast: Any) -> None:
    missing = new_id(cast.at(0))
    with pytest.raises(DecisionUnknown, match=str(missing)):
        decision(session, missing)


def test_an_external_id_finds_its_newest_decision(session: Session, cast: Any) -> None:
    older, newer = cast.retained(0, external_id="q"), cast.escalated(5, external_id="q")
    add_decisions(session, [newer, older], received_at=cast.at(6))
    found = find_decision(session, "geo", "q")
    assert found is not None
    assert found.id == newer.id
    assert find_decision(session, "geo", "other") is None


def test_a_window_holds_what_was_decided_in_it_in_order(session: Session, cast: Any) -> None:
    sent = [cast.escalated(minutes) for minutes in range(10)]
    add_decisions(session, sent[5:], received_at=cast.at(11))
    add_decisions(session, sent[:5], received_at=cast.at(20))
    between = decisions_between(session, "geo", cast.window(2, 8))
    assert [item.id for item in between] == [item.id for item in sent[2:8]]
    early = decisions_between(session, "geo", cast.window(2, 8), as_of=cast.at(15))
    assert [item.id for item in early] == [item.id for item in sent[5:8]]


@pytest.mark.slow
def test_a_long_window_is_read_page_by_page_without_loss(session: Session, cast: Any) -> None:
    sent = [cast.escalated(index / 60) for index in range(2300)]
    assert len(add_decisions(session, sent, received_at=cast.at(60)).stored) == 2300
    read = [item.id for item in decisions_between(session, "geo", cast.window())]
    assert read == sorted(item.id for item in sent)


def test_a_naive_time_is_refused(session: Session, cast: Any) -> None:
    naive = datetime(2026, 3, 10, 12)  # noqa: DTZ001
    with pytest.raises((StatementError, NaiveTime), match="naive"):
        add_decisions(session, [cast.retained()], received_at=naive)


def test_times_come_back_in_utc(session: Session, cast: Any) -> None:
    elsewhere = cast.start.astimezone(datetime.now(UTC).astimezone().tzinfo) + timedelta(microseconds=123)
    sent = replace(cast.escalated(), occurred_at=elsewhere)
    add_decisions(session, [sent], received_at=cast.at(1))
    stored = decision(session, sent.id).occurred_at
    assert stored == elsewhere
    assert stored.tzinfo is UTC


def test_a_batch_is_stored_in_order_of_id_so_that_two_never_wait_in_a_circle(session: Session, cast: Any) -> None:
    sent = [cast.escalated(minutes) for minutes in (2, 0, 1)]
    assert list(add_decisions(session, sent, received_at=cast.at(3)).stored) == sorted(item.id for item in sent)


def test_batches_that_overlap_in_parallel_store_each_decision_once(geo: Engine, cast: Any) -> None:
    sent = [cast.escalated(index / 60) for index in range(300)]
    barrier = Barrier(4)
    stored: list[UUID] = []
    duplicates: list[int] = []

    def ship(batch: list[Decision]) -> None:
        barrier.wait()
        with transaction(geo) as session:
            added = add_decisions(session, batch, received_at=cast.at(10))
        stored.extend(added.stored)
        duplicates.append(added.duplicates)

    batches = [sent, sent[::-1], sent[100:], sent[:200]]
    threads = [Thread(target=ship, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stored) == sorted(item.id for item in sent)
    assert sum(duplicates) == sum(map(len, batches)) - len(sent)


def test_a_transaction_that_fails_leaves_nothing(geo: Engine, cast: Any) -> None:
    sent = cast.retained()
    with pytest.raises(RuntimeError), transaction(geo) as session:
        add_decisions(session, [sent], received_at=cast.at(1))
        raise RuntimeError("the edge failed")
    with reading(geo) as session:
        assert find_decision(session, "geo", "q-1") is None
        assert "decision" not in {leaf.kind for leaf in ledger.unsealed(session)}


def test_an_attempt_without_its_decision_is_refused_by_the_database(session: Session, cast: Any) -> None:
    from store import dialects
    from store.tables import AttemptRow
    from store.traffic import decision_rows

    orphan = cast.escalated()
    row = decision_rows.attempt_row(orphan, orphan.attempts[0], cast.spec)
    with pytest.raises(IntegrityError):
        dialects.insert_new(session, AttemptRow, [row], returning="tier")
    session.rollback()
    with pytest.raises(IntegrityError):
        dialects.copy_rows(session, dialects.table_of(AttemptRow), [row])


def test_texts_that_mean_something_to_copy_are_stored_as_they_are(session: Session, cast: Any) -> None:
    sent = cast.escalated()
    first = replace(sent.attempts[0], note="a\tb\\N\nc\r\\.\n", model="\\N")
    sent = replace(sent, attempts=(first, *sent.attempts[1:]))
    add_decisions(session, [sent], received_at=cast.at(1))
    kept = decision(session, sent.id).attempts[0]
    assert (kept.note, kept.model, kept.verdict) == (first.note, first.model, first.verdict)
