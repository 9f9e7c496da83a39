"""What a person does with a cascade over HTTP: every act, in the token's name, with the errors that
the command line tells.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from factories import make_comparison
from knowgate.spec import Approval, Promotion
from services.clock import SimulatedClock
from services.settings import Auth, Settings
from services.web.app import create_app
from store.engine import reading, transaction
from store.releases import cascades
from store.releases.cascade_acts import TRAININGS, freeze_in_force, last_act
from store.releases.promotions import Outcome
from store.tables import LedgerLeafRow
from store.tokens import TokenRole, create_token
from tests.services.deployment_of_jobs import Deployment

Call = Callable[..., Any]


@pytest.fixture
def deployment(engine: Engine, settings: Settings) -> Deployment:
    return Deployment(engine, settings)


@pytest.fixture
def call(deployment: Deployment) -> Call:
    """Asks for one act, as an operator's script does; the answer, or the error's message."""
    clock: SimulatedClock = deployment.clock
    app = create_app(deployment.settings.model_copy(update={"auth": Auth.ON}), deployment.engine, clock=clock)
    client = TestClient(app, base_url="http://127.0.0.1")
    with transaction(deployment.engine) as session:
        client.headers["Authorization"] = f"Bearer {create_token(session, 'pager', TokenRole.OPERATOR, deployment.now)}"

    def called(act: str, status: int = 200, **body: object) -> Any:
        deployment.later(0.1)
        answer = client.post(f"/v1/cascades/quiz/{act}", json={"reason": "a test"} | body)
        assert answer.status_code == status, answer.text
        return answer.json() if status < 300 else answer.json()["error"]["message"]

    called.client = client  # type: ignore[attr-defined]
    return called


def test_a_cascade_is_stopped_resumed_observed_and_rolled_back(deployment: Deployment, call: Call) -> None:
    assert "no certified bundle yet" in call("resume", 409)
    first = deployment.certified("first")
    assert call("resume")["champion"] == first
    second = deployment.certified("second", threshold=0.4)
    assert call("promote", bundle=second[:12])["champion"] == second
    stopped = call("stop", reason="it answers nonsense")
    assert (stopped["state"], stopped["stopped"]["reason"], stopped["stopped"]["decided_by"]) == (
        "stopped",
        "it answers nonsense",
        "pager",
    )
    assert "is stopped already (it answers nonsense)" in call("stop", 409)
    assert call("resume")["state"] == "active"
    assert call("rollback", to=first[:10])["champion"] == first
    never = deployment.certified("never")
    assert "no former champion" in call("rollback", 409, to=never)
    assert call("observe")["state"] == "observing"
    assert "observed already" in call("observe", 409)
    outcomes = [record.outcome for record in deployment.history]
    assert outcomes == [
        Outcome.PROMOTED,
        Outcome.PROMOTED,
        Outcome.STOPPED,
        Outcome.RESUMED,
        Outcome.ROLLED_BACK,
        Outcome.OBSERVED,
    ]
    assert {record.decided_by for record in deployment.history} == {"pager"}
    detail = call.client.get("/v1/cascades/quiz").json()  # type: ignore[attr-defined]
    assert detail["state"]["sentence"].startswith("every query goes to the last tier")


def test_a_condemned_bundle_comes_back_on_purpose_only(deployment: Deployment, call: Call) -> None:
    first = deployment.certified("first")
    call("resume")
    deployment.ring("half of it is wrong")
    assert "condemned by the risk alarm" in call("resume", 409), "the ring is answered first"
    deployment.tick()
    assert "condemned" in call("promote", 409, bundle=first)
    assert call("resume", despite_alarm="labels were wrong")["champion"] == first
    assert deployment.history[-1].reason == "a test; despite alarm: labels were wrong"
    assert "name the bundle" in call("rollback", 422, despite_alarm="x")
    assert "two ways" in call("rollback", 422, to=first, past_condemned=True)


def test_a_challenger_is_declined_and_another_approved(deployment: Deployment, call: Call) -> None:
    with transaction(deployment.engine) as session:
        spec = replace(cascades.cascade(session, "quiz"), promotion=Promotion(approval=Approval.MANUAL))
        cascades.apply_cascade(session, spec, now=deployment.now)
    first = deployment.certified("first")
    deployment.tick()
    assert call("decline", bundle=first)["awaiting"] is None
    assert "is refused: only a certified one that waits" in call("approve", 409, bundle=first)
    second = deployment.certified("second")
    deployment.tick()
    assert call("approve", bundle=second[:12])["champion"] == second
    worse = deployment.certified("worse", comparison=make_comparison(second, savings_gain=-0.2))
    assert "does not pass the check" in call("approve", 409, bundle=worse)
    assert "no bundle has an id that starts with" in call("approve", 422, bundle="ffff")


def test_a_freeze_and_a_training_are_asked_for(deployment: Deployment, call: Call) -> None:
    frozen = call("freeze", duration="2d")["frozen"]
    assert (frozen["by"], frozen["reason"], frozen["until"]) == ("pager", "a test", "2026-03-04T00:06:00Z")
    assert call("freeze", until="2026-03-09T00:00:00Z")["frozen"]["until"] == "2026-03-09T00:00:00Z"
    assert "say for how long, or until when" in call("freeze", 422)
    assert "a duration such as 7d" in call("freeze", 422, duration="soon")
    assert "give a time after" in call("freeze", 422, until="2020-01-01T00:00:00Z")
    assert call("unfreeze")["frozen"] is None
    assert "is not frozen" in call("unfreeze", 409)
    assert "could show nothing" in call("train", 409)
    assert call("train", 202, insist=True)["training_asked"]["by"] == "pager"
    assert "asked for already" in call("train", 409, insist=True)
    with reading(deployment.engine) as session:
        asked = last_act(session, "quiz", TRAININGS)
    assert asked is not None and (asked.act, asked.reason) == ("insisted", "a test")


def test_what_says_nothing_or_too_much_is_refused_by_name(deployment: Deployment, call: Call) -> None:
    assert "say it in words" in call("stop", 422, reason=" ")
    assert "despite_alarm" in call("stop", 422, despite_alarm="x"), "no field of a stop"
    assert "bundle" in call("promote", 422)
    answer = call.client.post("/v1/cascades/nobody/stop", json={"reason": "x"})  # type: ignore[attr-defined]
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "cascade")
    assert deployment.history == ()


@pytest.mark.parametrize("act", ["approve", "decline", "unfreeze"])
def test_who_only_reads_or_sends_changes_nothing(deployment: Deployment, call: Call, act: str) -> None:
    bundle = waiting(deployment, "waits")
    call("freeze", duration="2d")
    before = deployment.history
    body = {"reason": "a test"} | ({} if act == "unfreeze" else {"bundle": bundle})
    for role in (TokenRole.READ, TokenRole.INGEST):
        answer = as_role(deployment, call, role, act, body)
        assert answer.status_code == 403 and role.value in answer.json()["error"]["message"]
    assert deployment.history == before and deployment.in_force.champion is None
    with reading(deployment.engine) as session:
        assert freeze_in_force(session, "quiz", now=deployment.now) is not None
    assert as_role(deployment, call, TokenRole.ADMIN, act, body).status_code == 200


def test_who_approves_and_who_declines_is_in_the_history_and_in_the_ledger(deployment: Deployment, call: Call) -> None:
    declined = waiting(deployment, "declined")
    assert call("decline", bundle=declined, reason="it was made for a sale")["challenger"] is None
    approved = waiting(deployment, "approved")
    call("approve", bundle=approved, reason="looked at by two")
    said = [(row.outcome, row.bundle, row.decided_by, row.reason) for row in deployment.history if row.decided_by]
    assert said == [
        (Outcome.REFUSED, declined, "pager", "it was made for a sale"),
        (Outcome.PROMOTED, approved, "pager", said[1][3]),
    ]
    assert "looked at by two" in said[1][3]
    stated = [one for one in in_ledger(deployment, "promotion") if one.get("decided_by")]
    assert [(one["decided_by"], one["bundle"]) for one in stated] == [("pager", declined), ("pager", approved)]
    assert [one["reason"] for one in stated] == [reason for *_, reason in said]


def test_approve_and_decline_are_refused_where_nothing_waits(deployment: Deployment, call: Call) -> None:
    bundle = waiting(deployment, "waits")
    call("approve", bundle=bundle)
    before = deployment.history
    assert "only a certified one that waits is answered so" in call("approve", 409, bundle=bundle)
    assert "only a certified one that waits is answered so" in call("decline", 409, bundle=bundle)
    assert "no bundle has an id that starts with" in call("decline", 422, bundle="ffff")
    assert "bundle" in call("approve", 422) and "say it in words" in call("decline", 422, bundle=bundle, reason=" ")
    assert deployment.history == before


def test_who_ends_a_freeze_is_in_the_ledger_and_the_challenger_that_waited_comes_in_force(
    deployment: Deployment, call: Call
) -> None:
    call("freeze", duration="2d", reason="a sale")
    bundle = deployment.certified("waits")
    deployment.tick()
    assert deployment.in_force.champion is None
    assert call("unfreeze", reason="the sale is over")["frozen"] is None
    deployment.tick()
    assert deployment.in_force.champion == bundle
    said = [(one["act"], one["by"], one["reason"]) for one in in_ledger(deployment, "cascade_act")]
    assert said == [("frozen", "pager", "a sale"), ("unfrozen", "pager", "the sale is over")]
    assert "is not frozen" in call("unfreeze", 409)
    assert len(in_ledger(deployment, "cascade_act")) == 2


def waiting(deployment: Deployment, name: str) -> str:
    """A bundle that passed the check and awaits a person's word."""
    with transaction(deployment.engine) as session:
        spec = replace(cascades.cascade(session, "quiz"), promotion=Promotion(approval=Approval.MANUAL))
        cascades.apply_cascade(session, spec, now=deployment.now)
    bundle = deployment.certified(name)
    deployment.tick()
    return bundle


def as_role(deployment: Deployment, call: Call, role: TokenRole, act: str, body: dict[str, str]) -> Any:
    with transaction(deployment.engine) as session:
        token = create_token(session, role.value, role, deployment.now)
    headers = {"Authorization": f"Bearer {token}"}
    return call.client.post(f"/v1/cascades/quiz/{act}", json=body, headers=headers)  # type: ignore[attr-defined]


def in_ledger(deployment: Deployment, kind: str) -> list[Any]:
    """What the ledger states of rows of this kind, oldest first."""
    with reading(deployment.engine) as session:
        leaves = session.scalars(select(LedgerLeafRow).where(LedgerLeafRow.kind == kind).order_by(LedgerLeafRow.id))
        return [json.loads(leaf.payload or "") for leaf in leaves]
