"""What became of messages is listed without secrets, and one given up gets one more try."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from typer.testing import Result

from services.audit.verify import verify_ledger
from services.declaration.cascade_file import parse_cascade
from services.settings import Auth, Settings
from store.engine import transaction
from store.releases.cascades import apply_cascade
from store.tokens import TokenRole, create_token
from store.watching.alerts import AlertRecord, open_alert
from store.watching.deliveries import add_delivery, claim_due_deliveries, finish_delivery
from tests.services.conftest import CASCADE, NOW

HOOK = "https://hooks.example.com/services/hunter2"


@pytest.fixture
def given_up(engine: Engine, trivia: str) -> dict[str, Any]:
    """Three messages of one alert, by receiver: of two receivers the first was given up, and of one
    of them the second was received.
    """
    made = {}
    with transaction(engine) as session:
        record = AlertRecord(cascade=trivia, rule="risk", cause="harm", details="{}", opened_at=NOW)
        alert = open_alert(session, record)
        for receiver in (HOOK, "chat"):
            made[receiver] = add_delivery(session, alert, receiver, "opened", str, now=NOW)
        late = NOW + timedelta(days=3)
        for claimed in claim_due_deliveries(session, owner="a", now=late, lease=timedelta(minutes=1)):
            finish_delivery(session, claimed, now=late, error="no answer from https://x?token=hunter2")
        add_delivery(session, alert, "chat", "resolved", str, now=NOW)
        (claimed,) = claim_due_deliveries(session, owner="a", now=late, lease=timedelta(minutes=1))
        finish_delivery(session, claimed, now=late)
    return made


def test_the_api_tells_what_became_of_messages_and_tries_one_again(
    serve: Callable[[Settings], TestClient], settings: Settings, engine: Engine, given_up: dict[str, Any]
) -> None:
    client = serve(settings.model_copy(update={"auth": Auth.ON}))
    with transaction(engine) as session:
        reader, operator = (
            create_token(session, role.value, role, NOW) for role in (TokenRole.READ, TokenRole.OPERATOR)
        )
    client.headers["Authorization"] = f"Bearer {reader}"
    answer = client.get("/v1/deliveries")
    assert "hunter2" not in answer.text and "https://hooks.example.com/…" in answer.text
    rows = answer.json()["deliveries"]
    assert [(one["receiver"], one["event"], one["fate"], len(one["tries"])) for one in rows if one["number"] == 2] == [
        ("chat", "resolved", "received", 1)
    ]
    assert len(client.get("/v1/deliveries", params={"fate": "given_up"}).json()["deliveries"]) == 2
    assert client.get("/v1/deliveries", params={"cascade": "other"}).json()["deliveries"] == []
    again = f"/v1/deliveries/{given_up[HOOK]}/retry"
    assert client.post(again).status_code == 403
    client.headers["Authorization"] = f"Bearer {operator}"
    assert client.post(again).json()["fate"] == "waiting"
    assert client.post(again).status_code == 409, "it waits already"
    refused = client.post(f"/v1/deliveries/{given_up['chat']}/retry")
    assert refused.status_code == 409 and "later message" in refused.text
    assert client.post(f"/v1/deliveries/{UUID(int=0)}/retry").status_code == 404
    with transaction(engine) as session:
        assert verify_ledger(session).problems == ()
        session.connection().exec_driver_sql("UPDATE delivery_try SET error = NULL")
    with transaction(engine) as session:
        assert any("delivery_try" in str(problem) for problem in verify_ledger(session).problems)


def test_the_command_lists_them_and_tries_one_again(run: Callable[..., Result], given_up: dict[str, Any]) -> None:
    listed = run("deliveries", "list").stdout
    assert listed.count("given_up") == 2 and "hunter2" not in listed
    end = str(given_up[HOOK])[-8:]
    shown = json.loads(run("deliveries", "list", "--all", "--json").stdout)["deliveries"]
    assert sorted(one["fate"] for one in shown) == ["given_up", "given_up", "received"]
    assert "waiting" in run("deliveries", "retry", end).stdout
    run("deliveries", "retry", end, code=3)
    run("deliveries", "retry", "ffffffff", code=2)


def test_a_test_of_receivers_says_what_did_not_arrive(
    serve: Callable[[Settings], TestClient], settings: Settings, engine: Engine, run: Callable[..., Result]
) -> None:
    plain = parse_cascade(CASCADE)
    with transaction(engine) as session:
        apply_cascade(session, replace(plain, webhooks=()), now=NOW)
    assert "declares no receiver" in str(run("deliveries", "test", "--cascade", "trivia", code=3).exception)
    with transaction(engine) as session:
        apply_cascade(session, replace(plain, webhooks=(HOOK,)), now=NOW + timedelta(hours=1))
    said = run("deliveries", "test", "--cascade", "trivia", "--wait", "0", code=3)
    assert "is `knowgate scheduler` running?" in str(said.exception) and "hunter2" not in said.output
    with transaction(engine) as session:
        (claimed,) = claim_due_deliveries(session, owner="a", now=datetime.now(UTC), lease=timedelta(minutes=1))
        finish_delivery(session, claimed, now=NOW, error="the receiver answered 404")
    answer = serve(settings).post("/v1/cascades/trivia/deliveries/test")
    assert answer.status_code == 202
    (waiting,) = answer.json()["deliveries"]
    assert (waiting["event"], waiting["fate"], waiting["alert_id"]) == ("test", "waiting", None)
    fates = [one["fate"] for one in json.loads(run("deliveries", "list", "--all", "--json").stdout)["deliveries"]]
    assert sorted(fates) == ["given_up", "waiting"], "one try each"
