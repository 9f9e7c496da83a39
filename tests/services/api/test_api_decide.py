"""The sidecar call rules as the runtime does, by what is in force at that moment."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from knowgate import Bundle, Fingerprint, Mode, write_bundle
from knowgate._bundles.pair import Pair
from knowgate._records.observation import Observation
from knowgate._serving.cascade import Cascade
from knowgate._wire import codec
from services.clock import SimulatedClock
from store.engine import reading, transaction
from store.errors import BundleDamaged
from store.releases import assignments, bundles, cascades
from store.releases.bundles import BundleStatus
from tests.services.conftest import NOW

Hidden = Callable[[float], str]
PRINT = {
    "model": "tiny",
    "revision": "main",
    "dtype": "float16",
    "engine": "transformers",
    "engine_version": "5",
    "chat_template_sha256": "0" * 64,
    "layer": 1,
    "position": "last_prompt_token",
    "normed": False,
}


def ask(client: TestClient, **fields: Any) -> Any:
    return client.post("/v1/decide", json={"cascade": "trivia", **fields})


@pytest.mark.usefixtures("trivia")
def test_without_a_bundle_everything_escalates(client: TestClient) -> None:
    answer = ask(client, p_t=0.99).json()
    assert (answer["action"], answer["reason"]) == ("escalate", "no_bundle")
    assert answer["generation"] is None and answer["bundle"] is None


def test_what_the_gates_are_sure_of_is_kept(client: TestClient, promoted: Bundle, hidden_base64: Hidden) -> None:
    answer = ask(client, p_t=0.9, hidden_base64=hidden_base64(2.0), fingerprint=PRINT).json()
    assert (answer["action"], answer["reason"], answer["bundle"]) == ("retain", None, promoted.id)
    assert answer["signals"]["p_ik"] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert [gate["gate"] for gate in answer["gates"]] == ["p_ik", "p_t"]


@pytest.mark.usefixtures("promoted")
def test_the_first_gate_that_fails_is_the_reason(client: TestClient) -> None:
    answer = ask(client, p_t=0.5, hidden=[-3.0, 0, 0, 0], fingerprint=PRINT).json()
    assert (answer["action"], answer["reason"]) == ("escalate", "p_ik")


@pytest.mark.usefixtures("promoted")
def test_before_the_answer_a_gate_that_fails_ends_the_tier_and_nothing_else_does(
    client: TestClient, hidden_base64: Hidden
) -> None:
    def early(state: float, **fields: Any) -> Any:
        return ask(client, hidden_base64=hidden_base64(state), fingerprint=PRINT, early=True, **fields).json()

    below, above = early(-3.0), early(2.0)
    assert (below["action"], below["reason"], above["action"], above["reason"]) == ("escalate", "p_ik", "not_yet", None)
    assert [gate["gate"] for gate in below["gates"]] == ["p_ik"]
    assert below["exploration_rate"] > 0.0
    foreign = ask(client, hidden_base64=hidden_base64(-3.0), fingerprint=PRINT | {"layer": 2}, early=True).json()
    assert (foreign["action"], foreign["fault"]) == ("not_yet", "fingerprint_mismatch")


@pytest.mark.usefixtures("promoted")
def test_what_is_logged_of_a_skipped_tier_is_stored_and_one_that_contradicts_itself_is_not(
    client: TestClient, hidden_base64: Hidden
) -> None:
    answer = ask(client, hidden_base64=hidden_base64(-3.0), fingerprint=PRINT, tokens_in=7, early=True).json()
    verdict = {name: answer[name] for name in ("action", "reason", "gates", "fallback")}
    skipped = {
        "tier": 0,
        "role": "skipped",
        "model": "tiny",
        "signals": answer["signals"],
        "verdict": verdict,
        "run_propensity": answer["exploration_rate"],
        "tokens_in": 7,
        "tokens_out": 0,
    }
    last = {"tier": 1, "role": "served", "model": "huge", "answer": "Lima", "run_propensity": 1.0}

    def log(first: dict[str, Any], **fields: Any) -> Any:
        decision = {"id": answer["decision_id"], "cascade": "trivia", "occurred_at": NOW.isoformat()} | fields
        row = decision | {"attempts": [first, last], "bundle": answer["bundle"], "generation": answer["generation"]}
        return client.post("/v1/decisions", json={"decisions": [row]}).json()

    (refused,) = log(skipped | {"answer": "Cusco"})["rejected"]
    assert refused["field"] == "attempts[0].role" and "has no answer" in refused["cure"]
    assert log(skipped)["stored"] == 1


@pytest.mark.usefixtures("promoted")
def test_a_missing_or_foreign_hidden_state_goes_to_the_fallback(client: TestClient, hidden_base64: Hidden) -> None:
    kept = ask(client, p_t=0.96).json()
    assert (kept["action"], kept["fallback"]) == ("retain", True)
    foreign = ask(client, p_t=0.9, hidden_base64=hidden_base64(2.0), fingerprint=PRINT | {"layer": 2}).json()
    assert (foreign["action"], foreign["fault"]) == ("escalate", "fingerprint_mismatch")
    assert "layer" in foreign["note"]


@pytest.mark.usefixtures("promoted")
def test_a_p_t_of_another_kind_than_the_thresholds_escalates(client: TestClient) -> None:
    assert ask(client, p_t=0.99, p_t_kind="first_token").json()["action"] == "retain"
    answer = ask(client, p_t=0.99, p_t_kind="mean").json()
    assert (answer["action"], answer["reason"]) == ("escalate", "p_t_kind_mismatch")
    assert answer["fault"] == "p_t_kind_mismatch"
    assert "thresholds are for first_token" in answer["note"]


@pytest.mark.usefixtures("promoted")
def test_a_signal_that_makes_no_sense_escalates_and_is_told(client: TestClient) -> None:
    answer = ask(client, p_t=1.7).json()
    assert (answer["action"], answer["reason"]) == ("escalate", "missing_signal")
    assert "p_t" in answer["note"]


@pytest.mark.usefixtures("promoted")
def test_a_hidden_state_that_is_not_finite_counts_as_missing(client: TestClient) -> None:
    for wrong in (np.nan, np.inf):
        state = base64.b64encode(np.array([2.0, wrong, 0.0, 0.0], dtype="<f2").tobytes()).decode()
        answer = ask(client, p_t=0.9, hidden_base64=state, fingerprint=PRINT).json()
        assert (answer["action"], answer["fallback"], answer["signals"]["p_ik"]) == ("escalate", True, None)
        assert "not finite" in answer["note"]


@pytest.mark.usefixtures("promoted")
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_in_a_json_body_counts_as_missing(client: TestClient, number: str) -> None:
    state = f'{{"cascade": "trivia", "p_t": 0.9, "hidden": [2.0, {number}, 0, 0], "fingerprint": {json.dumps(PRINT)}}}'
    answer = client.post("/v1/decide", content=state, headers={"Content-Type": "application/json"}).json()
    assert (answer["action"], answer["fallback"], answer["signals"]["p_ik"]) == ("escalate", True, None)
    assert "not finite" in answer["note"]
    signal = f'{{"cascade": "trivia", "p_t": {number}}}'
    answer = client.post("/v1/decide", content=signal, headers={"Content-Type": "application/json"}).json()
    assert (answer["action"], answer["reason"]) == ("escalate", "missing_signal")
    assert "p_t" in answer["note"]


@pytest.mark.usefixtures("promoted")
def test_a_state_beyond_float16_saturates_as_it_does_in_a_runtime(client: TestClient) -> None:
    answer = ask(client, p_t=0.9, hidden=[1e39, 0, 0, 0], fingerprint=PRINT).json()
    assert (answer["action"], answer["note"]) == ("retain", None)


def test_the_service_and_a_runtime_rule_alike(
    client: TestClient, promoted: Bundle, engine: Engine, clock: SimulatedClock
) -> None:
    with transaction(engine) as session:
        assigned = assignments.assignment(session, "trivia")
    assert assigned is not None
    pair = Pair(assignment=replace(assigned, valid_until=clock.now() + timedelta(hours=1)), champion=promoted)
    runtime = Cascade("trivia", pair, hash_key=b"a hash key for tests", clock=clock.now)
    rng = np.random.default_rng(3)
    for _ in range(50):
        p_t, hidden = float(rng.random()), rng.normal(size=4).astype(np.float16)
        sent = base64.b64encode(hidden.astype("<f2").tobytes()).decode()
        answer = ask(client, p_t=p_t, hidden_base64=sent, fingerprint=PRINT).json()
        ruling = runtime.decide(
            Observation(p_t=p_t, hidden=hidden, fingerprint=codec.decode(Fingerprint, PRINT)),
            decision_id=UUID(answer["decision_id"]),
        )
        assert answer["action"] == ruling.verdict.action
        assert answer["explore"] == ruling.explore
        assert answer["signals"]["p_ik"] == ruling.signals.p_ik


def test_exploration_falls_at_its_rate(client: TestClient, promoted: Bundle) -> None:
    asked = [ask(client, p_t=0.99).json() for _ in range(120)]
    assert all(answer["exploration_rate"] == 0.25 for answer in asked)
    # 120 coins of 0.25: outside 8..55 once in ten million runs.
    assert 8 <= sum(answer["explore"] for answer in asked) <= 55
    again = ask(client, p_t=0.99, decision_id=asked[0]["decision_id"]).json()
    assert again["explore"] == asked[0]["explore"]


def test_a_new_generation_is_in_force_at_once(client: TestClient, promoted: Bundle, engine: Engine) -> None:
    assert ask(client, p_t=0.99).json()["action"] == "retain"
    with transaction(engine) as session:
        assigned = assignments.assignment(session, "trivia")
        assert assigned is not None
        new = replace(assigned, generation=2, mode=Mode.ESCALATE_ALL)
        assignments.swap_assignment(session, new, expected_generation=1, now=assigned.issued_at)
    answer = ask(client, p_t=0.99).json()
    assert (answer["action"], answer["reason"], answer["generation"]) == ("escalate", "escalate_all", 2)


ODD_QUESTIONS: tuple[tuple[dict[str, Any], int, str | None], ...] = (
    ({"cascade": "unheard-of"}, 404, "cascade"),
    ({"tier": 1}, 422, "tier"),
    ({"tier": -1}, 422, "tier"),
    ({"p_t": "high"}, 422, "p_t"),
    ({"p_t_kind": "median"}, 422, "p_t_kind"),
    ({"hidden_base64": "###"}, 422, "hidden_base64"),
    ({"hidden_base64": "AAA="}, 200, None),
    ({"hidden_base64": "AAAA"}, 422, "hidden_base64"),
    ({"hidden_base64": "AAA=", "hidden": [0.0]}, 422, "hidden_base64"),
    ({"surprise": 1}, 422, "surprise"),
)


@pytest.mark.usefixtures("promoted")
def test_a_question_that_cannot_be_answered_is_told(client: TestClient) -> None:
    for fields, status, field in ODD_QUESTIONS:
        response = ask(client, **fields)
        assert response.status_code == status, fields
        if field is not None:
            assert response.json()["error"]["field"] == field


def damaged(content: bytes, bit: int) -> bytes:
    return content[: bit // 8] + bytes([content[bit // 8] ^ (1 << bit % 8)]) + content[bit // 8 + 1 :]


@pytest.mark.parametrize("bit", [0, 70, 8 * 400 + 3, -5])
def test_a_damaged_bundle_decides_nothing_and_is_named(
    client: TestClient,
    engine: Engine,
    promoted: Bundle,
    clock: SimulatedClock,
    caplog: pytest.LogCaptureFixture,
    bit: int,
) -> None:
    def store(content: bytes) -> None:
        with transaction(engine) as session:
            session.execute(
                text("UPDATE bundle SET content = :content WHERE id = :id"), {"content": content, "id": promoted.id}
            )

    store(damaged(promoted.content, bit % (8 * len(promoted.content))))
    answer = ask(client, p_t=0.99)
    assert answer.status_code == 200
    ruling = answer.json()
    assert (ruling["action"], ruling["reason"], ruling["bundle"]) == ("escalate", "no_bundle", None)
    assert promoted.id in ruling["note"] and "backup" in ruling["note"]
    assert promoted.id in caplog.text
    fetched = client.get(f"/v1/bundles/{promoted.id}")
    assert (fetched.status_code, fetched.json()["error"]["field"]) == (503, "bundle")
    assert client.get("/cascades/trivia").status_code == 200
    with reading(engine) as session, pytest.raises(BundleDamaged, match=promoted.id):
        bundles.bundle_content(session, promoted.id)
    store(promoted.content)
    clock.set(clock.now() + timedelta(minutes=2))
    assert ask(client, p_t=0.99).json()["bundle"] == promoted.id


def test_a_damaged_challenger_leaves_every_decision_to_the_champion(
    client: TestClient, engine: Engine, promoted: Bundle, clock: SimulatedClock, caplog: pytest.LogCaptureFixture
) -> None:
    document = replace(promoted.document, created_at=promoted.document.created_at + timedelta(seconds=1))
    challenger = write_bundle(document, promoted.tiers)
    at, stored, status = clock.now(), codec.canonical(document), BundleStatus.CERTIFIED
    store = text("UPDATE bundle SET content = :content WHERE id = :id")
    with transaction(engine) as session:
        bundles.add_bundle(session, challenger.id, "trivia", stored, challenger.content, status, at)
        session.execute(store, {"content": damaged(challenger.content, -5), "id": challenger.id})
        assigned = assignments.assignment(session, "trivia")
        assert assigned is not None
        new = replace(assigned, generation=2, challenger=challenger.id, share=1.0)
        assignments.swap_assignment(session, new, expected_generation=1, now=at)
    ruling = ask(client, p_t=0.99).json()
    assert (ruling["action"], ruling["bundle"], ruling["generation"]) == ("retain", promoted.id, 2)
    assert challenger.id in ruling["note"] and challenger.id in caplog.text
    with transaction(engine) as session:
        session.execute(store, {"content": challenger.content, "id": challenger.id})
    clock.set(at + timedelta(minutes=2))
    assert ask(client, p_t=0.99).json()["bundle"] == challenger.id


@pytest.mark.usefixtures("promoted")
def test_a_bundle_for_other_models_than_are_declared_keeps_nothing(client: TestClient, engine: Engine) -> None:
    sure = {"cascade": "trivia", "p_t": 0.99}
    assert client.post("/v1/decide", json=sure).json()["action"] == "retain"
    for name, tier in (("another small", 0), ("another large", 1)):
        with transaction(engine) as session:
            before = cascades.cascade(session, "trivia")
            tiers = list(before.tiers)
            tiers[tier] = replace(tiers[tier], model=name)
            cascades.apply_cascade(session, replace(before, tiers=tuple(tiers)), now=NOW)
        ruling = client.post("/v1/decide", json=sure).json()
        assert (ruling["action"], ruling["reason"]) == ("escalate", "no_bundle")
        assert "the bundle is certified for tiny, huge" in ruling["note"] and name in ruling["note"]
        with transaction(engine) as session:
            cascades.apply_cascade(session, before, now=NOW)
    assert client.post("/v1/decide", json=sure).json()["action"] == "retain"
