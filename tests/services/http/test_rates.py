"""How often somebody may ask."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine, event

from services.http.rates import SECONDS_WORTH, Rates
from services.settings import Auth, Settings
from store.engine import transaction
from store.tokens import TokenRole, create_token
from tests.services.conftest import NOW


def test_an_allowance_is_spent_at_once_and_fills_with_time() -> None:
    now = [0.0]
    allowed = Rates(2.0, tick=lambda: now[0])
    burst = int(2 * SECONDS_WORTH)
    assert [allowed.take("a") for _ in range(burst + 1)] == [True] * burst + [False]
    assert allowed.take("b") and not allowed.has("a")
    now[0] = 0.5
    assert allowed.has("a") and allowed.take("a") and not allowed.take("a")
    now[0] = 1000.0
    assert [allowed.take("a") for _ in range(burst + 1)] == [True] * burst + [False]


def test_a_crowd_of_addresses_does_not_fill_the_memory() -> None:
    allowed = Rates(1.0, most_keys=10, tick=lambda: 0.0)
    for key in range(100):
        allowed.take(key)
    assert 0 < len(allowed) <= 10


def at_a_standstill(client: TestClient) -> TestClient:
    """A service that allows ten requests, and to whose clock no more are added."""
    app: Any = client.app
    still: dict[str, Rates] = {name: Rates(1.0, tick=lambda: 0.0) for name in ("token_rates", "refusal_rates")}
    app.state.context = replace(app.state.context, **still)
    return client


def test_a_token_that_asks_too_often_is_told_to_wait_and_another_is_not(
    serve: Callable[[Settings], TestClient], settings: Settings, engine: Engine
) -> None:
    client = at_a_standstill(serve(settings.model_copy(update={"auth": Auth.ON})))
    with transaction(engine) as session:
        one, other = (create_token(session, name, TokenRole.READ, NOW) for name in ("one", "other"))
    answers = [client.get("/v1/cascades", headers={"Authorization": f"Bearer {one}"}) for _ in range(12)]
    assert [answer.status_code for answer in answers[:10]] == [200] * 10
    assert answers[-1].status_code == 429 and answers[-1].headers["retry-after"] == "1"
    assert "KNOWGATE_TOKEN_RATE" in answers[-1].json()["error"]["cure"]
    assert client.get("/v1/cascades", headers={"Authorization": f"Bearer {other}"}).status_code == 200


def test_a_flood_of_wrong_tokens_asks_the_database_no_more_and_keeps_no_known_one_out(
    serve: Callable[[Settings], TestClient], settings: Settings, engine: Engine
) -> None:
    client = at_a_standstill(serve(settings.model_copy(update={"auth": Auth.ON})))
    with transaction(engine) as session:
        good = create_token(session, "good", TokenRole.READ, NOW)
    assert client.get("/v1/cascades", headers={"Authorization": f"Bearer {good}"}).status_code == 200
    asked: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_: object, __: object, statement: str, *rest: object) -> None:
        asked.append(statement)

    statuses = [
        client.get("/v1/cascades", headers={"Authorization": f"Bearer kg_{index}"}).status_code for index in range(30)
    ]
    assert statuses[:10] == [401] * 10 and statuses[-10:] == [429] * 10
    assert client.post("/sign-in", data={"token": "kg_more"}).status_code == 429
    assert sum("token" in statement for statement in asked) < 20
    assert client.get("/v1/cascades", headers={"Authorization": f"Bearer {good}"}).status_code == 200
