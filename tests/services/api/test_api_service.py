"""What runs an installation through the API: tokens, declarations, erasure, jobs, the audit and the
doctor. `tests/services/web` asks who may; here it is what comes of it.
"""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from knowgate import Bundle, Decision
from services.clock import SimulatedClock
from services.jobs.job import JobContext, run_due
from services.jobs.seal import SealJob
from services.settings import Auth, Settings, operator
from store.engine import reading, transaction
from store.ledger import verifications
from store.tokens import TokenRole, create_token
from store.traffic.decisions import add_decisions, stored_decision
from tests.services.conftest import CASCADE, NOW

TOML = {"Content-Type": "application/toml"}


def test_a_token_is_made_opens_what_it_was_made_for_and_is_revoked(
    serve: Callable[[Settings], TestClient], settings: Settings, engine: Engine, clock: SimulatedClock, trivia: str
) -> None:
    with transaction(engine) as session:
        admin = {"Authorization": f"Bearer {create_token(session, 'root', TokenRole.ADMIN, clock.now())}"}
    client = serve(settings.model_copy(update={"auth": Auth.ON}))
    wanted = {"name": "ci", "role": "read", "cascades": [trivia], "expires_in": "1d"}
    made = client.post("/v1/tokens", json=wanted, headers=admin)
    assert made.status_code == 201 and made.headers["cache-control"] == "no-store"
    own = {"Authorization": f"Bearer {made.json()['token']}"}
    assert client.get(f"/v1/cascades/{trivia}", headers=own).status_code == 200
    assert client.post("/v1/tokens", json=wanted, headers=admin).status_code == 409
    for faulty, named in (
        ({"cascades": []}, "cascades"),
        ({"expires_in": "soon"}, "soon"),
        ({"role": "king"}, "role"),
        ({"name": "x" * 101}, "101"),
    ):
        answer = client.post("/v1/tokens", json=wanted | {"name": "other"} | faulty, headers=admin)
        assert answer.status_code == 422 and named in answer.text
    listed = client.get("/v1/tokens", headers=admin)
    assert [one["name"] for one in listed.json()["tokens"]] == ["ci", "root"]
    assert made.json()["token"] not in listed.text
    revoked = client.post("/v1/tokens/ci/revoke", headers=admin)
    assert (revoked.status_code, revoked.json()["revoked_by"]) == (200, "root")
    for name in ("ci", "nobody"):
        assert client.post(f"/v1/tokens/{name}/revoke", headers=admin).status_code == 404
    later = serve(settings.model_copy(update={"auth": Auth.ON}))  # which remembers nothing of it
    assert later.get(f"/v1/cascades/{trivia}", headers=own).status_code == 401


def test_a_declaration_is_put_in_force_as_it_is_said_or_not_at_all(client: TestClient) -> None:
    def put(said: str, name: str = "trivia", headers: dict[str, str] = TOML) -> tuple[int, str, object]:
        answer = client.put(f"/v1/cascades/{name}", content=said, headers=headers)
        return answer.status_code, answer.text, answer.json()

    assert put(CASCADE)[2] == {"cascade": "trivia", "version": 1, "changed": True}
    assert put(CASCADE)[2] == {"cascade": "trivia", "version": 1, "changed": False}
    assert put(CASCADE.replace("0.25", "0.5"))[2] == {"cascade": "trivia", "version": 2, "changed": True}
    status, said, _ = put(CASCADE.replace("0.25", "7").replace("10e9", "-1"))
    assert status == 422 and "exploration_rate" in said and "parameters" in said
    status, said, _ = put(CASCADE, name="other")
    assert status == 422 and "other" in said
    assert put(CASCADE, headers={"Content-Type": "application/json"})[0] == 415
    assert client.get("/v1/cascades/trivia").json()["spec"]["exploration_rate"] == 0.5


def test_an_erased_decision_keeps_its_figures_and_nobody_s_words(
    client: TestClient, engine: Engine, settings: Settings, trivia: str, decision: Callable[..., Decision]
) -> None:
    sent = decision()
    with transaction(engine) as session:
        add_decisions(session, [sent], received_at=NOW)
    erased = client.post(f"/v1/decisions/{sent.id}/erase")
    assert erased.status_code == 200 and erased.json()["decision"] == str(sent.id)
    with reading(engine) as session:
        left = stored_decision(session, sent.id).decision
    assert left.external_id is None and left.attempts[0].signals.p_t == 0.5
    shown = client.get(f"/v1/decisions/{sent.id}")
    assert "q0" not in shown.text and shown.json()["erased_by"] == operator(settings)
    assert client.post(f"/v1/decisions/{str(sent.id).replace('-7', '-4')}/erase").status_code == 404


@pytest.fixture
def context(settings: Settings, engine: Engine, clock: SimulatedClock, database_url: str) -> JobContext:
    return JobContext(
        engine=engine, settings=settings.model_copy(update={"database_url": database_url}), clock=clock, owner="a"
    )


def test_the_ledger_is_verified_once_for_what_was_sealed_and_its_head_is_told(
    client: TestClient, context: JobContext, engine: Engine, promoted: Bundle
) -> None:
    for method, path in (("GET", "/v1/audit/head"), ("POST", "/v1/audit/verify")):
        assert client.request(method, path).status_code == 409, "nothing is sealed"
    run_due(context, SealJob())
    head = client.get("/v1/audit/head")
    assert head.text.startswith("knowgate.ledger\n1\n") and head.headers["cache-control"] == "no-store"
    found = client.post("/v1/audit/verify").json()
    assert (found["first_batch"], found["last_batch"], found["problems"]) == (1, 1, 0) and found["leaves"] > 0
    assert client.post("/v1/audit/verify").status_code == 409
    with reading(engine) as session:
        (kept,) = verifications.verifications(session)
    assert (kept.last_hash, kept.by) == (found["last_hash"], found["by"])
    runs = client.get("/v1/jobs", params={"cascade": promoted.document.cascade}).json()["runs"]
    assert runs == [], "no job has run for it"
    assert client.get("/v1/jobs", params={"cascade": "nobody"}).status_code == 404
    (listed,) = client.get("/v1/cascades/trivia/bundles").json()["bundles"]
    assert (listed["id"], listed["status"], listed["signed"]) == (promoted.id, "promoted", False)
    assert client.get("/v1/cascades/nobody/bundles").status_code == 404


def test_the_doctor_says_over_the_api_what_is_wrong_and_how_to_cure_it(
    serve: Callable[[Settings], TestClient], context: JobContext
) -> None:
    broken = context.settings.model_copy(update={"shards_url": "nowhere://ada:hunter2@host/shards"})
    answer = serve(broken).get("/v1/doctor")
    found = {one["check"]: one for one in answer.json()["findings"]}
    assert found["shards"]["state"] == "bad" and "KNOWGATE_SHARDS_URL" in found["shards"]["cure"]
    assert found["database"]["state"] == "ok" and "hunter2" not in answer.text
