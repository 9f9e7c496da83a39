"""Who may ask for what; health, metrics and the API's description of itself."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, update

from knowgate import CascadeSpec, Decision
from knowgate._wire import codec
from services.acts import Act
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.declaration.cascade_text import format_cascade, without_secrets
from services.errors import InputInvalid
from services.http.token_gate import TokenGate
from services.settings import Auth, Settings
from store import schema
from store.engine import transaction
from store.jobs.job_ticks import put_tick
from store.releases import assignments, cascades
from store.tables import AssignmentRow, CascadeVersionRow
from store.tokens import TokenRole, create_token, revoke_token
from tests.services.conftest import CASCADE, NOW

ALERT = "019b76da-a800-7000-8000-000000000000"  # of nobody
ROUTES = {
    ("POST", "/v1/decisions"): {"ingest", "runtime", "admin"},
    ("POST", "/v1/labels"): {"ingest", "admin"},
    ("POST", "/v1/decide"): {"ingest", "admin"},
    ("GET", "/v1/cascades"): {"read", "runtime", "operator", "admin"},
    ("GET", "/v1/cascades/trivia"): {"read", "runtime", "operator", "admin"},
    ("GET", "/v1/cascades/trivia/labels"): {"read", "operator", "admin"},
    ("GET", "/v1/cascades/trivia/assignment"): {"runtime", "read", "operator", "admin"},
    ("POST", "/v1/cascades/trivia/acknowledgements"): {"runtime", "admin"},
    ("GET", "/v1/bundles/00"): {"runtime", "read", "operator", "admin"},
    ("GET", "/v1/alerts"): {"read", "operator", "admin"},
    ("GET", f"/v1/alerts/{ALERT}"): {"read", "operator", "admin"},
    ("POST", f"/v1/alerts/{ALERT}/acts"): {"operator", "admin"},
    **{("POST", f"/v1/cascades/trivia/{act}"): {"operator", "admin"} for act in Act},
    ("GET", "/metrics"): {"read", "operator", "admin"},
}


@pytest.fixture
def guarded(serve: Callable[[Settings], TestClient], settings: Settings) -> TestClient:
    return serve(settings.model_copy(update={"auth": Auth.ON}))


@pytest.fixture
def tokens(engine: Engine, clock: SimulatedClock) -> dict[str, str]:
    with transaction(engine) as session:
        return {role.value: create_token(session, role.value, role, clock.now()) for role in TokenRole}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_each_address_opens_to_its_roles_alone(guarded: TestClient, tokens: dict[str, str]) -> None:
    for (method, path), roles in ROUTES.items():
        for role, token in tokens.items():
            status = guarded.request(method, path, headers=bearer(token)).status_code
            assert (status not in (401, 403)) == (role in roles), (path, role, status)


def test_every_address_but_the_health_checks_asks_for_a_token(guarded: TestClient) -> None:
    document = guarded.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in operations:
            response = guarded.request(method, path.replace("{name}", "trivia").replace("{bundle_id}", "00"))
            expected = path not in ("/healthz", "/readyz")
            assert (response.status_code == 401) == expected, path


def test_without_a_good_token_the_answer_is_401_with_the_cure(guarded: TestClient) -> None:
    headers: tuple[dict[str, str], ...] = ({}, bearer("kg_wrong"), bearer(""), {"Authorization": "Basic a2c="})
    for header in headers:
        response = guarded.get("/v1/cascades", headers=header)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"]["cure"]


def test_a_wrong_role_is_403_and_names_the_right_ones(guarded: TestClient, tokens: dict[str, str]) -> None:
    response = guarded.post("/v1/labels", json={"labels": []}, headers=bearer(tokens["read"]))
    assert response.status_code == 403
    assert response.json()["error"]["cure"] == "use a token with role ingest or admin"


def test_a_revoked_token_is_worthless_once_it_is_forgotten(
    engine: Engine, clock: SimulatedClock, tokens: dict[str, str]
) -> None:
    ticks: Iterator[float] = iter([0.0, 5.0, 20.0, 21.0])
    gate = TokenGate(engine, keep_s=10.0, tick=lambda: next(ticks))
    assert (found := gate.token(tokens["read"], clock.now())) and found.ended(clock.now()) is None
    with transaction(engine) as session:
        assert revoke_token(session, "read", now=clock.now() + timedelta(seconds=1))
    assert (found := gate.token(tokens["read"], clock.now())) and found.ended(clock.now()) is None
    assert (found := gate.token(tokens["read"], clock.now())) and found.ended(clock.now()) == "revoked"


def test_without_auth_the_service_answers_to_a_loopback_name_alone(client: TestClient) -> None:
    response = client.get("/v1/cascades", headers={"Host": "evil.example"})
    assert response.status_code == 403
    assert client.get("/v1/cascades", headers={"Host": "localhost:8420"}).status_code == 200


def test_the_process_lives_and_is_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    ready = {"status": "ready", "schema": schema.head(), "scheduler": "No scheduler has run yet."}
    assert client.get("/readyz").json() == ready


def test_a_service_whose_scheduler_is_dead_stays_ready_and_says_so(client: TestClient, engine: Engine) -> None:
    with transaction(engine) as session:
        put_tick(session, "monitor", owner="a", now=NOW - timedelta(hours=1), error=None)
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["scheduler"].startswith("No scheduler has looked for work since")
    assert 'role="alert"' in (page := client.get("/").text) and "nothing is watched, trained or sent" in page


def test_an_old_schema_is_not_ready_and_says_what_to_run(client: TestClient, engine: Engine) -> None:
    schema.downgrade(engine, "-1")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "knowgate db upgrade" in response.json()["error"]["cure"]
    assert client.get("/healthz").status_code == 200


@pytest.mark.usefixtures("promoted")
@pytest.mark.parametrize("table", [AssignmentRow, CascadeVersionRow])
def test_one_cascade_that_cannot_be_read_hides_no_other_and_blames_no_caller(
    client: TestClient, engine: Engine, decision: Callable[..., Decision], table: Any
) -> None:
    with transaction(engine) as session:
        spec = replace(cascades.cascade(session, "trivia"), name="aside")
        cascades.apply_cascade(session, spec, now=NOW)
        assigned = assignments.assignment(session, "trivia")
        assert assigned is not None
        assignments.swap_assignment(
            session, replace(assigned, cascade="aside", champion=None), expected_generation=None
        )
        column = "document" if table is AssignmentRow else "spec"
        statement = update(table).where(table.cascade == "aside").values({column: {}})
        session.execute(statement, execution_options={"noted": False})
    text = client.get("/metrics").text
    assert 'knowgate_assignment_generation{cascade="trivia"} 1.0' in text
    unread = float(table is AssignmentRow)
    assert f'knowgate_assignment_unreadable{{cascade="aside"}} {unread}' in text
    listed = {one["name"]: one["unreadable"] for one in client.get("/v1/cascades").json()["cascades"]}
    assert "cannot be read" in listed["aside"] and listed["trivia"] is None
    page = client.get("/")
    assert page.status_code == 200 and "cannot be read" in page.text
    ruled = client.post("/v1/decide", json={"cascade": "aside", "p_t": 1.0})
    assert (ruled.status_code, ruled.json()["action"], ruled.json()["reason"]) == (200, "escalate", "no_bundle")
    assert "cannot be read" in ruled.json()["note"]
    assert client.get("/v1/cascades/aside/assignment").status_code == (503 if unread else 200)
    sent = client.post("/v1/decisions", json={"decisions": [codec.encode(decision(cascade="aside"))]})
    assert sent.status_code == (200 if unread else 503), "a runtime keeps what 503 answers and sends it again"


def test_an_unknown_address_and_a_wrong_method_keep_the_error_shape(client: TestClient) -> None:
    for response, status in ((client.get("/v1/nowhere"), 404), (client.get("/v1/labels"), 405)):
        assert response.status_code == status
        assert set(response.json()["error"]) == {"field", "value", "cure", "message"}


def test_the_description_holds_every_schema_it_refers_to(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert {"Decision", "Attempt", "Label", "DecisionBatch", "DecideRequest", "Error"} <= set(schemas)

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas, reference


def test_durations_are_described_as_they_are_written_and_metrics_as_text(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    horizon = document["components"]["schemas"]["Horizons"]["properties"]["gold"]
    assert (horizon["type"], horizon["default"], horizon["description"]) == ("number", 7 * 86400, "seconds")
    assert '"format": "duration"' not in json.dumps(document)
    assert set(document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == {"text/plain"}


@pytest.mark.usefixtures("trivia")
def test_the_described_examples_are_accepted(client: TestClient, engine: Engine) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/v1/decisions", "/v1/labels", "/v1/decide"):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        text = client.post(path, json=_renamed(example)).json()
        assert not text.get("rejected") and "error" not in text, text


def _renamed(example: Any) -> Any:
    if isinstance(example, dict):
        return {key: "trivia" if key == "cascade" else _renamed(value) for key, value in example.items()}
    return [_renamed(item) for item in example] if isinstance(example, list) else example


def test_the_address_of_a_webhook_is_shown_to_admins_alone(
    guarded: TestClient, tokens: dict[str, str], engine: Engine, clock: SimulatedClock
) -> None:
    spec = parse_cascade('webhooks = ["https://hooks.example.com/services/T0/hunter2"]\n' + CASCADE)
    with transaction(engine) as session:
        cascades.apply_cascade(session, spec, now=clock.now())
    for role in ("read", "runtime"):
        answer = guarded.get("/v1/cascades/trivia", headers=bearer(tokens[role]))
        assert answer.json()["spec"]["webhooks"] == ["https://hooks.example.com/…"]
        assert codec.decode(CascadeSpec, answer.json()["spec"]).tiers == spec.tiers
    assert guarded.get("/v1/cascades/trivia", headers=bearer(tokens["admin"])).json()["spec"]["webhooks"] == list(
        spec.webhooks
    )
    with pytest.raises(InputInvalid, match="how an address is shown"):
        parse_cascade(format_cascade(without_secrets(spec)))
    assert parse_cascade(format_cascade(spec)) == spec
